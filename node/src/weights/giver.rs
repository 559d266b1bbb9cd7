//! Who can give parts of a model: a trait, and a peer behind it. It keeps nothing and believes
//! nothing.

use async_trait::async_trait;
use bytes::Bytes;
use dht::network::{Network, OpenError};
use dht::streams::Stream;
use dht::weights::{Answer, CallError, ask, ask_have, ask_manifest};
use futures::StreamExt;
use futures::stream::{BoxStream, try_unfold};
use protocol::names::Protocol;
use protocol::weights::{ChunkSet, Layout, Manifest, RefusalCode, Span, WeightsRequest};
use protocol::{ManifestId, NodeId};

use crate::core::fetch::{End, Source};

/// Why nothing is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing is given: {0:?}")]
pub struct GiveError(pub End);

/// Bytes as they come.
pub type Incoming = BoxStream<'static, Result<Bytes, GiveError>>;

/// Somebody who has parts of models.
#[async_trait]
pub trait Giver: Send + Sync + 'static {
    /// Who it is.
    fn source(&self) -> Source;

    /// The manifest with this id, checked.
    async fn manifest(&self, id: ManifestId) -> Result<Manifest, GiveError>;

    /// Its chunks of a model.
    async fn held(&self, id: ManifestId, layout: &Layout) -> Result<ChunkSet, GiveError>;

    /// Bytes of a file, not checked.
    async fn range(&self, id: ManifestId, span: Span) -> Result<Incoming, GiveError>;

    /// It gave wrong bytes.
    fn blame(&self) {}
}

/// Another peer.
#[derive(Clone)]
pub struct PeerGiver {
    network: Network,
    peer: NodeId,
}

impl PeerGiver {
    /// This peer, over this network.
    pub fn new(network: Network, peer: NodeId) -> Self {
        Self { network, peer }
    }

    async fn open(&self) -> Result<Stream, GiveError> {
        let opened = self.network.open(self.peer, Protocol::Weights).await;
        opened.map_err(|error| {
            GiveError(match error {
                OpenError::Busy => End::Busy(None),
                _ => End::Broken,
            })
        })
    }

    fn ended(&self, error: &CallError) -> GiveError {
        if error.is_violation() {
            self.network.blame(self.peer);
        }
        end_of(error)
    }
}

/// What a failed call means for a fetch.
pub(super) fn end_of(error: &CallError) -> GiveError {
    GiveError(match error {
        CallError::Refused(refusal) => match refusal.code {
            RefusalCode::NotHeld => End::NotHeld,
            RefusalCode::NotAllowed | RefusalCode::Limit => End::Refused,
            RefusalCode::Busy | RefusalCode::Unspecified => End::Busy(refusal.retry_after),
        },
        CallError::Unsupported | CallError::Violation(_) => End::Refused,
        _ => End::Broken,
    })
}

#[async_trait]
impl Giver for PeerGiver {
    fn source(&self) -> Source {
        Source::Peer(self.peer)
    }

    async fn manifest(&self, id: ManifestId) -> Result<Manifest, GiveError> {
        let given = ask_manifest(self.open().await?, id).await;
        given.map_err(|error| self.ended(&error))
    }

    async fn held(&self, id: ManifestId, layout: &Layout) -> Result<ChunkSet, GiveError> {
        let given = ask_have(self.open().await?, id).await;
        let runs = given.map_err(|error| self.ended(&error))?;
        Ok(ChunkSet::of_runs(layout.chunk_count(), runs))
    }

    async fn range(&self, id: ManifestId, span: Span) -> Result<Incoming, GiveError> {
        let stream = self.open().await?;
        let answer = ask(stream, &WeightsRequest::Range(id, span)).await;
        let answer = answer.map_err(|error| self.ended(&error))?;
        let Answer::Bytes(incoming) = answer else {
            return Err(GiveError(End::Refused));
        };
        let giver = self.clone();
        let pieces = try_unfold((incoming, giver), |(mut incoming, giver)| async move {
            match incoming.next().await {
                Ok(piece) => Ok(piece.map(|piece| (piece, (incoming, giver)))),
                Err(error) => Err(giver.ended(&error)),
            }
        });
        Ok(pieces.boxed())
    }
    fn blame(&self) {
        self.network.blame(self.peer);
    }
}
