//! Requests for a lease and their replies, every field checked.
//!
//! Made by `decode` from a peer's bytes, or by hand. What a peer says may still be a lie, and what
//! it asks for may be more than it gets: only the form is sure.

use std::time::Duration;

use crate::ids::{ChannelId, DeploymentId, LeaseId, ManifestId, ModelName, NodeId};

/// What a head asks of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseRequest {
    /// Memory for layers; they are loaded when the lease is first renewed or linked.
    Reserve(Reserve),
    /// Who sends to the stage, and where it sends to.
    Link(Link),
    /// Hold it for as long again; says how far the stage is.
    Renew(LeaseId),
    /// Not needed any more.
    Release(LeaseId),
}

/// A stage that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserve {
    /// For which chain.
    pub deployment: DeploymentId,
    /// Of which model.
    pub model: ModelRef,
    /// The first layer.
    pub first_layer: u32,
    /// The layer behind the last; greater than the first, within the model.
    pub last_layer: u32,
    /// Cells of the KV cache, of all sequences together; more than none.
    pub cells: u32,
    /// Sequences at a time; more than none.
    pub sequences: u32,
    /// Tokens of one batch; more than none.
    pub batch_tokens: u32,
    /// What hidden states are while they travel.
    pub precision: Precision,
    /// It is to take another stage's place if that is lost, and gives way to whatever is used now.
    /// The first link makes it a stage like any other.
    pub is_spare: bool,
}

/// A model, the same one wherever it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRef {
    /// For people, the owner's limits and the catalog.
    pub name: ModelName,
    /// What it is.
    pub manifest: ManifestId,
    /// Layers of the whole model; more than none.
    pub layers: u32,
}

/// What hidden states are while they travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Precision {
    /// Exact.
    F32,
    /// Half the bytes, at the noise floor between two runs of the whole model.
    Bf16,
    /// A quarter of the bytes and worse: only when asked for.
    Q8,
}

/// A stage's place in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Which stage.
    pub lease: LeaseId,
    /// Who sends to it, and nobody else.
    pub previous: NodeId,
    /// Whom it sends to.
    pub next: NodeId,
    /// Where: chosen by the next.
    pub next_channel: ChannelId,
    /// The ring's number: a link of a ring before the newest one is not followed.
    pub generation: u64,
}

/// What the peer says.
#[derive(Debug, Clone, PartialEq)]
pub enum LeaseReply {
    /// To a reservation.
    Granted(Granted),
    /// To a link or a renewal.
    State(StageState),
    /// To a release.
    Released,
    /// To anything.
    Refused(Refused),
}

/// A lease that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// Its id.
    pub lease: LeaseId,
    /// Where the previous one sends to is made of this and of the ring's number:
    /// [`ChannelId::in_ring`].
    pub channel: ChannelId,
    /// Until when it holds, from now on.
    pub lapses_in: Duration,
    /// What is held for it.
    pub memory_bytes: u64,
}

/// How far a stage is.
#[derive(Debug, Clone, PartialEq)]
pub struct StageState {
    /// What it is at.
    pub phase: Phase,
    /// Of the phase, 0..=1.
    pub progress: f32,
    /// Until when the lease holds, from now on.
    pub lapses_in: Duration,
    /// Why it failed or waits, for people; one line, often empty. What is too long is cut when it
    /// is written.
    pub cause: String,
    /// One token through its layers, measured; `None`: not yet.
    pub decode_seconds: Option<f32>,
    /// How many times as long as at their best its batches of late took; `None`: there were hardly
    /// any.
    pub slowness: Option<f32>,
}

/// What a stage is at. A phase that this version does not know reads as [`Phase::Loading`]:
/// neither usable nor lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Its memory is held.
    Reserved,
    /// Its layers are on their way.
    Fetching,
    /// They are being loaded.
    Loading,
    /// Loaded, and not yet linked.
    Ready,
    /// In its ring.
    Linked,
    /// Over, with a cause.
    Failed,
    /// As before until the lease lapses; its peer is about to leave.
    Draining,
}

/// Why a request came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub code: Refusal,
    /// When a retry is worth it; `None`: it is not.
    pub retry_after: Option<Duration>,
    /// What the stage would need; 0 where it is not about memory.
    pub needed_bytes: u64,
    /// What there is; 0 where it is not about memory.
    pub free_bytes: u64,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Not as much memory as it needs.
    NoRoom,
    /// The owner does not let this head, this model or this much in.
    NotAllowed,
    /// Nobody is known who has its layers.
    UnknownModel,
    /// It lapsed, or never was, or is another head's.
    UnknownLease,
    /// The head, or all heads together, hold as many as may be.
    TooMany,
    /// This version or this build cannot do it.
    Unsupported,
    /// The peer is about to leave.
    Draining,
    /// A field says what no request may say.
    Invalid,
    /// For a reason that this version does not know.
    Other,
}

impl From<Refusal> for Refused {
    /// Without a time to retry after.
    fn from(code: Refusal) -> Self {
        Self {
            code,
            retry_after: None,
            needed_bytes: 0,
            free_bytes: 0,
        }
    }
}

impl LeaseRequest {
    /// The lease that it is about; `None`: it asks for one.
    pub fn lease(&self) -> Option<LeaseId> {
        match self {
            Self::Reserve(_) => None,
            Self::Link(link) => Some(link.lease),
            Self::Renew(lease) | Self::Release(lease) => Some(*lease),
        }
    }
}

impl LeaseReply {
    /// Whether it is one that the request can have.
    pub fn answers(&self, request: &LeaseRequest) -> bool {
        match self {
            Self::Granted(_) => matches!(request, LeaseRequest::Reserve(_)),
            Self::State(_) => matches!(request, LeaseRequest::Link(_) | LeaseRequest::Renew(_)),
            Self::Released => matches!(request, LeaseRequest::Release(_)),
            Self::Refused(_) => true,
        }
    }
}
