//! A stream of ours or of a peer's, as whoever speaks on it holds it.
//!
//! It adds two things to libp2p's: it is counted while it lives, and it is safe to touch after an
//! error. (libp2p's panics when it is touched again after its lazy negotiation failed, which the
//! peer decides.)

use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::upgrade::NegotiationError;

use super::ledger::Entry;

/// A stream. Dropping it ends both directions: the peer reads an end, and cannot write on.
///
/// The first read fails with [`ErrorKind::Unsupported`] when the peer does not speak the protocol.
/// After a failed read it is gone: reads say [`ErrorKind::NotConnected`], writes
/// [`ErrorKind::BrokenPipe`].
#[derive(Debug)]
pub struct Stream {
    /// Dropped before the entry: a stream that is said to be closed is.
    inner: Option<libp2p::Stream>,
    _entry: Entry,
}

impl Stream {
    pub(super) fn new(inner: libp2p::Stream, entry: Entry) -> Self {
        Self {
            inner: Some(inner),
            _entry: entry,
        }
    }

    fn writer(&mut self) -> io::Result<Pin<&mut libp2p::Stream>> {
        let inner = self.inner.as_mut().map(Pin::new);
        inner.ok_or_else(|| ErrorKind::BrokenPipe.into())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        let read = ready!(Pin::new(inner).poll_read(cx, buffer));
        Poll::Ready(read.map_err(|error| {
            self.inner = None;
            named(error)
        }))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writer()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writer()?.poll_write_vectored(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer()?.poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer()?.poll_close(cx)
    }
}

/// The error, with a kind that says when the protocol was refused.
fn named(error: io::Error) -> io::Error {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        Some(NegotiationError::Failed) => io::Error::new(ErrorKind::Unsupported, error),
        _ => error,
    }
}
