//! What a deployment is told and what it answers. Plain data; no decision.

use std::time::Instant;

use protocol::{
    ChannelId, NodeId,
    chain::{LeaseReply, LeaseRequest, Refusal},
};

use super::plan::{Place, Plan};

/// One request to a stage peer; its answer repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub(super) u64);

/// A ring of one deployment; a later one has a higher number, and at most one is ready at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub(super) u64);

impl Generation {
    /// Its number.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A plan: the first one, the one that was asked for, or a better one. One that comes while
    /// another is being brought up is not looked at.
    Plan(Plan),
    /// The planner found none.
    NoPlan,
    /// What came of an [`Output::Call`].
    Answered {
        /// Which.
        call: CallId,
        /// The peer's answer.
        result: Result<LeaseReply, CallError>,
    },
    /// What came of an [`Output::Probe`].
    Probed {
        /// Of which ring.
        generation: Generation,
        /// `Err`: the stage that was to blame, where that is known.
        result: Result<(), Option<NodeId>>,
    },
    /// A session found that a ring does not work any more.
    RingFailed {
        /// Which ring.
        generation: Generation,
        /// The stage that was to blame, where that is known.
        peer: Option<NodeId>,
    },
    /// Batches that are under way on this ring should be back by now; said again while they are not.
    Overdue(Generation),
    /// What came of an [`Output::WantSpares`]: places that may be kept ready.
    Spares(Vec<Place>),
    /// No connection to this peer is left.
    PeerGone(NodeId),
    /// The deployment is not wanted any more.
    Stop,
    /// A deadline passed.
    Tick,
}

/// Why a request to a peer got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No connection could be made, or it broke.
    #[error("the peer cannot be reached")]
    Unreachable,
    /// Nothing came in time.
    #[error("the peer did not answer in time")]
    Late,
    /// What came was no answer.
    #[error("the peer broke the protocol")]
    Broken,
}

/// Where the head sends for the first stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The first stage.
    pub peer: NodeId,
    /// The channel that it takes the head's frames on.
    pub channel: ChannelId,
}

/// A ring: where it begins, and where its results arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    /// Its number.
    pub generation: Generation,
    /// Where the head sends.
    pub first: Hop,
    /// The channel that the last stage sends to the head on.
    pub back: ChannelId,
    /// Its stages in order.
    pub stages: Vec<Place>,
}

/// Why a plan is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanReason {
    /// The last plan could not be carried out, or there was none.
    NotUp,
    /// The ring lost a stage.
    Lost,
    /// The ring works; a stage of it is about to leave.
    Leaving,
    /// The ring works; a stage of it is slow. Only a plan that is clearly better is one.
    Slow,
}

/// A peer that plans are to take for slower than it says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slow {
    /// Who.
    pub peer: NodeId,
    /// So many times.
    pub factor: f64,
}

/// A peer that plans are to leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excluded {
    /// Who.
    pub peer: NodeId,
    /// Why.
    pub why: Loss,
    /// It may be in plans again then.
    pub until: Instant,
}

/// Why a stage is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// It said no to a reservation or to a lease.
    #[error("the peer refused ({0:?})")]
    Refused(Refusal),
    /// It could not be asked.
    #[error("{0}")]
    NotAsked(CallError),
    /// No connection to it is left.
    #[error("the peer is gone")]
    Gone,
    /// It did not answer while others did, and its ring stood still.
    #[error("the peer does not answer")]
    NoAnswer,
    /// It does not renew its lease.
    #[error("the peer does not renew the lease")]
    Silent,
    /// It says that its slice failed.
    #[error("the peer's stage failed")]
    Failed,
    /// Its load makes no progress.
    #[error("loading makes no progress")]
    Stuck,
    /// It did not take its neighbours in time.
    #[error("the peer could not be linked in time")]
    Unlinked,
    /// The probe or a session blames it.
    #[error("the ring failed at the peer")]
    Blamed,
    /// It stops soon.
    #[error("the peer is about to leave")]
    Leaving,
}

/// Why a deployment was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FailureCause {
    /// The planner found none, or none in time.
    #[error("no plan: the peers that are left cannot hold the model")]
    NoPlan,
    /// A stage was of no use, and no other plan worked.
    #[error("a stage was lost: {why}")]
    Stage {
        /// Who.
        peer: NodeId,
        /// Why.
        why: Loss,
    },
    /// The chain was linked, and no token came out of it.
    #[error("the chain was linked, but its probe failed")]
    Probe,
}

/// Why a ring is not ready any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingEnd {
    /// A stage was lost.
    Stage {
        /// Who.
        peer: NodeId,
        /// Why.
        why: Loss,
    },
    /// A session found that it does not work, and nobody knows who is to blame.
    Broken,
    /// The next ring is about to be linked; nothing is broken.
    Switched,
    /// The deployment ends.
    Stopped,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Ask this peer; answer with `Answered`, whatever comes of it.
    Call {
        /// The request's id.
        call: CallId,
        /// Whom.
        peer: NodeId,
        /// What.
        request: LeaseRequest,
    },
    /// Send one token around this ring, which is linked; answer with `Probed`.
    Probe(Ring),
    /// The ring takes sessions.
    RingReady(Ring),
    /// The ring takes nothing any more: its sessions wait for the next.
    RingLost {
        /// Which.
        generation: Generation,
        /// Why.
        end: RingEnd,
    },
    /// Say that the model is served.
    Publish,
    /// Do not say it any more.
    Withdraw,
    /// Make a plan; answer with `Plan` or `NoPlan`.
    WantPlan {
        /// Why.
        reason: PlanReason,
        /// Peers to leave out.
        excluding: Vec<Excluded>,
        /// Peers that are slower than they say.
        slow: Vec<Slow>,
        /// The stages that were last to be a ring.
        wanted: Vec<Place>,
        /// What is leased and loads or is loaded: a plan with these places is up soonest.
        held: Vec<Place>,
    },
    /// Look for places beside a ring that works, to be kept ready; answer with `Spares`. No answer is
    /// one, too.
    WantSpares {
        /// The ring's stages: who holds one is no spare.
        stages: Vec<Place>,
        /// Those of them that have no spare.
        wanted: Vec<Place>,
        /// Peers to leave out.
        excluding: Vec<Excluded>,
        /// Peers that are slower than they say.
        slow: Vec<Slow>,
    },
    /// No plan worked; `Ended` follows.
    Failed(FailureCause),
    /// Nothing is leased any more, as far as anybody can tell. The last output.
    Ended,
}
