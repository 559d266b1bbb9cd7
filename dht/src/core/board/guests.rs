//! Whose reconciliations and requests for attachments are served at a time.
//!
//! It does not know what they ask; how often a peer may come is counted elsewhere.

use std::collections::BTreeMap;

use protocol::NodeId;

/// Peers' streams that are served at a time: each may hold a list of all items of a board, 4 MiB
/// for a hundred thousand.
pub const MOST_GUESTS: usize = 16;

/// Of one peer: one for a board that is reconciled, others for attachments.
pub const MOST_OF_A_PEER: usize = 4;

/// Who is served now.
#[derive(Debug, Clone, Default)]
pub struct Guests {
    of: BTreeMap<NodeId, usize>,
}

impl Guests {
    /// Lets a peer in, if there is room.
    pub fn try_enter(&mut self, peer: NodeId) -> bool {
        let all: usize = self.of.values().sum();
        let own = self.of.get(&peer).copied().unwrap_or_default();
        let has_room = all < MOST_GUESTS && own < MOST_OF_A_PEER;
        if has_room {
            self.of.insert(peer, own + 1);
        }
        has_room
    }

    /// One that was let in is done.
    pub fn on_left(&mut self, peer: NodeId) {
        if let Some(count) = self.of.get_mut(&peer) {
            *count = count.saturating_sub(1);
            self.of.retain(|_, count| *count > 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    fn node(seed: u8) -> NodeId {
        NodeId::from(&SigningKey::from_bytes(&[seed; 32]))
    }

    #[test]
    fn nobody_takes_all_the_room() {
        let mut guests = Guests::default();
        let greedy = (0..99).filter(|_| guests.try_enter(node(1))).count();
        assert_eq!(greedy, MOST_OF_A_PEER);
        let others = (2..99).filter(|n| guests.try_enter(node(*n))).count();
        assert_eq!(greedy + others, MOST_GUESTS);
        guests.on_left(node(1));
        assert!(guests.try_enter(node(99)));
        assert!(!guests.try_enter(node(1)));
        guests.on_left(node(100));
        assert!(!guests.try_enter(node(1)), "nobody left");
    }
}
