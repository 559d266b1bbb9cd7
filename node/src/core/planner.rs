//! Which peers hold which layers of a model, in which order: from a model's shape and what is
//! known of the peers to a [`Plan`], or to what is missing for one. Pure; it knows no network, no
//! file and no engine, and nobody is asked anything.
//!
//! **What is predicted.** A token of one session costs
//!
//! ```text
//! Σ stages (bytes read of the slice / bandwidth + STAGE_OVERHEAD)
//!   + Σ hops (round trip / 2 + bytes of a hidden state / uplink of its sender)
//! ```
//!
//! over the ring head → stage 1 → … → stage k → head; a hop of a peer to itself costs nothing.
//!
//! **What bounds it.** Each stage's weights, cache and buffers fit the memory that its peer's owner
//! allows; the head has room for the embedding table, whether it holds a stage or not; slices meet
//! where the model may be cut; all peers of a ring are within [`MAX_RTT`] of one another, measured.
//!
//! **Rules.**
//! 1. A model that fits on one machine runs on one machine: the fastest of those that hold it. A
//!    chain is not looked for then, so it is never chosen where it would be slower, nor where it
//!    might be faster: one machine fails less often than two.
//! 2. Else the fastest ring. A peer that would make it slower is left out.
//! 3. Among equally fast plans the one that has fewer bytes to fetch, then the one with fewer
//!    stages, then the one of the smaller ids: the same input gives the same plan.
//!
//! So a better peer never makes a plan slower, but for rule 1: a slow peer that gets memory enough
//! for the whole model takes it over.
//!
//! The search is exact for up to [`MAX_SEARCHED`] candidates (`search`), and looks at
//! shortlists of larger groups.

mod change;
mod costs;
mod distances;
mod peer;
mod prediction;
mod ring;
mod room;
mod search;
mod shape;
mod shortlist;
mod single;
mod stand_ins;
mod table;
mod verdict;

use std::ops::Range;
use std::time::Duration;

use protocol::NodeId;

pub use self::change::{Slices, change, is_clearly_better, others};
pub use self::distances::{Distances, MAX_RTT};
pub use self::peer::{ASSUMED_BANDWIDTH, Peer};
pub use self::prediction::Prediction;
pub use self::shape::{Layer, Shape, Weights};
pub use self::shortlist::MAX_SEARCHED;
pub use self::stand_ins::{Vacancy, stand_ins};
pub use self::verdict::Verdict;

use self::ring::Ring;

/// What a stage adds to a token beside reading its weights: framing, copies, starting the
/// computation. Three stages in one process were measured at 0.26 ms a token above the whole
/// model; the rest is for the way through a stream.
pub const STAGE_OVERHEAD: Duration = Duration::from_micros(200);

/// What is asked.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The model.
    pub shape: &'a Shape,
    /// Everybody who may be considered, the head among them; nobody twice.
    pub peers: &'a [Peer],
    /// How far they are from one another.
    pub distances: &'a Distances,
    /// Who owns the sessions: the asking node.
    pub head: NodeId,
    /// Whether the model may be cut in front of this layer. Asked for 1 to the last.
    pub may_cut: &'a dyn Fn(u32) -> bool,
    /// Streams that [`Prediction::together`] is made for.
    pub streams: u32,
}

/// Who holds what, in the order of the ring.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Who owns the sessions.
    pub head: NodeId,
    /// The stages in the order of layers; one: the model runs on one machine.
    pub stages: Vec<Stage>,
    /// How fast it will be.
    pub prediction: Prediction,
    /// Every peer that holds no stage, by id, and why.
    pub out: Vec<(NodeId, Verdict)>,
}

/// A slice on a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Who.
    pub peer: NodeId,
    /// Its layers.
    pub layers: Range<u32>,
    /// Memory that it takes: weights, cache, buffers.
    pub bytes: u64,
    /// Bytes of weights that the peer does not have on its disk.
    pub fetch_bytes: u64,
    /// What it adds to a token, without its hops.
    pub time: Duration,
}

impl Plan {
    /// Whether one machine holds all of the model.
    pub fn is_whole(&self) -> bool {
        self.stages.len() == 1
    }
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{obstacle}")]
pub struct NoPlan {
    /// What is in the way.
    pub obstacle: Obstacle,
    /// Every peer, by id, and why it does not help.
    pub out: Vec<(NodeId, Verdict)>,
}

/// What is in the way of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Obstacle {
    /// The head cannot hold the embedding table.
    #[error("the head needs {needed} bytes for the embedding table and has {free}")]
    Head {
        /// What it needs.
        needed: u64,
        /// What it has.
        free: u64,
    },
    /// The peers near one another have too little memory together.
    #[error("the layers need {needed} bytes, the best group has room for {usable}")]
    Memory {
        /// What all layers and the output need, wherever they are.
        needed: u64,
        /// What the best group can give to them.
        usable: u64,
    },
    /// There is memory enough, but not in pieces that the model can be cut into.
    #[error("the model cannot be cut into pieces that fit")]
    Pieces,
}

impl NoPlan {
    /// Bytes that are missing; 0: memory is not what is missing.
    pub fn missing_bytes(&self) -> u64 {
        match self.obstacle {
            Obstacle::Head { needed, free } => needed.saturating_sub(free),
            Obstacle::Memory { needed, usable } => needed.saturating_sub(usable),
            Obstacle::Pieces => 0,
        }
    }
}

/// The best plan by the rules above.
///
/// # Errors
/// [`NoPlan`], with what is missing.
pub fn plan(question: &Question<'_>) -> Result<Plan, NoPlan> {
    if let Some(alone) = single::best(question) {
        return Ok(alone);
    }
    let candidates = shortlist::candidates(question);
    let shortlists = shortlist::shortlists(question, candidates);
    let mut best: Option<search::Found> = None;
    for peers in &shortlists {
        let found = search::search(question, peers);
        if best.as_ref().is_none_or(|best| found.is_better_than(best)) {
            best = Some(found);
        }
    }
    match best.and_then(|found| found.into_ring()) {
        Some((ring, with)) => Ok(assemble(question, ring, &with)),
        None => Err(NoPlan {
            obstacle: obstacle(question),
            out: verdict::of_all(question),
        }),
    }
}

fn assemble(question: &Question<'_>, ring: Ring, with: &search::BestWith) -> Plan {
    Plan {
        head: question.head,
        prediction: prediction::of(question, &ring),
        out: verdict::beside_ring(question, &ring, with),
        stages: ring.stages,
    }
}

fn obstacle(question: &Question<'_>) -> Obstacle {
    let shape = question.shape;
    let free = question.head_peer().map_or(0, |head| head.free_bytes);
    if free < shape.head_bytes {
        let needed = shape.head_bytes;
        return Obstacle::Head { needed, free };
    }
    let usable = room::of_best_group(question);
    match shape.split_bytes() {
        needed if needed > usable => Obstacle::Memory { needed, usable },
        _ => Obstacle::Pieces,
    }
}

impl Question<'_> {
    fn peer(&self, node: NodeId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.node == node)
    }

    fn head_peer(&self) -> Option<&Peer> {
        self.peer(self.head)
    }

    /// Memory for slices that a peer has, beside what it needs as the head.
    fn slice_room(&self, peer: &Peer) -> u64 {
        let taken = match peer.node == self.head {
            true => self.shape.head_bytes,
            false => 0,
        };
        peer.free_bytes.saturating_sub(taken)
    }

    /// The same for layers, without what every stage takes.
    fn layer_room(&self, peer: &Peer) -> u64 {
        let room = self.slice_room(peer);
        room.saturating_sub(self.shape.stage_bytes)
    }

    /// Where slices may begin and end, the first layer and the end among them.
    fn cuts(&self) -> Vec<u32> {
        let count = self.shape.count();
        let within = (1..count).filter(|layer| (self.may_cut)(*layer));
        std::iter::once(0)
            .chain(within)
            .chain(std::iter::once(count))
            .collect()
    }

    /// What a stage takes that holds as little as one can.
    fn smallest_piece(&self) -> u64 {
        let cuts = self.cuts();
        let pieces = cuts.windows(2).map(|cut| cut[0]..cut[1]);
        let bytes = pieces.map(|piece| self.shape.slice_bytes(piece));
        bytes.min().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
