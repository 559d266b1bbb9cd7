//! How every index is kept in step, and what goes for want of room.

use std::collections::{BTreeMap, BTreeSet};

use protocol::UnixMillis;
use protocol::board::{BoardName, Entry, NoteId};

use super::Holdings;
use super::held::{Held, usize_of};
use super::room::Room;

impl Holdings {
    pub(super) fn add(&mut self, entry: &Entry) {
        let Ok(number) = u32::try_from(self.held.len()) else {
            // Four thousand million notes later: renumbered long before.
            return;
        };
        let held = Held::of(entry);
        if let Some(note) = entry.saying.note() {
            self.words.add(number, &note.body);
        }
        for attachment in &held.attachments {
            *self.attachments.entry(*attachment).or_default() += 1;
        }
        if let Some(parent) = held.parent.filter(|_| held.is_note()) {
            self.children.entry(parent).or_default().insert(held.id);
        }
        let key = (held.written, held.id);
        let room = self.rooms.entry(held.board.clone()).or_default();
        room.add(key, &held);
        self.streams.entry(held.stream()).or_default().insert(key);
        self.expiries.insert((held.expires, held.id));
        self.bytes += held.bytes;
        self.numbers.insert(held.id, number);
        self.held.push(Some(held));
    }

    /// Takes an entry out of every index but that of words.
    pub(super) fn forget(&mut self, held: &Held) {
        let key = (held.written, held.id);
        if let Some(room) = self.rooms.get_mut(&held.board) {
            room.remove(&key, held);
            if room.is_idle() {
                self.rooms.remove(&held.board);
            }
        }
        take_out(&mut self.streams, &held.stream(), &key);
        if let Some(parent) = &held.parent {
            take_out(&mut self.children, parent, &held.id);
        }
        if let Some(note) = &held.withdraws {
            self.withdrawn.remove(note);
        }
        for attachment in &held.attachments {
            if let Some(count) = self.attachments.get_mut(attachment) {
                *count -= 1;
                if *count == 0 {
                    self.attachments.remove(attachment);
                }
            }
        }
        self.expiries.remove(&(held.expires, held.id));
        self.bytes = self.bytes.saturating_sub(held.bytes);
    }

    /// Lets the oldest go until everything is within its limits.
    pub(super) fn make_room(&mut self, entry: &Entry, gone: &mut Vec<NoteId>) {
        let (board, limits) = (entry.saying.board().clone(), self.limits.clone());
        let share = limits.share();
        while let Some(id) = self
            .room(&board)
            .and_then(|r| r.over_share(&entry.author, &share))
        {
            self.remove(&id);
            gone.push(id);
        }
        let whole = limits.whole();
        while let Some((written, id)) = self.room(&board).and_then(|room| room.over(&whole)) {
            self.evict(&board, written, id, gone);
        }
        while self.bytes > limits.total_bytes {
            let largest = self.rooms.iter().max_by_key(|(_, room)| room.bytes);
            let oldest = largest.and_then(|(name, room)| Some((name.clone(), room.oldest()?)));
            let Some((name, (written, id))) = oldest else {
                return;
            };
            self.evict(&name, written, id, gone);
        }
    }

    /// The board's oldest goes, and nothing as old as it is taken again.
    fn evict(
        &mut self,
        board: &BoardName,
        written: UnixMillis,
        id: NoteId,
        gone: &mut Vec<NoteId>,
    ) {
        if let Some(room) = self.rooms.get_mut(board) {
            room.floor = UnixMillis(written.0.saturating_add(1));
        }
        self.remove(&id);
        gone.push(id);
    }

    fn room(&self, board: &BoardName) -> Option<&Room> {
        self.rooms.get(board)
    }

    /// Makes the index anew, without what was removed.
    pub(super) fn renumber(&mut self) {
        let mut next = 0;
        let numbers: Vec<Option<u32>> = (self.held.iter())
            .map(|held| {
                held.as_ref()?;
                next += 1;
                Some(next - 1)
            })
            .collect();
        self.words
            .renumber(|old| numbers.get(usize_of(old)).copied().flatten());
        self.held.retain(Option::is_some);
        for (number, held) in (0..).zip(self.held.iter().flatten()) {
            self.numbers.insert(held.id, number);
        }
        self.dead = 0;
    }
}

fn take_out<K: Ord, V: Ord>(sets: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}
