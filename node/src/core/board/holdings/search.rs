//! Which notes fit what is asked for, the newest first.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use protocol::board::{BoardName, Kind, NoteId};
use protocol::{NodeId, UnixMillis};

use super::Holdings;
use super::held::{Held, usize_of};
use crate::core::board::query::Query;

/// What is asked for; everything that is there must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// On this board.
    pub board: Option<BoardName>,
    /// With these words and phrases.
    pub text: Query,
    /// By this author.
    pub author: Option<NodeId>,
    /// Not by these.
    pub muted: BTreeSet<NodeId>,
    /// Of this kind.
    pub kind: Option<Kind>,
    /// In the thread of this note.
    pub thread: Option<NoteId>,
    /// Written at this time or later.
    pub since: Option<UnixMillis>,
    /// How many at most.
    pub limit: usize,
}

impl Holdings {
    /// The notes that fit, the newest first.
    pub fn search(&self, filter: &Filter) -> Vec<NoteId> {
        let thread = filter.thread.map(|note| self.thread(&note));
        let fits = |held: &Held| {
            filter.fits(held) && thread.as_ref().is_none_or(|ids| ids.contains(&held.id))
        };
        if !filter.text.is_empty() {
            let numbers = self.words.find(&filter.text).into_iter();
            let held = numbers.filter_map(|n| self.held.get(usize_of(n))?.as_ref());
            return newest(held.filter(|held| fits(held)), filter.limit);
        }
        if let Some(ids) = &thread {
            let held = ids.iter().filter_map(|id| self.get(id));
            return newest(held.filter(|held| fits(held)), filter.limit);
        }
        if let Some(board) = &filter.board {
            let ids = self.rooms.get(board).into_iter();
            let held = ids.flat_map(|room| room.newest_first());
            let held = held.filter_map(|id| self.get(id)).filter(|held| fits(held));
            return held.take(filter.limit).map(|held| held.id).collect();
        }
        let all = self.held.iter().flatten();
        newest(all.filter(|held| fits(held)), filter.limit)
    }

    /// Every note of a note's thread: the first one above it that is here or was, and all below.
    fn thread(&self, note: &NoteId) -> BTreeSet<NoteId> {
        let mut above = BTreeSet::new();
        let mut first = *note;
        while let Some(parent) = self.get(&first).and_then(|held| held.parent) {
            if !above.insert(parent) {
                break;
            }
            first = parent;
        }
        let (mut thread, mut open) = (BTreeSet::from([first]), vec![first]);
        while let Some(id) = open.pop() {
            let below = self.children.get(&id).into_iter().flatten();
            open.extend(below.filter(|id| thread.insert(**id)));
        }
        thread
    }
}

impl Filter {
    fn fits(&self, held: &Held) -> bool {
        held.is_note()
            && self.board.as_ref().is_none_or(|board| *board == held.board)
            && self.kind.is_none_or(|kind| kind == held.kind)
            && self.since.is_none_or(|since| since <= held.written)
            && match self.author {
                Some(author) => author == held.author,
                None => !self.muted.contains(&held.author),
            }
    }
}

/// The newest of these, in order; a heap holds no more than are wanted.
fn newest<'a>(held: impl Iterator<Item = &'a Held>, limit: usize) -> Vec<NoteId> {
    let mut heap = BinaryHeap::new();
    for held in held {
        let key = Reverse((held.written, held.id));
        if heap.len() < limit {
            heap.push(key);
        } else if heap.peek().is_some_and(|oldest| key < *oldest) {
            heap.pop();
            heap.push(key);
        }
    }
    let sorted = heap.into_sorted_vec();
    sorted.into_iter().map(|Reverse((_, id))| id).collect()
}
