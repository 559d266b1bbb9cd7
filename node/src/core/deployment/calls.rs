//! Requests to stage peers that are not answered yet, and those that are late: a late `Granted`
//! still is a lease, which somebody must use or give back.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use protocol::{
    LeaseId,
    chain::{LeaseRequest, Link},
};

use super::event::CallId;
use super::plan::Place;

/// How long a request may take: a lease peer answers from memory, so this is ten round trips of
/// the slowest group and a lost packet.
pub const CALL_PATIENCE: Duration = Duration::from_secs(2);

/// How long a late answer is waited for: as long as a lease that nobody renews lives.
const CALL_MEMORY: Duration = Duration::from_secs(30);

/// Requests remembered at most; the oldest is forgotten first, and its lease lapses.
const MAX_CALLS: usize = 512;

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Reserve,
    Link(Link),
    Renew(LeaseId),
    Release(LeaseId),
}

impl Asked {
    pub(super) fn of(request: &LeaseRequest) -> Self {
        match request {
            LeaseRequest::Reserve(_) => Self::Reserve,
            LeaseRequest::Link(link) => Self::Link(*link),
            LeaseRequest::Renew(lease) => Self::Renew(*lease),
            LeaseRequest::Release(lease) => Self::Release(*lease),
        }
    }

    /// Whether a second one need not be sent while the first is under way.
    fn is_same_kind(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Link(a), Self::Link(b)) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

/// A request under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    pub(super) place: Place,
    pub(super) asked: Asked,
    pub(super) sent_at: Instant,
    is_late: bool,
}

impl Pending {
    /// Whether a stage answers it out of its memory: a reservation may read files.
    pub(super) fn is_prompt(&self) -> bool {
        matches!(self.asked, Asked::Link(_) | Asked::Renew(_))
    }
}

/// Every request under way.
#[derive(Debug, Default)]
pub(super) struct Calls {
    table: BTreeMap<CallId, Pending>,
    next: u64,
}

impl Calls {
    pub(super) fn insert(&mut self, place: Place, asked: Asked, now: Instant) -> CallId {
        self.table
            .retain(|_, call| now < call.sent_at + CALL_MEMORY);
        if self.table.len() >= MAX_CALLS {
            self.table.pop_first();
        }
        let id = CallId(self.next);
        self.next += 1;
        let pending = Pending {
            place,
            asked,
            sent_at: now,
            is_late: false,
        };
        self.table.insert(id, pending);
        id
    }

    pub(super) fn take(&mut self, id: CallId) -> Option<(Pending, bool)> {
        let pending = self.table.remove(&id)?;
        Some((pending, pending.is_late))
    }

    /// Whether such a request to this place is under way and not late.
    pub(super) fn is_asking(&self, place: Place, asked: &Asked) -> bool {
        let mut live = self.live();
        live.any(|call| call.place == place && call.asked.is_same_kind(asked))
    }

    /// Whether an answer that is not late yet may still say that something is leased, or that it
    /// is not any more.
    pub(super) fn may_change_leases(&self) -> bool {
        let mut live = self.live();
        live.any(|call| matches!(call.asked, Asked::Reserve | Asked::Release(_)))
    }

    /// What is late now; each once.
    pub(super) fn late(&mut self, now: Instant) -> Vec<Pending> {
        let mut late = Vec::new();
        for call in self.table.values_mut() {
            if !call.is_late && call.sent_at + CALL_PATIENCE <= now {
                call.is_late = true;
                late.push(*call);
            }
        }
        late
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.live().map(|call| call.sent_at + CALL_PATIENCE).min()
    }

    fn live(&self) -> impl Iterator<Item = &Pending> {
        self.table.values().filter(|call| !call.is_late)
    }
}
