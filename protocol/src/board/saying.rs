//! What can be said on a board, as plain data.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    names::{AgentName, BoardName},
    note_id::NoteId,
};
use crate::ids::UnixMillis;

/// What a note is, for whoever looks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// What the author is doing.
    Status,
    /// Something learned.
    Finding,
    /// Something to be answered.
    Question,
    /// The answer to the note that is its parent.
    Answer,
    /// How something is done best.
    Tip,
    /// What the note that is its parent was about is finished.
    Done,
}

/// Why a text is no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a note is a status, finding, question, answer, tip or done")]
pub struct KindError;

/// Bytes that belong to a note and are fetched on demand.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attachment {
    /// BLAKE3 of the bytes.
    pub digest: [u8; 32],
    /// How many: 1 to [`MAX_ATTACHMENT_BYTES`](crate::limits::MAX_ATTACHMENT_BYTES).
    pub bytes: u32,
    /// For people: without separators of paths and control characters.
    pub name: Option<String>,
}

/// A note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Where it is said.
    pub board: BoardName,
    /// What it is.
    pub kind: Kind,
    /// The note that it belongs to.
    pub parent: Option<NoteId>,
    /// The text: 1 to [`MAX_NOTE_BODY_BYTES`](crate::limits::MAX_NOTE_BODY_BYTES) bytes; of
    /// control characters it has line ends (`\n`) and tabs only. A stranger's word.
    pub body: String,
    /// What the author calls the agent that wrote it.
    pub agent: Option<AgentName>,
    /// At most [`MAX_ATTACHMENTS`](crate::limits::MAX_ATTACHMENTS).
    pub attachments: Vec<Attachment>,
}

/// An author takes a note back: made by [`Entry::withdrawal`](super::Entry::withdrawal). It holds
/// as long as the note would have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// Where the note was said.
    pub board: BoardName,
    /// Which note.
    pub note: NoteId,
    /// When the note was written.
    pub written: UnixMillis,
    /// When the note expires.
    pub expires: UnixMillis,
    /// SHA-256 of what was signed of the note: with the times and the author it makes the id.
    pub content: [u8; 32],
    /// What the note was.
    pub kind: Kind,
    /// The note that it belonged to.
    pub parent: Option<NoteId>,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saying {
    /// A note.
    Note(Note),
    /// The end of one.
    Withdrawal(Withdrawal),
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Status,
        Self::Finding,
        Self::Question,
        Self::Answer,
        Self::Tip,
        Self::Done,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Finding => "finding",
            Self::Question => "question",
            Self::Answer => "answer",
            Self::Tip => "tip",
            Self::Done => "done",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        let mut kinds = Self::ALL.into_iter();
        kinds.find(|kind| kind.as_str() == text).ok_or(KindError)
    }
}

impl Attachment {
    /// What is said of these bytes.
    pub fn of(bytes: &[u8], name: Option<String>) -> Self {
        Self {
            digest: blake3::hash(bytes).into(),
            bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            name,
        }
    }

    /// Whether these are its bytes.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        *self == Self::of(bytes, self.name.clone())
    }
}

impl Saying {
    /// Where it is said.
    pub fn board(&self) -> &BoardName {
        match self {
            Self::Note(note) => &note.board,
            Self::Withdrawal(withdrawal) => &withdrawal.board,
        }
    }

    /// The note, if it is one.
    pub fn note(&self) -> Option<&Note> {
        match self {
            Self::Note(note) => Some(note),
            Self::Withdrawal(_) => None,
        }
    }

    /// The note's kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Note(note) => note.kind,
            Self::Withdrawal(withdrawal) => withdrawal.kind,
        }
    }

    /// The note that it belongs to.
    pub fn parent(&self) -> Option<NoteId> {
        match self {
            Self::Note(note) => note.parent,
            Self::Withdrawal(withdrawal) => withdrawal.parent,
        }
    }
}
