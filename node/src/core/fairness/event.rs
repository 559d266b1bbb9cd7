//! What the fairness is told and what it answers. Plain data; no decision.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{ModelName, NodeId};

use crate::core::pace::Rate;

/// How much of the node other peers may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Share of each model's sequences that is kept for the node's own user, percent.
    pub own_percent: u8,
    /// Requests of peers that wait, in all.
    pub max_waiting: usize,
    /// Requests of one peer that wait.
    pub max_waiting_per_peer: usize,
    /// Requests of peers that are answered at a time, in all.
    pub max_running: usize,
    /// Requests of one peer that are answered at a time.
    pub max_running_per_peer: usize,
    /// Requests that one peer may send.
    pub rate: Rate,
}

impl Default for Policy {
    /// A quarter for the node's own user. A queue that a machine works off within some minutes;
    /// a peer alone may fill half of a model's sequences, and send what a person with an agent
    /// sends.
    fn default() -> Self {
        Self {
            own_percent: 25,
            max_waiting: 64,
            max_waiting_per_peer: 16,
            max_running: 64,
            max_running_per_peer: 8,
            rate: Rate {
                burst: 32.0,
                per_second: 4.0,
            },
        }
    }
}

/// One request, named by whoever asks; a later one has a greater number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A request of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The request.
    pub ticket: Ticket,
    /// Whose.
    pub peer: NodeId,
    /// The model's full name.
    pub model: ModelName,
    /// What it will cost, roughly, in the unit of [`Input::Spend`].
    pub estimate: u64,
}

/// A loaded model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Sequences that it runs at a time.
    pub parallel: u32,
    /// Requests that use it, those of peers included.
    pub leases: u32,
    /// Of these, those of peers. One that was just admitted is not among them yet.
    pub guests: u32,
}

/// The loaded models.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rooms {
    /// By name. One that is not here takes a single request, which has it loaded.
    pub models: BTreeMap<ModelName, Room>,
    /// A request of the node's own user waits for a model.
    pub own_waits: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A peer asks.
    Ask(Ask),
    /// A request was answered, or given up.
    Leave(Ticket),
    /// An answer cost this much more.
    Spend {
        /// Which.
        ticket: Ticket,
        /// Tokens, weighed by their work.
        cost: u64,
    },
    /// The loaded models changed.
    Rooms(Rooms),
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// It is this request's turn.
    Admit(Ticket),
    /// So many go before this one, which waits.
    Position {
        /// Which.
        ticket: Ticket,
        /// How many.
        position: u32,
    },
    /// This request is not answered.
    Refuse {
        /// Which.
        ticket: Ticket,
        /// Why.
        refusal: Refusal,
    },
}

/// Why a request is not answered. All of them pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The peer sends more than one peer may.
    #[error("too many requests from one peer")]
    TooFast {
        /// When its next is taken.
        retry_after: Duration,
    },
    /// Enough of the peer's requests wait.
    #[error("too many requests of one peer wait")]
    PeerQueueFull {
        /// When some will have been answered.
        retry_after: Duration,
    },
    /// Enough requests wait.
    #[error("the queue is full")]
    QueueFull {
        /// When some will have been answered.
        retry_after: Duration,
    },
    /// More peers than are told apart.
    #[error("too many peers")]
    TooManyPeers {
        /// When some will have been forgotten.
        retry_after: Duration,
    },
}

impl Refusal {
    /// After how long a retry is worth it.
    pub fn retry_after(self) -> Duration {
        match self {
            Self::TooFast { retry_after }
            | Self::PeerQueueFull { retry_after }
            | Self::QueueFull { retry_after }
            | Self::TooManyPeers { retry_after } => retry_after,
        }
    }
}
