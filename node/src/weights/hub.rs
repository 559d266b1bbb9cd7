//! The hub as a giver: ranges of the files that it publishes, over HTTP. It has no manifests, and what
//! it sends is checked as everybody's. Its addresses come from the model's name, never from a peer.

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::try_unfold;
use protocol::ManifestId;
use protocol::weights::{ChunkSet, Layout, Manifest, Span};
use reqwest::Url;
use tokio::time::timeout;

use super::giver::{GiveError, Giver, Incoming};
use crate::core::fetch::{End, Source};
use crate::models::core::transfer::{Head, Trouble};
use crate::models::fetch::{Ask, Fetch};

/// A model's files at the hub.
pub struct HubGiver<F> {
    fetch: F,
    files: Vec<(Url, u64)>,
}

impl<F: Fetch> HubGiver<F> {
    /// Files in the order of the manifest: address and size of each.
    pub fn new(fetch: F, files: Vec<(Url, u64)>) -> Self {
        Self { fetch, files }
    }
}

#[async_trait]
impl<F: Fetch + 'static> Giver for HubGiver<F> {
    fn source(&self) -> Source {
        Source::Hub
    }

    async fn manifest(&self, _: ManifestId) -> Result<Manifest, GiveError> {
        Err(GiveError(End::NotHeld))
    }

    /// All of it, if its files are as long as the model's.
    async fn held(&self, _: ManifestId, layout: &Layout) -> Result<ChunkSet, GiveError> {
        let sizes = self.files.iter().map(|(_, size)| *size);
        if !layout.lengths().eq(sizes) {
            return Err(GiveError(End::Refused));
        }
        Ok(ChunkSet::all(layout.chunk_count()))
    }

    async fn range(&self, _: ManifestId, span: Span) -> Result<Incoming, GiveError> {
        let file = usize::try_from(span.file).ok();
        let file = file.and_then(|file| self.files.get(file));
        let (url, size) = file.ok_or(GiveError(End::NotHeld))?;
        let ask = Ask {
            url: url.clone(),
            from: span.offset,
            until: Some(span.offset + span.length),
            if_range: None,
        };
        let answer = self.fetch.open(&ask).await.map_err(|t| of_trouble(&t))?;
        check_head(&answer.head, span, *size)?;
        let stall = self.fetch.stall();
        let pieces = try_unfold(
            (answer.body, span.length),
            move |(mut body, left)| async move {
                if left == 0 {
                    return Ok(None);
                }
                let next = timeout(stall, body.next()).await;
                let piece = next.ok().flatten().ok_or(GiveError(End::Broken))?;
                let mut piece: Bytes = piece.map_err(|trouble| of_trouble(&trouble))?;
                // A server may pass over the range's end.
                piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - piece.len() as u64;
                Ok(Some((piece, (body, left))))
            },
        );
        Ok(pieces.boxed())
    }
}

/// Whether an answer begins where it was asked to, in a file of that size.
fn check_head(head: &Head, span: Span, size: u64) -> Result<(), GiveError> {
    let fits = match (head.status, head.content_range) {
        (206, Some(range)) => {
            range.start == span.offset && range.total.is_none_or(|total| total == size)
        }
        (200, _) => span.offset == 0 && head.content_length.is_none_or(|length| length == size),
        (status, _) if Trouble::of_status(status).may_pass() => {
            return Err(GiveError(End::Busy(head.retry_after)));
        }
        _ => false,
    };
    fits.then_some(()).ok_or(GiveError(End::Refused))
}

fn of_trouble(trouble: &Trouble) -> GiveError {
    let passes = trouble.may_pass();
    GiveError(if passes { End::Broken } else { End::Refused })
}
