//! Frames on a stream: `length ‖ kind ‖ payload`.
//!
//! The length is 4 bytes, big-endian, and counts the kind and the payload. A relay that reaches
//! its limit looks like a clean end of stream, so a sender says END, and a stream that stops
//! without it was cut. A zero length or an unknown kind is an error: a run of zeroes is no
//! frame.
//!
//! Transitions of [`Decoder`]: open → ended on an END frame; ended → error on any further byte;
//! any → failed on an error, which comes again for ever. It moves no bytes by itself and knows
//! no message type.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::limits::MAX_FRAME_BYTES;

const LENGTH_BYTES: usize = 4;
const KIND_BYTES: usize = 1;
const KIND_DATA: u8 = 1;
const KIND_END: u8 = 2;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A message; it may be empty.
    Data(Bytes),
    /// The sender is done: the last frame.
    End,
}

/// Why bytes are no frame, or a payload does not become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The payload is over the limit; nothing was allocated for it.
    #[error("a frame of {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes of the payload.
        bytes: u64,
        /// The codec's limit.
        limit: usize,
    },
    /// A length of zero: there is not even a kind.
    #[error("a frame without a kind")]
    Empty,
    /// Neither data nor END.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// An END frame with a payload.
    #[error("an END frame with a payload")]
    EndWithPayload,
    /// Bytes after END.
    #[error("bytes after the END frame")]
    AfterEnd,
    /// The stream stopped before END.
    #[error("the stream was cut before its END frame")]
    Cut,
}

/// Takes frames off the front of a buffer.
#[derive(Debug)]
pub struct Decoder {
    max_payload_bytes: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Ended,
    Failed(FrameError),
}

impl Decoder {
    /// A decoder that refuses payloads over `max_payload_bytes`, at most [`MAX_FRAME_BYTES`].
    pub fn new(max_payload_bytes: usize) -> Self {
        Self {
            max_payload_bytes: max_payload_bytes.min(MAX_FRAME_BYTES),
            state: State::Open,
        }
    }

    /// The next frame; `None` when the buffer does not hold a whole one yet.
    ///
    /// # Errors
    /// Every [`FrameError`] but [`FrameError::Cut`], and the same again on each later call.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let result = match self.state {
            State::Failed(error) => Err(error),
            State::Ended if buffer.is_empty() => Ok(None),
            State::Ended => Err(FrameError::AfterEnd),
            State::Open => self.decode_open(buffer),
        };
        match &result {
            Ok(Some(Frame::End)) => self.state = State::Ended,
            Err(error) => self.state = State::Failed(*error),
            Ok(_) => {}
        }
        result
    }

    /// What the stream's end means, with the bytes that were left.
    ///
    /// # Errors
    /// [`FrameError::Cut`] before END, else what [`Decoder::decode`] said.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.state {
            State::Open => Err(FrameError::Cut),
            State::Ended => Ok(()),
            State::Failed(error) => Err(error),
        }
    }

    fn decode_open(&self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some((length, _)) = buffer.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let frame_bytes = self.check_length(u32::from_be_bytes(*length))?;
        // The kind is looked at as soon as it is there: a wrong one is not waited out.
        let Some(&kind) = buffer.get(LENGTH_BYTES) else {
            return Ok(None);
        };
        check_kind(kind, frame_bytes)?;
        let whole = LENGTH_BYTES + frame_bytes;
        // Nothing is reserved for it: memory follows the bytes that came, not those announced.
        if buffer.len() < whole {
            return Ok(None);
        }
        buffer.advance(LENGTH_BYTES + KIND_BYTES);
        let payload = buffer.split_to(frame_bytes - KIND_BYTES).freeze();
        Ok(Some(match kind {
            KIND_END => Frame::End,
            _ => Frame::Data(payload),
        }))
    }

    /// Bytes of kind and payload, within the limit.
    fn check_length(&self, length: u32) -> Result<usize, FrameError> {
        let limit = self.max_payload_bytes;
        let payload = length.checked_sub(1).ok_or(FrameError::Empty)?;
        match usize::try_from(payload) {
            Ok(bytes) if bytes <= limit => Ok(bytes + KIND_BYTES),
            _ => Err(FrameError::TooLarge {
                bytes: payload.into(),
                limit,
            }),
        }
    }
}

fn check_kind(kind: u8, frame_bytes: usize) -> Result<(), FrameError> {
    match kind {
        KIND_DATA => Ok(()),
        KIND_END if frame_bytes == KIND_BYTES => Ok(()),
        KIND_END => Err(FrameError::EndWithPayload),
        unknown => Err(FrameError::Kind(unknown)),
    }
}

/// Appends a message as one frame.
///
/// # Errors
/// [`FrameError::TooLarge`] when its encoding is over `max_payload_bytes`, or over
/// [`MAX_FRAME_BYTES`].
pub fn encode_message<M: prost::Message>(
    message: &M,
    max_payload_bytes: usize,
    out: &mut BytesMut,
) -> Result<(), FrameError> {
    let bytes = message.encoded_len();
    begin_data(bytes, max_payload_bytes, out)?;
    message.encode(out).expect("a BytesMut grows as needed");
    Ok(())
}

/// Appends bytes as one frame.
///
/// # Errors
/// [`FrameError::TooLarge`], as [`encode_message`].
pub fn encode_data(
    payload: &[u8],
    max_payload_bytes: usize,
    out: &mut BytesMut,
) -> Result<(), FrameError> {
    begin_data(payload.len(), max_payload_bytes, out)?;
    out.put_slice(payload);
    Ok(())
}

/// Appends the END frame.
pub fn encode_end(out: &mut BytesMut) {
    out.put_u32(1);
    out.put_u8(KIND_END);
}

fn begin_data(bytes: usize, limit: usize, out: &mut BytesMut) -> Result<(), FrameError> {
    let limit = limit.min(MAX_FRAME_BYTES);
    let length = u32::try_from(bytes + KIND_BYTES).unwrap_or(u32::MAX);
    if bytes > limit {
        let bytes = u64::from(length) - 1;
        return Err(FrameError::TooLarge { bytes, limit });
    }
    out.reserve(LENGTH_BYTES + KIND_BYTES + bytes);
    out.put_u32(length);
    out.put_u8(KIND_DATA);
    Ok(())
}

#[cfg(test)]
mod tests;
