//! `/shoal/<swarm>/lease/1`: a head's request to a peer that may hold a stage, and the one reply,
//! over any stream of bytes.
//!
//! A stream carries one framed request and one framed reply. The peer answers out of its own
//! tables, so there are no heartbeats: what is not there within
//! [`LEASE_REPLY_TIMEOUT`] does not come. Whom a lease is given to, and what it means, is not known
//! here.

use std::time::Duration;

use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use protocol::{
    chain::{LeaseMessageError, LeaseReply, LeaseRequest, Refusal},
    frame::FrameError,
    limits::{LEASE_REPLY_TIMEOUT, MAX_LEASE_BYTES},
};
use tokio::time::timeout;

use crate::{
    frames::{FrameReader, ReadError, write_frame},
    network::OpenError,
};

/// How long a head may take to send its request, and to take the reply: they fit one packet each.
const PATIENCE: Duration = LEASE_REPLY_TIMEOUT;

/// Why a request for a lease has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// There is no stream to the peer.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The peer does not speak the protocol: it holds stages for nobody.
    #[error("the peer gives no leases")]
    Unsupported,
    /// The stream ended before the reply: the peer died, or dropped the request.
    #[error("the reply was cut")]
    Cut,
    /// Nothing came within [`LEASE_REPLY_TIMEOUT`].
    #[error("no reply within {} s", LEASE_REPLY_TIMEOUT.as_secs())]
    Late,
    /// What came is no frame.
    #[error("the reply is no frame")]
    Frame(#[source] FrameError),
    /// What came is no reply.
    #[error("the reply is none")]
    Message(#[source] LeaseMessageError),
    /// The reply belongs to another request.
    #[error("the reply is to another request")]
    Mismatch,
}

impl LeaseError {
    /// Whether the peer broke the protocol, and not the way to it.
    pub fn is_violation(&self) -> bool {
        match self {
            Self::Frame(_) | Self::Mismatch => true,
            Self::Message(error) => error.is_violation(),
            _ => false,
        }
    }
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeLeaseError {
    /// The head is gone.
    #[error("the head is gone")]
    Gone,
    /// No whole request, or nobody who took the reply, within [`LEASE_REPLY_TIMEOUT`].
    #[error("the head took longer than {} s", PATIENCE.as_secs())]
    Late,
    /// What came is no frame.
    #[error("the request is no frame")]
    Frame(#[source] FrameError),
    /// What came is no request of any version.
    #[error("the request is none")]
    Message(#[source] LeaseMessageError),
}

impl ServeLeaseError {
    /// Whether the head broke the protocol.
    pub fn is_violation(&self) -> bool {
        matches!(self, Self::Frame(_) | Self::Message(_))
    }
}

/// Asks on a new stream.
///
/// # Errors
/// Every [`LeaseError`] but [`LeaseError::Open`].
pub async fn ask<IO>(mut io: IO, request: &LeaseRequest) -> Result<LeaseReply, LeaseError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let asking = async {
        // Why it cannot be written, the next read says.
        let _ = write_frame(&mut io, &request.encode(), MAX_LEASE_BYTES).await;
        FrameReader::new(MAX_LEASE_BYTES).next(&mut io).await
    };
    let bytes = match timeout(LEASE_REPLY_TIMEOUT, asking).await {
        Err(_) => return Err(LeaseError::Late),
        Ok(Err(ReadError::Closed)) => return Err(LeaseError::Cut),
        Ok(Err(ReadError::Unsupported)) => return Err(LeaseError::Unsupported),
        Ok(Err(ReadError::Frame(error))) => return Err(LeaseError::Frame(error)),
        Ok(Ok(bytes)) => bytes,
    };
    let reply = LeaseReply::decode(&bytes).map_err(LeaseError::Message)?;
    let fits = reply.answers(request);
    fits.then_some(reply).ok_or(LeaseError::Mismatch)
}

/// Answers the one request of a stream. A request that this version does not understand, or with a
/// field outside the limits, is refused without asking `answer`.
///
/// # Errors
/// Every [`ServeLeaseError`].
pub async fn serve<IO, F, A>(mut io: IO, answer: F) -> Result<(), ServeLeaseError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    F: FnOnce(LeaseRequest) -> A,
    A: Future<Output = LeaseReply>,
{
    let mut reader = FrameReader::new(MAX_LEASE_BYTES);
    let bytes = match timeout(PATIENCE, reader.next(&mut io)).await {
        Err(_) => return Err(ServeLeaseError::Late),
        Ok(Err(ReadError::Frame(error))) => return Err(ServeLeaseError::Frame(error)),
        Ok(Err(_)) => return Err(ServeLeaseError::Gone),
        Ok(Ok(bytes)) => bytes,
    };
    let reply = match LeaseRequest::decode(&bytes) {
        Ok(request) => answer(request).await,
        Err(error) if error.is_violation() => return Err(ServeLeaseError::Message(error)),
        Err(LeaseMessageError::Unknown(_)) => LeaseReply::Refused(Refusal::Unsupported.into()),
        Err(_) => LeaseReply::Refused(Refusal::Invalid.into()),
    };
    let sending = async {
        write_frame(&mut io, &reply.encode(), MAX_LEASE_BYTES).await?;
        io.close().await
    };
    match timeout(PATIENCE, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(ServeLeaseError::Gone),
        Err(_) => Err(ServeLeaseError::Late),
    }
}

#[cfg(test)]
mod tests;
