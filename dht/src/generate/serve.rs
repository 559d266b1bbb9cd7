//! The answering side: reads one request, writes its replies, and stops when the client goes.
//!
//! Replies that are ready together leave in one flush. While there is nothing to write the
//! client's direction is watched, so that its going is noticed although the engine is silent.
//! Whose request is answered, and when, is decided by what is called with it.

use std::{future, pin::pin, time::Duration};

use bytes::BytesMut;
use futures::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt, Stream, StreamExt, stream,
    stream::FusedStream,
};
use protocol::{
    frame::{FrameError, encode_message},
    generate::{
        Bounded, ErrorCode, EventOrder, Failure, GenerateEvent, GenerateRequest, ReplyOrder,
    },
    limits::{MAX_FRAME_BYTES, REPLY_HEARTBEAT, REQUEST_TIMEOUT},
};
use tokio::time::timeout;

use super::{
    error::{ServeError, Violation},
    reader::{ReadError, Reader},
    room::RequestRoom,
};

/// How long a client may take nothing of what is written to it: more than a stall on a bad link,
/// and less than an engine's place is worth.
pub const MAX_STALL: Duration = Duration::from_secs(30);

/// What the longest message of any kind takes.
const LONGEST_FRAME: u64 = MAX_FRAME_BYTES as u64;

/// Replies that are ready are gathered up to this before they are written: a packet or some tens.
const MAX_GATHERED_BYTES: usize = 64 << 10;

/// Answers one `GenerateRequest`.
///
/// `answer` gets the request, checked against the protocol's limits. A refusal goes to the client;
/// so do the events, to the last one. Both the future and the events are dropped as soon as the
/// client is gone. While neither says anything, the client hears heartbeats.
///
/// # Errors
/// [`ServeError`] says why no answer, or not all of it, was sent. A request that is refused, by
/// `answer` or for its size or content, is answered.
pub async fn serve_generate<IO, F, A, E>(
    mut io: IO,
    room: &RequestRoom,
    answer: F,
) -> Result<(), ServeError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
    F: FnOnce(GenerateRequest) -> A,
    A: Future<Output = Result<E, Failure>>,
    E: Stream<Item = GenerateEvent>,
{
    let received = receive::<GenerateRequest, _>(&mut io, room).await?;
    let begin = async {
        let request = received?;
        request.validate()?;
        answer(request).await
    };
    let events = begin.map(|begun| match begun {
        Ok(events) => events.left_stream(),
        Err(failure) => stream::once(future::ready(EventOrder::failed(failure))).right_stream(),
    });
    respond::<EventOrder, _, _>(&mut io, events.flatten_stream()).await
}

/// Reads the one request; the inner error is for the client.
pub(super) async fn receive<Q, IO>(
    io: &mut IO,
    room: &RequestRoom,
) -> Result<Result<Q, Failure>, ServeError>
where
    Q: Bounded,
    IO: AsyncRead + Unpin,
{
    let mut reader = Reader::<Q>::within(room.lease());
    let reading = future::poll_fn(|cx| reader.poll_message(io, cx));
    match timeout(REQUEST_TIMEOUT, reading).await {
        Err(_) => Err(ServeError::Late),
        Ok(Ok(_)) if reader.has_more() => Err(ServeError::Violation(Violation::AfterRequest)),
        Ok(Ok(request)) => Ok(Ok(request)),
        // A later version may take more; no version has a message beyond the frame's own limit.
        Ok(Err(ReadError::Violation(Violation::Frame(
            error @ FrameError::TooLarge { bytes, .. },
        )))) if bytes <= LONGEST_FRAME => {
            let failure = Failure::new(ErrorCode::InvalidRequest, error.to_string());
            Ok(Err(failure))
        }
        Ok(Err(ReadError::NoRoom)) => {
            let message = "too many long requests at once; try again";
            let failure = Failure::new(ErrorCode::Overloaded, message).with_retry_after(1);
            Ok(Err(failure))
        }
        Ok(Err(ReadError::Violation(violation))) => Err(ServeError::Violation(violation)),
        Ok(Err(ReadError::Ended | ReadError::Io(_))) => Err(ServeError::Gone),
    }
}

/// Writes replies to the last one.
pub(super) async fn respond<O, IO, E>(io: &mut IO, replies: E) -> Result<(), ServeError>
where
    O: ReplyOrder,
    IO: AsyncRead + AsyncWrite + Unpin,
    E: Stream<Item = O::Reply>,
{
    let mut replies = pin!(replies.fuse());
    let mut batch = Batch::<O>::default();
    while !batch.order.is_ended() {
        // What is to be sent comes first: a refused request may still be on its way in.
        let reply = tokio::select! {
            biased;
            reply = next(&mut replies, &batch.order) => reply?,
            gone = gone(io) => return Err(gone),
        };
        batch.add(&reply)?;
        while batch.has_room()
            && let Some(Some(reply)) = replies.next().now_or_never()
        {
            batch.add(&reply)?;
        }
        send(io, &batch.bytes).await?;
        batch.bytes.clear();
    }
    // All was said: whether the end of the stream arrives is of no consequence.
    let _ = timeout(MAX_STALL, io.close()).await;
    Ok(())
}

/// What leaves together.
struct Batch<O> {
    order: O,
    bytes: BytesMut,
}

impl<O: Default> Default for Batch<O> {
    fn default() -> Self {
        Self {
            order: O::default(),
            bytes: BytesMut::new(),
        }
    }
}

impl<O: ReplyOrder> Batch<O> {
    fn has_room(&self) -> bool {
        self.bytes.len() < MAX_GATHERED_BYTES && !self.order.is_ended()
    }

    fn add(&mut self, reply: &O::Reply) -> Result<(), ServeError> {
        if self.encode(reply).is_ok() {
            return self.note(reply);
        }
        let message = "a part of the answer is too large to be sent";
        let failed = O::failed(Failure::new(ErrorCode::Internal, message));
        self.encode(&failed)
            .expect("a line of text is no such part");
        self.note(&failed)
    }

    fn encode(&mut self, reply: &O::Reply) -> Result<(), FrameError> {
        encode_message(reply, O::Reply::MAX_BYTES, &mut self.bytes)
    }

    fn note(&mut self, reply: &O::Reply) -> Result<(), ServeError> {
        let checked = self.order.check(reply);
        checked.map(drop).map_err(ServeError::OutOfOrder)
    }
}

/// The next reply, or a heartbeat in its place.
async fn next<O, E>(replies: &mut E, order: &O) -> Result<O::Reply, ServeError>
where
    O: ReplyOrder,
    E: FusedStream<Item = O::Reply> + Unpin,
{
    match timeout(REPLY_HEARTBEAT, replies.next()).await {
        Ok(Some(reply)) => Ok(reply),
        Ok(None) => Err(ServeError::Unfinished),
        Err(_) => Ok(order.heartbeat()),
    }
}

/// Waits until the client goes, or says what it must not.
async fn gone<IO: AsyncRead + Unpin>(io: &mut IO) -> ServeError {
    let mut byte = [0];
    match io.read(&mut byte).await {
        Ok(0) | Err(_) => ServeError::Gone,
        Ok(_) => ServeError::Violation(Violation::AfterRequest),
    }
}

async fn send<IO: AsyncWrite + Unpin>(io: &mut IO, bytes: &[u8]) -> Result<(), ServeError> {
    let sending = async {
        io.write_all(bytes).await?;
        io.flush().await
    };
    match timeout(MAX_STALL, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(ServeError::Gone),
        Err(_) => Err(ServeError::Stalled),
    }
}
