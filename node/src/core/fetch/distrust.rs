//! Who sent wrong bytes lately. It outlives the fetch that noticed, and ends after a while: a disk
//! may have been at fault, and identities are free, so for ever would gain nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{NodeId, UnixMillis};

/// How long nothing is fetched from a peer that sent wrong bytes.
pub const DISTRUST: Duration = Duration::from_secs(24 * 3600);

/// Peers that are remembered; beyond it the oldest is forgotten.
pub const MAX_DISTRUSTED: usize = 256;

/// The peers, and until when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distrusted(BTreeMap<NodeId, UnixMillis>);

impl Distrusted {
    /// What was remembered, as far as it still counts.
    pub fn of(peers: impl IntoIterator<Item = (NodeId, UnixMillis)>, now: UnixMillis) -> Self {
        let mut distrusted = Self::default();
        for (peer, until) in peers {
            // A clock that was wrong does not keep anybody out for years.
            let latest = now.saturating_add(DISTRUST);
            distrusted.put(peer, until.min(latest), now);
        }
        distrusted
    }

    /// A peer sent wrong bytes.
    pub fn add(&mut self, peer: NodeId, now: UnixMillis) {
        self.put(peer, now.saturating_add(DISTRUST), now);
    }

    /// Whether nothing is fetched from a peer now.
    pub fn contains(&self, peer: &NodeId, now: UnixMillis) -> bool {
        self.0.get(peer).is_some_and(|until| *until > now)
    }

    /// All of them, and until when.
    pub fn peers(&self) -> impl Iterator<Item = (NodeId, UnixMillis)> + '_ {
        self.0.iter().map(|(peer, until)| (*peer, *until))
    }

    fn put(&mut self, peer: NodeId, until: UnixMillis, now: UnixMillis) {
        self.0.insert(peer, until);
        self.0.retain(|_, until| *until > now);
        while self.0.len() > MAX_DISTRUSTED {
            let oldest = self.0.iter().min_by_key(|(_, until)| **until);
            let Some(oldest) = oldest.map(|(peer, _)| *peer) else {
                return;
            };
            self.0.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    fn peer(number: u16) -> NodeId {
        let mut seed = [3; 32];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        NodeId::from(&SigningKey::from_bytes(&seed))
    }

    #[test]
    fn it_ends_and_is_bounded() {
        let start = UnixMillis(1_000_000);
        let mut distrusted = Distrusted::default();
        distrusted.add(peer(0), start);
        assert!(distrusted.contains(&peer(0), start) && !distrusted.contains(&peer(1), start));
        let later = start.saturating_add(DISTRUST);
        assert!(!distrusted.contains(&peer(0), later));
        for number in 1..=300 {
            distrusted.add(
                peer(number),
                start.saturating_add(Duration::from_millis(number.into())),
            );
        }
        assert_eq!(distrusted.peers().count(), MAX_DISTRUSTED);
        assert!(!distrusted.contains(&peer(0), start) && distrusted.contains(&peer(300), start));
        let kept = Distrusted::of(
            distrusted.peers(),
            start.saturating_add(Duration::from_secs(1)),
        );
        assert_eq!(kept, distrusted);
        assert_eq!(
            Distrusted::of(distrusted.peers(), later.saturating_add(DISTRUST))
                .0
                .len(),
            0
        );
        let wrong = Distrusted::of([(peer(1), UnixMillis(u64::MAX))], start);
        assert!(!wrong.contains(&peer(1), later));
    }
}
