//! A stage in this process: the layers of a model, whole or in part, with their KV cache, and, at
//! the end of the layers, the choice of tokens. It computes batches and says of each part what
//! came of it. Every part is checked against what the cache holds, so that whoever sends batches
//! can neither abort llama.cpp nor reach into another session.
//!
//! It knows neither sessions nor peers: the runner of a whole model and the worker of a slice
//! both drive it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::speaker::{Buffers, Speaker};
use crate::core::governor::Governor;
use crate::core::holdings::{Bounds, Holdings, HoldingsError};
use crate::core::scheduler::JobId;
use crate::core::slots::{KvOp, ParkId, SlotId};
use crate::ffi::batch::Batch;
use crate::ffi::context::{Context, DecodeError};
use crate::ffi::model::Model;
use crate::stage::{Cause, Failure, Given, Part, Wanted};

mod sampling;

/// The rows of a batch, part by part.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rows<'a> {
    /// Tokens: of a whole model.
    Tokens(&'a [u32]),
    /// Hidden states of so many numbers a row.
    Hidden(&'a [f32], usize),
}

/// What came of a batch.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Tokens and log-probabilities, from the end of the layers.
    pub(super) given: Vec<Given>,
    /// What was not done.
    pub(super) failures: Vec<Failure>,
    /// Which parts were computed, by their number, in order.
    pub(super) computed: Vec<usize>,
    /// Their hidden states, before the end of the layers.
    pub(super) hidden: Vec<f32>,
    /// Time that it took to compute.
    pub(super) spent: Duration,
}

impl Outcome {
    fn clear(&mut self) {
        self.given.clear();
        self.failures.clear();
        self.computed.clear();
        self.hidden.clear();
        self.spent = Duration::ZERO;
    }
}

/// A part of a batch and where its rows begin.
#[derive(Debug, Clone, Copy)]
struct Placed<'a> {
    number: usize,
    part: &'a Part,
    row: usize,
}

/// Layers with their cache.
pub(super) struct Stage {
    context: Context,
    model: Arc<Model>,
    holdings: Holdings,
    /// States of sequences outside of the cache.
    parked: HashMap<ParkId, Vec<u8>>,
    speakers: BTreeMap<JobId, Result<Speaker, String>>,
    /// The layers end here: tokens are chosen.
    is_last: bool,
    /// `None`: the number of threads is fixed.
    governor: Option<Governor>,
    batch: Batch,
    buffers: Buffers,
    busy: Vec<SlotId>,
}

impl Stage {
    /// An empty cache and nobody to speak for.
    pub(super) fn new(
        context: Context,
        model: Arc<Model>,
        bounds: Bounds,
        is_last: bool,
        governor: Option<Governor>,
    ) -> Self {
        Self {
            context,
            model,
            holdings: Holdings::new(bounds),
            parked: HashMap::new(),
            speakers: BTreeMap::new(),
            is_last,
            governor,
            batch: Batch::default(),
            buffers: Buffers::default(),
            busy: Vec::new(),
        }
    }

    /// A session begins here, or begins anew; or could not, and this is why.
    pub(super) fn open(&mut self, job: JobId, speaker: Result<Speaker, String>) {
        self.speakers.insert(job, speaker);
    }

    /// A session ended.
    pub(super) fn close(&mut self, job: JobId) {
        self.speakers.remove(&job);
    }

    /// Sessions that were opened.
    pub(super) fn open_sessions(&self) -> usize {
        self.speakers.len()
    }

    /// The model, whole or in part.
    pub(super) fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Empties everything, as if it had just been loaded.
    pub(super) fn reset(&mut self) {
        self.context.clear();
        self.parked.clear();
        self.speakers.clear();
        let filled: Vec<SlotId> = self.holdings.filled().collect();
        filled
            .into_iter()
            .for_each(|slot| self.holdings.on_lost(slot));
        self.holdings.forget_parked();
    }

    /// Carries out operations on the cache, then computes a batch. Rows lie in the order of the
    /// parts.
    pub(super) fn run(&mut self, ops: &[KvOp], parts: &[Part], rows: Rows<'_>, out: &mut Outcome) {
        out.clear();
        ops.iter().for_each(|op| self.apply(*op, out));
        let mut sound = Vec::with_capacity(parts.len());
        let mut row = 0;
        self.busy.clear();
        for (number, part) in parts.iter().enumerate() {
            let placed = Placed { number, part, row };
            row += part.n;
            match self.admit(part, placed, rows) {
                Ok(()) => sound.push(placed),
                Err(cause) => self.fail(part, cause, out),
            }
        }
        if !sound.is_empty() {
            self.compute(&sound, rows, out);
        }
    }

    fn apply(&mut self, op: KvOp, out: &mut Outcome) {
        if self.holdings.check(op).is_ok() && self.perform(op) {
            return self.holdings.on_done(op);
        }
        match op {
            KvOp::Cut { slot, .. } | KvOp::Unpark { slot, .. } | KvOp::Share { to: slot, .. } => {
                self.lose(slot);
                out.failures.push(Failure::Slot(slot));
            }
            KvOp::Park { id, .. } => out.failures.push(Failure::Park(id)),
            KvOp::Discard { .. } => {}
        }
    }

    /// True if it was done.
    fn perform(&mut self, op: KvOp) -> bool {
        match op {
            KvOp::Cut { slot, keep } => {
                keep >= self.holdings.length(slot) || self.context.cut(slot.0, keep)
            }
            KvOp::Share { from, to, len } => {
                let is_empty = self.holdings.length(to) == 0 || self.context.cut(to.0, 0);
                if is_empty && from != to {
                    self.context.share(from.0, to.0, len);
                }
                is_empty && from != to
            }
            KvOp::Park { slot, id } => {
                let state = self.context.save(slot.0);
                state.map(|state| self.parked.insert(id, state)).is_some()
            }
            KvOp::Unpark { id, slot } => {
                let is_empty = self.holdings.length(slot) == 0 || self.context.cut(slot.0, 0);
                let state = self.parked.get(&id).filter(|_| is_empty);
                state.is_some_and(|state| self.context.restore(slot.0, state))
            }
            KvOp::Discard { id } => {
                self.parked.remove(&id);
                true
            }
        }
    }

    /// Whether a part can be computed; its sequence is then cut to what it keeps.
    fn admit(&mut self, part: &Part, placed: Placed<'_>, rows: Rows<'_>) -> Result<(), Cause> {
        let refused = |error: HoldingsError| match error {
            HoldingsError::Missing { .. } => Cause::Missing,
            error => Cause::Refused(error.to_string()),
        };
        if self.busy.contains(&part.slot) {
            return Err(Cause::Refused("a second part for one sequence".into()));
        }
        self.holdings
            .check_step(part.slot, part.keep_n, part.n)
            .map_err(refused)?;
        if let Rows::Hidden(rows, width) = rows {
            let from = placed.row * width;
            let row = rows.get(from..from + part.n * width);
            if !row.is_some_and(|row| row.iter().all(|x| x.is_finite())) {
                return Err(Cause::Refused("a hidden state that is no number".into()));
            }
        }
        let is_cut = self.perform(KvOp::Cut {
            slot: part.slot,
            keep: part.keep_n,
        });
        if !is_cut && part.keep_n > 0 {
            return Err(Cause::Missing);
        }
        self.busy.push(part.slot);
        Ok(())
    }

    /// Computes parts together. If llama.cpp refuses, each is tried by itself, so that one takes
    /// no other with it.
    fn compute(&mut self, parts: &[Placed<'_>], rows: Rows<'_>, out: &mut Outcome) {
        match self.decode(parts, rows, out) {
            Ok(()) => parts.iter().fold(0, |row, placed| {
                self.on_computed(*placed, row, out);
                row + placed.part.n
            }),
            Err(error) if parts.len() == 1 => {
                tracing::warn!(%error, "a part of a batch failed");
                self.fail(parts[0].part, Cause::Refused(error.to_string()), out);
                0
            }
            Err(error) => {
                tracing::warn!(%error, parts = parts.len(), "a batch failed; its parts are tried one by one");
                self.compute_each(parts, rows, out);
                0
            }
        };
    }

    fn compute_each(&mut self, parts: &[Placed<'_>], rows: Rows<'_>, out: &mut Outcome) {
        // What the cache holds of the batch is not known.
        let mut intact = Vec::with_capacity(parts.len());
        for placed in parts {
            let Part { slot, keep_n, .. } = *placed.part;
            intact.push(self.context.cut(slot.0, keep_n));
        }
        for (placed, is_intact) in parts.iter().zip(intact) {
            if is_intact {
                self.compute(std::slice::from_ref(placed), rows, out);
            } else {
                self.fail(placed.part, Cause::Missing, out);
            }
        }
    }

    fn decode(
        &mut self,
        parts: &[Placed<'_>],
        rows: Rows<'_>,
        out: &mut Outcome,
    ) -> Result<(), DecodeError> {
        self.gather(parts, rows);
        let (begun, cpu) = (Instant::now(), processor_time());
        let result = self.context.decode(&mut self.batch);
        let now = Instant::now();
        out.spent += now - begun;
        if let Some(governor) = &mut self.governor {
            let cpu = processor_time().saturating_sub(cpu);
            let threads = governor.threads();
            governor.on_computed(now - begun, cpu, now);
            if governor.threads() != threads {
                let (from, to) = (threads, governor.threads());
                tracing::debug!(from, to, "threads follow the load");
                self.context.set_threads(to);
            }
        }
        result
    }

    /// Puts the rows of parts into the batch.
    fn gather(&mut self, parts: &[Placed<'_>], rows: Rows<'_>) {
        self.batch.clear();
        for placed in parts {
            let part = placed.part;
            for i in 0..part.n {
                let (position, row) = (part.keep_n + i, placed.row + i);
                let output = !self.is_last || is_wanted(part, i);
                match rows {
                    Rows::Tokens(tokens) => {
                        self.batch.push(tokens[row], position, part.slot.0, output);
                    }
                    Rows::Hidden(rows, width) => {
                        let row = &rows[row * width..(row + 1) * width];
                        self.batch.push_hidden(row, position, part.slot.0, output);
                    }
                }
            }
        }
    }

    /// Takes a part's results, which begin at `row` of what was just computed.
    fn on_computed(&mut self, placed: Placed<'_>, row: usize, out: &mut Outcome) {
        let part = placed.part;
        self.holdings.on_computed(part.slot, part.keep_n, part.n);
        if self.is_last {
            if let Err(words) = self.speak(part, row, out) {
                return self.fail(part, Cause::Refused(words), out);
            }
        } else {
            let width = self.model.width();
            let rows = self.context.hidden();
            let rows = rows.and_then(|rows| rows.get(row * width..(row + part.n) * width));
            let Some(rows) = rows.filter(|rows| rows.iter().all(|x| x.is_finite())) else {
                let words = "the layers gave no hidden states that are numbers".into();
                return self.fail(part, Cause::Refused(words), out);
            };
            out.hidden.extend_from_slice(rows);
        }
        out.computed.push(placed.number);
    }

    fn fail(&mut self, part: &Part, cause: Cause, out: &mut Outcome) {
        self.lose(part.slot);
        let (job, slot) = (part.job, part.slot);
        out.failures.push(Failure::Part { job, slot, cause });
    }

    /// Empties a sequence, if it exists.
    fn lose(&mut self, slot: SlotId) {
        if self.holdings.length(slot) > 0 || self.busy.contains(&slot) {
            self.context.cut(slot.0, 0);
        }
        self.holdings.on_lost(slot);
    }
}

/// Whether logits are wanted after row `i` of a part.
fn is_wanted(part: &Part, i: usize) -> bool {
    let is_end = i + 1 == part.n;
    match &part.wanted {
        Wanted::Nothing => false,
        Wanted::Token { .. } => is_end,
        Wanted::Prompt { next, position } => i < next.len() || (is_end && position.is_some()),
        Wanted::Window { .. } => true,
    }
}

/// Processor time that this process has used.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
