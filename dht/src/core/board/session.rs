//! One reconciliation of two lists of items: range-based set reconciliation (Meyer, "Range-Based
//! Set Reconciliation", 2023) by the negentropy protocol, with bounds on what the other side can
//! make this one do.
//!
//! Whoever begins learns the difference; the other only answers. Both lists are as they were when
//! it began. What comes is a stranger's: bytes that are no message, and an end that does not come,
//! are [`Poison`]. It does not know the entries, and moves no bytes.

use negentropy::{Id, Negentropy, NegentropyStorageVector, PROTOCOL_VERSION};
use protocol::{UnixMillis, board::NoteId, limits::MAX_ROUND_BYTES};

/// Rounds of one reconciliation. A hundred thousand items are four levels of sixteenths, and what
/// does not fit a message takes further ones; with [`MOST_LACKED`] that is below thirty.
pub const MOST_ROUNDS: u32 = 64;

/// Items that are learned of in one reconciliation, each way; what differs by more takes another.
pub const MOST_LACKED: usize = 8192;

/// A note, a withdrawal, or what is left of a withdrawn note, by when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// When, as its author says.
    pub written: UnixMillis,
    /// Which.
    pub id: NoteId,
}

/// What a peer said that no honest one says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Poison {
    /// Bytes that are no message of the protocol.
    #[error("a message of set reconciliation that is none")]
    Malformed,
    /// It goes on where any two lists are reconciled.
    #[error("a reconciliation without an end")]
    Endless,
}

/// What two lists differ by, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// What only the other has.
    pub lacking: Vec<NoteId>,
    /// What only this one has.
    pub surplus: Vec<NoteId>,
    /// All of it is known; else another reconciliation finds more.
    pub is_whole: bool,
}

/// The side that begins.
#[derive(Debug)]
pub struct Initiator {
    sides: Sides,
    found: Difference,
}

/// The side that answers.
#[derive(Debug)]
pub struct Responder {
    sides: Sides,
}

#[derive(Debug)]
struct Sides {
    negentropy: Negentropy<'static, NegentropyStorageVector>,
    rounds: u32,
}

impl Initiator {
    /// Begins with this node's items, and the first message.
    pub fn begin(items: &[Item]) -> (Self, Vec<u8>) {
        let mut sides = Sides::new(items);
        let first = sides.negentropy.initiate();
        let found = Difference::default();
        let first = first.expect("it was not begun before, and the list is sealed");
        (Self { sides, found }, first)
    }

    /// Takes an answer; the next message, or `None` at the end.
    ///
    /// # Errors
    /// See [`Poison`].
    pub fn on_round(&mut self, message: &[u8]) -> Result<Option<Vec<u8>>, Poison> {
        self.sides.check(message)?;
        let (mut surplus, mut lacking) = (Vec::new(), Vec::new());
        let next = self
            .sides
            .negentropy
            .reconcile_with_ids(message, &mut surplus, &mut lacking);
        let next = next.map_err(|_| Poison::Malformed)?;
        extend(&mut self.found.lacking, &lacking);
        extend(&mut self.found.surplus, &surplus);
        let is_full = self.found.lacking.len() >= MOST_LACKED;
        self.found.is_whole = next.is_none() && !is_full && self.found.surplus.len() < MOST_LACKED;
        Ok(next.filter(|_| !is_full))
    }

    /// What was found so far.
    pub fn end(mut self) -> Difference {
        // Negentropy tells what a range lacks in no order, and a peer may say one thing twice.
        for ids in [&mut self.found.lacking, &mut self.found.surplus] {
            ids.sort_unstable();
            ids.dedup();
        }
        self.found
    }
}

impl Responder {
    /// Answers from these items.
    pub fn new(items: &[Item]) -> Self {
        let sides = Sides::new(items);
        Self { sides }
    }

    /// Takes a message; the answer.
    ///
    /// # Errors
    /// See [`Poison`].
    pub fn on_round(&mut self, message: &[u8]) -> Result<Vec<u8>, Poison> {
        self.sides.check(message)?;
        let answer = self.sides.negentropy.reconcile(message);
        answer.map_err(|_| Poison::Malformed)
    }
}

impl Sides {
    fn new(items: &[Item]) -> Self {
        let mut list = NegentropyStorageVector::with_capacity(items.len());
        for item in items {
            let id = Id::from_byte_array(*item.id.as_bytes());
            list.insert(item.written.0, id)
                .expect("the list is not sealed");
        }
        list.seal().expect("the list is not sealed");
        let negentropy = Negentropy::owned(list, MAX_ROUND_BYTES as u64);
        Self {
            negentropy: negentropy.expect("the limit is above 4096"),
            rounds: 0,
        }
    }

    fn check(&mut self, message: &[u8]) -> Result<(), Poison> {
        self.rounds += 1;
        if self.rounds > MOST_ROUNDS {
            return Err(Poison::Endless);
        }
        // Another version of negentropy would be another protocol of ours.
        let is_spoken = message.first().copied().map(u64::from) == Some(PROTOCOL_VERSION);
        let fits = message.len() <= MAX_ROUND_BYTES;
        (fits && is_spoken).then_some(()).ok_or(Poison::Malformed)
    }
}

fn extend(found: &mut Vec<NoteId>, more: &[Id]) {
    let room = MOST_LACKED.saturating_sub(found.len());
    let more = more.iter().take(room);
    found.extend(more.filter_map(|id| NoteId::from_bytes(id.as_slice()).ok()));
}

// By its path: the fuzz target takes this file into a crate of its own.
#[cfg(test)]
#[path = "session/tests.rs"]
mod tests;
