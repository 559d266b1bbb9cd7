//! Leases and waits, and how their ends reach the task. They know no decision.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use llama_sys::engine::Engine;
use llama_sys::gguf::ModelFacts;
use protocol::ModelName;
use tokio::sync::mpsc;

use super::Examined;
use crate::core::residency::{LoadId, Ticket};
use crate::core::speed::Answered;
use crate::head::Hold;
use crate::speeds::Speeds;

/// What the end of a lease or of a wait tells the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    /// A lease ended.
    Released(LoadId),
    /// A guest's lease ended.
    ReleasedGuest(LoadId),
    /// Nobody waits with this ticket any more.
    GivenUp(Ticket),
}

/// Where notes go. The channel has no bound of its own, since a `drop` cannot wait; it holds one
/// note for each lease or wait at most, and the core bounds those.
#[derive(Clone)]
pub(super) struct Notes {
    sender: mpsc::UnboundedSender<Note>,
    next_ticket: Arc<AtomicU64>,
    speeds: Speeds,
}

pub(super) fn notes() -> (Notes, mpsc::UnboundedReceiver<Note>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let next_ticket = Arc::default();
    let notes = Notes {
        sender,
        next_ticket,
        speeds: Speeds::default(),
    };
    (notes, receiver)
}

impl Notes {
    /// A new ticket, given up when it is dropped before the answer.
    pub(super) fn ticket(&self) -> Wait {
        Wait {
            ticket: Ticket(self.next_ticket.fetch_add(1, Ordering::Relaxed)),
            notes: Some(self.clone()),
        }
    }

    /// A lease on this load.
    pub(super) fn lease(&self, load: LoadId, engine: Arc<dyn Engine>, examined: Examined) -> Lease {
        Lease {
            engine,
            examined,
            load,
            guest: false,
            notes: self.clone(),
        }
    }

    /// Ends a lease that nobody took.
    pub(super) fn release(&self, load: LoadId) {
        self.send(Note::Released(load));
    }

    /// How fast models answered under their leases.
    pub(super) fn speeds(&self) -> &Speeds {
        &self.speeds
    }

    fn send(&self, note: Note) {
        // Without the task there is nothing left to release.
        let _ = self.sender.send(note);
    }
}

/// A place among those who wait.
pub(super) struct Wait {
    ticket: Ticket,
    notes: Option<Notes>,
}

impl Wait {
    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// The answer came; there is nothing to give up.
    pub(super) fn answered(mut self) {
        self.notes = None;
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(notes) = self.notes.take() {
            notes.send(Note::GivenUp(self.ticket));
        }
    }
}

/// The right to use a loaded model. While it lives the model is not evicted; its owner may still
/// unload it, which the engine's answers then say.
pub struct Lease {
    engine: Arc<dyn Engine>,
    examined: Examined,
    load: LoadId,
    guest: bool,
    notes: Notes,
}

impl Lease {
    /// The same for a guest, or not.
    pub(super) fn of_guest(self, guest: bool) -> Self {
        let mut lease = self;
        lease.guest = guest;
        lease
    }

    /// The model's full name.
    pub fn model(&self) -> &ModelName {
        &self.examined.name
    }

    /// What its header says.
    pub fn facts(&self) -> &Arc<ModelFacts> {
        &self.examined.facts
    }
}

impl Hold for Lease {
    fn on_answered(&self, answered: &Answered) {
        self.notes.speeds.note(self.model(), answered);
    }
}

impl Deref for Lease {
    type Target = Arc<dyn Engine>;

    fn deref(&self) -> &Self::Target {
        &self.engine
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let note = match self.guest {
            true => Note::ReleasedGuest(self.load),
            false => Note::Released(self.load),
        };
        self.notes.send(note);
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("model", self.model())
            .finish_non_exhaustive()
    }
}
