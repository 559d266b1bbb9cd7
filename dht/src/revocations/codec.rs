//! The two messages as one frame each, within their limits.

use std::io;

use futures::{AsyncRead, AsyncWrite};
use libp2p::{StreamProtocol, request_response};
use protocol::{
    limits::{MAX_REVOCATIONS_REPLY_BYTES, MAX_REVOCATIONS_REQUEST_BYTES},
    membership::{RevocationsReply, RevocationsRequest},
};

use crate::frames::{FrameReader, ReadError, write_frame};

/// Moves them; it keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Codec;

/// Whether the peer is to blame, and not the path.
pub(super) fn is_garbage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

async fn read<T: AsyncRead + Unpin>(stream: &mut T, limit: usize) -> io::Result<bytes::Bytes> {
    let payload = FrameReader::new(limit).next(stream).await;
    payload.map_err(|error| match error {
        ReadError::Closed | ReadError::Unsupported => io::ErrorKind::UnexpectedEof.into(),
        ReadError::Frame(error) => io::Error::new(io::ErrorKind::InvalidData, error),
    })
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = RevocationsRequest;
    type Response = RevocationsReply;

    async fn read_request<T>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
    ) -> io::Result<RevocationsRequest>
    where
        T: AsyncRead + Unpin + Send,
    {
        let bytes = read(stream, MAX_REVOCATIONS_REQUEST_BYTES).await?;
        RevocationsRequest::decode(&bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    async fn read_response<T>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
    ) -> io::Result<RevocationsReply>
    where
        T: AsyncRead + Unpin + Send,
    {
        let bytes = read(stream, MAX_REVOCATIONS_REPLY_BYTES).await?;
        RevocationsReply::decode(&bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
        request: RevocationsRequest,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write_frame(stream, &request.encode(), MAX_REVOCATIONS_REQUEST_BYTES).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
        reply: RevocationsReply,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write_frame(stream, &reply.encode(), MAX_REVOCATIONS_REPLY_BYTES).await
    }
}
