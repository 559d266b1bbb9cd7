//! The owner's limit of upload: what is sent to peers is held back, never dropped. It counts the
//! answers' own bytes; what encryption and transport add, some twentieth, comes on top. Parts of
//! models go behind answers: people wait for those. What stages send is part of answers, here and
//! elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::desk::now;
use crate::core::pace::{Pace, Rate};

/// Bytes that may be sent at once however low the rate: an event or two, so that an answer begins
/// at once.
const MIN_BURST_BYTES: f64 = 4096.0;

/// The bytes of all answers to peers together. Clones share them.
#[derive(Clone)]
pub struct Upload(Arc<Inner>);

struct Inner {
    pace: Option<Mutex<Pace>>,
    sent_bytes: AtomicU64,
    staged_bytes: AtomicU64,
    given_bytes: AtomicU64,
    /// The turn of what goes behind: one after the other, in the order in which they came.
    behind: Semaphore,
}

impl Upload {
    /// At most so many bytes a second, as many at once as in a quarter of it.
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Self {
        let pace = bytes_per_second.map(|bytes| {
            #[expect(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
            let per_second = bytes.max(1) as f64;
            let burst = (per_second / 4.0).max(MIN_BURST_BYTES);
            Mutex::new(Pace::new(Rate { burst, per_second }, now()))
        });
        Self(Arc::new(Inner {
            pace,
            sent_bytes: AtomicU64::new(0),
            staged_bytes: AtomicU64::new(0),
            given_bytes: AtomicU64::new(0),
            behind: Semaphore::new(1),
        }))
    }

    /// Waits until so many bytes of an answer may be sent.
    pub(crate) async fn send(&self, bytes: usize) {
        self.0.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.spend(bytes).await;
    }

    /// Waits until so many bytes may be sent to a neighbour in a chain.
    pub(crate) async fn send_staged(&self, bytes: usize) {
        let staged = &self.0.staged_bytes;
        staged.fetch_add(bytes as u64, Ordering::Relaxed);
        self.spend(bytes).await;
    }

    async fn spend(&self, bytes: usize) {
        let Some(pace) = &self.0.pace else { return };
        let wait = {
            let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
            // Each takes its turn behind what was taken before, so that all streams go on.
            pace.spend(f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)), now());
            pace.wait(0.0, now())
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Waits until so many bytes of a model may be sent. That is when nothing is owed, so an answer
    /// waits for one piece at most.
    pub(crate) async fn send_behind(&self, bytes: usize) {
        if let Some(pace) = &self.0.pace {
            let cost = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
            // It is never closed.
            let _turn = self.0.behind.acquire().await;
            while let Some(wait) = spend_if_rested(pace, cost) {
                tokio::time::sleep(wait).await;
            }
        }
        self.0
            .given_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes of answers in all.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.0.sent_bytes.load(Ordering::Relaxed)
    }

    /// Bytes to neighbours in chains in all.
    pub(super) fn staged_bytes(&self) -> u64 {
        self.0.staged_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of models in all.
    pub(crate) fn given_bytes(&self) -> u64 {
        self.0.given_bytes.load(Ordering::Relaxed)
    }
}

/// Spends, or says how long to wait before that.
fn spend_if_rested(pace: &Mutex<Pace>, cost: f64) -> Option<Duration> {
    let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
    let wait = pace.wait(cost, now());
    if wait.is_zero() {
        pace.spend(cost, now());
        return None;
    }
    Some(wait)
}
