//! How many answers run at the same time and how many requests may wait for a place. It knows
//! nothing of models: their own queues are the backend's.

use std::sync::Arc;

use protocol::generate::{ErrorCode, Failure};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Proposed wait of a request that found the queue full, seconds.
const RETRY_AFTER_SECONDS: u32 = 2;

/// Places for running answers, and a bounded queue before them.
#[derive(Debug)]
pub(crate) struct Admission {
    running: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Admission {
    pub(crate) fn new(max_running: usize, max_waiting: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(max_running.min(Semaphore::MAX_PERMITS))),
            waiting: Semaphore::new(max_waiting.min(Semaphore::MAX_PERMITS)),
        }
    }

    /// Waits for a place, which is held until the permit is dropped.
    ///
    /// # Errors
    /// `OVERLOADED` at once when the queue is full.
    pub(crate) async fn enter(&self) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(place) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(place);
        }
        let _queued = self.waiting.try_acquire().map_err(|_| full())?;
        Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(|_| full())
    }
}

fn full() -> Failure {
    let message = "The server's queue is full; try again in a moment.";
    Failure::new(ErrorCode::Overloaded, message).with_retry_after(RETRY_AFTER_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn places_then_a_queue_then_a_refusal() {
        let admission = Admission::new(1, 1);
        let first = admission.enter().await.unwrap();
        let mut second = Box::pin(admission.enter());
        assert!(second.as_mut().now_or_never().is_none());
        let refused = admission.enter().await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Overloaded);
        drop(first);
        let second = second.await.unwrap();
        drop(second);
        assert!(admission.enter().await.is_ok());
    }

    #[tokio::test]
    async fn who_stops_waiting_leaves_the_queue() {
        let admission = Admission::new(1, 1);
        let _first = admission.enter().await.unwrap();
        let mut gone = Box::pin(admission.enter());
        assert!(gone.as_mut().now_or_never().is_none());
        drop(gone);
        assert!(admission.enter().now_or_never().is_none());
    }
}
