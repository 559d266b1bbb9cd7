//! The core of [`crate::core::fairness`] and those who wait at it. The lock is held for one
//! decision only, never across an await; what is decided reaches each request by its own channel.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use protocol::{ModelName, NodeId};
use tokio::sync::watch;

use crate::core::fairness::{Ask, Fairness, Input, Output, Policy, Refusal, Rooms, Ticket};

/// How it stands with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The core has not said yet: only before its first word.
    Asked,
    /// So many go before it.
    Waits(u32),
    /// It is its turn.
    Go,
    /// It is not answered.
    Refused(Refusal),
}

/// Where peers' requests wait.
#[derive(Clone)]
pub(super) struct Desk(Arc<Mutex<Inner>>);

struct Inner {
    core: Fairness,
    /// One for each request that waits or runs; the core bounds them.
    turns: BTreeMap<Ticket, watch::Sender<Turn>>,
    next: u64,
}

/// Requests at the desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crowd {
    pub(super) waiting: usize,
    pub(super) running: usize,
}

impl Desk {
    pub(super) fn new(policy: Policy) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            core: Fairness::new(policy),
            turns: BTreeMap::new(),
            next: 0,
        })))
    }

    /// Takes a request in; its place is free again when what is returned is dropped.
    pub(super) fn ask(
        &self,
        peer: NodeId,
        model: &ModelName,
        estimate: u64,
    ) -> Result<Place, Refusal> {
        let mut inner = self.lock();
        let ticket = Ticket(inner.next);
        inner.next += 1;
        let (sender, turn) = watch::channel(Turn::Asked);
        inner.turns.insert(ticket, sender);
        let ask = Ask {
            ticket,
            peer,
            model: model.clone(),
            estimate,
        };
        inner.feed(Input::Ask(ask));
        drop(inner);
        let desk = self.clone();
        let refused = match *turn.borrow() {
            Turn::Refused(refusal) => Some(refusal),
            _ => None,
        };
        // Dropped when it was refused: nothing is left of it.
        let place = Place { desk, ticket, turn };
        refused.map_or(Ok(place), Err)
    }

    /// The loaded models changed.
    pub(super) fn look(&self, rooms: Rooms) {
        self.lock().feed(Input::Rooms(rooms));
    }

    pub(super) fn crowd(&self) -> Crowd {
        let inner = self.lock();
        Crowd {
            waiting: inner.core.waiting(),
            running: inner.core.running(),
        }
    }

    pub(super) fn waiting_for(&self, model: &ModelName) -> usize {
        self.lock().core.waiting_for(model)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn feed(&mut self, input: Input) {
        let mut outputs = Vec::new();
        self.core.handle(input, now(), &mut outputs);
        for output in outputs {
            let (ticket, turn) = match output {
                Output::Admit(ticket) => (ticket, Turn::Go),
                Output::Position { ticket, position } => (ticket, Turn::Waits(position)),
                Output::Refuse { ticket, refusal } => (ticket, Turn::Refused(refusal)),
            };
            if let Some(sender) = self.turns.get(&ticket) {
                sender.send_replace(turn);
            }
        }
    }
}

/// A request's place in the queue, and then its seat.
pub(super) struct Place {
    desk: Desk,
    ticket: Ticket,
    turn: watch::Receiver<Turn>,
}

impl Place {
    /// Which request of this process it is.
    pub(super) fn number(&self) -> u64 {
        self.ticket.0
    }

    /// How it stands, the first time at once and then when that changed.
    pub(super) async fn turn(&mut self) -> Turn {
        let known = *self.turn.borrow_and_update();
        if known != Turn::Asked {
            return known;
        }
        self.next_turn().await
    }

    /// The next change.
    pub(super) async fn next_turn(&mut self) -> Turn {
        // The sender is kept until this place is dropped.
        if self.turn.changed().await.is_err() {
            return std::future::pending().await;
        }
        *self.turn.borrow_and_update()
    }

    /// The answer cost this much more.
    pub(super) fn spend(&self, cost: u64) {
        let ticket = self.ticket;
        self.desk.lock().feed(Input::Spend { ticket, cost });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.desk.lock();
        inner.turns.remove(&self.ticket);
        inner.feed(Input::Leave(self.ticket));
    }
}

/// The runtime's clock, which tests can pause.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
