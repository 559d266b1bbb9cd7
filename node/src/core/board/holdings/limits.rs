//! How much is kept, of a board, of an author, of all.

use std::time::Duration;

use super::held::usize_of;

/// How much is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How long after it was written. Default: as long as any note may hold.
    pub age: Duration,
    /// Notes of one board.
    pub board_notes: usize,
    /// Bytes of one board.
    pub board_bytes: u64,
    /// Bytes of all boards.
    pub total_bytes: u64,
    /// One author has one of so many parts of a board's room: with eight, eight authors who write
    /// as fast as they may fill a board in a week; a few who stay within it hold it for longer.
    pub shares: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            age: protocol::limits::MAX_NOTE_LIFETIME,
            board_notes: 50_000,
            board_bytes: 32 << 20,
            total_bytes: 128 << 20,
            shares: 8,
        }
    }
}

impl Limits {
    pub(super) fn share(&self) -> Bounds {
        let shares = self.shares.max(1);
        let notes = self.board_notes / usize_of(shares);
        Bounds {
            notes: notes.max(1),
            bytes: self.board_bytes / u64::from(shares),
        }
    }

    pub(super) fn whole(&self) -> Bounds {
        Bounds {
            notes: self.board_notes,
            bytes: self.board_bytes,
        }
    }
}

/// How much somebody may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) notes: usize,
    pub(super) bytes: u64,
}
