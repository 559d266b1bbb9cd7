//! What the API needs from the node: models, answers, embeddings.

use async_trait::async_trait;
use protocol::generate::{EmbedRequest, EmbedResponse, Failure, GenerateEvent, GenerateRequest};
use tokio::sync::mpsc;

/// The events of one answer, in the order that `proto/generate.proto` gives. Dropping it
/// cancels the generation everywhere.
pub type GenerateStream = mpsc::Receiver<GenerateEvent>;

/// A model that the node can serve now, by itself or through the swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCard {
    /// The name that requests use.
    pub id: String,
    /// Unix seconds at which the model came to be known here.
    pub created: u64,
    /// The organisation in the model's name, else `shoal`.
    pub owned_by: String,
}

/// Whether the node can serve, for `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Requests are served.
    Ready,
    /// Not now, and why, in one line.
    NotReady(String),
}

/// The node behind the API.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Every model that can be served now, once each, sorted by id.
    async fn models(&self) -> Vec<ModelCard>;

    /// Begins an answer. A refusal known before the first event comes as `Err`; later ones
    /// come as the stream's `failed` event. `request_id` is unique in this process and begins with
    /// the id that the client sees. Dropping the future cancels, as dropping the stream does; a
    /// client that is slow or gone leaves the channel full, which must hold up nobody else. To
    /// `MODEL_NOT_FOUND` the server adds the list of models unless the message has it.
    async fn generate(&self, request: GenerateRequest) -> Result<GenerateStream, Failure>;

    /// Embeds each input, normalised to length 1.
    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse, Failure>;

    /// Whether requests can be served.
    fn readiness(&self) -> Readiness;

    /// Appends the backend's own metrics in the Prometheus text format, without `# EOF`. The names
    /// of [`HttpMetrics`](crate::observe::HttpMetrics) are taken.
    fn write_metrics(&self, out: &mut String);
}
