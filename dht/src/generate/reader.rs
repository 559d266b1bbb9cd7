//! Takes framed messages of one type off a stream, in whatever pieces they come. Memory follows
//! the bytes that came.

use std::{
    io,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use futures::AsyncRead;
use protocol::{
    frame::{Decoder, Frame},
    generate::Bounded,
};

use super::{error::Violation, room::Lease};

/// Asked of the stream at once: dozens of events, or a packet's worth of a long message.
const READ_BYTES: usize = 16 << 10;

/// Why there is no message.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The stream ended, between messages or within one.
    Ended,
    /// It broke.
    Io(io::Error),
    /// What came is no message.
    Violation(Violation),
    /// No room for as much.
    NoRoom,
}

impl From<Violation> for ReadError {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// The messages of one direction.
#[derive(Debug)]
pub(super) struct Reader<M> {
    decoder: Decoder,
    buffer: BytesMut,
    received: u64,
    lease: Option<Lease>,
    message: PhantomData<fn() -> M>,
}

impl<M: Bounded> Reader<M> {
    /// Within the message's own limit.
    pub(super) fn new() -> Self {
        Self {
            decoder: Decoder::new(M::MAX_BYTES),
            buffer: BytesMut::new(),
            received: 0,
            lease: None,
            message: PhantomData,
        }
    }

    /// The same, within a shared room too.
    pub(super) fn within(lease: Lease) -> Self {
        Self {
            lease: Some(lease),
            ..Self::new()
        }
    }

    /// Bytes that came so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Whether bytes came beyond the last message.
    pub(super) fn has_more(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next message. Nothing is lost when it is asked for again later.
    pub(super) fn poll_message<IO: AsyncRead + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<Result<M, ReadError>> {
        loop {
            if let Some(message) = self.decode()? {
                return Poll::Ready(Ok(message));
            }
            ready!(self.poll_fill(io, cx))?;
        }
    }

    fn decode(&mut self) -> Result<Option<M>, Violation> {
        let frame = self.decoder.decode(&mut self.buffer);
        match frame.map_err(Violation::Frame)? {
            None => Ok(None),
            Some(Frame::End) => Err(Violation::End),
            Some(Frame::Data(bytes)) => {
                let message = M::decode_bounded(&bytes);
                message.map(Some).map_err(Violation::Message)
            }
        }
    }

    fn poll_fill<IO: AsyncRead + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ReadError>> {
        let filled = self.buffer.len();
        let wanted = filled + READ_BYTES;
        if !self.lease.as_mut().is_none_or(|lease| lease.covers(wanted)) {
            return Poll::Ready(Err(ReadError::NoRoom));
        }
        self.buffer.resize(wanted, 0);
        let read = Pin::new(io).poll_read(cx, &mut self.buffer[filled..]);
        let count = match &read {
            Poll::Ready(Ok(count)) => *count,
            _ => 0,
        };
        self.buffer.truncate(filled + count);
        self.received += count as u64;
        match ready!(read) {
            Ok(0) => Poll::Ready(Err(ReadError::Ended)),
            Ok(_) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(ReadError::Io(error))),
        }
    }
}
