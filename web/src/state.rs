//! What every handler shares. It owns nothing that changes but counters and permits.

use std::sync::Arc;

use protocol::generate::{ErrorCode, Failure, GenerateRequest};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    admission::Admission, answers::Answers, backend::Backend, boards::Boards, config::WebConfig,
    error::ApiError, manage::Management, mcp, observe::HttpMetrics,
};

/// Most model names that a 404 lists.
const MAX_LISTED_MODELS: usize = 20;

/// Unit of the semaphore over body memory, bytes: a permit is one page.
pub(crate) const BODY_PERMIT_BYTES: usize = 4096;

/// The application: the node behind, the policy, the figures.
pub(crate) struct App {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) management: Arc<dyn Management>,
    pub(crate) boards: Arc<dyn Boards>,
    pub(crate) config: WebConfig,
    pub(crate) metrics: HttpMetrics,
    pub(crate) admission: Arc<Admission>,
    /// Memory for large bodies, in units of [`BODY_PERMIT_BYTES`].
    pub(crate) body_memory: Semaphore,
    /// The blackboard for agents.
    pub(crate) mcp: mcp::HttpService,
    /// Cancelled when the drain begins: what has no end of its own ends then.
    pub(crate) draining: CancellationToken,
    /// Cancelled at the drain's deadline: what still runs ends with an error.
    pub(crate) closing: CancellationToken,
}

impl App {
    pub(crate) fn new(
        config: WebConfig,
        backend: Arc<dyn Backend>,
        management: Arc<dyn Management>,
        boards: Arc<dyn Boards>,
    ) -> Arc<Self> {
        let pages = config.max_body_memory_bytes.max(config.max_body_bytes) / BODY_PERMIT_BYTES;
        Arc::new(Self {
            backend,
            management,
            metrics: HttpMetrics::default(),
            admission: Arc::new(Admission::new(config.max_running, config.max_waiting)),
            body_memory: Semaphore::new((pages + 1).min(Semaphore::MAX_PERMITS)),
            mcp: mcp::http_service(&boards),
            boards,
            draining: CancellationToken::new(),
            closing: CancellationToken::new(),
            config,
        })
    }

    /// Begins one answer for each of `requests`: choice `i` is answered by the `i`th.
    pub(crate) fn answer(&self, requests: Vec<GenerateRequest>) -> Answers {
        let backend = Arc::clone(&self.backend);
        Answers::open(
            backend,
            Arc::clone(&self.admission),
            &self.metrics,
            requests,
        )
        .until(self.closing.clone())
    }

    /// Checks a request against the protocol's limits before anything is spent on it.
    ///
    /// # Errors
    /// 400 with the field at fault; 404 for a name that no model can have.
    pub(crate) async fn check(&self, request: &GenerateRequest) -> Result<(), ApiError> {
        match request.validate() {
            Ok(()) => Ok(()),
            Err(error) => Err(self.refusal(error.into()).await),
        }
    }

    /// A failure as the client sees it. An unknown model's lists what there is.
    pub(crate) async fn refusal(&self, failure: Failure) -> ApiError {
        if failure.code() != ErrorCode::ModelNotFound {
            return failure.into();
        }
        self.unknown_model(failure).await
    }

    async fn unknown_model(&self, mut failure: Failure) -> ApiError {
        let models = self.backend.models().await;
        let names: Vec<&str> = models.iter().map(|m| m.id.as_str()).collect();
        let listed = &names[..names.len().min(MAX_LISTED_MODELS)];
        let list = match (listed.is_empty(), names.len() > listed.len()) {
            (true, _) => "No model can be served now.".to_owned(),
            (false, false) => format!("Models here: {}.", listed.join(", ")),
            (false, true) => format!("Models here: {}, …", listed.join(", ")),
        };
        // The backend may have said so already.
        let told = |name: &&str| failure.message.contains(*name);
        if listed.is_empty() || !listed.iter().all(told) {
            failure.message = format!("{} {list}", failure.message.trim_end());
        }
        if failure.param.is_empty() {
            "model".clone_into(&mut failure.param);
        }
        failure.into()
    }
}
