//! A draft model beside the model that verifies: it says what may come next, drawn with the very
//! noise that the verifier draws with, which makes the two agree more often. Whatever it says
//! changes an answer's speed and nothing else. It knows neither windows nor when drafts pay.
//!
//! Each sequence holds the text of one session as far as it was computed here; a session that
//! finds none free takes the one that was used least lately.

use std::path::Path;
use std::sync::Arc;

use super::chooser::{Chooser, Scratch};
use crate::core::scheduler::JobId;
use crate::core::speculation::Sources;
use crate::engine::{Sampling, Speculate};
use crate::ffi::backend::Backend;
use crate::ffi::batch::Batch;
use crate::ffi::context::{Context, ContextParams, DecodeError, Pause, Tap, Threads};
use crate::ffi::model::{Model, ModelError};
use crate::stage::Voice;

/// Tokens of a text that are computed at once: the model is small, and other sessions wait.
const BATCH_TOKENS: u32 = 256;

/// Why a file is no draft model for a model.
#[derive(Debug, thiserror::Error)]
pub(super) enum DraftError {
    #[error("it cannot be loaded: {0}")]
    Model(#[from] ModelError),
    #[error("it has no memory that can be cut back: take one with attention only")]
    Kind,
    #[error(
        "its vocabulary is another ({its} tokens, {wanted} are wanted): take a small model of the \
         same family"
    )]
    Vocabulary { its: u32, wanted: u32 },
    #[error("no context could be made for it: {0}")]
    Context(String),
}

/// Where drafts come from, and the model that makes them if there is one.
pub(super) struct Drafting {
    pub(super) sources: Sources,
    pub(super) model: Option<Box<DraftModel>>,
    /// Why there is none although one was asked for, for people.
    pub(super) trouble: Option<String>,
}

impl Drafting {
    /// As was asked for. A draft model that is none is left out.
    pub(super) fn new(
        speculate: Speculate,
        file: Option<&Path>,
        load: impl FnOnce(&Path) -> Result<DraftModel, DraftError>,
    ) -> Self {
        let wanted = file.filter(|_| speculate.uses_model());
        let (mut model, mut trouble) = (None, None);
        match wanted.map(|file| (file, load(file))) {
            None => {}
            Some((_, Ok(loaded))) => model = Some(Box::new(loaded)),
            Some((file, Err(error))) => {
                let file = file.display();
                trouble = Some(format!("{file} does not draft: {error}"));
            }
        }
        Self {
            sources: Sources {
                lookup: speculate.looks_up(),
                model: model.is_some(),
            },
            model,
            trouble,
        }
    }
}

/// What a draft model is given of the machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Cells of its cache.
    pub(super) cells: u32,
    /// Sessions at once.
    pub(super) sequences: u32,
    /// Threads, where it does not share those of another context.
    pub(super) threads: u32,
}

#[derive(Default)]
struct Slot {
    job: Option<JobId>,
    /// What the cache holds.
    tokens: Vec<u32>,
    chooser: Option<Chooser>,
    used_at: u64,
}

/// The session that drafts are wanted for.
pub(super) struct Asked<'a> {
    pub(super) job: JobId,
    /// All its tokens, and the drafts behind them.
    pub(super) text: &'a [u32],
    /// The answer's position that the first draft takes.
    pub(super) position: u64,
    pub(super) voice: &'a Voice,
    /// Drafts, at most.
    pub(super) tokens: usize,
}

/// A small model with a cache of its own.
pub(super) struct DraftModel {
    context: Context,
    model: Arc<Model>,
    slots: Vec<Slot>,
    cells: usize,
    batch: Batch,
    scratch: Scratch,
    clock: u64,
}

impl DraftModel {
    /// Loads the model of `file`, which is to draft for `target`. It computes with `threads`, if
    /// there are any: pools of their own would keep the cores from each other.
    pub(super) fn load(
        file: &Path,
        target: &Model,
        room: Room,
        threads: Option<Threads>,
    ) -> Result<Self, DraftError> {
        let backend = Backend::init();
        let model = Model::load(backend, file, -1, &mut |_| true)?;
        if model.is_recurrent() || model.has_encoder() {
            return Err(DraftError::Kind);
        }
        check_vocabulary(&model, target)?;
        let model = Arc::new(model);
        let params = ContextParams {
            cells: room.cells,
            batch_tokens: BATCH_TOKENS,
            micro_batch_tokens: BATCH_TOKENS,
            outputs: room.sequences,
            sequences: room.sequences,
            threads: room.threads,
            pause: Pause::Spin,
            embeddings: None,
            tap: Tap::None,
        };
        let context = Context::beside(backend, Arc::clone(&model), params, threads);
        let context = context.ok_or_else(|| {
            let cause = backend.take_error().unwrap_or_default();
            DraftError::Context(cause)
        })?;
        if !context.has_memory() {
            return Err(DraftError::Kind);
        }
        Ok(Self {
            cells: context.cells() as usize,
            context,
            model,
            slots: (0..room.sequences).map(|_| Slot::default()).collect(),
            batch: Batch::default(),
            scratch: Scratch::default(),
            clock: 0,
        })
    }

    /// A session ended. What the cache holds of it may serve the next one that begins alike.
    pub(super) fn close(&mut self, job: JobId) {
        for slot in self.slots.iter_mut().filter(|s| s.job == Some(job)) {
            slot.job = None;
            slot.chooser = None;
        }
    }

    /// Tokens of a session's text that are computed.
    pub(super) fn held(&self, job: JobId) -> usize {
        let slot = self.slots.iter().find(|s| s.job == Some(job));
        slot.map_or(0, |slot| slot.tokens.len())
    }

    /// Puts what may come next in `drafts`, which is less than was asked for where the answer may
    /// end.
    pub(super) fn draft(
        &mut self,
        asked: &Asked<'_>,
        drafts: &mut Vec<u32>,
    ) -> Result<(), DecodeError> {
        drafts.clear();
        if asked.text.len() + asked.tokens > self.cells || asked.text.is_empty() {
            return Ok(());
        }
        let number = self.slot_of(asked);
        match self.draft_in(number, asked, drafts) {
            Err(DecodeError::NoCells) => {
                drafts.clear();
                self.make_room();
                Ok(())
            }
            result => result,
        }
    }

    /// The cache is full: texts of sessions that ended go, or all texts.
    fn make_room(&mut self) {
        let idle = |slot: &Slot| slot.job.is_none() && !slot.tokens.is_empty();
        let all = !self.slots.iter().any(idle);
        for (number, slot) in self.slots.iter_mut().enumerate() {
            if all || idle(slot) {
                slot.tokens.clear();
                self.context.cut(sequence(number), 0);
            }
        }
    }

    /// The session's sequence, or one that becomes it.
    fn slot_of(&mut self, asked: &Asked<'_>) -> usize {
        self.clock += 1;
        let own = self.slots.iter().position(|s| s.job == Some(asked.job));
        let number = own.unwrap_or_else(|| {
            let all = self.slots.iter().enumerate();
            let least = all.min_by_key(|(_, slot)| (slot.job.is_some(), slot.used_at));
            least.map_or(0, |(number, _)| number)
        });
        let slot = &mut self.slots[number];
        slot.used_at = self.clock;
        if own.is_none() {
            slot.job = Some(asked.job);
            slot.chooser = chooser(&self.model, asked.voice);
        }
        number
    }

    fn draft_in(
        &mut self,
        number: usize,
        asked: &Asked<'_>,
        drafts: &mut Vec<u32>,
    ) -> Result<(), DecodeError> {
        let mut row = self.catch_up(number, asked.text)?;
        for position in (asked.position..).take(asked.tokens) {
            let Some(token) = self.choose(number, row, position) else {
                break;
            };
            drafts.push(token);
            if drafts.len() < asked.tokens {
                row = self.compute(number, &[token])?;
            }
        }
        Ok(())
    }

    fn choose(&mut self, number: usize, row: usize, position: u64) -> Option<u32> {
        let chooser = self.slots[number].chooser.as_mut()?;
        let logits = self.context.logits_mut(row)?;
        let token = chooser.choose(logits, position, &mut self.scratch)?;
        (!self.model.is_end(token)).then_some(token)
    }

    /// Computes what is new of a text. The row of the logits after it.
    fn catch_up(&mut self, number: usize, text: &[u32]) -> Result<usize, DecodeError> {
        let held = &self.slots[number].tokens;
        let pairs = held.iter().zip(&text[..text.len() - 1]);
        let common = pairs.take_while(|(a, b)| a == b).count();
        let is_cut = common == held.len() || self.context.cut(sequence(number), common);
        let keep = if is_cut { common } else { 0 };
        self.slots[number].tokens.truncate(keep);
        let mut row = 0;
        for piece in text[keep..].chunks(BATCH_TOKENS as usize) {
            row = self.compute(number, piece)?;
        }
        Ok(row)
    }

    /// Computes tokens at the end of a sequence. The row of the logits after the last.
    fn compute(&mut self, number: usize, tokens: &[u32]) -> Result<usize, DecodeError> {
        self.batch.clear();
        let begin = self.slots[number].tokens.len();
        let mut row = 0;
        for (i, token) in tokens.iter().enumerate() {
            let is_last = i + 1 == tokens.len();
            row = self
                .batch
                .push(*token, begin + i, sequence(number), is_last);
        }
        self.context.decode(&mut self.batch)?;
        self.slots[number].tokens.extend_from_slice(tokens);
        Ok(row)
    }
}

/// A sequence of the cache; there are 256 at most.
fn sequence(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// The choice of the verifier, but for penalties and grammars, which need the answer as it comes:
/// they would have to be taken back with each rejected draft.
fn chooser(model: &Arc<Model>, voice: &Voice) -> Option<Chooser> {
    let plain = Sampling::default();
    let sampling = Sampling {
        repeat_penalty: plain.repeat_penalty,
        presence_penalty: plain.presence_penalty,
        frequency_penalty: plain.frequency_penalty,
        ..voice.sampling.clone()
    };
    Chooser::new(model, &sampling, voice.seed, None).ok()
}

/// Both models must mean the same by every token.
fn check_vocabulary(model: &Model, target: &Model) -> Result<(), DraftError> {
    let (its, wanted) = (model.vocab_size(), target.vocab_size());
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut same = |token: u32| {
        left.clear();
        right.clear();
        model.append_piece(token, true, &mut left);
        target.append_piece(token, true, &mut right);
        left == right && model.is_end(token) == target.is_end(token)
    };
    if its == wanted && (0..its).all(&mut same) {
        return Ok(());
    }
    Err(DraftError::Vocabulary { its, wanted })
}
