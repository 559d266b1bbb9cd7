//! Requests for an answer or an embedding, and the events that stream back.
//!
//! It owns the generated messages of `proto/generate.proto`, their limits and their decoding;
//! it knows neither HTTP nor an engine.

mod error_code;
mod json;
mod order;
mod request_error;
mod validate;

use prost::Message;

use crate::limits::{MAX_EMBED_RESPONSE_BYTES, MAX_EVENT_BYTES, MAX_REQUEST_BYTES};

pub use order::{EmbedOrder, EventOrder, OrderError, ReplyOrder, Weight};
pub use request_error::RequestError;
pub use wire::*;

mod wire {
    #![allow(missing_docs, reason = "generated; documented in proto/generate.proto")]
    include!(concat!(env!("OUT_DIR"), "/shoal.generate.v1.rs"));
}

/// A message between peers, with the size that is checked before it is decoded.
pub trait Bounded: Message + Default {
    /// The longest encoding that is accepted.
    const MAX_BYTES: usize;

    /// Decodes a message of a peer.
    ///
    /// # Errors
    /// Every [`DecodeError`].
    fn decode_bounded(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(DecodeError::TooLarge {
                bytes: bytes.len(),
                limit: Self::MAX_BYTES,
            });
        }
        Self::decode(bytes).map_err(DecodeError::Malformed)
    }
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Over the message's limit; nothing was decoded.
    #[error("a message of {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes that came.
        bytes: usize,
        /// [`Bounded::MAX_BYTES`].
        limit: usize,
    },
    /// Not the protobuf encoding of the message.
    #[error("the message cannot be decoded")]
    Malformed(#[source] prost::DecodeError),
}

impl Bounded for GenerateRequest {
    const MAX_BYTES: usize = MAX_REQUEST_BYTES;
}

impl Bounded for GenerateEvent {
    const MAX_BYTES: usize = MAX_EVENT_BYTES;
}

impl Bounded for EmbedRequest {
    const MAX_BYTES: usize = MAX_REQUEST_BYTES;
}

impl Bounded for EmbedResponse {
    const MAX_BYTES: usize = MAX_EMBED_RESPONSE_BYTES;
}

impl Bounded for EmbedReply {
    const MAX_BYTES: usize = MAX_EMBED_RESPONSE_BYTES;
}

impl Failure {
    /// A failure that names no field and no time to retry after.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            param: String::new(),
            retry_after_seconds: 0,
        }
    }

    /// The same, with the request's field at fault.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = param.into();
        self
    }

    /// The same, with the seconds after which a retry is worth it.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = seconds;
        self
    }

    /// Whether the same request may succeed later or elsewhere.
    pub fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests;
