//! Times as whole nanoseconds: sums come out the same in whatever order they are added, so equal
//! plans are found to be equal, and a peer that is better by any measure is never rounded to be
//! worse (each part is rounded up by itself).

use std::ops::Range;
use std::time::Duration;

use protocol::NodeId;

use super::shape::Weights;
use super::{Peer, Question, STAGE_OVERHEAD};

/// The longest time that all reading of a model counts for: two minutes a token are as useless as
/// an hour, and sums stay within 38 bits.
const MAX_READ_NANOS: u64 = 1 << 37;

/// The same for one hop.
const MAX_HOP_NANOS: u64 = 1 << 33;

/// What is behind a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    /// A hidden state.
    State,
    /// A token: a few bytes.
    Token,
}

impl Question<'_> {
    /// The time in which a peer reads these weights.
    pub(super) fn read_nanos(&self, peer: &Peer, weights: &Weights) -> u64 {
        // Whatever is read, there are not more parts than this: layers and the output.
        let most = MAX_READ_NANOS / (self.shape.layers.len() as u64 + 1);
        let nanos = weights.read_bytes as f64 / peer.bandwidth() * 1e9;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "what is too large becomes the largest number"
        )]
        let whole = nanos.ceil() as u64;
        whole.min(most)
    }

    /// What a stage adds to a token.
    pub(super) fn stage_nanos(&self, peer: &Peer, layers: Range<u32>) -> u64 {
        let output = match layers.end == self.shape.count() {
            true => self.read_nanos(peer, &self.shape.output),
            false => 0,
        };
        let slice = self.shape.slice(layers).iter();
        let read: u64 = slice.map(|l| self.read_nanos(peer, &l.weights)).sum();
        read + output + overhead_nanos(peer)
    }

    /// Bytes of a slice that a peer must fetch.
    pub(super) fn fetch_bytes(&self, peer: &Peer, layers: Range<u32>) -> u64 {
        let slice = self.shape.slice(layers.clone()).iter();
        let absent = layers.zip(slice).filter(|(layer, _)| !peer.holds(*layer));
        absent.map(|(_, layer)| layer.weights.bytes).sum()
    }

    /// One way from a peer to another. Without a measurement: as far as peers of a ring may be,
    /// which is asked for pairs of a ring only.
    pub(super) fn hop_nanos(&self, from: NodeId, to: NodeId, carries: Carries) -> u64 {
        if from == to {
            return 0;
        }
        let rtt = self.distances.between(from, to).unwrap_or(super::MAX_RTT);
        let uplink = self.peer(from).and_then(|peer| peer.uplink);
        let sending = match (carries, uplink) {
            (Carries::State, Some(uplink)) => {
                let nanos = self.shape.hidden_bytes.saturating_mul(1_000_000_000);
                nanos.div_ceil(uplink.max(1))
            }
            _ => 0,
        };
        let travel = nanos(rtt) / 2;
        travel.saturating_add(sending).min(MAX_HOP_NANOS)
    }
}

/// [`STAGE_OVERHEAD`] of this peer.
pub(super) fn overhead_nanos(peer: &Peer) -> u64 {
    nanos(STAGE_OVERHEAD.mul_f64(peer.slowdown()))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
