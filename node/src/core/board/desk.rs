//! Whose notes are taken: mutes, rates, room, in this order of cost. What was refused lately is
//! not asked for again.
//!
//! It changes nothing until [`Desk::keep`]: whoever owns it puts an entry on the disk in between.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use protocol::UnixMillis;
use protocol::board::{Entry, NoteId, Saying};

use super::holdings::{self, Holdings, Limits};
use super::rates::{Arrivals, Stream, excess};
use super::standing::Standings;

/// Refused entries that are remembered: more than one author writes in a day.
pub const MAX_REFUSED: usize = 16_384;

/// How long: about every second reconciliation with a neighbour asks again, in case the reason is
/// gone.
pub const REFUSED_FOR: Duration = Duration::from_secs(600);

/// How an entry came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By gossip, as it was written.
    Gossip,
    /// Made up for: what was written while this node was away.
    Reconciled,
    /// Written on this node.
    Own,
}

/// The time, for deadlines and for what peers signed.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Of this process.
    pub instant: Instant,
    /// Of the clock on the wall.
    pub unix: UnixMillis,
}

/// Why an entry is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no room for it.
    Holdings(holdings::Refusal),
    /// The owner does not want its author's.
    Muted,
    /// Its author writes more than anybody may; the time after which it would do.
    TooFast(Duration),
}

/// What is kept and what is taken.
#[derive(Debug)]
pub struct Desk {
    /// What is kept.
    pub holdings: Holdings,
    /// Whom the owner trusts.
    pub standings: Standings,
    /// Whether authors are held to a rate: on a node that nobody else sees there is no need.
    is_rated: bool,
    arrivals: Arrivals,
    refused: Refused,
}

impl Desk {
    /// Nothing is kept yet.
    pub fn new(limits: Limits, standings: Standings, is_rated: bool) -> Self {
        Self {
            holdings: Holdings::new(limits),
            standings,
            is_rated,
            arrivals: Arrivals::new(),
            refused: Refused::default(),
        }
    }

    /// Whether an entry is taken. One that is counts for its author's rate.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn judge(&mut self, entry: &Entry, way: Way, now: Now) -> Result<(), Refusal> {
        let judged = self.check(entry, way, now);
        // What came too fast by gossip may be made up for; the rest is not worth asking for.
        let is_lasting = match judged {
            Ok(()) => false,
            Err(Refusal::TooFast(_)) => way == Way::Reconciled,
            Err(Refusal::Holdings(holdings::Refusal::Known)) => !self.holdings.has(&entry.id),
            Err(Refusal::Holdings(holdings::Refusal::NotFollowed)) => false,
            Err(_) => true,
        };
        if is_lasting {
            self.refused.note(entry.id, now.instant);
        }
        judged
    }

    /// Keeps an entry that was judged, and says which others went for it.
    pub fn keep(&mut self, entry: &Entry, now: Instant) -> Vec<NoteId> {
        let gone = self.holdings.insert(entry);
        for id in &gone {
            self.refused.note(*id, now);
        }
        gone
    }

    /// What was refused may be asked for again: the reasons changed.
    pub fn reconsider(&mut self) {
        self.refused = Refused::default();
    }

    /// Those of these entries that are worth fetching.
    pub fn lacks(&self, ids: Vec<NoteId>, now: Instant) -> Vec<NoteId> {
        let is_lacking = |id: &NoteId| {
            !self.holdings.has(id) && !self.holdings.is_withdrawn(id) && !self.refused.has(id, now)
        };
        ids.into_iter().filter(is_lacking).collect()
    }

    fn check(&mut self, entry: &Entry, way: Way, now: Now) -> Result<(), Refusal> {
        self.holdings
            .check(entry, now.unix)
            .map_err(Refusal::Holdings)?;
        if self.standings.is_muted(&entry.author) {
            return Err(Refusal::Muted);
        }
        if !self.is_rated {
            return Ok(());
        }
        let stream = Stream {
            author: entry.author,
            is_withdrawal: matches!(entry.saying, Saying::Withdrawal(_)),
        };
        let written = self.holdings.written(&stream);
        let beyond = written.map_or(Duration::ZERO, |written| excess(written, entry.written));
        if !beyond.is_zero() {
            return Err(Refusal::TooFast(beyond));
        }
        match way {
            Way::Reconciled => Ok(()),
            Way::Gossip | Way::Own => self
                .arrivals
                .admit(stream, now.instant)
                .map_err(Refusal::TooFast),
        }
    }
}

/// What was refused lately, the oldest first.
#[derive(Debug, Default)]
struct Refused {
    until: BTreeMap<NoteId, Instant>,
    order: VecDeque<(Instant, NoteId)>,
}

impl Refused {
    fn note(&mut self, id: NoteId, now: Instant) {
        let is_old = |(until, _): &(Instant, NoteId)| *until <= now;
        while self.order.len() >= MAX_REFUSED || self.order.front().is_some_and(is_old) {
            if let Some((until, id)) = self.order.pop_front()
                && self.until.get(&id) == Some(&until)
            {
                self.until.remove(&id);
            }
        }
        let until = now + REFUSED_FOR;
        self.until.insert(id, until);
        self.order.push_back((until, id));
    }

    fn has(&self, id: &NoteId, now: Instant) -> bool {
        self.until.get(id).is_some_and(|until| now < *until)
    }
}

#[cfg(test)]
mod tests;
