//! What is kept of the boards: which notes there is room for, which go first, how they are found.
//!
//! A board has room for so many notes and bytes, and one author for a share of it; all boards
//! together have room for so many bytes. Without room the oldest goes: an author's own, then the
//! board's, then the largest board's. A withdrawal takes its note's place, and keeps it out until
//! both expire. It knows neither rates nor whom to believe, and holds no text: that is on the
//! disk, under the note's id.

mod held;
mod limits;
mod lookup;
mod room;
mod search;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::board::{BoardName, Entry, NoteId, Saying};
use protocol::{NodeId, UnixMillis};

use self::held::{Held, size_of, usize_of};
pub use self::limits::Limits;
pub use self::lookup::{Fact, NameError, Summary};
use self::room::Room;
pub use self::search::Filter;
use super::rates::Stream;
use super::words::Words;

/// Boards that are followed, at most: each is a topic of gossip.
pub const MAX_FOLLOWED: usize = 64;

/// Removed notes that stay in the index before it is made anew.
const MAX_DEAD: usize = 1024;

/// Why an entry is not kept. Nobody is to blame for any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is here, or was withdrawn.
    Known,
    /// Nobody here follows its board.
    NotFollowed,
    /// Its time is over, or it is older than what is kept.
    Old,
    /// Its author has newer notes for its whole share.
    Share,
}

/// What is kept.
#[derive(Debug)]
pub struct Holdings {
    limits: Limits,
    /// By their numbers in the index; `None`: removed.
    held: Vec<Option<Held>>,
    dead: usize,
    numbers: BTreeMap<NoteId, u32>,
    /// The withdrawal of each withdrawn note.
    withdrawn: BTreeMap<NoteId, NoteId>,
    rooms: BTreeMap<BoardName, Room>,
    streams: BTreeMap<Stream, BTreeSet<(UnixMillis, NoteId)>>,
    children: BTreeMap<NoteId, BTreeSet<NoteId>>,
    expiries: BTreeSet<(UnixMillis, NoteId)>,
    /// How many notes have this attachment.
    attachments: BTreeMap<[u8; 32], u32>,
    bytes: u64,
    words: Words,
}

impl Holdings {
    /// Nothing is kept yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            held: Vec::new(),
            dead: 0,
            numbers: BTreeMap::new(),
            withdrawn: BTreeMap::new(),
            rooms: BTreeMap::new(),
            streams: BTreeMap::new(),
            children: BTreeMap::new(),
            expiries: BTreeSet::new(),
            attachments: BTreeMap::new(),
            bytes: 0,
            words: Words::default(),
        }
    }

    /// Keeps a board's notes from now on, or no further ones. False: too many are followed.
    pub fn follow(&mut self, board: &BoardName, followed: bool) -> bool {
        let count = self.followed().count();
        let room = self.rooms.entry(board.clone()).or_default();
        if followed && !room.is_followed && count >= MAX_FOLLOWED {
            self.rooms.retain(|_, room| !room.is_idle());
            return false;
        }
        room.is_followed = followed;
        self.rooms.retain(|_, room| !room.is_idle());
        true
    }

    /// The boards whose notes are kept.
    pub fn followed(&self) -> impl Iterator<Item = &BoardName> {
        let rooms = self.rooms.iter();
        rooms.filter_map(|(board, room)| room.is_followed.then_some(board))
    }

    /// Whether there is room for an entry.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn check(&self, entry: &Entry, now: UnixMillis) -> Result<(), Refusal> {
        if self.numbers.contains_key(&entry.id) || self.withdrawn.contains_key(&entry.id) {
            return Err(Refusal::Known);
        }
        if let Saying::Withdrawal(withdrawal) = &entry.saying
            && self.withdrawn.contains_key(&withdrawal.note)
        {
            return Err(Refusal::Known);
        }
        let room = self.rooms.get(entry.saying.board());
        let room = room.filter(|room| room.is_followed);
        let room = room.ok_or(Refusal::NotFollowed)?;
        if entry.expires <= now || entry.written < self.floor_of(room, now) {
            return Err(Refusal::Old);
        }
        let share = self.limits.share();
        let size = size_of(entry);
        match room.would_drop(&(entry.written, entry.id), entry.author, size, &share) {
            true => Err(Refusal::Share),
            false => Ok(()),
        }
    }

    /// Takes an entry for which there is room, and says which others went for it, itself perhaps
    /// among them.
    pub fn insert(&mut self, entry: &Entry) -> Vec<NoteId> {
        let mut gone = Vec::new();
        if self.numbers.contains_key(&entry.id) || self.withdrawn.contains_key(&entry.id) {
            return gone;
        }
        if let Saying::Withdrawal(withdrawal) = &entry.saying {
            if self.withdrawn.contains_key(&withdrawal.note) {
                return vec![entry.id];
            }
            self.withdrawn.insert(withdrawal.note, entry.id);
            if self.remove(&withdrawal.note) {
                gone.push(withdrawal.note);
            }
        }
        self.add(entry);
        self.make_room(entry, &mut gone);
        gone
    }

    /// Forgets an entry; whether it was there.
    pub fn remove(&mut self, id: &NoteId) -> bool {
        let Some(number) = self.numbers.remove(id) else {
            return false;
        };
        let slot = self.held.get_mut(usize_of(number)).and_then(Option::take);
        let Some(held) = slot else {
            return false;
        };
        self.dead += 1;
        self.forget(&held);
        if self.dead > MAX_DEAD && self.dead > self.numbers.len() {
            self.renumber();
        }
        true
    }

    /// Forgets what is over by now, and says what.
    pub fn expire(&mut self, now: UnixMillis) -> Vec<NoteId> {
        let mut gone = Vec::new();
        while let Some((expires, id)) = self.expiries.first().copied() {
            if expires > now {
                break;
            }
            self.expiries.pop_first();
            if self.remove(&id) {
                gone.push(id);
            }
        }
        let oldest = UnixMillis(now.0.saturating_sub(millis(self.limits.age)));
        let rooms = self.rooms.values();
        let old = rooms
            .flat_map(|room| room.before(oldest))
            .collect::<Vec<_>>();
        gone.extend(old.into_iter().filter(|id| self.remove(id)));
        gone
    }

    /// Forgets everything of an author, and says what.
    pub fn remove_author(&mut self, author: &NodeId) -> Vec<NoteId> {
        let rooms = self.rooms.values();
        let all: Vec<NoteId> = rooms.flat_map(|room| room.of(author)).collect();
        all.into_iter().filter(|id| self.remove(id)).collect()
    }

    /// When its author wrote what is kept of it.
    pub fn written(&self, stream: &Stream) -> Option<&BTreeSet<(UnixMillis, NoteId)>> {
        self.streams.get(stream)
    }

    /// Everything of a board that was written since, the oldest first.
    pub fn items(&self, board: &BoardName, since: UnixMillis) -> Vec<(UnixMillis, NoteId)> {
        let room = self.rooms.get(board);
        room.map_or_else(Vec::new, |room| room.since(since))
    }

    /// What is older is not kept.
    pub fn floor(&self, board: &BoardName, now: UnixMillis) -> UnixMillis {
        match self.rooms.get(board) {
            Some(room) => self.floor_of(room, now),
            None => now,
        }
    }

    /// Whether this entry is here.
    pub fn has(&self, id: &NoteId) -> bool {
        self.numbers.contains_key(id)
    }

    /// Whether this entry is here, and of this board.
    pub fn is_on(&self, id: &NoteId, board: &BoardName) -> bool {
        self.get(id).is_some_and(|held| held.board == *board)
    }

    /// Whether this note was withdrawn.
    pub fn is_withdrawn(&self, id: &NoteId) -> bool {
        self.withdrawn.contains_key(id)
    }

    /// Bytes of all that is kept.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Entries that are kept.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    fn floor_of(&self, room: &Room, now: UnixMillis) -> UnixMillis {
        let oldest = now.0.saturating_sub(millis(self.limits.age));
        room.floor.max(UnixMillis(oldest))
    }

    fn get(&self, id: &NoteId) -> Option<&Held> {
        let number = self.numbers.get(id)?;
        self.held.get(usize_of(*number))?.as_ref()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests;
