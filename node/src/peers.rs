//! The swarm as the router asks it: who serves a model, and a stream to one of them.
//!
//! It owns the questions and the plain answers to them. It knows neither the transport behind
//! [`Peers`] nor how peers are ranked.

use std::time::Duration;

use async_trait::async_trait;
use protocol::advert::Abilities;
use protocol::generate::{EmbedRequest, EmbedResponse, Failure, GenerateRequest};
use protocol::{ModelName, NodeId};
use web::backend::GenerateStream;

/// A head on another peer that says that it serves a model. What it says of itself is a claim.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteHead {
    /// The head.
    pub node: NodeId,
    /// Tokens that one session can hold.
    pub context_tokens: u32,
    /// Sessions at a time.
    pub parallel: u32,
    /// Sessions that run.
    pub running: u32,
    /// Requests that wait.
    pub queued: u32,
    /// Of one session; `None`: not measured.
    pub prefill_tokens_per_second: Option<f32>,
    /// Of one session; `None`: not measured.
    pub decode_tokens_per_second: Option<f32>,
    /// By our own probe; `None`: not measured.
    pub rtt: Option<Duration>,
    /// A member of the same private swarm. Nodes that the owner trusts by name are the router's
    /// to know.
    pub is_member: bool,
    /// How it is reached.
    pub path: Path,
    /// What the model can do.
    pub abilities: Abilities,
}

/// How a peer is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// A connection of our own, or none yet.
    Direct,
    /// Over a relay.
    Relayed,
}

/// Why a peer gave no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No connection or no stream to it, or it broke.
    #[error("the peer cannot be reached")]
    Unreachable,
    /// It answered with a failure instead.
    #[error("{0}")]
    Refused(Failure),
}

/// The swarm behind the router.
#[async_trait]
pub trait Peers: Send + Sync + 'static {
    /// The heads that say that they serve a model, in no order; never this node. Called for each
    /// request: answered from memory.
    fn candidates(&self, model: &ModelName) -> Vec<RemoteHead>;

    /// Looks for heads of a model that nobody here has heard of; whoever is found is among the
    /// candidates afterwards. Bounded, for a client waits.
    async fn find(&self, model: &ModelName);

    /// The models that somebody says to serve, each once, in no order.
    fn models(&self) -> Vec<ModelName>;

    /// Sends a request to a peer and gives its events as they come. The stream closes without a
    /// last event when the peer is lost. Dropping the future or the stream cancels there.
    /// Implementations bound the time that connecting takes.
    ///
    /// # Errors
    /// See [`OpenError`].
    async fn open(
        &self,
        peer: NodeId,
        request: GenerateRequest,
    ) -> Result<GenerateStream, OpenError>;

    /// Asks a peer for embeddings.
    ///
    /// # Errors
    /// See [`OpenError`].
    async fn embed(&self, peer: NodeId, request: EmbedRequest) -> Result<EmbedResponse, OpenError>;
}

/// No swarm at all: `--offline`, and whatever has not joined.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPeers;

#[async_trait]
impl Peers for NoPeers {
    fn candidates(&self, _: &ModelName) -> Vec<RemoteHead> {
        Vec::new()
    }

    async fn find(&self, _: &ModelName) {}

    fn models(&self) -> Vec<ModelName> {
        Vec::new()
    }

    async fn open(&self, _: NodeId, _: GenerateRequest) -> Result<GenerateStream, OpenError> {
        Err(OpenError::Unreachable)
    }

    async fn embed(&self, _: NodeId, _: EmbedRequest) -> Result<EmbedResponse, OpenError> {
        Err(OpenError::Unreachable)
    }
}
