//! Messages out of a byte stream.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{IpcError, Message, take};

/// Bytes that one read may take beyond a message that is on its way; many small messages come
/// with one system call.
const READ_BYTES: usize = 64 << 10;

/// Takes messages from a stream.
#[derive(Debug)]
pub struct MessageReader<R> {
    stream: R,
    read: BytesMut,
}

/// Why no message came.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The other end closed.
    #[error("the other end closed its socket")]
    Closed,
    /// The socket failed.
    #[error("the socket failed")]
    Io(#[source] std::io::Error),
    /// The other end does not speak this protocol.
    #[error("the other end sent {0}")]
    Protocol(IpcError),
}

impl<R: AsyncRead + Unpin> MessageReader<R> {
    /// Reads from this stream.
    pub fn new(stream: R) -> Self {
        let read = BytesMut::with_capacity(READ_BYTES);
        Self { stream, read }
    }

    /// The next message. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// Any [`ReadError`]; all are final.
    pub async fn next(&mut self) -> Result<Message, ReadError> {
        loop {
            if let Some(message) = take(&mut self.read).map_err(ReadError::Protocol)? {
                return Ok(message);
            }
            self.read.reserve(READ_BYTES);
            match self.stream.read_buf(&mut self.read).await {
                Ok(0) => return Err(ReadError::Closed),
                Ok(_) => {}
                Err(error) => return Err(ReadError::Io(error)),
            }
        }
    }
}
