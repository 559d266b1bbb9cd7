//! One answer's task: it moves events from the engine to whoever asked, and gives the job again
//! when the engine's process died. What an event means is the session's to say.

use std::sync::Arc;
use std::time::Duration;

use llama_sys::engine::{Engine, EngineState, Event, Job, JobError};
use protocol::generate::GenerateEvent;
use protocol::generate::generate_event::Event as Out;
use tokio::sync::mpsc;

use super::core::session::{Next, Session};

/// How long an answer waits for its engine's process to come back.
const REVIVAL_PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the engine's process is back, then gives it the job.
pub(super) async fn revive(
    engine: &dyn Engine,
    job: &Job,
) -> Result<mpsc::Receiver<Event>, JobError> {
    let mut state = engine.state();
    let settled = state.wait_for(|state| {
        !matches!(
            state,
            EngineState::Loading(_) | EngineState::Restarting { .. }
        )
    });
    let settled = tokio::time::timeout(REVIVAL_PATIENCE, settled).await;
    let back = matches!(settled, Ok(Ok(_)));
    drop(settled);
    if back {
        engine.generate(job.clone()).await
    } else {
        Err(JobError::WorkerLost)
    }
}

/// An answer that streams.
pub(super) struct Stream {
    engine: Arc<dyn Engine>,
    job: Job,
    session: Session,
    sender: mpsc::Sender<GenerateEvent>,
}

impl Stream {
    pub(super) fn new(
        engine: Arc<dyn Engine>,
        job: Job,
        session: Session,
        sender: mpsc::Sender<GenerateEvent>,
    ) -> Self {
        Self {
            engine,
            job,
            session,
            sender,
        }
    }

    pub(super) async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        loop {
            let event = tokio::select! {
                biased;
                () = self.sender.closed() => return,
                event = events.recv() => event,
            };
            // The engine closed without a last event: cancelled there, so cut here.
            let Some(event) = event else { return };
            let mut out = Vec::new();
            let next = self.session.react(event, &mut out);
            if self.send(out).await.is_err() {
                return;
            }
            match next {
                Next::Go => {}
                Next::Over => return,
                Next::Revive => match self.revived().await {
                    Some(revived) => events = revived,
                    None => return,
                },
            }
        }
    }

    async fn send(&self, out: Vec<Out>) -> Result<(), mpsc::error::SendError<GenerateEvent>> {
        for event in out {
            let event = GenerateEvent { event: Some(event) };
            self.sender.send(event).await?;
        }
        Ok(())
    }

    /// The rest of the answer from the process that took the dead one's place.
    async fn revived(&mut self) -> Option<mpsc::Receiver<Event>> {
        loop {
            self.job.resume = self.session.resume();
            let error = tokio::select! {
                biased;
                () = self.sender.closed() => return None,
                revived = revive(&*self.engine, &self.job) => match revived {
                    Ok(events) => return Some(events),
                    Err(error) => error,
                },
            };
            let mut out = Vec::new();
            if self.session.on_failure(error, &mut out) != Next::Revive {
                // The receiver may be gone; then nobody misses the failure.
                let _ = self.send(out).await;
                return None;
            }
        }
    }
}
