//! The asking side: one request, and its bytes as they come.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use protocol::{
    ManifestId,
    frame::{Decoder, Frame, encode_data},
    limits::{
        MAX_WEIGHTS_FRAME_BYTES, MAX_WEIGHTS_REPLY_BYTES, MAX_WEIGHTS_REQUEST_BYTES,
        MAX_WEIGHTS_SILENCE,
    },
    weights::{Manifest, WeightsReply, WeightsRequest},
};
use tokio::time::timeout;

use super::error::{CallError, Violation};

/// Asked of the stream at once: a few frames.
const READ_BYTES: usize = 64 << 10;

/// What a peer gives.
#[derive(Debug)]
pub enum Answer<IO> {
    /// Bytes of a manifest or of a file.
    Bytes(Incoming<IO>),
    /// The runs of chunks that it holds.
    Have(Vec<Range<u32>>),
}

/// Bytes under way. Dropping it ends the sending.
#[derive(Debug)]
pub struct Incoming<IO> {
    frames: Frames<IO>,
    left: u64,
}

#[derive(Debug)]
struct Frames<IO> {
    io: IO,
    decoder: Decoder,
    buffer: BytesMut,
}

/// Asks a peer, on a new stream.
///
/// # Errors
/// See [`CallError`].
pub async fn ask<IO>(mut io: IO, request: &WeightsRequest) -> Result<Answer<IO>, CallError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut frame = BytesMut::new();
    encode_data(&request.encode(), MAX_WEIGHTS_REQUEST_BYTES, &mut frame)
        .expect("a request is short");
    let sending = async {
        io.write_all(&frame).await?;
        io.flush().await
    };
    in_time(sending).await??;
    let mut frames = Frames {
        io,
        decoder: Decoder::new(MAX_WEIGHTS_REPLY_BYTES),
        buffer: BytesMut::new(),
    };
    let Frame::Data(bytes) = frames.next().await? else {
        return Err(Violation::Unfitting.into());
    };
    let reply = WeightsReply::decode(&bytes).map_err(Violation::Message)?;
    match (reply, request) {
        (WeightsReply::Refused(refusal), _) => Err(CallError::Refused(refusal)),
        (WeightsReply::Have(runs), WeightsRequest::Have(_)) => {
            frames.end().await?;
            Ok(Answer::Have(runs))
        }
        (WeightsReply::Data(left), WeightsRequest::Range(_, span)) if left == span.length => {
            Ok(Answer::Bytes(Incoming { frames, left }))
        }
        (WeightsReply::Data(left), WeightsRequest::Manifest(_)) if left <= request.max_bytes() => {
            Ok(Answer::Bytes(Incoming { frames, left }))
        }
        _ => Err(Violation::Unfitting.into()),
    }
}

/// Asks which chunks a peer holds.
///
/// # Errors
/// See [`CallError`].
pub async fn ask_have<IO>(io: IO, id: ManifestId) -> Result<Vec<Range<u32>>, CallError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    match ask(io, &WeightsRequest::Have(id)).await? {
        Answer::Have(runs) => Ok(runs),
        Answer::Bytes(_) => Err(Violation::Unfitting.into()),
    }
}

/// Asks for a manifest, and checks it.
///
/// # Errors
/// See [`CallError`].
pub async fn ask_manifest<IO>(io: IO, id: ManifestId) -> Result<Manifest, CallError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let Answer::Bytes(mut incoming) = ask(io, &WeightsRequest::Manifest(id)).await? else {
        return Err(Violation::Unfitting.into());
    };
    // Memory follows the bytes that come.
    let mut bytes = Vec::new();
    while let Some(piece) = incoming.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(Manifest::read(id, &bytes).map_err(Violation::Manifest)?)
}

impl<IO: AsyncRead + Unpin> Incoming<IO> {
    /// The next bytes; `None` when all came, and the peer said that it is the end.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        if self.left == 0 {
            self.frames.end().await?;
            return Ok(None);
        }
        let Frame::Data(bytes) = self.frames.next().await? else {
            return Err(Violation::Unfitting.into());
        };
        let count = bytes.len() as u64;
        let fits = (1..=self.left).contains(&count) && bytes.len() <= MAX_WEIGHTS_FRAME_BYTES;
        if !fits {
            return Err(Violation::Unfitting.into());
        }
        self.left -= count;
        Ok(Some(bytes))
    }
}

impl<IO: AsyncRead + Unpin> Frames<IO> {
    async fn next(&mut self) -> Result<Frame, CallError> {
        loop {
            let frame = self.decoder.decode(&mut self.buffer);
            if let Some(frame) = frame.map_err(Violation::Frame)? {
                return Ok(frame);
            }
            let filled = self.buffer.len();
            self.buffer.resize(filled + READ_BYTES, 0);
            let read = in_time(self.io.read(&mut self.buffer[filled..])).await??;
            self.buffer.truncate(filled + read);
            if read == 0 {
                return Err(CallError::Cut);
            }
        }
    }

    async fn end(&mut self) -> Result<(), CallError> {
        match self.next().await? {
            Frame::End => Ok(()),
            Frame::Data(_) => Err(Violation::Unfitting.into()),
        }
    }
}

async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, CallError> {
    let done = timeout(MAX_WEIGHTS_SILENCE, work).await;
    done.map_err(|_| CallError::Silent)
}
