//! What the placement is told and what it answers. Plain data; no decision.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::{ModelName, NodeId};

/// The policy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// How long a model that nobody asks for any more stays.
    pub keep_alive: Duration,
    /// Requests a second that must be unmet before anybody does anything: one in ten minutes.
    pub least_unmet: f64,
    /// Seconds that a request keeps a sequence busy: an answer of some hundred tokens.
    pub request_seconds: f64,
    /// The half-life with which those who ask let their rates decay.
    pub half_life: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            keep_alive: Duration::from_secs(300),
            least_unmet: 1.0 / 600.0,
            request_seconds: 20.0,
            half_life: Duration::from_secs(120),
        }
    }
}

/// Requests a second, estimated, and the estimate's standard error.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rate {
    /// Requests a second; finite and not negative.
    pub per_second: f64,
    /// Its standard error; finite and not negative.
    pub error: f64,
}

impl Rate {
    /// A rate out of an estimate that others' records made; what is no number is nothing.
    pub fn new(per_second: f64, error: f64) -> Self {
        let sound = |value: f64| {
            if value.is_finite() {
                value.max(0.0)
            } else {
                0.0
            }
        };
        Self {
            per_second: sound(per_second),
            error: sound(error),
        }
    }
}

/// What the swarm asks of one model.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Asked {
    /// All requests.
    pub arrivals: Rate,
    /// Those that nobody answered.
    pub unmet: Rate,
    /// Mean time until the first token of those that were answered.
    pub waiting: Duration,
    /// Nodes that said so.
    pub authors: u32,
}

/// What other peers do about a model, as far as it was heard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Served {
    /// Peers that serve it.
    pub servers: u32,
    /// Their sequences.
    pub sequences: u32,
    /// Of these, idle.
    pub idle: u32,
    /// Peers that said that they take it on.
    pub coming: BTreeSet<NodeId>,
}

impl Served {
    /// Whether those who serve it have room for as much again: then more servers help nobody.
    pub fn has_room(&self) -> bool {
        self.servers > 0 && self.idle.saturating_mul(2) > self.sequences
    }
}

/// How a model would be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// All of it, here.
    Alone,
    /// As the head of a chain of peers.
    Chain,
}

/// A model that this machine could take on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// How.
    pub form: Form,
    /// Memory that it takes here, bytes.
    pub need_bytes: u64,
    /// Bytes that are to be fetched first; 0: it is on the disk.
    pub fetch_bytes: u64,
    /// It writes text, and does not only embed it.
    pub writes: bool,
    /// Peers, this one too, that could take it on as well; an estimate.
    pub rivals: u32,
}

/// A model that is loaded here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The node's own user used it since it was loaded.
    pub is_owners: bool,
    /// The owner keeps it loaded.
    pub is_pinned: bool,
    /// Requests that run.
    pub leases: u32,
}

/// Everything that is decided from, at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scene {
    /// What the swarm asks for; at most [`super::MAX_MODELS`] are looked at.
    pub asked: BTreeMap<ModelName, Asked>,
    /// What others serve.
    pub served: BTreeMap<ModelName, Served>,
    /// What could be taken on here, the owner's wishes considered.
    pub candidates: BTreeMap<ModelName, Candidate>,
    /// What is loaded here and peers may use.
    pub held: BTreeMap<ModelName, Held>,
    /// Memory that is free for models, bytes.
    pub free_bytes: u64,
    /// Why the owner wants nothing taken on now; `None`: it may be.
    pub closed: Option<&'static str>,
}

/// One errand, named by the placement; its result repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Errand(pub(super) u64);

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// How things are now.
    Scene(Box<Scene>),
    /// The swarm was asked who serves a model; the scene before this says what came of it.
    Found(Errand),
    /// A model is loaded, and in the scene before this; or why not.
    Taken {
        /// The errand.
        errand: Errand,
        /// Why it failed, in one line; `None`: it is loaded.
        cause: Option<String>,
    },
    /// A model was let go; its memory is free.
    Dropped(Errand),
    /// The node was started without a model: what helps most is taken on at once.
    Start,
    /// A deadline passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Look in the swarm who serves this model and who is about to. Answer with `Found`.
    Find {
        /// The errand.
        errand: Errand,
        /// The model.
        model: ModelName,
    },
    /// Fetch what is not here, and load it. Answer with `Taken`.
    Take {
        /// The errand.
        errand: Errand,
        /// The model.
        model: ModelName,
        /// Why, for people.
        why: String,
    },
    /// Let answers end, and unload. Answer with `Dropped`.
    Drop {
        /// The errand.
        errand: Errand,
        /// The model.
        model: ModelName,
        /// Why, for people.
        why: String,
    },
}
