//! The asking side: one request, and its replies as a stream.
//!
//! It reads while it still writes, for a peer may refuse a request before it has read all of it.
//! What to do about an answer that breaks off is decided elsewhere.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use futures::{AsyncRead, AsyncWrite, Stream};
use protocol::{
    frame::{FrameError, encode_message},
    generate::{Bounded, EventOrder, ReplyOrder, Weight},
    limits::{MAX_REPLY_SILENCE, MIN_UPLINK_BYTES_PER_SECOND},
};
use tokio::time::{Instant, Sleep};

use super::{
    error::{CallError, Violation},
    reader::Reader,
};

/// Heartbeats that are passed over at one go: a peer that sends nothing else holds up its own call
/// only.
const MAX_HEARTBEATS_AT_ONCE: usize = 64;

/// An answer to a `GenerateRequest`.
pub type Answer<IO> = Call<IO, EventOrder>;

/// A request under way: a stream of its replies, in order, heartbeats left out. It ends after the
/// last reply, or after the first error. Dropping it cancels the request.
pub struct Call<IO, O: ReplyOrder> {
    /// `None` when all is over.
    io: Option<IO>,
    /// What is still to be written of the request.
    request: BytesMut,
    is_sent: bool,
    reader: Reader<O::Reply>,
    order: O,
    silence: Pin<Box<Sleep>>,
    /// Bytes that had come when `silence` was last set.
    heard: u64,
}

// Nothing in it is pinned but the timer, which is boxed.
impl<IO, O: ReplyOrder> Unpin for Call<IO, O> {}

impl<IO, O> Call<IO, O>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    O: ReplyOrder,
{
    /// A request on a new stream. It is sent when the replies are asked for. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] when the request is over its limit; nothing is sent.
    pub fn new<Q: Bounded>(io: IO, request: &Q) -> Result<Self, FrameError> {
        let mut bytes = BytesMut::new();
        encode_message(request, Q::MAX_BYTES, &mut bytes)?;
        let patience = MAX_REPLY_SILENCE + transfer_time(bytes.len());
        Ok(Self {
            io: Some(io),
            request: bytes,
            is_sent: false,
            reader: Reader::new(),
            order: O::default(),
            silence: Box::pin(tokio::time::sleep(patience)),
            heard: 0,
        })
    }

    /// The next reply that is news.
    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<O::Reply, CallError>> {
        let Some(io) = &mut self.io else {
            return Poll::Ready(Err(CallError::Cut));
        };
        if !self.is_sent && poll_send(io, &mut self.request, cx).is_ready() {
            self.is_sent = true;
            // A long request is not kept as long as its answer takes.
            self.request = BytesMut::new();
        }
        for _ in 0..MAX_HEARTBEATS_AT_ONCE {
            let reply = self.reader.poll_message(io, cx)?;
            // A long message on a slow way is not silence.
            if self.reader.received() > self.heard {
                self.heard = self.reader.received();
                let until = Instant::now() + MAX_REPLY_SILENCE;
                self.silence.as_mut().reset(until);
            }
            let Poll::Ready(reply) = reply else {
                let silent = self.silence.as_mut().poll(cx);
                return silent.map(|()| Err(CallError::Silent));
            };
            match self.order.check(&reply) {
                Ok(Weight::News) => return Poll::Ready(Ok(reply)),
                Ok(Weight::Heartbeat) => {}
                Err(error) => {
                    let violation = Violation::Order(error);
                    return Poll::Ready(Err(CallError::Violation(violation)));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<IO, O> Stream for Call<IO, O>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    O: ReplyOrder,
{
    type Item = Result<O::Reply, CallError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.io.is_none() {
            return Poll::Ready(None);
        }
        this.poll_reply(cx).map(|reply| {
            if reply.is_err() || this.order.is_ended() {
                this.io = None;
            }
            Some(reply)
        })
    }
}

/// Writes what is left. Ready when nothing is left to do; why a write failed is for the next read
/// to say, for the peer may have answered before.
fn poll_send<IO: AsyncWrite + Unpin>(
    io: &mut IO,
    request: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<()> {
    while !request.is_empty() {
        match Pin::new(&mut *io).poll_write(cx, request) {
            Poll::Ready(Ok(count)) if count > 0 => request.advance(count),
            Poll::Ready(_) => return Poll::Ready(()),
            Poll::Pending => return Poll::Pending,
        }
    }
    Pin::new(io).poll_flush(cx).map(drop)
}

/// How long a request may be on its way.
fn transfer_time(bytes: usize) -> Duration {
    let seconds = bytes.div_ceil(MIN_UPLINK_BYTES_PER_SECOND);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX))
}
