//! The giving side: reads one request, writes what there is, and stops when the client goes. Who is
//! given what, and how fast, is decided by what is called with the request.

use std::{io, ops::Range, pin::pin, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Stream, StreamExt};
use protocol::{
    frame::{Decoder, Frame, encode_data, encode_end},
    limits::{
        MAX_WEIGHTS_FRAME_BYTES, MAX_WEIGHTS_REPLY_BYTES, MAX_WEIGHTS_REQUEST_BYTES,
        MAX_WEIGHTS_SILENCE,
    },
    weights::{Refusal, WeightsReply, WeightsRequest},
};
use tokio::time::timeout;

use super::error::{ServeError, Violation};

/// How long a client may take to send its request: it is one packet.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What a client is given.
#[derive(Debug)]
pub enum Given<S> {
    /// So many bytes, in pieces of at most [`MAX_WEIGHTS_FRAME_BYTES`].
    Bytes(u64, S),
    /// The runs of chunks that are held here.
    Have(Vec<Range<u32>>),
    /// Nothing.
    Refused(Refusal),
}

/// Answers one request. `answer` gets it checked against the protocol's limits; it and what it
/// gives are dropped as soon as the client is gone.
///
/// # Errors
/// [`ServeError`] says why not all was sent.
pub async fn serve_weights<IO, F, A, S>(mut io: IO, answer: F) -> Result<(), ServeError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    F: FnOnce(WeightsRequest) -> A,
    A: Future<Output = Given<S>>,
    S: Stream<Item = io::Result<Bytes>>,
{
    let receiving = timeout(REQUEST_TIMEOUT, receive(&mut io));
    let request = receiving.await.map_err(|_| ServeError::Slow)??;
    let given = while_there(&mut io, answer(request)).await?;
    match given {
        Given::Refused(refusal) => reply(&mut io, &WeightsReply::Refused(refusal)).await?,
        Given::Have(runs) => reply(&mut io, &WeightsReply::Have(runs)).await?,
        Given::Bytes(count, pieces) => {
            reply(&mut io, &WeightsReply::Data(count)).await?;
            give(&mut io, count, pieces).await?;
        }
    }
    let mut end = BytesMut::new();
    encode_end(&mut end);
    send(&mut io, &end).await?;
    // All was said: whether the end of the stream arrives is of no consequence.
    let _ = timeout(MAX_WEIGHTS_SILENCE, io.close()).await;
    Ok(())
}

async fn receive<IO: AsyncRead + Unpin>(io: &mut IO) -> Result<WeightsRequest, ServeError> {
    let mut decoder = Decoder::new(MAX_WEIGHTS_REQUEST_BYTES);
    let mut buffer = BytesMut::new();
    loop {
        let frame = decoder.decode(&mut buffer).map_err(Violation::Frame)?;
        match frame {
            Some(Frame::Data(_)) if !buffer.is_empty() => {
                return Err(Violation::AfterRequest.into());
            }
            Some(Frame::Data(bytes)) => {
                let request = WeightsRequest::decode(&bytes);
                return Ok(request.map_err(Violation::Message)?);
            }
            Some(Frame::End) => return Err(Violation::Unfitting.into()),
            None => {}
        }
        let filled = buffer.len();
        buffer.resize(filled + MAX_WEIGHTS_REQUEST_BYTES, 0);
        let read = io.read(&mut buffer[filled..]).await;
        let read = read.unwrap_or(0);
        buffer.truncate(filled + read);
        if read == 0 {
            return Err(ServeError::Gone);
        }
    }
}

async fn give<IO, S>(io: &mut IO, count: u64, pieces: S) -> Result<(), ServeError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Stream<Item = io::Result<Bytes>>,
{
    let mut pieces = pin!(pieces);
    let mut left = count;
    let mut frame = BytesMut::new();
    while left > 0 {
        let piece = while_there(io, pieces.next()).await?;
        let ended = || Err(io::ErrorKind::UnexpectedEof.into());
        let piece = piece.unwrap_or_else(ended);
        let piece = piece.map_err(ServeError::Unreadable)?;
        let rest = left.checked_sub(piece.len() as u64);
        left = rest.ok_or_else(|| unreadable("more than was said"))?;
        frame.clear();
        let encoded = encode_data(&piece, MAX_WEIGHTS_FRAME_BYTES, &mut frame);
        encoded.map_err(unreadable)?;
        send(io, &frame).await?;
    }
    Ok(())
}

fn unreadable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ServeError {
    ServeError::Unreadable(io::Error::other(cause))
}

async fn reply<IO: AsyncWrite + Unpin>(
    io: &mut IO,
    reply: &WeightsReply,
) -> Result<(), ServeError> {
    let mut frame = BytesMut::new();
    let encoded = encode_data(&reply.encode(), MAX_WEIGHTS_REPLY_BYTES, &mut frame);
    encoded.map_err(unreadable)?;
    send(io, &frame).await
}

/// Waits for something while the client is there and says nothing.
async fn while_there<IO, T>(io: &mut IO, work: impl Future<Output = T>) -> Result<T, ServeError>
where
    IO: AsyncRead + Unpin,
{
    let mut byte = [0];
    let gone = async {
        match io.read(&mut byte).await {
            Ok(0) | Err(_) => ServeError::Gone,
            Ok(_) => Violation::AfterRequest.into(),
        }
    };
    tokio::select! {
        biased;
        done = work => Ok(done),
        gone = gone => Err(gone),
    }
}

async fn send<IO: AsyncWrite + Unpin>(io: &mut IO, bytes: &[u8]) -> Result<(), ServeError> {
    let sending = async {
        io.write_all(bytes).await?;
        io.flush().await
    };
    match timeout(MAX_WEIGHTS_SILENCE, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(ServeError::Gone),
        Err(_) => Err(ServeError::Slow),
    }
}
