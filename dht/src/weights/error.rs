//! What goes wrong: for whoever asked, and for whoever gives.

use std::io::{self, ErrorKind};

use protocol::{
    frame::FrameError,
    limits::MAX_WEIGHTS_SILENCE,
    weights::{ManifestError, Refusal, WeightsMessageError},
};

/// What a peer did that no peer of any version does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Bytes that are no frame, or a frame over its limit.
    #[error("a frame is wrong")]
    Frame(#[source] FrameError),
    /// A frame that holds no such message.
    #[error("a message is wrong")]
    Message(#[source] WeightsMessageError),
    /// Another kind of answer than was asked for, or more or fewer bytes than it said.
    #[error("an answer that does not fit the request")]
    Unfitting,
    /// Bytes that are not the manifest that was asked for.
    #[error("a wrong manifest")]
    Manifest(#[source] ManifestError),
    /// Bytes after the request.
    #[error("bytes after the request")]
    AfterRequest,
}

/// Why a peer gave nothing, or not all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The peer said no.
    #[error("the peer gives nothing ({:?})", .0.code)]
    Refused(Refusal),
    /// The peer does not speak the protocol.
    #[error("the peer gives no weights")]
    Unsupported,
    /// The stream ended too early.
    #[error("the answer was cut")]
    Cut,
    /// Nothing came for [`MAX_WEIGHTS_SILENCE`].
    #[error("nothing came from the peer for {} s", MAX_WEIGHTS_SILENCE.as_secs())]
    Silent,
    /// The stream broke.
    #[error("the stream broke")]
    Broken(#[source] io::Error),
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

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::Unsupported => Self::Unsupported,
            _ => Self::Broken(error),
        }
    }
}

/// Why a request was not answered to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The client went.
    #[error("the client is gone")]
    Gone,
    /// The request, or a client that takes what is sent, was too slow.
    #[error("the client was too slow")]
    Slow,
    /// The client does not keep to the protocol.
    #[error("the client does not keep to the protocol")]
    Violation(#[from] Violation),
    /// What was to be sent could not be read, or is shorter than was said. The client sees a cut.
    #[error("what was to be sent cannot be read")]
    Unreadable(#[source] io::Error),
}

impl ServeError {
    /// Whether the client is to blame.
    pub fn is_violation(&self) -> bool {
        matches!(self, Self::Violation(_))
    }
}
