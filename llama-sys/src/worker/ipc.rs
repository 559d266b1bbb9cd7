//! What a node and its worker say to each other, and how it lies on their socket pair: frames of
//! a `u32` length, most significant byte first, and a protobuf message. A frame's length is
//! checked before memory is set aside. It does not know who sends what when.
//!
//! **Flow control.** Each request's events come under credit: the worker sends at most
//! [`CREDIT_WINDOW`] of them ahead of what the node has taken, and asks its engine for no more
//! meanwhile, so a slow reader pauses its own answer and nobody else's. Everything else is a
//! bounded number of messages a request.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::Message as _;

use crate::devices::{Device, Measurement};
use crate::engine::{Event, Job, JobError, Load, ModelInfo, Prompt};
use crate::stage::{FromHead, FromStage, HeadConfig, SliceConfig, SliceInfo, ToHead};
use crate::worker::LoadOptions;

mod convert;
pub mod stream;
#[cfg(test)]
mod tests;
mod wire;

/// Bytes of a frame at most. The largest honest ones are prompts of a million tokens (5 MB), and
/// the log-probabilities of 60,000 prompt tokens with 20 alternatives each.
pub const MAX_FRAME_BYTES: usize = 32 << 20;

/// Events of one request that may be under way or waiting at the node.
pub const CREDIT_WINDOW: u32 = 32;

/// Version of these messages. Both ends are one binary, except when it was replaced on disk
/// under a running node.
pub const VERSION: u32 = 3;

/// Bytes of a frame's length.
const PREFIX_BYTES: usize = 4;

/// A request, unique among those of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The node's first message: what the worker is for.
    Hello {
        /// [`VERSION`] of the node.
        version: u32,
        /// What to do.
        task: Task,
    },
    /// The node asks something.
    Ask(RequestId, Ask),
    /// The node does not want a request's answer any more.
    Cancel(RequestId),
    /// The node has taken this many events of a request.
    Credit(RequestId, u32),
    /// How far the load is, 0..=1.
    Loading(f32),
    /// The model is loaded.
    Ready(ModelInfo),
    /// The model cannot be loaded, or this worker does not do it.
    LoadRefused(String),
    /// Something of a request's answer.
    Reply(RequestId, Reply),
    /// How busy the engine is.
    Stats(Load),
    /// The devices of this machine, as llama.cpp sees them.
    Devices(Vec<Device>),
    /// How fast they are.
    Measured(Vec<Measurement>),
    /// The node tells the head of a chain of its ring.
    ToHead(ToHead),
    /// The head of a chain has something for its ring.
    FromHead(FromHead),
    /// The slice is loaded.
    SliceReady(SliceInfo),
    /// The node gives a slice a payload.
    Payload(Bytes),
    /// A slice has something for its ring.
    FromStage(FromStage),
    /// The node asks a slice's worker whether it runs at all, whatever it computes.
    Ping,
    /// It does.
    Pong,
}

/// What a worker is for.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// Load a model and serve it.
    Load(LoadOptions),
    /// Load the head of a chain and serve the model.
    Head(HeadConfig),
    /// Load a slice of a model and compute payloads.
    Slice(SliceConfig),
    /// List the devices and end.
    Devices,
    /// Measure the devices, the processor with so many threads (`None`: its cores), and end.
    Measure(Option<u32>),
}

/// What a node may ask of a model.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// An answer.
    Generate(Box<Job>),
    /// Embeddings.
    Embed(Vec<Prompt>),
    /// Tokens of a text.
    Tokenize {
        /// The text.
        text: String,
        /// Special tokens written in it become tokens.
        parse_special: bool,
    },
    /// Text of tokens.
    Detokenize(Vec<u32>),
}

/// What comes back. The last of a request: `Refused`, an event that ends the answer, or the one
/// reply to whatever is not an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The job has its place; events follow.
    Accepted,
    /// The request was refused or failed.
    Refused(JobError),
    /// An event of an answer.
    Event(Event),
    /// One vector an input, and the inputs' tokens in all.
    Embedded(Vec<Vec<f32>>, u32),
    /// Tokens.
    Tokenized(Vec<u32>),
    /// Text.
    Detokenized(String),
}

impl Reply {
    /// Whether nothing follows.
    pub fn is_last(&self) -> bool {
        match self {
            Self::Accepted => false,
            Self::Event(event) => matches!(event, Event::Finished { .. } | Event::Failed(_)),
            _ => true,
        }
    }
}

/// Why bytes are no message, or a message no frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IpcError {
    /// A frame's length, announced or made, is over the limit.
    #[error("a frame of {bytes} bytes; {MAX_FRAME_BYTES} are allowed")]
    TooLarge {
        /// The length.
        bytes: usize,
    },
    /// Not protobuf, or not this one.
    #[error("a frame that is no message")]
    Garbage(#[source] prost::DecodeError),
    /// A message that lacks what it must have.
    #[error("a message without its {0}")]
    Missing(&'static str),
    /// A message with a value that cannot be.
    #[error("a message with a bad {0}")]
    Bad(&'static str),
}

/// Reads one frame's content, whichever end sent it.
///
/// # Errors
/// Any [`IpcError`]; nothing panics.
pub fn decode(content: &[u8]) -> Result<Message, IpcError> {
    decode_frame(Bytes::copy_from_slice(content))
}

/// The same without a copy of what it carries.
fn decode_frame(content: Bytes) -> Result<Message, IpcError> {
    if content.len() > MAX_FRAME_BYTES {
        return Err(IpcError::TooLarge {
            bytes: content.len(),
        });
    }
    let frame = wire::Frame::decode(content).map_err(IpcError::Garbage)?;
    convert::from_wire(frame)
}

/// Appends a message as a frame.
///
/// # Errors
/// [`IpcError::TooLarge`]; `out` is then as it was.
pub fn encode(message: Message, out: &mut BytesMut) -> Result<(), IpcError> {
    let frame = convert::to_wire(message);
    let bytes = frame.encoded_len();
    let length = u32::try_from(bytes).map_err(|_| IpcError::TooLarge { bytes })?;
    if bytes > MAX_FRAME_BYTES {
        return Err(IpcError::TooLarge { bytes });
    }
    out.reserve(PREFIX_BYTES + bytes);
    out.put_u32(length);
    frame
        .encode(out)
        .expect("a BytesMut takes what was reserved in it");
    Ok(())
}

/// Takes the first frame out of what was read, if it is there whole.
///
/// # Errors
/// Any [`IpcError`]; the connection is then of no use any more.
pub fn take(read: &mut BytesMut) -> Result<Option<Message>, IpcError> {
    let Some(prefix) = read.first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    let bytes = u32::from_be_bytes(*prefix) as usize;
    if bytes > MAX_FRAME_BYTES {
        return Err(IpcError::TooLarge { bytes });
    }
    if read.len() < PREFIX_BYTES + bytes {
        read.reserve(PREFIX_BYTES + bytes - read.len());
        return Ok(None);
    }
    read.advance(PREFIX_BYTES);
    let content = read.split_to(bytes).freeze();
    decode_frame(content).map(Some)
}
