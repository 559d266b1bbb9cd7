//! One model's life as one task: start, ready, gone. It decides nothing: it is told when to
//! end, and says when the engine ended by itself.

use std::sync::Arc;
use std::time::Duration;

use llama_sys::engine::{Engine, EngineState};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Examined, Loader};
use crate::core::residency::LoadId;

/// A model that can be used.
pub(super) struct Started {
    pub(super) load: LoadId,
    pub(super) engine: Arc<dyn Engine>,
}

/// A model whose memory is free.
pub(super) struct Ended {
    pub(super) load: LoadId,
    /// Why, if nobody asked for it.
    pub(super) cause: Option<String>,
}

/// What a life needs.
pub(super) struct Life {
    pub(super) load: LoadId,
    pub(super) examined: Examined,
    pub(super) loader: Arc<dyn Loader>,
    /// Told to end.
    pub(super) stop: CancellationToken,
    /// What running answers get to finish.
    pub(super) drain: Duration,
    /// Says when it is ready. One message each.
    pub(super) started: mpsc::Sender<Started>,
}

impl Life {
    pub(super) async fn run(self) -> Ended {
        let load = self.load;
        let cause = self.live().await;
        Ended { load, cause }
    }

    async fn live(self) -> Option<String> {
        let starting = self.loader.start(&self.examined);
        let (engine, _held) = match starting.await {
            Ok(starting) => (starting.engine, starting.held),
            Err(cause) => return Some(cause),
        };
        if let Some(end) = self.wait_until_ready(&*engine).await {
            // It answers nobody yet: there is nothing to drain.
            engine.drain(Duration::ZERO).await;
            return end.cause;
        }
        let started = Started {
            load: self.load,
            engine: Arc::clone(&engine),
        };
        if self.started.send(started).await.is_err() {
            engine.drain(Duration::ZERO).await;
            return None;
        }
        let (cause, deadline) = match self.wait_until_failed(&*engine).await {
            Some(cause) => (Some(cause), Duration::ZERO),
            None => (None, self.drain),
        };
        engine.drain(deadline).await;
        cause
    }

    /// `None`: ready.
    async fn wait_until_ready(&self, engine: &dyn Engine) -> Option<Outcome> {
        let mut state = engine.state();
        let ready =
            state.wait_for(|state| matches!(state, EngineState::Ready(_) | EngineState::Failed(_)));
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Some(Outcome { cause: None }),
            reached = ready => match reached.as_deref() {
                Ok(EngineState::Ready(_)) => None,
                Ok(EngineState::Failed(cause)) => Some(Outcome { cause: Some(cause.clone()) }),
                _ => Some(Outcome { cause: Some("its engine ended".into()) }),
            },
        }
    }

    /// `None`: told to end.
    async fn wait_until_failed(&self, engine: &dyn Engine) -> Option<String> {
        let mut state = engine.state();
        let failed = state.wait_for(|state| matches!(state, EngineState::Failed(_)));
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            reached = failed => match reached.as_deref() {
                Ok(EngineState::Failed(cause)) => Some(cause.clone()),
                _ => Some("its engine ended".into()),
            },
        }
    }
}

struct Outcome {
    cause: Option<String>,
}
