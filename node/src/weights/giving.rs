//! Giving parts of models to peers: whom, what, how many at a time, how fast. It knows no connection:
//! whoever reads `/weights/1` calls it with the peer that the connection proved.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dht::weights::Given;
use futures::StreamExt;
use futures::stream::{BoxStream, try_unfold};
use protocol::limits::MAX_WEIGHTS_FRAME_BYTES;
use protocol::weights::{Refusal, RefusalCode, Span, WeightsRequest};
use protocol::{ManifestId, ModelName, NodeId};
use tokio::sync::Semaphore;

use super::Weights;
use super::held::{Held, read_at};
use crate::models::blocking;
use crate::serving::upload::Upload;

/// Streams on which something is given at once: each holds a block in memory, and the limit of
/// upload goes round them within a peer's patience.
pub const MAX_STREAMS: usize = 16;

/// Streams of one peer: two ranges under way, and a question.
pub const MAX_STREAMS_OF_ONE: usize = 4;

/// Read of the disk at once.
const BLOCK_BYTES: u64 = 256 << 10;

/// When a peer that found no place may ask again.
const AGAIN: Duration = Duration::from_secs(3);

/// What the owner allows.
pub trait Gate: Send + Sync + 'static {
    /// Whether a peer is given anything at all.
    fn serves(&self, is_trusted: bool) -> bool;

    /// Whether peers may have this model as it is here.
    fn offers(&self, model: &ModelName) -> bool;
}

/// Pieces of what is given.
pub type Pieces = BoxStream<'static, io::Result<Bytes>>;

/// The giving of one node. Clones share it.
#[derive(Clone)]
pub struct Giving {
    shared: Arc<Shared>,
}

struct Shared {
    weights: Weights,
    gate: Arc<dyn Gate>,
    upload: Upload,
    seats: Mutex<Seats>,
}

#[derive(Default)]
struct Seats {
    all: usize,
    of: BTreeMap<NodeId, OfOne>,
}

/// The streams of one peer. They take turns, so that a peer with many is sent no more than one with
/// one when the upload is limited.
struct OfOne {
    streams: usize,
    turn: Arc<Semaphore>,
}

/// A stream's place.
struct Seat {
    giving: Giving,
    peer: NodeId,
    turn: Arc<Semaphore>,
}

/// One answer under way.
struct Sending {
    seat: Seat,
    file: Option<Arc<File>>,
    at: u64,
    left: u64,
    block: Bytes,
}

impl Giving {
    pub(crate) fn new(weights: Weights, gate: Arc<dyn Gate>, upload: Upload) -> Self {
        let shared = Shared {
            weights,
            gate,
            upload,
            seats: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Bytes that were given so far.
    pub fn given_bytes(&self) -> u64 {
        self.shared.upload.given_bytes()
    }

    /// What a peer is given. Its place is free again when that is dropped.
    pub async fn answer(
        &self,
        peer: NodeId,
        is_trusted: bool,
        request: WeightsRequest,
    ) -> Given<Pieces> {
        if !self.shared.gate.serves(is_trusted) {
            return refused(RefusalCode::NotAllowed);
        }
        let Some(seat) = self.seat(peer) else {
            return Given::Refused(Refusal {
                code: RefusalCode::Busy,
                retry_after: Some(AGAIN),
            });
        };
        let Some(held) = self.held(request.id()) else {
            return refused(RefusalCode::NotHeld);
        };
        let given = match request {
            WeightsRequest::Manifest(_) => manifest(seat, &held).await,
            WeightsRequest::Have(_) => have(held).await,
            WeightsRequest::Range(_, span) => range(seat, held, span).await,
        };
        // What is wrong with this machine's files is no peer's to know.
        given.unwrap_or_else(|error| {
            tracing::warn!(%error, "a part of a model cannot be read");
            refused(RefusalCode::NotHeld)
        })
    }

    /// A model that is not for peers is as good as not here.
    fn held(&self, id: ManifestId) -> Option<Held> {
        let state = self.shared.weights.state();
        let held = state.held.get(&id)?.clone();
        let is_shared = state.shared.contains_key(&id);
        drop(state);
        (is_shared || self.shared.gate.offers(&held.model)).then_some(held)
    }

    fn seat(&self, peer: NodeId) -> Option<Seat> {
        let mut seats = self.seats();
        if seats.all >= MAX_STREAMS {
            return None;
        }
        let of_one = seats.of.entry(peer).or_insert_with(|| OfOne {
            streams: 0,
            turn: Arc::new(Semaphore::new(1)),
        });
        if of_one.streams >= MAX_STREAMS_OF_ONE {
            return None;
        }
        of_one.streams += 1;
        let turn = Arc::clone(&of_one.turn);
        seats.all += 1;
        drop(seats);
        let giving = self.clone();
        Some(Seat { giving, peer, turn })
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        let seats = self.shared.seats.lock();
        seats.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.giving.seats();
        seats.all -= 1;
        if let Some(of_one) = seats.of.get_mut(&self.peer) {
            of_one.streams -= 1;
            if of_one.streams == 0 {
                seats.of.remove(&self.peer);
            }
        }
    }
}

fn refused(code: RefusalCode) -> Given<Pieces> {
    Given::Refused(code.into())
}

async fn manifest(seat: Seat, held: &Held) -> io::Result<Given<Pieces>> {
    let manifest = Arc::clone(&held.manifest);
    let block = Bytes::from(blocking(move || Ok(manifest.encode())).await?);
    let count = block.len() as u64;
    let sending = Sending {
        seat,
        file: None,
        at: 0,
        left: 0,
        block,
    };
    Ok(Given::Bytes(count, sending.pieces()))
}

async fn have(held: Held) -> io::Result<Given<Pieces>> {
    let runs = blocking(move || {
        let runs = held.is_unchanged().then(|| held.chunks.longest_runs());
        Ok(runs)
    });
    let runs = runs.await?;
    Ok(runs.map_or_else(|| refused(RefusalCode::NotHeld), Given::Have))
}

async fn range(seat: Seat, held: Held, span: Span) -> io::Result<Given<Pieces>> {
    if !held.covers(span) {
        return Ok(refused(RefusalCode::NotHeld));
    }
    let Some(file) = blocking(move || held.open(span.file)).await? else {
        return Ok(refused(RefusalCode::NotHeld));
    };
    let sending = Sending {
        seat,
        file: Some(Arc::new(file)),
        at: span.offset,
        left: span.length,
        block: Bytes::new(),
    };
    Ok(Given::Bytes(span.length, sending.pieces()))
}

impl Sending {
    fn pieces(self) -> Pieces {
        try_unfold(self, Self::next).boxed()
    }

    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.block.is_empty() && self.left > 0 {
            self.read().await?;
        }
        if self.block.is_empty() {
            return Ok(None);
        }
        let count = self.block.len().min(MAX_WEIGHTS_FRAME_BYTES);
        let piece = self.block.split_to(count);
        {
            // It is never closed.
            let _turn = self.seat.turn.acquire().await;
            self.seat.giving.shared.upload.send_behind(count).await;
        }
        Ok(Some((piece, self)))
    }

    async fn read(&mut self) -> io::Result<()> {
        let Some(file) = self.file.clone() else {
            return Ok(());
        };
        let count = self.left.min(BLOCK_BYTES);
        let (at, bytes) = (self.at, usize::try_from(count).unwrap_or(0));
        let block = blocking(move || read_at(&file, at, bytes)).await?;
        self.block = block.into();
        self.at += count;
        self.left -= count;
        Ok(())
    }
}
