//! What the residency is told and what it answers. Plain data; no decision.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::ModelName;

/// The policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Memory of all resident models together, bytes.
    pub budget_bytes: u64,
    /// How long a model without a lease stays.
    pub keep_alive: Duration,
    /// How long a request waits at most.
    pub wait: Duration,
}

/// A request for a model, named by whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// One load of a model; another load of the same model has another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoadId(pub(super) u64);

/// A model wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Who asks.
    pub ticket: Ticket,
    /// The model's full name.
    pub model: ModelName,
    /// Memory that it takes, bytes.
    pub need_bytes: u64,
    /// It stays once it is loaded.
    pub pinned: bool,
    /// For another peer's request, or for the swarm: nothing makes room for it.
    pub guest: bool,
    /// This node takes it on for the swarm: the gap between guests' loads does not hold it up.
    pub placed: bool,
    /// The files that its name means now.
    pub version: Version,
}

/// Which files a model's name means: another number after they were replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version(pub u64);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A model is wanted.
    Acquire(Want),
    /// Whoever held the ticket does not wait any more.
    Cancel(Ticket),
    /// A lease ended.
    Release(LoadId),
    /// A guest's lease ended.
    ReleaseGuest(LoadId),
    /// A load is done.
    Loaded(LoadId),
    /// A model's memory is free again; `cause`: why, if nobody asked for it.
    Ended {
        /// The load that ended.
        load: LoadId,
        /// `None`: it was unloaded as told.
        cause: Option<String>,
    },
    /// The owner wants the model gone, running leases or not.
    Unload(ModelName),
    /// These models are not let go for age, and for room only after all others.
    Keep(BTreeSet<ModelName>),
    /// Stages for other peers' chains take so many bytes of the same memory.
    Lent(u64),
    /// The node stops: everything is unloaded, nothing is loaded any more.
    Stop,
    /// A deadline passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Load this model; answer with `Loaded` or `Ended`.
    Load {
        /// The load's id.
        load: LoadId,
        /// The model's full name.
        model: ModelName,
        /// The ticket that it is loaded for.
        ticket: Ticket,
    },
    /// Drain and unload; answer with `Ended`.
    Unload(LoadId),
    /// The ticket's holder has a lease.
    Grant {
        /// Whose.
        ticket: Ticket,
        /// On what.
        load: LoadId,
    },
    /// The ticket's holder gets none.
    Refuse {
        /// Whose.
        ticket: Ticket,
        /// Why.
        refusal: Refusal,
    },
}

/// Why a request gets no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It can never be loaded beside the pinned models.
    #[error("needs {need_bytes} bytes of memory, {available_bytes} can be used")]
    TooLarge {
        /// What it needs.
        need_bytes: u64,
        /// What all models that are not pinned may use together.
        available_bytes: u64,
    },
    /// It waited for room, and the models in use stayed in use.
    #[error("no memory became free in time: other models are in use")]
    NoRoom,
    /// It waited for the load, which goes on.
    #[error("is still being loaded")]
    StillLoading,
    /// The load failed just now or a moment ago.
    #[error("could not be loaded: {cause}")]
    LoadFailed {
        /// The engine's words.
        cause: String,
        /// After this it is tried again.
        retry_after: Duration,
    },
    /// Too many wait, or too many use it.
    #[error("has too many requests waiting")]
    Overloaded,
    /// It was unloaded by its owner meanwhile.
    #[error("was unloaded")]
    Unloaded,
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}
