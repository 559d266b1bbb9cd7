//! The head's end of a chain: batches leave as payloads, their outcomes come back in order. Several
//! are on their way at once, so that stages work at the same time and a slow link is filled.
//!
//! Transitions: down → up (a ring of stages is ready, all of them empty) → down (the ring is lost:
//! nothing that is on its way counts any more). It does not know who the stages are, nor how
//! payloads travel.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use crate::core::scheduler::{JobId, Work};
use crate::core::slots::KvOp;
use crate::core::speculation::{Spent, WindowId};
use crate::ffi::table::{EmbeddingTable, LookupError};
use crate::stage::{
    Back, Forward, FromHead, MAX_IN_FLIGHT, Opening, Part, PayloadError, Precision, TokenRows,
};

/// Messages on their way to whoever carries payloads: one for each batch, and one that the ring
/// is broken.
pub(crate) const RING_BUFFER: usize = MAX_IN_FLIGHT + 1;

/// A part of a batch that is on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flown {
    pub(super) work: Work,
    /// The job's epoch then.
    pub(super) epoch: u32,
    /// What is told of its result, if tokens are wanted.
    pub(super) window: Option<WindowId>,
}

struct Flight {
    batch: u64,
    parts: Vec<Flown>,
    departed: Instant,
}

/// A batch that came back.
pub(super) struct Landed {
    pub(super) parts: Vec<Flown>,
    pub(super) back: Back,
    /// How long it was on its way.
    pub(super) took: Duration,
}

/// How embeddings are made and sent.
pub(super) struct ChainSetup {
    pub(super) table: EmbeddingTable,
    /// Every embedding is multiplied by this.
    pub(super) scale: f32,
    pub(super) precision: Precision,
    pub(super) out: mpsc::Sender<FromHead>,
}

/// A batch that is to leave.
pub(super) struct Departure<'a> {
    pub(super) ops: Vec<KvOp>,
    pub(super) parts: Vec<Part>,
    /// The parts' tokens.
    pub(super) tokens: &'a [u32],
    pub(super) flown: Vec<Flown>,
    pub(super) open: Vec<Opening>,
}

/// Why a batch did not leave, or what came is no outcome.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChainError {
    /// The embeddings cannot be read.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// Bytes that are no payload, or a payload that is too large.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// Nobody carries payloads any more.
    #[error("nobody carries the chain's batches any more")]
    Gone,
    /// An outcome of no batch, or out of order.
    #[error("an outcome of another batch than the oldest")]
    Order,
}

/// The head's end.
pub(super) struct Chain {
    setup: ChainSetup,
    /// The ring's number, while there is one.
    ring: Option<u64>,
    next: u64,
    flights: VecDeque<Flight>,
    /// Sessions that the last stage knows, and the epoch in which they were opened.
    opened: BTreeMap<JobId, u32>,
    closed: Vec<JobId>,
    embedded: Vec<f32>,
}

impl Chain {
    /// Down.
    pub(super) fn new(setup: ChainSetup) -> Self {
        Self {
            setup,
            ring: None,
            next: 0,
            flights: VecDeque::new(),
            opened: BTreeMap::new(),
            closed: Vec::new(),
            embedded: Vec::new(),
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.ring.is_some() && self.flights.len() < MAX_IN_FLIGHT
    }

    /// A ring is there, or is lost; either way nothing is on its way.
    pub(super) fn set_ring(&mut self, ring: Option<u64>) {
        self.ring = ring;
        self.next = 0;
        self.flights.clear();
        self.opened.clear();
        self.closed.clear();
    }

    /// The ring is of no use: whoever carries payloads is told.
    pub(super) fn break_off(&mut self, error: &ChainError) {
        self.set_ring(None);
        tracing::warn!(%error, "the ring is broken");
        let _ = self.setup.out.try_send(FromHead::Broken(error.to_string()));
    }

    /// Whether the last stage has to be told of a session before it chooses for it.
    pub(super) fn must_open(&mut self, job: JobId, epoch: u32) -> bool {
        self.opened.insert(job, epoch) != Some(epoch)
    }

    /// A session ended.
    pub(super) fn close(&mut self, job: JobId) {
        if self.opened.remove(&job).is_some() {
            self.closed.push(job);
        }
    }

    /// Sends a batch on its way.
    pub(super) fn dispatch(&mut self, departure: Departure<'_>) -> Result<(), ChainError> {
        let ring = self.ring.ok_or(ChainError::Gone)?;
        let hidden = self.embed(departure.tokens)?;
        let batch = self.next;
        let forward = Forward {
            ring,
            batch,
            ops: departure.ops,
            parts: departure.parts,
            open: departure.open,
            close: std::mem::take(&mut self.closed),
            failures: Vec::new(),
            spent: Spent::default(),
            hidden,
        };
        let payload = FromHead::Forward(forward.encode()?);
        let sent = self.setup.out.try_send(payload);
        sent.map_err(|_| ChainError::Gone)?;
        self.next += 1;
        self.flights.push_back(Flight {
            batch,
            parts: departure.flown,
            departed: Instant::now(),
        });
        Ok(())
    }

    fn embed(&mut self, tokens: &[u32]) -> Result<TokenRows, ChainError> {
        let ChainSetup {
            table,
            scale,
            precision,
            ..
        } = &mut self.setup;
        self.embedded.clear();
        table.append_rows(tokens, &mut self.embedded)?;
        if *scale != 1.0 {
            self.embedded.iter_mut().for_each(|x| *x *= *scale);
        }
        let width = table.width();
        let mut bytes = BytesMut::with_capacity(precision.row_bytes(width) * tokens.len());
        for row in self.embedded.chunks(width) {
            precision.put(row, &mut bytes);
        }
        Ok(TokenRows {
            precision: *precision,
            width,
            bytes: bytes.freeze(),
        })
    }

    /// Takes what came back: the parts of the oldest batch, and what came of them. `None`: it is of
    /// a ring that was lost.
    pub(super) fn land(&mut self, payload: Bytes) -> Result<Option<Landed>, ChainError> {
        let back = Back::decode(payload)?;
        if self.ring != Some(back.ring) {
            return Ok(None);
        }
        match self.flights.pop_front() {
            Some(flight) if flight.batch == back.batch => Ok(Some(Landed {
                parts: flight.parts,
                back,
                took: flight.departed.elapsed(),
            })),
            _ => Err(ChainError::Order),
        }
    }
}
