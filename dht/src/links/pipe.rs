//! Stage frames over one stream, both ways at once.
//!
//! Payloads are cut out of the read buffer, and long ones are written as they are. What is short is
//! gathered: neither of libp2p's transports writes several slices at once, so a header by itself
//! would be a packet or a yamux frame of its own. Whatever is ready leaves in one flush. It knows no
//! channel.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use futures::{AsyncRead, AsyncWrite};
use protocol::chain::{StageFrame, StageHeader};
use tokio::time::{Instant, Sleep, sleep};

use super::error::{LinkEnded, LinkViolation};

/// How long a peer may take nothing of what is written to it: its credit has room for all of it, so
/// it is not a slow stage, but a peer that is gone.
pub const MAX_STALL: Duration = Duration::from_secs(10);

/// Payloads up to this are copied behind their header, and frames gathered up to it: a few
/// microseconds, where a packet more costs as much.
const MAX_GATHERED_BYTES: usize = 32 << 10;

/// Asked of the stream at once.
const READ_BYTES: usize = 64 << 10;

/// With less room than this nothing is asked for: a read costs more than a new buffer.
const LEAST_ROOM_BYTES: usize = 4 << 10;

/// One stream.
pub(super) struct Pipe<IO> {
    io: IO,
    /// What came is its first `filled` bytes; the rest is room, so that it is cleared once only.
    buffer: BytesMut,
    filled: usize,
    gathered: BytesMut,
    /// A long payload, behind what is gathered.
    long: Bytes,
    is_flushed: bool,
    stall: Option<Pin<Box<Sleep>>>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Pipe<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self {
            io,
            buffer: BytesMut::new(),
            filled: 0,
            gathered: BytesMut::new(),
            long: Bytes::new(),
            is_flushed: true,
            stall: None,
        }
    }

    /// The next frame of the peer's. Nothing is lost when it is asked for again later.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StageFrame, LinkEnded>> {
        loop {
            if let Some(frame) = self.decode()? {
                return Poll::Ready(Ok(frame));
            }
            ready!(self.poll_fill(cx))?;
        }
    }

    fn decode(&mut self) -> Result<Option<StageFrame>, LinkEnded> {
        let header = StageHeader::decode(&self.buffer[..self.filled]);
        let Some(header) = header.map_err(LinkViolation::Frame)? else {
            return Ok(None);
        };
        let whole = StageHeader::BYTES + header.payload_bytes();
        if self.filled < whole {
            return Ok(None);
        }
        self.buffer.advance(StageHeader::BYTES);
        let payload = self.buffer.split_to(header.payload_bytes()).freeze();
        self.filled -= whole;
        let frame = header.frame(payload).map_err(LinkViolation::Frame)?;
        Ok(Some(frame))
    }

    /// Memory follows the bytes that came: it doubles, whatever length was announced.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkEnded>> {
        if self.buffer.len() - self.filled < LEAST_ROOM_BYTES {
            let more = self.filled.max(READ_BYTES);
            self.buffer.resize(self.filled + more, 0);
        }
        let room = &mut self.buffer[self.filled..];
        match ready!(Pin::new(&mut self.io).poll_read(cx, room)) {
            Ok(count) if count > 0 => {
                self.filled += count;
                Poll::Ready(Ok(()))
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                Poll::Ready(Err(LinkEnded::Unsupported))
            }
            _ => Poll::Ready(Err(LinkEnded::Cut)),
        }
    }

    /// Whether everything that was taken to be sent is with the transport.
    fn is_written(&self) -> bool {
        self.gathered.is_empty() && self.long.is_empty()
    }

    /// Sends what `next` gives, until that is nothing and all is flushed.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        mut next: impl FnMut() -> Option<StageFrame>,
    ) -> Poll<Result<(), LinkEnded>> {
        loop {
            if self.is_written() {
                self.gather(&mut next);
            }
            let moved = if self.is_written() {
                if self.is_flushed {
                    return Poll::Ready(Ok(()));
                }
                self.poll_flush(cx)
            } else {
                self.poll_write(cx)
            };
            match moved {
                Poll::Ready(Ok(())) => self.stall = None,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(LinkEnded::Cut)),
                Poll::Pending => return self.poll_stall(cx),
            }
        }
    }

    fn gather(&mut self, next: &mut impl FnMut() -> Option<StageFrame>) {
        while self.gathered.len() < MAX_GATHERED_BYTES
            && let Some(frame) = next()
        {
            let encoded = frame.encode_header(&mut self.gathered);
            encoded.expect("a payload's length is checked when it is sent");
            let StageFrame::Payload { payload, .. } = frame else {
                continue;
            };
            if payload.len() > MAX_GATHERED_BYTES {
                self.long = payload;
                return;
            }
            self.gathered.extend_from_slice(&payload);
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_flushed = false;
        let io = Pin::new(&mut self.io);
        let count = if self.gathered.is_empty() {
            let count = ready!(io.poll_write(cx, &self.long))?;
            self.long.advance(count);
            count
        } else {
            let count = ready!(io.poll_write(cx, &self.gathered))?;
            self.gathered.advance(count);
            count
        };
        if count == 0 {
            return Poll::Ready(Err(ErrorKind::WriteZero.into()));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.is_flushed = true;
        Poll::Ready(Ok(()))
    }

    /// Nothing moves: for how long already?
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkEnded>> {
        let begin = || Box::pin(sleep(MAX_STALL));
        let stall = self.stall.get_or_insert_with(begin);
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(LinkEnded::Stalled))
    }
}

/// A time after which something is done, unless it is put off.
pub(super) struct Timer(Pin<Box<Sleep>>);

impl Timer {
    pub(super) fn new(after: Duration) -> Self {
        Self(Box::pin(sleep(after)))
    }

    pub(super) fn put_off(&mut self, until: Instant) {
        self.0.as_mut().reset(until);
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}
