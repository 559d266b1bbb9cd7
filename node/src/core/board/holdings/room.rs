//! One board's room: its entries by time, and each author's part of them.

use std::collections::{BTreeMap, BTreeSet};

use protocol::board::NoteId;
use protocol::{NodeId, UnixMillis};

use super::held::Held;
use super::limits::Bounds;

/// An entry's place in time.
type Key = (UnixMillis, NoteId);

/// Entries by time, and their bytes.
#[derive(Debug, Default)]
struct Pile {
    order: BTreeSet<Key>,
    bytes: u64,
}

/// What is kept of one board.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) is_followed: bool,
    /// What is older went for want of room.
    pub(super) floor: UnixMillis,
    pub(super) bytes: u64,
    /// Without withdrawals.
    pub(super) notes: usize,
    order: BTreeSet<Key>,
    authors: BTreeMap<NodeId, Pile>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            is_followed: false,
            floor: UnixMillis(0),
            bytes: 0,
            notes: 0,
            order: BTreeSet::new(),
            authors: BTreeMap::new(),
        }
    }
}

impl Room {
    pub(super) fn add(&mut self, key: Key, held: &Held) {
        self.order.insert(key);
        self.bytes += held.bytes;
        self.notes += usize::from(held.is_note());
        let pile = self.authors.entry(held.author).or_default();
        pile.order.insert(key);
        pile.bytes += held.bytes;
    }

    pub(super) fn remove(&mut self, key: &Key, held: &Held) {
        self.order.remove(key);
        self.bytes = self.bytes.saturating_sub(held.bytes);
        self.notes = self.notes.saturating_sub(usize::from(held.is_note()));
        if let Some(pile) = self.authors.get_mut(&held.author) {
            pile.order.remove(key);
            pile.bytes = pile.bytes.saturating_sub(held.bytes);
            if pile.order.is_empty() {
                self.authors.remove(&held.author);
            }
        }
    }

    /// Nobody follows it and nothing is left of it.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_followed && self.order.is_empty()
    }

    /// Whether an entry would be the one that goes for want of its author's share.
    pub(super) fn would_drop(&self, key: &Key, author: NodeId, bytes: u64, share: &Bounds) -> bool {
        let Some(pile) = self.authors.get(&author) else {
            return false;
        };
        let is_over = pile.order.len() >= share.notes || pile.bytes + bytes > share.bytes;
        is_over && pile.order.first().is_some_and(|oldest| key < oldest)
    }

    /// The author's oldest entry, if it has more than its share.
    pub(super) fn over_share(&self, author: &NodeId, share: &Bounds) -> Option<NoteId> {
        let pile = self.authors.get(author)?;
        let is_over = pile.order.len() > share.notes || pile.bytes > share.bytes;
        let (_, oldest) = pile.order.first().filter(|_| is_over)?;
        Some(*oldest)
    }

    /// The oldest entry, if there are more than there is room for.
    pub(super) fn over(&self, whole: &Bounds) -> Option<Key> {
        let is_over = self.order.len() > whole.notes || self.bytes > whole.bytes;
        self.oldest().filter(|_| is_over)
    }

    pub(super) fn oldest(&self) -> Option<Key> {
        self.order.first().copied()
    }

    pub(super) fn newest(&self) -> Option<UnixMillis> {
        self.order.last().map(|(written, _)| *written)
    }

    pub(super) fn since(&self, since: UnixMillis) -> Vec<Key> {
        let from = self.order.range(first_at(since)..);
        from.copied().collect()
    }

    pub(super) fn before(&self, time: UnixMillis) -> impl Iterator<Item = NoteId> {
        self.order.range(..first_at(time)).map(|(_, id)| *id)
    }

    pub(super) fn newest_first(&self) -> impl Iterator<Item = &NoteId> {
        self.order.iter().rev().map(|(_, id)| id)
    }

    pub(super) fn of(&self, author: &NodeId) -> impl Iterator<Item = NoteId> {
        let pile = self.authors.get(author);
        pile.into_iter()
            .flat_map(|pile| pile.order.iter().map(|(_, id)| *id))
    }
}

/// Before everything that was written at this time.
fn first_at(time: UnixMillis) -> Key {
    (time, NoteId::from_bytes(&[0; 32]).expect("32 bytes"))
}
