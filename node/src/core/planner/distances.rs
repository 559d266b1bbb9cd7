//! How far peers are from one another, as far as it was measured.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::NodeId;

/// The longest round trip between any two peers of a ring.
pub const MAX_RTT: Duration = Duration::from_millis(80);

/// Round-trip times of pairs. A pair that is not here was not measured, and its peers are in no
/// ring together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distances {
    pairs: BTreeMap<(NodeId, NodeId), Duration>,
}

impl Distances {
    /// Takes note of a measurement, in whichever direction. Of two the longer counts: the plan must
    /// hold for both.
    pub fn note(&mut self, a: NodeId, b: NodeId, rtt: Duration) {
        let known = self.pairs.entry(key(a, b)).or_default();
        *known = rtt.max(*known);
    }

    /// The round trip between two peers; none of a peer to itself; `None`: not measured.
    pub fn between(&self, a: NodeId, b: NodeId) -> Option<Duration> {
        if a == b {
            return Some(Duration::ZERO);
        }
        self.pairs.get(&key(a, b)).copied()
    }

    /// Whether two peers may be in one ring.
    pub fn are_near(&self, a: NodeId, b: NodeId) -> bool {
        self.between(a, b).is_some_and(|rtt| rtt <= MAX_RTT)
    }
}

fn key(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}
