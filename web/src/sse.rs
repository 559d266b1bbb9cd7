//! Server-sent events: framing, keep-alive comments, one reused buffer. It knows nothing of what
//! the events say.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use bytes::{BufMut, Bytes, BytesMut};
use futures::Stream;
use serde::Serialize;
use tokio::time::{Instant, Sleep, sleep_until};

/// A comment: parsers skip it, proxies and clients see life.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";
/// The end of a stream of the OpenAI API.
const DONE: &[u8] = b"data: [DONE]\n\n";
/// Room made before each write; most chunks fit.
const CHUNK_BYTES: usize = 512;
/// Events that are ready together go out as one write up to this size: a client that fell
/// behind catches up in few writes, and none waits for more than is there.
const COALESCE_BYTES: usize = 16 * 1024;

/// Appends `value` as JSON.
pub(crate) fn write_json<T: Serialize + ?Sized>(out: &mut BytesMut, value: &T) {
    serde_json::to_writer(out.writer(), value)
        .expect("a buffer takes every write, and our types have string keys only");
}

/// Events written and not yet sent.
#[derive(Debug, Default)]
pub(crate) struct Events {
    buffer: BytesMut,
}

impl Events {
    /// One event without a name: `data: {json}`.
    pub(crate) fn data<T: Serialize + ?Sized>(&mut self, value: &T) {
        self.raw_data(|out| write_json(out, value));
    }

    /// One event without a name, whose one line of JSON `write` appends.
    pub(crate) fn raw_data(&mut self, write: impl FnOnce(&mut BytesMut)) {
        self.buffer.reserve(CHUNK_BYTES);
        self.buffer.put_slice(b"data: ");
        write(&mut self.buffer);
        self.buffer.put_slice(b"\n\n");
    }

    /// One event with a name: `event: name`, then `data: {json}`.
    pub(crate) fn named<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) {
        self.buffer.put_slice(b"event: ");
        self.buffer.put_slice(name.as_bytes());
        self.buffer.put_slice(b"\n");
        self.data(value);
    }

    /// `data: [DONE]`.
    pub(crate) fn done(&mut self) {
        self.buffer.put_slice(DONE);
    }
}

/// Whether a stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// More may come.
    Continue,
    /// Everything was written; the source is dropped.
    End,
}

/// Turns what a source yields into events.
pub(crate) trait Transcript: Send + 'static {
    /// What the source yields.
    type Item;

    /// Writes the events that `item` gives, none or several. `None`: the source has ended, and
    /// with it the stream, whatever is answered.
    fn write(&mut self, item: Option<Self::Item>, out: &mut Events) -> Flow;
}

/// Answers with the events that `transcript` makes of `source`. `keep_alive` is the silence after
/// which a comment is sent. The source is dropped with the connection.
pub(crate) fn respond<S, T>(source: S, transcript: T, keep_alive: Duration) -> Response
where
    S: Stream<Item = T::Item> + Send + Unpin + 'static,
    T: Transcript + Unpin,
{
    let stream = EventStream::new(source, transcript, keep_alive);
    let mut response = Response::new(Body::from_stream(stream));
    let fixed = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    for (name, value) in fixed {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    let unbuffered = HeaderValue::from_static("no");
    response
        .headers_mut()
        .insert("x-accel-buffering", unbuffered);
    response
}

/// The body of a streamed answer.
pub(crate) struct EventStream<S, T> {
    /// `None`: ended.
    source: Option<S>,
    transcript: T,
    events: Events,
    keep_alive: Duration,
    last_write: Instant,
    silence: Pin<Box<Sleep>>,
}

impl<S, T> EventStream<S, T>
where
    S: Stream<Item = T::Item> + Unpin,
    T: Transcript,
{
    pub(crate) fn new(source: S, transcript: T, keep_alive: Duration) -> Self {
        let now = Instant::now();
        Self {
            source: Some(source),
            transcript,
            events: Events::default(),
            keep_alive,
            last_write: now,
            silence: Box::pin(sleep_until(now + keep_alive)),
        }
    }

    /// Writes all that is ready, up to [`COALESCE_BYTES`].
    fn fill(&mut self, cx: &mut Context<'_>) {
        while let Some(source) = &mut self.source {
            let Poll::Ready(item) = Pin::new(source).poll_next(cx) else {
                return;
            };
            let ended = item.is_none();
            if self.transcript.write(item, &mut self.events) == Flow::End || ended {
                self.source = None;
            }
            if self.events.buffer.len() >= COALESCE_BYTES {
                return;
            }
        }
    }

    fn take(&mut self) -> Bytes {
        self.last_write = Instant::now();
        self.events.buffer.split().freeze()
    }

    /// Ready when nothing was written for the keep-alive time. The timer is not touched by
    /// writes: it moves on when it fires too early.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.silence.as_mut().poll(cx).is_ready() {
            let due = self.last_write + self.keep_alive;
            if due <= Instant::now() {
                let next = Instant::now() + self.keep_alive;
                self.silence.as_mut().reset(next);
                return Poll::Ready(());
            }
            self.silence.as_mut().reset(due);
        }
        Poll::Pending
    }
}

impl<S, T> Stream for EventStream<S, T>
where
    S: Stream<Item = T::Item> + Unpin,
    T: Transcript + Unpin,
{
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.fill(cx);
        if !self.events.buffer.is_empty() {
            return Poll::Ready(Some(Ok(self.take())));
        }
        if self.source.is_none() {
            return Poll::Ready(None);
        }
        match self.poll_silence(cx) {
            Poll::Ready(()) => {
                self.last_write = Instant::now();
                Poll::Ready(Some(Ok(Bytes::from_static(KEEP_ALIVE))))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests;
