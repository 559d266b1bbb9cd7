//! Why a peer is not in a plan.

use std::time::Duration;

use protocol::NodeId;

use super::ring::Ring;
use super::search::BestWith;
use super::{MAX_RTT, Peer, Question};

/// Why a peer holds no stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Its role, its owner or the asking node does not allow it.
    NotAllowed,
    /// The round trip to the asking node was not measured.
    Unmeasured,
    /// It is beyond [`MAX_RTT`] of the asking node.
    TooFar {
        /// The round trip.
        rtt: Duration,
    },
    /// It is near the asking node, but not near this peer of the ring.
    Apart {
        /// The peer of the ring.
        from: NodeId,
        /// The round trip; `None`: not measured.
        rtt: Option<Duration>,
    },
    /// It cannot hold the smallest piece of the model.
    NoMemory {
        /// What that takes.
        needed: u64,
        /// What it has.
        free: u64,
    },
    /// The best plan with it is slower.
    SlowsDown {
        /// By so much a token.
        by: Duration,
    },
    /// The plan is as good without it.
    NotNeeded,
    /// The group is larger than what is searched, and others promise more.
    Outranked,
    /// There is no plan, although it could give this much.
    NotEnough {
        /// Bytes for layers.
        room: u64,
    },
}

/// What keeps a peer out of any plan of this question, other than memory.
pub(super) fn is_out_of_reach(question: &Question<'_>, peer: &Peer) -> Option<Verdict> {
    if !peer.is_allowed {
        return Some(Verdict::NotAllowed);
    }
    match question.distances.between(question.head, peer.node) {
        None => Some(Verdict::Unmeasured),
        Some(rtt) if rtt > MAX_RTT => Some(Verdict::TooFar { rtt }),
        Some(_) => None,
    }
}

/// What keeps a peer from holding any stage of a chain.
pub(super) fn is_unfit(question: &Question<'_>, peer: &Peer) -> Option<Verdict> {
    is_out_of_reach(question, peer).or_else(|| {
        let needed = question.smallest_piece();
        let free = question.slice_room(peer);
        (free < needed).then_some(Verdict::NoMemory { needed, free })
    })
}

/// Not in by this much.
pub(super) fn slower_by(by: Duration) -> Verdict {
    match by {
        Duration::ZERO => Verdict::NotNeeded,
        by => Verdict::SlowsDown { by },
    }
}

/// The verdicts on all peers that a ring does not have; `otherwise` knows those in reach.
pub(super) fn of_others(
    question: &Question<'_>,
    ring: &Ring,
    otherwise: impl Fn(&Peer) -> Verdict,
) -> Vec<(NodeId, Verdict)> {
    let others = question.peers.iter().filter(|peer| !ring.has(peer.node));
    sorted(others.map(|peer| {
        let verdict = is_out_of_reach(question, peer);
        (peer.node, verdict.unwrap_or_else(|| otherwise(peer)))
    }))
}

/// The verdicts beside a chain; `with` has the best plan with each peer that was searched.
pub(super) fn beside_ring(
    question: &Question<'_>,
    ring: &Ring,
    with: &BestWith,
) -> Vec<(NodeId, Verdict)> {
    of_others(question, ring, |peer| {
        if let Some(verdict) = is_unfit(question, peer) {
            return verdict;
        }
        match with.get(&peer.node) {
            Some(Some(token)) => slower_by(token.saturating_sub(ring.token())),
            searched => apart(question, ring, peer).unwrap_or(match searched {
                Some(_) => Verdict::NotNeeded,
                None => Verdict::Outranked,
            }),
        }
    })
}

/// The verdicts where there is no plan.
pub(super) fn of_all(question: &Question<'_>) -> Vec<(NodeId, Verdict)> {
    sorted(question.peers.iter().map(|peer| {
        let room = question.layer_room(peer);
        let verdict = is_unfit(question, peer);
        (peer.node, verdict.unwrap_or(Verdict::NotEnough { room }))
    }))
}

fn apart(question: &Question<'_>, ring: &Ring, peer: &Peer) -> Option<Verdict> {
    let distances = question.distances;
    let mut stages = ring.stages.iter().map(|stage| stage.peer);
    let from = stages.find(|stage| !distances.are_near(*stage, peer.node))?;
    let rtt = distances.between(from, peer.node);
    Some(Verdict::Apart { from, rtt })
}

fn sorted(verdicts: impl Iterator<Item = (NodeId, Verdict)>) -> Vec<(NodeId, Verdict)> {
    let mut verdicts: Vec<_> = verdicts.collect();
    verdicts.sort_by_key(|(node, _)| *node);
    verdicts
}
