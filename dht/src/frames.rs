//! Frames over a stream: the bytes of [`protocol::frame`] moved. It knows no message.

use std::io::ErrorKind;

use bytes::{Bytes, BytesMut};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use protocol::frame::{Decoder, Frame, FrameError, encode_data};

/// What is read at once: a handshake's message fits, and a stream costs no more than this beyond
/// the frame that it is in.
const CHUNK_BYTES: usize = 4 << 10;

/// Why no frame came.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The stream ended or broke.
    Closed,
    /// The peer does not speak the protocol.
    Unsupported,
    /// What came is no frame, or one over the limit.
    Frame(FrameError),
}

/// Takes frames off a stream. Memory is bounded by the largest frame that is allowed.
#[derive(Debug)]
pub(crate) struct FrameReader {
    decoder: Decoder,
    buffer: BytesMut,
}

impl FrameReader {
    /// For payloads up to a limit.
    pub(crate) fn new(max_payload_bytes: usize) -> Self {
        Self {
            decoder: Decoder::new(max_payload_bytes),
            buffer: BytesMut::new(),
        }
    }

    /// The next payload.
    pub(crate) async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<Bytes, ReadError> {
        let payload = self.next_or_end(stream).await?;
        payload.ok_or(ReadError::Closed)
    }

    /// The next payload, or `None` where the peer said that it is the end.
    pub(crate) async fn next_or_end(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<Option<Bytes>, ReadError> {
        loop {
            let frame = self.decoder.decode(&mut self.buffer);
            match frame.map_err(ReadError::Frame)? {
                Some(Frame::Data(payload)) => return Ok(Some(payload)),
                Some(Frame::End) => return Ok(None),
                None => self.fill(stream).await?,
            }
        }
    }

    async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<(), ReadError> {
        let filled = self.buffer.len();
        self.buffer.resize(filled + CHUNK_BYTES, 0);
        let read = stream.read(&mut self.buffer[filled..]).await;
        let count = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(filled + count);
        match read {
            Ok(count) if count > 0 => Ok(()),
            Err(error) if error.kind() == ErrorKind::Unsupported => Err(ReadError::Unsupported),
            _ => Err(ReadError::Closed),
        }
    }
}

/// Writes one payload as a frame. A payload over the limit is a mistake of ours, and an error.
pub(crate) async fn write_frame(
    stream: &mut (impl AsyncWrite + Unpin),
    payload: &[u8],
    max_payload_bytes: usize,
) -> std::io::Result<()> {
    let mut frame = BytesMut::new();
    encode_data(payload, max_payload_bytes, &mut frame).map_err(std::io::Error::other)?;
    stream.write_all(&frame).await?;
    stream.flush().await
}
