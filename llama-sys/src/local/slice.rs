//! A slice of a model in this process, on a thread of its own: payloads come in, are checked and
//! computed, and go on. Whatever comes in is from a peer; the worst that it can do is to have its
//! own answers refused, or its ring ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::config::{LoadError, default_threads};
use super::head::EXTRA_OUTPUTS;
use super::speaker::Speaker;
use super::stage::{Outcome, Rows, Stage};
use crate::core::governor::Governor;
use crate::core::holdings::Bounds;
use crate::ffi::backend::Backend;
use crate::ffi::batch::Batch;
use crate::ffi::context::{Context, ContextParams, Pause, Tap};
use crate::ffi::model::Model;
use crate::gguf::PARKED_PART;
use crate::stage::{
    Back, Forward, FromStage, MAX_IN_FLIGHT, Opening, PayloadError, Precision, SliceConfig,
    SliceInfo, TokenRows,
};

/// Payloads on their way to the thread, and from it: what a head sends at most.
const PAYLOAD_BUFFER: usize = MAX_IN_FLIGHT;

/// Sessions that a stage keeps for each sequence: those that ended are closed with the next batch.
const SESSIONS_PER_SEQUENCE: usize = 2;

/// What the probe's row is made of: any small number is a hidden state.
const PROBE: f32 = 0.01;

/// Why a payload ends the ring.
#[derive(Debug, thiserror::Error)]
enum Violation {
    #[error(transparent)]
    Payload(#[from] PayloadError),
    #[error("batch {found} instead of {expected}: one was lost, or came twice")]
    Order { found: u64, expected: u64 },
    #[error("hidden states of {found} numbers instead of {expected}")]
    Width { found: usize, expected: usize },
    #[error("more than {0} sessions")]
    Sessions(usize),
}

/// A slice on its thread. Dropping it ends the thread, within a batch.
#[derive(Debug)]
pub struct SliceStage {
    info: SliceInfo,
    payloads: mpsc::Sender<Bytes>,
    dropped: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl SliceStage {
    /// Loads a slice and starts its thread. Blocks until it can compute; `progress` is told 0..=1
    /// and answers whether to go on. What it says comes out of the receiver, which ends with the
    /// thread.
    ///
    /// # Errors
    /// [`LoadError`], with llama.cpp's own words where it has any.
    pub fn load(
        config: &SliceConfig,
        mut progress: impl FnMut(f32) -> bool,
    ) -> Result<(Self, mpsc::Receiver<FromStage>), LoadError> {
        let host = Host::load(config, &mut progress)?;
        let info = host.info;
        let (payloads, received) = mpsc::channel(PAYLOAD_BUFFER);
        let (out, said) = mpsc::channel(PAYLOAD_BUFFER);
        let dropped = CancellationToken::new();
        let ways = Ways {
            payloads: received,
            out,
            dropped: dropped.clone(),
            waiting: tokio::runtime::Builder::new_current_thread()
                .build()
                .map_err(LoadError::Thread)?,
        };
        let thread = std::thread::Builder::new()
            .name("llama".into())
            .spawn(move || host.run(ways))
            .map_err(LoadError::Thread)?;
        let stage = Self {
            info,
            payloads,
            dropped,
            thread: Some(thread),
        };
        Ok((stage, said))
    }

    /// Facts of the slice.
    #[must_use]
    pub fn info(&self) -> SliceInfo {
        self.info
    }

    /// Where payloads go. An empty one forgets every session, for whoever has the slice next.
    #[must_use]
    pub fn payloads(&self) -> mpsc::Sender<Bytes> {
        self.payloads.clone()
    }
}

impl Drop for SliceStage {
    /// Waits for the thread: llama.cpp must not compute any more when the process ends. The thread
    /// ends after its batch, whoever still sends payloads or leaves unread what was said.
    fn drop(&mut self) {
        self.dropped.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's ways in and out, which end when the stage is dropped.
struct Ways {
    payloads: mpsc::Receiver<Bytes>,
    out: mpsc::Sender<FromStage>,
    dropped: CancellationToken,
    /// Waits for them and for the drop at once.
    waiting: Runtime,
}

impl Ways {
    fn next(&mut self) -> Option<Bytes> {
        let next = self.dropped.run_until_cancelled(self.payloads.recv());
        self.waiting.block_on(next).flatten()
    }

    /// Whether it was taken.
    fn say(&self, said: FromStage) -> bool {
        let sent = self.dropped.run_until_cancelled(self.out.send(said));
        matches!(self.waiting.block_on(sent), Some(Ok(())))
    }
}

/// What the thread works with.
struct Host {
    stage: Stage,
    info: SliceInfo,
    is_last: bool,
    scale: f32,
    precision: Precision,
    most_sessions: usize,
    /// The ring that is served.
    ring: Option<u64>,
    /// Its next batch.
    expected: u64,
    rows: Vec<f32>,
    outcome: Outcome,
}

impl Host {
    fn load(
        config: &SliceConfig,
        progress: &mut dyn FnMut(f32) -> bool,
    ) -> Result<Self, LoadError> {
        std::fs::File::open(&config.file).map_err(LoadError::File)?;
        let backend = Backend::init();
        let gpu_layers = config
            .gpu_layers
            .map_or(-1, |n| i32::try_from(n).unwrap_or(-1));
        let model = Arc::new(Model::load(backend, &config.file, gpu_layers, progress)?);
        let threads = config.threads.unwrap_or_else(default_threads).max(1);
        let params = ContextParams {
            cells: config.cells,
            batch_tokens: config.batch_tokens,
            micro_batch_tokens: config.batch_tokens,
            outputs: config.sequences + EXTRA_OUTPUTS,
            sequences: config.sequences,
            threads,
            pause: Pause::Sleep,
            embeddings: None,
            tap: match config.is_last {
                true => Tap::None,
                false => Tap::Hidden,
            },
        };
        let context = Context::new(backend, Arc::clone(&model), params);
        let mut context = context.ok_or_else(|| LoadError::Context {
            cells: params.cells,
            cause: backend.take_error().unwrap_or_default(),
        })?;
        let token_time = probe(&mut context, &model, config.is_last)?;
        let bounds = Bounds {
            sequences: config.sequences,
            cells: context.cells() as usize,
            parked_tokens: (u64::from(config.cells) * 2 / PARKED_PART) as usize,
        };
        let info = SliceInfo {
            width: u32::try_from(model.width()).unwrap_or(0),
            layers: model.layers(),
            model_bytes: model.tensor_bytes(),
            token_time,
        };
        let governor = config.threads.is_none().then(|| Governor::new(threads));
        Ok(Self {
            stage: Stage::new(context, model, bounds, config.is_last, governor),
            info,
            is_last: config.is_last,
            scale: config.input_scale,
            precision: config.precision,
            most_sessions: config.sequences as usize * SESSIONS_PER_SEQUENCE,
            ring: None,
            expected: 0,
            rows: Vec::new(),
            outcome: Outcome::default(),
        })
    }

    /// Until the stage is dropped, nobody sends payloads, or nobody takes what comes of them.
    fn run(mut self, mut ways: Ways) {
        while let Some(payload) = ways.next() {
            let said = self.take(payload);
            let said = said.unwrap_or_else(|violation| FromStage::Broken(violation.to_string()));
            if !ways.say(said) {
                return;
            }
        }
    }

    fn take(&mut self, payload: Bytes) -> Result<FromStage, Violation> {
        if payload.is_empty() {
            self.stage.reset();
            self.ring = None;
            return Ok(FromStage::Nothing);
        }
        let forward = Forward::decode(payload)?;
        let width = self.info.width as usize;
        if forward.hidden.width != width {
            let (found, expected) = (forward.hidden.width, width);
            return Err(Violation::Width { found, expected });
        }
        if forward.batch == 0 && self.ring < Some(forward.ring) {
            self.stage.reset();
            self.ring = Some(forward.ring);
            self.expected = 0;
        }
        if self.ring != Some(forward.ring) {
            return Ok(FromStage::Nothing);
        }
        if forward.batch != self.expected {
            let (found, expected) = (forward.batch, self.expected);
            return Err(Violation::Order { found, expected });
        }
        self.expected += 1;
        if self.is_last {
            forward.close.iter().for_each(|job| self.stage.close(*job));
            forward.open.iter().for_each(|opening| self.open(opening));
            if self.stage.open_sessions() > self.most_sessions {
                return Err(Violation::Sessions(self.most_sessions));
            }
        }
        self.rows.clear();
        let hidden = &forward.hidden;
        hidden.take(0, hidden.len(), &mut self.rows);
        if self.scale != 1.0 {
            self.rows.iter_mut().for_each(|x| *x *= self.scale);
        }
        let rows = Rows::Hidden(&self.rows, width);
        let (ops, parts) = (&forward.ops, &forward.parts);
        self.stage.run(ops, parts, rows, &mut self.outcome);
        self.pass_on(forward)
    }

    fn open(&mut self, opening: &Opening) {
        let Opening { job, voice, answer } = opening;
        let speaker = Speaker::new(self.stage.model(), voice, answer);
        self.stage
            .open(*job, speaker.map_err(|error| error.to_string()));
    }

    fn pass_on(&mut self, mut forward: Forward) -> Result<FromStage, Violation> {
        let mut failures = std::mem::take(&mut forward.failures);
        failures.append(&mut self.outcome.failures);
        if self.is_last {
            let back = Back {
                ring: forward.ring,
                batch: forward.batch,
                given: std::mem::take(&mut self.outcome.given),
                failures,
                spent: forward.spent.and(self.outcome.spent),
            };
            return Ok(FromStage::Back(back.encode()?));
        }
        let mut number = 0;
        forward.parts.retain(|_| {
            number += 1;
            self.outcome.computed.binary_search(&(number - 1)).is_ok()
        });
        let width = self.info.width as usize;
        let rows = self.outcome.hidden.len() / width;
        let mut bytes = BytesMut::with_capacity(self.precision.row_bytes(width) * rows);
        for row in self.outcome.hidden.chunks(width) {
            self.precision.put(row, &mut bytes);
        }
        let next = Forward {
            failures,
            spent: forward.spent.and(self.outcome.spent),
            hidden: TokenRows {
                precision: self.precision,
                width,
                bytes: bytes.freeze(),
            },
            ..forward
        };
        Ok(FromStage::Next(next.encode()?))
    }
}

/// Computes one token: what a stage must give is there, in its full width. Twice, so that the
/// second time is that of a stage with its pages and buffers in place.
fn probe(context: &mut Context, model: &Model, is_last: bool) -> Result<Duration, LoadError> {
    let row = vec![PROBE; model.width()];
    let mut taken = Duration::ZERO;
    for _ in 0..2 {
        let mut batch = Batch::default();
        batch.push_hidden(&row, 0, 0, true);
        let begun = std::time::Instant::now();
        let decoded = context.decode(&mut batch);
        decoded.map_err(|error| LoadError::WarmUp(error.to_string()))?;
        taken = begun.elapsed();
        let is_there = if is_last {
            context.logits_mut(0).is_some()
        } else {
            context.hidden().is_some_and(|rows| rows.len() == row.len())
        };
        context.clear();
        if !is_there {
            let message = "the layers give no hidden state where a stage's should be";
            return Err(LoadError::WarmUp(message.into()));
        }
    }
    Ok(taken)
}
