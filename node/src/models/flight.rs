//! Downloads under way: one task for each model however many asked for it, followed by each of
//! them at its own pace. The last follower's leaving ends the task and keeps what came so far.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use web::manage::PullEvent;

use super::core::record::Record;
use super::error::PullError;

/// Shortest time between two progress events: more often nobody reads them.
pub const REPORT_EVERY: Duration = Duration::from_millis(100);

/// How a download stands.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// Bytes on disk.
    pub(super) done_bytes: u64,
    /// Whether all bytes are there and are looked through.
    pub(super) verifying: bool,
    end: Option<Result<Record, String>>,
}

/// How a download tells how it stands.
pub(super) type Reporter = watch::Sender<State>;

/// The downloads under way, by staging folder.
#[derive(Debug, Default)]
pub(super) struct Flights {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_folder: BTreeMap<String, Flight>,
    begun: u64,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Flight {
    number: u64,
    state: watch::Sender<State>,
    total_bytes: u64,
}

impl Inner {
    /// Takes this download off the list, but not a later one of the same folder.
    fn remove(&mut self, landing: &Landing) {
        let same = |flight: &Flight| flight.number == landing.number;
        if self.by_folder.get(&landing.folder).is_some_and(same) {
            self.by_folder.remove(&landing.folder);
        }
    }
}

impl Flights {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the download of this folder, begun by `work` if none is under way.
    pub(super) fn join<F>(
        self: &Arc<Self>,
        folder: &str,
        total_bytes: u64,
        work: impl FnOnce(Reporter) -> F,
    ) -> watch::Receiver<State>
    where
        F: Future<Output = Result<Record, PullError>> + Send + 'static,
    {
        let mut inner = self.inner();
        if let Some(flight) = inner.by_folder.get(folder) {
            return flight.state.subscribe();
        }
        let (state, follower) = watch::channel(State::default());
        inner.begun += 1;
        let number = inner.begun;
        let flight = Flight {
            number,
            state: state.clone(),
            total_bytes,
        };
        inner.by_folder.insert(folder.to_owned(), flight);
        while let Some(ended) = inner.tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a download's task failed");
            }
        }
        let (flights, folder) = (Arc::downgrade(self), folder.to_owned());
        let landing = Landing {
            flights,
            folder,
            number,
        };
        inner.tasks.spawn(fly(state.clone(), work(state), landing));
        follower
    }

    /// Bytes that the downloads under way will take in the end, by folder.
    pub(super) fn pledged(&self) -> BTreeMap<String, u64> {
        let inner = self.inner();
        let pledge = |(folder, flight): (&String, &Flight)| (folder.clone(), flight.total_bytes);
        inner.by_folder.iter().map(pledge).collect()
    }

    /// Ends every download; what came so far stays.
    pub(super) fn stop(&self) {
        self.inner().tasks.abort_all();
    }
}

/// Takes the download off the list, however its task ends.
struct Landing {
    flights: Weak<Flights>,
    folder: String,
    number: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        if let Some(flights) = self.flights.upgrade() {
            flights.inner().remove(self);
        }
    }
}

async fn fly(
    state: watch::Sender<State>,
    work: impl Future<Output = Result<Record, PullError>>,
    landing: Landing,
) {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            result = &mut work => {
                let end = result.map_err(|error| error.to_string());
                state.send_modify(|state| state.end = Some(end));
                return;
            }
            () = state.closed() => {
                // Between the last follower's leaving and this lock another may have come.
                let Some(flights) = landing.flights.upgrade() else { return };
                let mut inner = flights.inner();
                if state.receiver_count() == 0 {
                    inner.remove(&landing);
                    return;
                }
            }
        }
    }
}

/// Tells a follower's channel how the download goes until it ends. The record, or one line.
pub(super) async fn follow(
    mut state: watch::Receiver<State>,
    total_bytes: u64,
    out: &mpsc::Sender<PullEvent>,
) -> Result<Record, PullError> {
    let mut told = None;
    let mut told_verifying = false;
    loop {
        let now = state.borrow_and_update().clone();
        let done_bytes = now.done_bytes;
        if told != Some(done_bytes) && !matches!(now.end, Some(Err(_))) {
            told = Some(done_bytes);
            send(
                out,
                PullEvent::Progress {
                    done_bytes,
                    total_bytes,
                },
            )
            .await;
        }
        if now.verifying && !told_verifying {
            told_verifying = true;
            send(out, PullEvent::Verifying).await;
        }
        if let Some(end) = now.end {
            return end.map_err(PullError::Shared);
        }
        state.changed().await.map_err(|_| PullError::Ended)?;
        tokio::select! {
            () = sleep(REPORT_EVERY) => {}
            ended = state.wait_for(|state| state.end.is_some()) => {
                ended.map_err(|_| PullError::Ended)?;
            }
        }
    }
}

/// Whoever does not listen any more is noticed elsewhere.
async fn send(out: &mpsc::Sender<PullEvent>, event: PullEvent) {
    let _ = out.send(event).await;
}

#[cfg(test)]
mod tests;
