//! How far peers are from one another, as far as it was measured.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::NodeId;

/// The longest round trip between any two peers of a ring.
pub const MAX_RTT: Duration = Duration::from_millis(80);

/// Round-trip times of pairs. A pair that is not here was not measured, and its peers are in no
/// ring together, unless there is a [bridge](Self::bridged).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distances {
    pairs: BTreeMap<(NodeId, NodeId), Duration>,
    bridge: Option<NodeId>,
}

impl Distances {
    /// Takes note of a measurement, in whichever direction. Of two the longer counts: the plan must
    /// hold for both.
    pub fn note(&mut self, a: NodeId, b: NodeId, rtt: Duration) {
        let known = self.pairs.entry(key(a, b)).or_default();
        *known = rtt.max(*known);
    }

    /// The same, in which a pair that was not measured is as far apart as the way over this peer:
    /// rarely is the straight one longer. For when measurements alone leave no plan, since two peers
    /// measure one another, and tell so, some time after both are known here.
    #[must_use]
    pub fn bridged(self, over: NodeId) -> Self {
        Self {
            bridge: Some(over),
            ..self
        }
    }

    /// The round trip between two peers; none of a peer to itself; `None`: not known.
    pub fn between(&self, a: NodeId, b: NodeId) -> Option<Duration> {
        if a == b {
            return Some(Duration::ZERO);
        }
        let measured = |a, b| self.pairs.get(&key(a, b)).copied();
        measured(a, b).or_else(|| {
            let over = self.bridge?;
            Some(measured(a, over)?.saturating_add(measured(over, b)?))
        })
    }

    /// Whether two peers may be in one ring.
    pub fn are_near(&self, a: NodeId, b: NodeId) -> bool {
        self.between(a, b).is_some_and(|rtt| rtt <= MAX_RTT)
    }
}

fn key(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_joins_what_was_not_measured_and_changes_nothing_else() {
        let [over, a, b, c] = [0, 1, 2, 3].map(|number| {
            let key = ed25519_dalek::SigningKey::from_bytes(&[number; 32]);
            NodeId::from(&key)
        });
        let ms = Duration::from_millis;
        let mut measured = Distances::default();
        measured.note(over, a, ms(30));
        measured.note(over, b, ms(40));
        measured.note(a, c, ms(5));
        assert_eq!(measured.between(a, b), None);
        let bridged = measured.bridged(over);
        assert_eq!(bridged.between(a, b), Some(ms(70)));
        assert!(bridged.are_near(b, a));
        assert_eq!(bridged.between(a, c), Some(ms(5)));
        assert_eq!(bridged.between(over, a), Some(ms(30)));
        assert_eq!(bridged.between(over, c), None);
        assert_eq!(bridged.between(b, c), None);
    }
}
