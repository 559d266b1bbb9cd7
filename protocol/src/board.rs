//! The blackboard's messages: signed notes on named boards, and their authors' withdrawals.
//!
//! [`Entry`] is the only form that the rest of the swarm works with: signed by its author for one
//! swarm, every field checked. Who may write how often, what is kept and what is believed is not
//! known here.

mod check;
mod entry;
mod error;
mod names;
mod note_id;
mod saying;
mod write;

use std::time::Duration;

use crate::{
    envelope::Payload,
    limits::{MAX_CLOCK_SKEW, MAX_NOTE_AHEAD, MAX_NOTE_LIFETIME, MAX_SAYING_BYTES},
    names::SwarmName,
};

pub use entry::Entry;
pub use error::EntryError;
pub use names::{AgentName, AgentNameError, BoardName, BoardNameError};
pub use note_id::{NoteId, NoteIdError};
pub use saying::{Attachment, Kind, KindError, Note, Saying, Withdrawal};

mod wire {
    #![allow(
        missing_docs,
        unreachable_pub,
        reason = "generated; documented in proto/board.proto"
    )]
    include!(concat!(env!("OUT_DIR"), "/shoal.board.v1.rs"));
}

impl Payload for wire::Saying {
    const LABEL: &'static str = "shoal/note/1";
    const MAX_BYTES: usize = MAX_SAYING_BYTES;
    /// Seen from a clock that is behind the author's by as much as may be; the note's own
    /// lifetime is counted from when it was written.
    const MAX_LIFETIME: Duration =
        MAX_NOTE_LIFETIME.saturating_add(MAX_NOTE_AHEAD.saturating_sub(MAX_CLOCK_SKEW));
}

/// The name of a board's gossip topic in a swarm.
pub fn topic(swarm: &SwarmName, board: &BoardName) -> String {
    format!("/shoal/{swarm}/board/{board}/1")
}

#[cfg(test)]
mod tests;
