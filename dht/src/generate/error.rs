//! What goes wrong in a call: for whoever asked, and for whoever answers.

use std::io::{self, ErrorKind};

use protocol::{
    frame::FrameError,
    generate::{DecodeError, OrderError},
    limits::{MAX_REPLY_SILENCE, REQUEST_TIMEOUT},
};

use super::{reader::ReadError, serve::MAX_STALL};

/// What a peer did that no peer of any version does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Bytes that are no frame, or a frame over its limit.
    #[error("a frame is wrong")]
    Frame(#[source] FrameError),
    /// A frame that holds no such message.
    #[error("a message is wrong")]
    Message(#[source] DecodeError),
    /// A reply out of order.
    #[error("a reply is out of order")]
    Order(#[source] OrderError),
    /// An END frame: here the last message says that it is the last.
    #[error("an END frame where a message was due")]
    End,
    /// Bytes after the request.
    #[error("bytes after the request")]
    AfterRequest,
    /// Embeddings that do not fit the request: another number of them, or no numbers.
    #[error("embeddings that do not fit the request")]
    Embeddings,
}

/// Why a peer's answer broke off. None of them is an answer: the same request may go elsewhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The peer does not speak the protocol.
    #[error("the peer does not answer requests of this kind")]
    Unsupported,
    /// The stream ended before the answer did: the peer died, dropped the request, or a relay
    /// reached its limit.
    #[error("the answer was cut")]
    Cut,
    /// Nothing came for [`MAX_REPLY_SILENCE`], not even a heartbeat.
    #[error("nothing was heard from the peer for {} s", MAX_REPLY_SILENCE.as_secs())]
    Silent,
    /// The stream broke.
    #[error("the stream broke")]
    Broken(#[source] io::Error),
    /// The peer does not keep to the protocol.
    #[error("the peer does not keep to the protocol")]
    Violation(#[source] Violation),
}

impl CallError {
    /// Whether the peer is to blame, not the way to it.
    pub fn is_violation(&self) -> bool {
        matches!(self, Self::Violation(_))
    }
}

impl From<ReadError> for CallError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Ended => Self::Cut,
            ReadError::Io(error) if error.kind() == ErrorKind::Unsupported => Self::Unsupported,
            ReadError::Io(error) => Self::Broken(error),
            ReadError::Violation(violation) => Self::Violation(violation),
            // A client reads under no such limit.
            ReadError::NoRoom => Self::Broken(ErrorKind::OutOfMemory.into()),
        }
    }
}

/// Why a request was not answered to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The client went: it needs no answer any more.
    #[error("the client is gone")]
    Gone,
    /// The request was not there within [`REQUEST_TIMEOUT`].
    #[error("no whole request within {} s", REQUEST_TIMEOUT.as_secs())]
    Late,
    /// The client took nothing for [`MAX_STALL`].
    #[error("the client read nothing for {} s", MAX_STALL.as_secs())]
    Stalled,
    /// The client does not keep to the protocol.
    #[error("the client does not keep to the protocol")]
    Violation(#[source] Violation),
    /// The events that were to be sent stopped before the last one. The client sees a cut, and
    /// may go on elsewhere.
    #[error("the answer stopped before its end")]
    Unfinished,
    /// The events that were to be sent are out of order.
    #[error("the answer is out of order")]
    OutOfOrder(#[source] OrderError),
}

impl ServeError {
    /// Whether the client is to blame.
    pub fn is_violation(&self) -> bool {
        matches!(self, Self::Violation(_))
    }
}
