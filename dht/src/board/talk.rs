//! Messages on a stream, one way and the other, each within its time. It knows no message.

use bytes::{Bytes, BytesMut};
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use protocol::{frame::encode_end, limits::MAX_BOARDS_MESSAGE_BYTES};
use tokio::time::timeout;

use super::error::{SILENCE, TalkError, Violation};
use crate::frames::{FrameReader, ReadError, write_frame};

/// A stream, and what was read of it beyond the last message.
pub(super) struct Talk<IO> {
    io: IO,
    reader: FrameReader,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Talk<IO> {
    pub(super) fn new(io: IO) -> Self {
        let reader = FrameReader::new(MAX_BOARDS_MESSAGE_BYTES);
        Self { io, reader }
    }

    /// The next message; `None`: the peer says END.
    pub(super) async fn hear(&mut self) -> Result<Option<Bytes>, TalkError> {
        let next = timeout(SILENCE, self.reader.next_or_end(&mut self.io)).await;
        match next.map_err(|_| TalkError::Silent)? {
            Ok(message) => Ok(message),
            Err(ReadError::Closed) => Err(TalkError::Cut),
            Err(ReadError::Unsupported) => Err(TalkError::Unsupported),
            Err(ReadError::Frame(error)) => Err(TalkError::Violation(Violation::Frame(error))),
        }
    }

    pub(super) async fn say(&mut self, message: &[u8]) -> Result<(), TalkError> {
        let saying = write_frame(&mut self.io, message, MAX_BOARDS_MESSAGE_BYTES);
        let said = timeout(SILENCE, saying).await;
        Ok(said.map_err(|_| TalkError::Silent)??)
    }

    /// Says END.
    pub(super) async fn end(mut self) {
        let mut end = BytesMut::new();
        encode_end(&mut end);
        let ending = async {
            self.io.write_all(&end).await?;
            self.io.close().await
        };
        // All was said: whether its end arrives is of no consequence.
        let _ = timeout(SILENCE, ending).await;
    }
}
