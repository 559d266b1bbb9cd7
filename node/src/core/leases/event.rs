//! What the leases are told and what they answer. Plain data; no decision.

use std::{collections::BTreeSet, time::Duration};

use protocol::{
    ChannelId, LeaseId, ModelName, NodeId,
    chain::{LeaseReply, Link, Reserve},
};

/// What the owner gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Memory for leased slices and whole models together, bytes.
    pub memory_bytes: u64,
    /// What whole models take of it now, bytes.
    pub resident_bytes: u64,
    /// Whether peers that are no members and not named by the owner get leases.
    pub serves_strangers: bool,
    /// The models that slices may be of; `None`: any.
    pub models: Option<BTreeSet<ModelName>>,
}

impl Limits {
    /// What leases may take in all, bytes.
    pub fn leasable_bytes(&self) -> u64 {
        self.memory_bytes.saturating_sub(self.resident_bytes)
    }
}

/// A request of a peer, named by whoever took it from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// One load of a slice; another load of the same layers has another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SliceId(pub(super) u64);

/// Who asks for a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// The head.
    pub peer: NodeId,
    /// It is no member of the own swarm, and not named by the owner.
    pub is_stranger: bool,
}

/// What a reservation takes, as whoever knows the model's manifest reckons it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Weights, cache and working memory, bytes.
    Bytes(u64),
    /// Nobody here knows such a model.
    UnknownModel,
    /// No rule cuts this model like this, or this machine cannot run it.
    Unsupported,
}

/// How far a load is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadStep {
    /// Its bytes come from other peers or the hub.
    Fetching,
    /// Its bytes are here and are read.
    Loading,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A head wants memory for layers.
    Reserve {
        /// Answered with exactly one [`Output::Reply`].
        ticket: Ticket,
        /// Who asks.
        from: Asker,
        /// What for.
        reserve: Reserve,
        /// What that takes.
        need: Need,
    },
    /// A head names a stage's neighbours.
    Link {
        /// Answered with exactly one [`Output::Reply`].
        ticket: Ticket,
        /// Who asks.
        from: NodeId,
        /// The neighbours.
        link: Link,
    },
    /// A head wants its lease to go on.
    Renew {
        /// Answered with exactly one [`Output::Reply`].
        ticket: Ticket,
        /// Who asks.
        from: NodeId,
        /// Its lease.
        lease: LeaseId,
    },
    /// A head is done.
    Release {
        /// Answered with exactly one [`Output::Reply`].
        ticket: Ticket,
        /// Who asks.
        from: NodeId,
        /// Its lease.
        lease: LeaseId,
    },
    /// A load goes on.
    Progress {
        /// Which.
        slice: SliceId,
        /// What it does.
        step: LoadStep,
        /// The part that is done, 0 to 1.
        progress: f32,
    },
    /// A load is done and its probe succeeded.
    Loaded {
        /// Which.
        slice: SliceId,
        /// What one token took, seconds.
        decode_seconds: Option<f32>,
    },
    /// How fast a loaded slice computes now.
    Measured {
        /// Which.
        slice: SliceId,
        /// How many times as long as at their best its batches of late took; `None`: there were
        /// hardly any.
        slowness: Option<f32>,
    },
    /// A slice's memory is free again: it was unloaded, could not be loaded, or its worker died.
    Ended(SliceId),
    /// The owner changed the limits, or whole models take more or less.
    Limits(Limits),
    /// The node stops: no lease begins any more, and none outlives this time.
    Stop(Duration),
    /// A deadline passed.
    Tick,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send this to whoever asked.
    Reply {
        /// The request.
        ticket: Ticket,
        /// The answer.
        reply: LeaseReply,
    },
    /// Load this slice; answer with `Loaded` or `Ended`.
    Load {
        /// The load's id.
        slice: SliceId,
        /// For whom: it has the model, whoever else does.
        head: NodeId,
        /// What to load, and the cache beside it.
        reserve: Reserve,
    },
    /// Forget every session of a loaded slice: its lease is over, and the next one's head may be
    /// anybody.
    Clear(SliceId),
    /// Unload this slice, loaded or not; answer with `Ended`.
    Unload(SliceId),
    /// From now on this peer's frames on this channel are for this slice.
    OpenChannel {
        /// The lease's channel.
        channel: ChannelId,
        /// Where its frames go.
        slice: SliceId,
        /// Whose frames.
        previous: NodeId,
    },
    /// Nobody's frames on this channel are taken any more.
    CloseChannel(ChannelId),
    /// From now on what this slice computes goes there.
    LinkTo {
        /// Which slice.
        slice: SliceId,
        /// To whom.
        next: NodeId,
        /// On which of its channels.
        next_channel: ChannelId,
    },
    /// A lease began or ended; for logs and metrics.
    Told {
        /// Which.
        lease: LeaseId,
        /// Whose.
        head: NodeId,
        /// What happened.
        event: Told,
    },
    /// After [`Input::Stop`]: no lease and no slice is left.
    Drained,
}

/// What happened to a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It began.
    Granted,
    /// Its head gave it back.
    Released,
    /// Its head was not heard of in time, or the node stops.
    Lapsed,
    /// It is of no use any more.
    Failed(Failure),
}

/// Why a lease is of no use any more. Its `Display` is what the head is told: nothing of this
/// machine (paths, memory, the worker's words) is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The slice could not be fetched or loaded.
    #[error("the slice could not be loaded")]
    NotLoaded,
    /// The slice's worker ended after it had been loaded.
    #[error("the stage's process ended")]
    Died,
    /// The owner gives less memory than before.
    #[error("the owner of this peer needs the memory")]
    MemoryTaken,
    /// The owner does not give this model, or this head, anything any more.
    #[error("the owner of this peer does not allow it any more")]
    NotAllowed,
}
