//! A peer as the planner sees it.

use std::ops::Range;

use protocol::NodeId;

/// Bandwidth that a peer is taken to have which nobody measured, bytes a second: what one channel
/// of slow memory gives. Too little rather than too much, so that measured peers come first.
pub const ASSUMED_BANDWIDTH: f64 = 8e9;

/// Slower than this is as useless, and times stay within their bits.
const MAX_SLOWDOWN: f64 = 1000.0;

/// What is known of a peer.
#[derive(Debug, Clone, PartialEq)]
pub struct Peer {
    /// Who.
    pub node: NodeId,
    /// Whether it may hold a stage: its role and its owner's limits allow it, and so does whoever
    /// asks. The head may be the head in any case.
    pub is_allowed: bool,
    /// Memory that is free and allowed, bytes.
    pub free_bytes: u64,
    /// Effective memory bandwidth, bytes a second; `None`: not measured.
    pub bandwidth: Option<f64>,
    /// Operations a second in prefill; `None`: not measured.
    pub flops: Option<f64>,
    /// What its owner lets it send, bytes a second; `None`: no limit.
    pub uplink: Option<u64>,
    /// Layers of the model on its disk.
    pub held: Vec<Range<u32>>,
    /// It was found to be so many times slower than its figures say; 1: it was not.
    pub slowdown: f64,
}

impl Peer {
    /// Bytes a second that it reads weights with; never zero.
    pub(super) fn bandwidth(&self) -> f64 {
        let measured = self.bandwidth.filter(|figure| is_rate(*figure));
        measured.unwrap_or(ASSUMED_BANDWIDTH) / self.slowdown()
    }

    /// How many times slower than its figures it is; one at least.
    pub(super) fn slowdown(&self) -> f64 {
        match is_rate(self.slowdown) {
            true => self.slowdown.min(MAX_SLOWDOWN),
            false => 1.0,
        }
    }

    /// Whether that was measured.
    pub(super) fn is_measured(&self) -> bool {
        self.bandwidth.is_some_and(is_rate)
    }

    /// Operations a second, if they were measured.
    pub(super) fn flops(&self) -> Option<f64> {
        let flops = self.flops.filter(|figure| is_rate(*figure));
        flops.map(|flops| flops / self.slowdown())
    }

    /// Whether it has this layer on its disk.
    pub(super) fn holds(&self, layer: u32) -> bool {
        self.held.iter().any(|held| held.contains(&layer))
    }
}

fn is_rate(figure: f64) -> bool {
    figure.is_finite() && figure >= 1.0
}
