//! What goes wrong between two peers that follow a board.

use std::{io, time::Duration};

use protocol::{
    frame::FrameError,
    reconcile::{BoardsMessageError, RefusalCode},
};

use super::ClerkGone;
use crate::core::board::Poison;

/// How long nothing may come, or be taken: an answer is a look at a disk and 256 KiB, and while one
/// peer is waited for, the others that follow the board are not asked.
pub(super) const SILENCE: Duration = Duration::from_secs(10);

/// What a peer did that no peer of any version does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Bytes that are no frame, or a frame over its limit.
    #[error("a frame is wrong")]
    Frame(#[source] FrameError),
    /// A frame that holds no such message.
    #[error("a message is wrong")]
    Message(#[source] BoardsMessageError),
    /// Another message than may come here.
    #[error("a message that does not fit the one before")]
    Unfitting,
    /// What it says of its notes is no reconciliation.
    #[error("a reconciliation that is none")]
    Poison(#[from] Poison),
    /// An entry that no honest peer sends.
    #[error("a forged entry")]
    Forged,
    /// It says that it has notes that it then does not have.
    #[error("notes that are not there")]
    Phantom,
    /// Other bytes than those of the attachment.
    #[error("a wrong attachment")]
    Attachment,
    /// More than any reconciliation takes.
    #[error("requests without an end")]
    Endless,
}

/// Why a peer gave nothing, or not all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The peer said no.
    #[error("the peer gives nothing ({0:?})")]
    Refused(RefusalCode),
    /// The peer does not speak the protocol.
    #[error("the peer keeps no boards")]
    Unsupported,
    /// The stream ended too early, or broke.
    #[error("the answer was cut")]
    Cut,
    /// Nothing came, or was taken.
    #[error("nothing came from the peer for {} s", SILENCE.as_secs())]
    Silent,
    /// This node keeps no notes any more.
    #[error(transparent)]
    Gone(#[from] ClerkGone),
    /// The peer does not keep to the protocol.
    #[error("the peer does not keep to the protocol")]
    Violation(#[from] Violation),
}

impl CallError {
    /// Whether the peer is to blame, not the way to it.
    pub fn is_violation(&self) -> bool {
        matches!(self, Self::Violation(_))
    }
}

/// Why a peer's requests were not answered to their end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The client went, or does not say END.
    #[error("the client is gone")]
    Gone,
    /// The client says nothing, or takes nothing.
    #[error("the client was too slow")]
    Slow,
    /// This node keeps no notes any more.
    #[error(transparent)]
    Unkept(#[from] ClerkGone),
    /// The client does not keep to the protocol.
    #[error("the client does not keep to the protocol")]
    Violation(#[from] Violation),
}

impl ServeError {
    /// Whether the client is to blame.
    pub fn is_violation(&self) -> bool {
        matches!(self, Self::Violation(_))
    }
}

/// Why a message was not heard or said.
#[derive(Debug)]
pub(super) enum TalkError {
    Cut,
    Unsupported,
    Silent,
    Violation(Violation),
}

impl From<io::Error> for TalkError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::Unsupported => Self::Unsupported,
            _ => Self::Cut,
        }
    }
}

impl From<TalkError> for CallError {
    fn from(error: TalkError) -> Self {
        match error {
            TalkError::Cut => Self::Cut,
            TalkError::Unsupported => Self::Unsupported,
            TalkError::Silent => Self::Silent,
            TalkError::Violation(violation) => Self::Violation(violation),
        }
    }
}

impl From<TalkError> for ServeError {
    fn from(error: TalkError) -> Self {
        match error {
            TalkError::Cut | TalkError::Unsupported => Self::Gone,
            TalkError::Silent => Self::Slow,
            TalkError::Violation(violation) => Self::Violation(violation),
        }
    }
}

impl From<Poison> for CallError {
    fn from(poison: Poison) -> Self {
        Violation::Poison(poison).into()
    }
}

impl From<Poison> for ServeError {
    fn from(poison: Poison) -> Self {
        Violation::Poison(poison).into()
    }
}
