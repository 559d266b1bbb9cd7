//! One ring of a chain: payloads of the head's worker to the first stage, what comes back to the
//! worker. It tells when either end is over and when batches are late, and knows no plan.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use llama_sys::stage::{FromHead, ToHead};
use llama_sys::supervisor::{RingPort, RingTeller};
use protocol::chain::StageKind;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::chain::Channels;
use crate::chain::channels::{ChannelError, Sender};
use crate::core::deployment::{Generation, Ring};
use crate::core::flow::{Flow, OVERDUE_FLOOR};

/// What rings tell that waits to be looked at.
const TOLD: usize = 16;

/// How often it is looked whether a ring's first batch has come back.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What happens to a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RingEvent {
    /// It is over; without a number, it is the one that is joined.
    Ended(Option<Generation>),
    /// Its batches are late.
    Overdue(Generation),
}

/// The batches of a ring, as its tasks share them.
pub(super) struct Batches {
    flow: Mutex<Flow>,
    begun: Notify,
}

impl Batches {
    fn new() -> Self {
        Self {
            flow: Mutex::new(Flow::new(Instant::now())),
            begun: Notify::new(),
        }
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_sent(&self) {
        self.flow().on_sent(Instant::now());
        self.begun.notify_one();
    }

    fn on_back(&self) {
        self.flow().on_back(Instant::now());
    }

    /// Waits until a batch came back, whosever it was.
    pub(super) async fn moved(&self) {
        while self.flow().back() == 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until batches are late; whether they will not come back at all.
    async fn late(&self) -> bool {
        loop {
            let due = self.flow().overdue_at();
            let Some(due) = due else {
                self.begun.notified().await;
                continue;
            };
            tokio::time::sleep_until(due.into()).await;
            let (now, flow) = (Instant::now(), self.flow());
            if flow.overdue_at().is_some_and(|due| due <= now) {
                return flow.is_stuck(now);
            }
        }
    }
}

/// The way to the first stage of the ring that is joined.
struct Way {
    generation: Generation,
    sender: Sender,
    batches: Arc<Batches>,
}

impl Way {
    /// Tells of each while in which batches are late, and of an end that nobody else sees.
    async fn watch(&self, told: mpsc::Sender<RingEvent>) {
        let generation = self.generation;
        loop {
            let is_stuck = self.batches.late().await;
            let is_over = is_stuck || self.sender.is_over();
            let event = match is_over {
                true => RingEvent::Ended(Some(generation)),
                false => RingEvent::Overdue(generation),
            };
            if told.send(event).await.is_err() || is_over {
                return;
            }
            tokio::time::sleep(OVERDUE_FLOOR).await;
        }
    }
}

/// Carries what the worker says to whichever ring is joined.
pub(super) struct Joiner {
    channels: Channels,
    teller: RingTeller,
    first: watch::Sender<Option<Arc<Way>>>,
    told: mpsc::Sender<RingEvent>,
    _carrying: AbortOnDropHandle<()>,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl Joiner {
    /// Nothing is joined. What happens to rings comes out of the receiver.
    pub(super) fn new(channels: Channels, port: RingPort) -> (Self, mpsc::Receiver<RingEvent>) {
        let (told, events) = mpsc::channel(TOLD);
        let (first, firsts) = watch::channel(None);
        let teller = port.teller();
        let carrying = tokio::spawn(carry(port, firsts, told.clone()));
        let joiner = Self {
            channels,
            teller,
            first,
            told,
            _carrying: AbortOnDropHandle::new(carrying),
            tasks: Vec::new(),
        };
        (joiner, events)
    }

    /// Joins a ring whose stages are linked, and tells the worker. Its batches.
    pub(super) async fn join(&mut self, ring: &Ring) -> Result<Arc<Batches>, ChannelError> {
        let last = ring
            .stages
            .last()
            .map_or(ring.first.peer, |stage| stage.peer);
        let mut back = self.channels.register(ring.back, last)?;
        let sender = self
            .channels
            .open(ring.first.peer, ring.first.channel)
            .await?;
        let (teller, told) = (self.teller.clone(), self.told.clone());
        let generation = ring.generation;
        let batches = Arc::new(Batches::new());
        let counted = Arc::clone(&batches);
        let returning = tokio::spawn(async move {
            while let Some((kind, payload)) = back.next().await {
                if kind == StageKind::Back {
                    counted.on_back();
                    teller.tell(ToHead::Back(payload)).await;
                }
            }
            // The actor ends after its rings.
            let _ = told.send(RingEvent::Ended(Some(generation))).await;
        });
        let way = Arc::new(Way {
            generation,
            sender,
            batches: Arc::clone(&batches),
        });
        let (watched, told) = (Arc::clone(&way), self.told.clone());
        let watching = tokio::spawn(async move { watched.watch(told).await });
        self.tasks = [returning, watching].map(AbortOnDropHandle::new).into();
        self.first.send_replace(Some(way));
        self.teller.tell(ToHead::Up(generation.number())).await;
        Ok(batches)
    }

    /// Leaves the ring that is joined.
    pub(super) async fn leave(&mut self) {
        self.tasks.clear();
        self.first.send_replace(None);
        self.teller.tell(ToHead::Down).await;
    }
}

async fn carry(
    mut port: RingPort,
    mut firsts: watch::Receiver<Option<Arc<Way>>>,
    told: mpsc::Sender<RingEvent>,
) {
    while let Some(said) = port.next().await {
        let payload = match said {
            FromHead::Forward(payload) => payload,
            FromHead::Broken(cause) => {
                debug!(%cause, "the head gives its ring up");
                let _ = told.send(RingEvent::Ended(None)).await;
                continue;
            }
        };
        let first = firsts.borrow_and_update().clone();
        let Some(way) = first else {
            // Of a ring that was left just now.
            continue;
        };
        way.batches.on_sent();
        let sent = tokio::select! {
            sent = way.sender.send(StageKind::Forward, payload) => sent,
            // A stage that stands still holds nothing up once its ring was left.
            _ = firsts.changed() => continue,
        };
        if let Err(error) = sent {
            debug!(%error, "the first stage is not reached");
            let _ = told.send(RingEvent::Ended(Some(way.generation))).await;
        }
    }
}
