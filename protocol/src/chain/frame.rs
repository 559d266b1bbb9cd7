//! Frames between neighbours of a chain: `length ‖ kind ‖ channel ‖ payload`.
//!
//! All numbers are little-endian: 4 bytes of length, which count what follows them, 1 byte of
//! kind, 8 bytes of channel. Payloads of stages are opaque here and cut out of the read buffer, not
//! copied. Every length is checked before anything is kept for it, and a kind as soon as it is
//! there. Which channel may carry what, and how much, is decided elsewhere.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{
    ids::ChannelId,
    limits::{MAX_STAGE_PAYLOAD_BYTES, MIN_STAGE_FRAME_COST},
};

const LENGTH_BYTES: usize = 4;
const KIND_BYTES: usize = 1;
const CHANNEL_BYTES: usize = 8;
const CREDIT_BYTES: usize = 4;
const CODE_BYTES: usize = 1;

const KIND_FORWARD: u8 = 1;
const KIND_BACK: u8 = 2;
const KIND_CREDIT: u8 = 3;
const KIND_CLOSED: u8 = 4;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StageFrame {
    /// A stage's payload, from who opened the stream.
    Payload {
        /// On which channel.
        channel: ChannelId,
        /// Which way around the ring.
        kind: StageKind,
        /// What nobody here looks into; it may be empty.
        payload: Bytes,
    },
    /// More may be sent on a channel; from who accepted the stream.
    Credit {
        /// On which channel.
        channel: ChannelId,
        /// So many bytes more; never none.
        bytes: u32,
    },
    /// A channel is over; from either side.
    Closed {
        /// Which.
        channel: ChannelId,
        /// Why.
        code: CloseCode,
    },
}

/// Which way around the ring a payload goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StageKind {
    /// From the head to the first stage, and from stage to stage.
    Forward,
    /// To the head: tokens, or a failure.
    Back,
}

/// Why a channel is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloseCode {
    /// Whoever says it has no more use for it. Also every code of a later version.
    Done,
    /// Nobody expects anything of this peer on it.
    Unknown,
    /// It was there, and is over.
    Gone,
    /// As many channels are open as may be.
    TooMany,
}

/// Why bytes are no frame, or a payload does not become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StageFrameError {
    /// The payload is over the limit; nothing was kept for it.
    #[error("a stage's payload of {0} bytes, the limit is {MAX_STAGE_PAYLOAD_BYTES}")]
    TooLarge(u64),
    /// The length does not fit the kind.
    #[error("a stage frame of {0} bytes, which its kind never has")]
    Length(u32),
    /// None of the kinds.
    #[error("a stage frame of unknown kind {0}")]
    Kind(u8),
    /// A credit of nothing.
    #[error("a credit of no bytes")]
    NoCredit,
}

impl CloseCode {
    fn number(self) -> u8 {
        match self {
            Self::Done => 1,
            Self::Unknown => 2,
            Self::Gone => 3,
            Self::TooMany => 4,
        }
    }

    fn of(number: u8) -> Self {
        match number {
            2 => Self::Unknown,
            3 => Self::Gone,
            4 => Self::TooMany,
            _ => Self::Done,
        }
    }
}

/// The beginning of a frame: what is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageHeader {
    kind: u8,
    channel: ChannelId,
    payload_bytes: usize,
}

impl StageHeader {
    /// Length, kind and channel.
    pub const BYTES: usize = LENGTH_BYTES + KIND_BYTES + CHANNEL_BYTES;

    /// The header at the front of what came; `None` when it is not all there yet.
    ///
    /// # Errors
    /// Every [`StageFrameError`] but [`StageFrameError::NoCredit`], as soon as it is certain.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, StageFrameError> {
        let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length);
        let payload_bytes = payload_bytes(length)?;
        let Some((&kind, rest)) = rest.split_first() else {
            return Ok(None);
        };
        check_kind(kind, payload_bytes, length)?;
        let channel = rest.first_chunk::<CHANNEL_BYTES>();
        Ok(channel.map(|channel| Self {
            kind,
            channel: ChannelId(u64::from_le_bytes(*channel)),
            payload_bytes,
        }))
    }

    /// Bytes behind the header.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// The frame, with the bytes behind its header.
    ///
    /// # Errors
    /// [`StageFrameError::NoCredit`], and [`StageFrameError::Length`] for another number of bytes.
    pub fn frame(self, payload: Bytes) -> Result<StageFrame, StageFrameError> {
        let channel = self.channel;
        let kind = match self.kind {
            KIND_CREDIT => {
                let bytes = u32::from_le_bytes(fixed(&payload)?);
                return match bytes {
                    0 => Err(StageFrameError::NoCredit),
                    bytes => Ok(StageFrame::Credit { channel, bytes }),
                };
            }
            KIND_CLOSED => {
                let [number] = fixed(&payload)?;
                let code = CloseCode::of(number);
                return Ok(StageFrame::Closed { channel, code });
            }
            KIND_BACK => StageKind::Back,
            _ => StageKind::Forward,
        };
        Ok(StageFrame::Payload {
            channel,
            kind,
            payload,
        })
    }
}

impl StageFrame {
    /// Takes a frame off the front of a buffer; `None` when it is not all there yet.
    ///
    /// # Errors
    /// Every [`StageFrameError`]; the stream is of no further use then.
    pub fn decode(buffer: &mut BytesMut) -> Result<Option<Self>, StageFrameError> {
        let Some(header) = StageHeader::decode(buffer)? else {
            return Ok(None);
        };
        if buffer.len() < StageHeader::BYTES + header.payload_bytes {
            return Ok(None);
        }
        buffer.advance(StageHeader::BYTES);
        let payload = buffer.split_to(header.payload_bytes).freeze();
        header.frame(payload).map(Some)
    }

    /// Appends all of the frame but a stage's payload, which follows as it is.
    ///
    /// # Errors
    /// [`StageFrameError::TooLarge`]; nothing is appended.
    pub fn encode_header(&self, out: &mut BytesMut) -> Result<(), StageFrameError> {
        match self {
            Self::Payload {
                channel,
                kind,
                payload,
            } => {
                if payload.len() > MAX_STAGE_PAYLOAD_BYTES {
                    return Err(StageFrameError::TooLarge(payload.len() as u64));
                }
                let kind = match kind {
                    StageKind::Forward => KIND_FORWARD,
                    StageKind::Back => KIND_BACK,
                };
                put_header(kind, *channel, payload.len(), out);
            }
            Self::Credit { channel, bytes } => {
                put_header(KIND_CREDIT, *channel, CREDIT_BYTES, out);
                out.put_u32_le(*bytes);
            }
            Self::Closed { channel, code } => {
                put_header(KIND_CLOSED, *channel, CODE_BYTES, out);
                out.put_u8(code.number());
            }
        }
        Ok(())
    }

    /// Appends the whole frame.
    ///
    /// # Errors
    /// As [`Self::encode_header`].
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), StageFrameError> {
        self.encode_header(out)?;
        if let Self::Payload { payload, .. } = self {
            out.put_slice(payload);
        }
        Ok(())
    }
}

/// What a payload of this length counts for against its channel's credit.
pub fn stage_cost(payload_bytes: usize) -> u32 {
    let whole = StageHeader::BYTES.saturating_add(payload_bytes);
    let whole = u32::try_from(whole).unwrap_or(u32::MAX);
    whole.max(MIN_STAGE_FRAME_COST)
}

fn put_header(kind: u8, channel: ChannelId, payload_bytes: usize, out: &mut BytesMut) {
    let length = u32::try_from(KIND_BYTES + CHANNEL_BYTES + payload_bytes);
    out.put_u32_le(length.expect("a payload within its limit"));
    out.put_u8(kind);
    out.put_u64_le(channel.0);
}

fn payload_bytes(length: u32) -> Result<usize, StageFrameError> {
    let whole = usize::try_from(length).unwrap_or(usize::MAX);
    let payload = whole.checked_sub(KIND_BYTES + CHANNEL_BYTES);
    let payload = payload.ok_or(StageFrameError::Length(length))?;
    if payload > MAX_STAGE_PAYLOAD_BYTES {
        return Err(StageFrameError::TooLarge(payload as u64));
    }
    Ok(payload)
}

fn check_kind(kind: u8, payload_bytes: usize, length: u32) -> Result<(), StageFrameError> {
    match (kind, payload_bytes) {
        (KIND_FORWARD | KIND_BACK, _) | (KIND_CREDIT, CREDIT_BYTES) | (KIND_CLOSED, CODE_BYTES) => {
            Ok(())
        }
        (KIND_CREDIT | KIND_CLOSED, _) => Err(StageFrameError::Length(length)),
        _ => Err(StageFrameError::Kind(kind)),
    }
}

fn fixed<const N: usize>(payload: &[u8]) -> Result<[u8; N], StageFrameError> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    payload
        .try_into()
        .map_err(|_| StageFrameError::Length(length))
}

#[cfg(test)]
mod tests;
