//! What is kept in memory of one entry.

use protocol::board::{BoardName, Entry, Kind, NoteId, Saying};
use protocol::{NodeId, UnixMillis};

use crate::core::board::rates::Stream;

/// What is kept of one entry, beside its text.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) id: NoteId,
    pub(super) author: NodeId,
    pub(super) written: UnixMillis,
    pub(super) expires: UnixMillis,
    pub(super) board: BoardName,
    pub(super) kind: Kind,
    pub(super) parent: Option<NoteId>,
    pub(super) bytes: u64,
    /// Of a withdrawal: which note.
    pub(super) withdraws: Option<NoteId>,
    pub(super) attachments: Box<[[u8; 32]]>,
}

impl Held {
    pub(super) fn of(entry: &Entry) -> Self {
        let (withdraws, attachments) = match &entry.saying {
            Saying::Note(note) => (None, note.attachments.iter().map(|a| a.digest).collect()),
            Saying::Withdrawal(withdrawal) => (Some(withdrawal.note), Box::default()),
        };
        Self {
            id: entry.id,
            author: entry.author,
            written: entry.written,
            expires: entry.expires,
            board: entry.saying.board().clone(),
            kind: entry.saying.kind(),
            parent: entry.saying.parent(),
            bytes: size_of(entry),
            withdraws,
            attachments,
        }
    }

    pub(super) fn is_note(&self) -> bool {
        self.withdraws.is_none()
    }

    pub(super) fn stream(&self) -> Stream {
        Stream {
            author: self.author,
            is_withdrawal: self.withdraws.is_some(),
        }
    }
}

pub(super) fn size_of(entry: &Entry) -> u64 {
    u64::try_from(entry.bytes.len()).unwrap_or(u64::MAX)
}

pub(super) fn usize_of(number: u32) -> usize {
    usize::try_from(number).expect("32 bits fit")
}
