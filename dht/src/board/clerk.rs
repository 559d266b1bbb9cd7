//! The one thread that calls the ledger, and the bounded queue before it.
//!
//! It does not know what is asked. If the ledger panics the thread ends, and whoever holds its
//! handle is told.

use std::sync::Arc;

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::Ledger;

/// Questions that wait. Reconciliations have one each, some twenty in all; the rest is gossip's,
/// which drops what does not fit: at 2 ms of a disk for each note it would wait half a second.
const MOST_QUESTIONS: usize = 256;

type Question = Box<dyn FnOnce(&dyn Ledger) + Send>;

/// Asks the ledger. Cheap to clone; the thread ends with the last clone.
#[derive(Clone)]
pub struct Clerk {
    questions: mpsc::Sender<Question>,
}

/// The ledger's thread has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody keeps notes any more")]
pub struct ClerkGone;

impl Clerk {
    /// Starts the thread, on the present runtime; its end comes out of the handle.
    pub fn start(ledger: Arc<dyn Ledger>) -> (Self, JoinHandle<()>) {
        let (questions, mut inbox) = mpsc::channel::<Question>(MOST_QUESTIONS);
        let thread = tokio::task::spawn_blocking(move || {
            while let Some(question) = inbox.blocking_recv() {
                question(&*ledger);
            }
        });
        (Self { questions }, thread)
    }

    /// Asks, and waits for a place in the queue and for the answer.
    ///
    /// # Errors
    /// [`ClerkGone`].
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Ledger) -> T + Send + 'static,
    ) -> Result<T, ClerkGone> {
        let (question, answer) = with_answer(question);
        let asked = self.questions.send(question).await;
        asked.map_err(|_| ClerkGone)?;
        answer.await.map_err(|_| ClerkGone)
    }

    /// Asks if there is a place in the queue; where the answer comes.
    pub fn try_ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Ledger) -> T + Send + 'static,
    ) -> Option<oneshot::Receiver<T>> {
        let (question, answer) = with_answer(question);
        self.questions.try_send(question).ok()?;
        Some(answer)
    }
}

fn with_answer<T: Send + 'static>(
    question: impl FnOnce(&dyn Ledger) -> T + Send + 'static,
) -> (Question, oneshot::Receiver<T>) {
    let (done, answer) = oneshot::channel();
    let question = Box::new(move |ledger: &dyn Ledger| {
        // Whoever asked may be gone; what was taken is taken.
        let _ = done.send(question(ledger));
    });
    (question, answer)
}
