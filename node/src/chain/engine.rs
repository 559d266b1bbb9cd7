//! A chain as an engine: the head's worker answers, its state is the chain's.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use llama_sys::engine::{Engine, EngineState, Event, Job, JobError, Load, Prompt};
use llama_sys::supervisor::WorkerEngine;
use tokio::sync::{mpsc, oneshot, watch};

/// Wakes the chain's task to end: its answer says that everything was given back.
pub(super) type EndSender = mpsc::Sender<oneshot::Sender<()>>;

/// The engine of a chain.
pub(super) struct ChainEngine {
    pub(super) head: Arc<WorkerEngine>,
    pub(super) state: watch::Receiver<EngineState>,
    pub(super) end: EndSender,
}

#[async_trait]
impl Engine for ChainEngine {
    async fn generate(&self, job: Job) -> Result<mpsc::Receiver<Event>, JobError> {
        if let EngineState::Failed(cause) = &*self.state.borrow() {
            return Err(JobError::LoadFailed(cause.clone()));
        }
        self.head.generate(job).await
    }

    async fn embed(&self, _: Vec<Prompt>) -> Result<(Vec<Vec<f32>>, u32), JobError> {
        let message = "a model that is split over several machines does not embed text";
        Err(JobError::Unsupported(message.into()))
    }

    async fn tokenize(&self, text: String, parse_special: bool) -> Result<Vec<u32>, JobError> {
        self.head.tokenize(text, parse_special).await
    }

    async fn detokenize(&self, tokens: Vec<u32>) -> Result<String, JobError> {
        self.head.detokenize(tokens).await
    }

    fn state(&self) -> watch::Receiver<EngineState> {
        self.state.clone()
    }

    fn load(&self) -> Load {
        self.head.load()
    }

    async fn drain(&self, deadline: Duration) {
        // Answers end before the stages that compute them are given back.
        self.head.drain(deadline).await;
        let (done, ended) = oneshot::channel();
        if self.end.send(done).await.is_ok() {
            // A closed channel means that the task ended.
            let _ = ended.await;
        }
    }
}
