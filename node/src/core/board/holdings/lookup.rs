//! Notes by the beginning of their ids; boards and authors for people.

use std::collections::BTreeMap;

use protocol::board::{BoardName, NoteId};
use protocol::{NodeId, UnixMillis};

use super::Holdings;
use super::held::Held;
use super::room::Room;

/// What is told of one note or withdrawal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Which note.
    pub note: NoteId,
    /// The entry that says it: the note, or what withdrew it.
    pub entry: NoteId,
}

/// A board, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its name.
    pub board: BoardName,
    /// Notes that are here.
    pub notes: usize,
    /// When the newest was written.
    pub last_written: Option<UnixMillis>,
    /// Whether further ones are kept.
    pub is_followed: bool,
}

/// Why a text names no note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// None here has an id that begins so.
    None,
    /// Several have.
    Several,
}

impl Holdings {
    /// The note whose id begins so, if there is one only; withdrawn ones too.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn named(&self, prefix: &str) -> Result<Fact, NameError> {
        let from = hex_floor(prefix).ok_or(NameError::None)?;
        let fits = |id: &&NoteId| id.to_string().starts_with(prefix);
        let notes = self
            .numbers
            .range(from..)
            .map(|(id, _)| id)
            .take_while(fits);
        let notes = notes.filter(|id| self.get(id).is_some_and(Held::is_note));
        let withdrawn = self
            .withdrawn
            .range(from..)
            .map(|(id, _)| id)
            .take_while(fits);
        let mut found = notes.chain(withdrawn);
        let id = found.next().ok_or(NameError::None)?;
        if found.next().is_some() {
            return Err(NameError::Several);
        }
        let entry = *self.withdrawn.get(id).unwrap_or(id);
        Ok(Fact { note: *id, entry })
    }

    /// Whether a note has this attachment.
    pub fn refers_to(&self, attachment: &[u8; 32]) -> bool {
        self.attachments.contains_key(attachment)
    }

    /// Every board that is followed or has notes here.
    pub fn summaries(&self) -> Vec<Summary> {
        let summary = |(board, room): (&BoardName, &Room)| Summary {
            board: board.clone(),
            notes: room.notes,
            last_written: room.newest(),
            is_followed: room.is_followed,
        };
        self.rooms.iter().map(summary).collect()
    }

    /// How many notes there are of each author.
    pub fn authors(&self) -> BTreeMap<NodeId, usize> {
        let mut authors = BTreeMap::new();
        for held in self.held.iter().flatten() {
            *authors.entry(held.author).or_default() += usize::from(held.is_note());
        }
        authors
    }
}

/// The first id that can begin so; `None` for what begins no id.
fn hex_floor(prefix: &str) -> Option<NoteId> {
    let padded = format!("{prefix:0<64}");
    let is_lower = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    let is_hex = prefix.bytes().all(is_lower);
    padded.parse().ok().filter(|_| is_hex)
}
