//! The messages of `/weights/1`, checked. Bytes of manifests and files are in frames of their own
//! behind a [`WeightsReply::Data`].

use std::{ops::Range, time::Duration};

use prost::Message;

pub use super::wire::RefusalCode;
use super::{layout::Span, wire};
use crate::{
    ids::{ManifestId, ManifestIdError},
    limits::{
        MAX_HELD_RUNS, MAX_MANIFEST_BYTES, MAX_MODEL_BYTES, MAX_MODEL_CHUNKS, MAX_MODEL_FILES,
        MAX_RANGE_BYTES, MAX_WEIGHTS_REPLY_BYTES, MAX_WEIGHTS_REQUEST_BYTES,
    },
};

/// What is asked of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightsRequest {
    /// A model's manifest.
    Manifest(ManifestId),
    /// Bytes of one of a model's files: at least one, at most [`MAX_RANGE_BYTES`].
    Range(ManifestId, Span),
    /// Which of a model's chunks the peer holds.
    Have(ManifestId),
}

/// What it says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightsReply {
    /// So many bytes follow.
    Data(u64),
    /// It holds these runs of chunks: at most [`MAX_HELD_RUNS`], in order, none touches the next.
    Have(Vec<Range<u32>>),
    /// It gives nothing.
    Refused(Refusal),
}

/// Why a peer gives nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The reason; `Unspecified` for one that this version does not know.
    pub code: RefusalCode,
    /// When it is worth asking again, if that is known.
    pub retry_after: Option<Duration>,
}

/// Why bytes are no such message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsMessageError {
    /// Over the limit; nothing was decoded.
    #[error("a message about weights of {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes that came.
        bytes: usize,
        /// The message's limit.
        limit: usize,
    },
    /// Not the protobuf encoding of the message.
    #[error("the message about weights cannot be decoded")]
    Malformed(#[source] prost::DecodeError),
    /// Nothing that this version knows.
    #[error("an empty message about weights")]
    Empty,
    /// The id is none.
    #[error("the id is none")]
    Id(#[from] ManifestIdError),
    /// A range that no model has, or of more than one request may ask for.
    #[error("a range of a model's file that cannot be")]
    Range,
    /// Runs that are out of order, touch, or are too many.
    #[error("runs of chunks that cannot be")]
    Runs,
    /// More bytes than anything here has.
    #[error("{0} bytes of a model at once")]
    Bytes(u64),
}

impl WeightsRequest {
    /// Reads a peer's message.
    ///
    /// # Errors
    /// See [`WeightsMessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WeightsMessageError> {
        use wire::weights_request::Request as R;
        check_size(bytes, MAX_WEIGHTS_REQUEST_BYTES)?;
        let message =
            wire::WeightsRequest::decode(bytes).map_err(WeightsMessageError::Malformed)?;
        Ok(match message.request.ok_or(WeightsMessageError::Empty)? {
            R::Manifest(request) => Self::Manifest(ManifestId::from_bytes(&request.id)?),
            R::Have(request) => Self::Have(ManifestId::from_bytes(&request.id)?),
            R::Range(request) => {
                let span = Span {
                    file: request.file,
                    offset: request.offset,
                    length: request.length,
                };
                Self::Range(ManifestId::from_bytes(&request.id)?, check_span(span)?)
            }
        })
    }

    /// The message as it travels.
    pub fn encode(&self) -> Vec<u8> {
        use wire::weights_request::Request as R;
        let id = self.id().as_bytes().to_vec();
        let request = match self {
            Self::Manifest(_) => R::Manifest(wire::ManifestRequest { id }),
            Self::Have(_) => R::Have(wire::HaveRequest { id }),
            Self::Range(_, span) => R::Range(wire::RangeRequest {
                id,
                file: span.file,
                offset: span.offset,
                length: span.length,
            }),
        };
        let request = Some(request);
        wire::WeightsRequest { request }.encode_to_vec()
    }

    /// Of which model.
    pub fn id(&self) -> ManifestId {
        match self {
            Self::Manifest(id) | Self::Have(id) | Self::Range(id, _) => *id,
        }
    }

    /// The most bytes that may be sent for it.
    pub fn max_bytes(&self) -> u64 {
        match self {
            Self::Manifest(_) => MAX_MANIFEST_BYTES as u64,
            Self::Range(_, span) => span.length,
            Self::Have(_) => 0,
        }
    }
}

impl WeightsReply {
    /// Reads a peer's message.
    ///
    /// # Errors
    /// See [`WeightsMessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WeightsMessageError> {
        use wire::weights_reply::Reply as R;
        check_size(bytes, MAX_WEIGHTS_REPLY_BYTES)?;
        let message = wire::WeightsReply::decode(bytes).map_err(WeightsMessageError::Malformed)?;
        Ok(match message.reply.ok_or(WeightsMessageError::Empty)? {
            R::Data(data) if data.bytes > MAX_RANGE_BYTES.max(MAX_MANIFEST_BYTES as u64) => {
                return Err(WeightsMessageError::Bytes(data.bytes));
            }
            R::Data(data) => Self::Data(data.bytes),
            R::Have(have) => Self::Have(read_runs(&have.runs)?),
            R::Refused(refused) => {
                let millis = u64::from(refused.retry_after_millis);
                Self::Refused(Refusal {
                    code: refused.code(),
                    retry_after: (millis > 0).then(|| Duration::from_millis(millis)),
                })
            }
        })
    }

    /// The message as it travels.
    pub fn encode(&self) -> Vec<u8> {
        use wire::weights_reply::Reply as R;
        let reply = match self {
            Self::Data(bytes) => R::Data(wire::Data { bytes: *bytes }),
            Self::Have(runs) => {
                let runs = runs.iter().flat_map(|run| [run.start, run.end - run.start]);
                let runs = runs.collect();
                R::Have(wire::Have { runs })
            }
            Self::Refused(refusal) => R::Refused(wire::Refused {
                code: refusal.code.into(),
                retry_after_millis: refusal.retry_after.map_or(0, |after| {
                    u32::try_from(after.as_millis()).unwrap_or(u32::MAX).max(1)
                }),
            }),
        };
        wire::WeightsReply { reply: Some(reply) }.encode_to_vec()
    }
}

impl From<RefusalCode> for Refusal {
    fn from(code: RefusalCode) -> Self {
        let retry_after = None;
        Self { code, retry_after }
    }
}

fn check_size(bytes: &[u8], limit: usize) -> Result<(), WeightsMessageError> {
    let bytes = bytes.len();
    if bytes > limit {
        return Err(WeightsMessageError::TooLarge { bytes, limit });
    }
    Ok(())
}

fn check_span(span: Span) -> Result<Span, WeightsMessageError> {
    let is_file = usize::try_from(span.file).is_ok_and(|file| file < MAX_MODEL_FILES);
    let end = span.offset.checked_add(span.length);
    let is_inside = end.is_some_and(|end| end <= MAX_MODEL_BYTES);
    let is_length = (1..=MAX_RANGE_BYTES).contains(&span.length);
    (is_file && is_inside && is_length)
        .then_some(span)
        .ok_or(WeightsMessageError::Range)
}

fn read_runs(numbers: &[u32]) -> Result<Vec<Range<u32>>, WeightsMessageError> {
    let (pairs, []) = numbers.as_chunks::<2>() else {
        return Err(WeightsMessageError::Runs);
    };
    if pairs.len() > MAX_HELD_RUNS {
        return Err(WeightsMessageError::Runs);
    }
    let mut runs: Vec<Range<u32>> = Vec::with_capacity(pairs.len());
    for &[start, count] in pairs {
        let end = start.checked_add(count);
        let end = end.filter(|end| count > 0 && *end <= MAX_MODEL_CHUNKS);
        let end = end.ok_or(WeightsMessageError::Runs)?;
        if runs.last().is_some_and(|last| last.end >= start) {
            return Err(WeightsMessageError::Runs);
        }
        runs.push(start..end);
    }
    Ok(runs)
}
