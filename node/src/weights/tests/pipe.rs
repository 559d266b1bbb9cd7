//! A giver over streams in memory, with manners: honest, slow, hostile, or one that stops. And the
//! pipe itself, with `futures`' traits over tokio's.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use dht::weights::{Answer, ask, ask_have, ask_manifest, serve_weights};
use futures::stream::try_unfold;
use futures::{AsyncRead, AsyncWrite, StreamExt};
use protocol::weights::{ChunkSet, Layout, Manifest, Span, WeightsRequest};
use protocol::{ManifestId, NodeId};
use tokio::io::{AsyncRead as _, AsyncWrite as _, DuplexStream, ReadBuf};

use super::super::giver::{Incoming, end_of};
use super::super::{GiveError, Giver, Giving};
use crate::core::fetch::{End, Source};

/// One end of a pipe.
pub(super) struct Pipe(DuplexStream);

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// How a giver behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Honest,
    /// A moment for each frame.
    Slow,
    /// Turns a bit in each range.
    Hostile,
    /// Breaks off for ever after so many bytes.
    StopsAfter(u64),
}

/// A node that is asked.
pub(super) struct PipeGiver {
    peer: NodeId,
    asker: NodeId,
    giving: Giving,
    manner: Manner,
    gave: Arc<AtomicU64>,
    asked: AtomicUsize,
    is_blamed: AtomicBool,
}

impl PipeGiver {
    pub(super) fn new(peer: NodeId, giving: Giving, manner: Manner) -> Self {
        Self {
            peer,
            asker: super::peer(200),
            giving,
            manner,
            gave: Arc::default(),
            asked: AtomicUsize::new(0),
            is_blamed: AtomicBool::new(false),
        }
    }

    pub(super) fn asked_by(other: &Self, asker: NodeId) -> Self {
        let giver = Self::new(other.peer, other.giving.clone(), other.manner);
        Self { asker, ..giver }
    }

    /// A new stream to it.
    pub(super) fn stream(&self) -> Pipe {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let (giving, asker) = (self.giving.clone(), self.asker);
        tokio::spawn(async move {
            let answer = |request| giving.answer(asker, false, request);
            let _ = serve_weights(Pipe(theirs), answer).await;
        });
        Pipe(ours)
    }

    pub(super) fn gave(&self) -> u64 {
        self.gave.load(Ordering::Relaxed)
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    pub(super) fn was_blamed(&self) -> bool {
        self.is_blamed.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Giver for PipeGiver {
    fn source(&self) -> Source {
        Source::Peer(self.peer)
    }

    async fn manifest(&self, id: ManifestId) -> Result<Manifest, GiveError> {
        let given = ask_manifest(self.stream(), id).await;
        given.map_err(|error| end_of(&error))
    }

    async fn held(&self, id: ManifestId, layout: &Layout) -> Result<ChunkSet, GiveError> {
        let runs = ask_have(self.stream(), id).await;
        let runs = runs.map_err(|error| end_of(&error))?;
        Ok(ChunkSet::of_runs(layout.chunk_count(), runs))
    }

    async fn range(&self, id: ManifestId, span: Span) -> Result<Incoming, GiveError> {
        let answer = ask(self.stream(), &WeightsRequest::Range(id, span)).await;
        let Answer::Bytes(incoming) = answer.map_err(|error| end_of(&error))? else {
            panic!("no bytes");
        };
        let (manner, gave) = (self.manner, Arc::clone(&self.gave));
        let pieces = try_unfold((incoming, gave), move |(mut incoming, gave)| async move {
            let next = incoming.next().await.map_err(|error| end_of(&error))?;
            let Some(piece) = next else { return Ok(None) };
            let piece = behave(manner, &gave, piece).await?;
            Ok(Some((piece, (incoming, gave))))
        });
        Ok(pieces.boxed())
    }

    fn blame(&self) {
        self.is_blamed.store(true, Ordering::Relaxed);
    }
}

async fn behave(manner: Manner, gave: &AtomicU64, piece: Bytes) -> Result<Bytes, GiveError> {
    let all = gave.fetch_add(piece.len() as u64, Ordering::Relaxed) + piece.len() as u64;
    match manner {
        Manner::Honest => Ok(piece),
        Manner::Slow => {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok(piece)
        }
        Manner::Hostile => {
            let mut wrong = BytesMut::from(&piece[..]);
            wrong[0] ^= 1;
            Ok(wrong.freeze())
        }
        Manner::StopsAfter(most) if all > most => {
            gave.fetch_sub(piece.len() as u64, Ordering::Relaxed);
            Err(GiveError(End::Broken))
        }
        Manner::StopsAfter(_) => Ok(piece),
    }
}
