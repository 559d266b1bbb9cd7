//! Reads texts with a model and tells how well it foresees them, what it would have said in their
//! place, and which experts its router chose: what shards of a mixture are planned by and judged by.
//! It knows no other model and judges nothing.
//!
//! Texts are cut as llama.cpp's `perplexity` cuts them, so that figures compare: chunks of as many
//! tokens, each beginning with the token that begins a text, of which the second half counts.

use std::path::Path;
use std::sync::Arc;

use super::config::{LoadError, default_threads};
use crate::core::{logprob, select};
use crate::ffi::backend::Backend;
use crate::ffi::batch::Batch;
use crate::ffi::context::{Context, ContextParams, Pause, Tap};
use crate::ffi::model::Model;
use crate::gguf::{ExpertSets, Usage};

/// Tokens in a batch: each leaves a row of logits, 80 MB for a vocabulary of 150,000 tokens.
const BATCH_TOKENS: u32 = 128;

/// Tokens of a text at least: fewer say nothing of a model.
const MIN_TOKENS: usize = 32;

/// The one sequence that is used.
const SEQUENCE: u32 = 0;

/// How a text is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunks {
    /// Tokens of a chunk; a shorter text is one chunk.
    pub tokens: u32,
    /// Chunks that are read at most.
    pub most: u32,
}

/// What was read of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Tokens that were to be foreseen.
    pub tokens: u64,
    /// How unlikely they were all together: the negative logarithm of their probabilities.
    pub nats: f64,
    /// For each of them the token that was the likeliest in its place.
    pub likeliest: Vec<u32>,
    /// How the router chose, summed over all tokens of all chunks.
    pub usage: Usage,
}

impl Reading {
    /// The text's perplexity.
    #[must_use]
    pub fn perplexity(&self) -> f64 {
        (self.nats / self.tokens as f64).exp()
    }
}

/// Why a text was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExamError {
    /// The model cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The experts that the router was to be held back to are not the model's.
    #[error("these experts are not the model's")]
    Experts,
    /// The text cannot be tokenized as a whole.
    #[error("the text is too long")]
    TooLong,
    /// The text has too few tokens to say anything.
    #[error("the text has {0} tokens, fewer than {MIN_TOKENS}")]
    TooShort(usize),
    /// llama.cpp failed.
    #[error("the model does not compute: {0}")]
    Inference(String),
}

/// A mixture that reads. Loading and reading block.
#[derive(Debug)]
pub struct Examiner {
    model: Arc<Model>,
    context: Context,
    chunks: Chunks,
    batch: Batch,
    top: Vec<select::Candidate>,
}

impl Examiner {
    /// Loads a mixture. `threads`: `None` for as many as there are physical cores.
    ///
    /// # Errors
    /// [`LoadError`]; [`LoadError::Unsupported`] for a model without experts.
    pub fn load(file: &Path, chunks: Chunks, threads: Option<u32>) -> Result<Self, LoadError> {
        std::fs::File::open(file).map_err(LoadError::File)?;
        let backend = Backend::init();
        let model = Arc::new(Model::load(backend, file, -1, &mut |_| true)?);
        let experts = model.architecture_meta("expert_count");
        if experts.is_none_or(|count| count == "0") {
            return Err(LoadError::Unsupported("the model has no experts".into()));
        }
        let trained = model.context_trained().max(1);
        let tokens = chunks.tokens.min(trained);
        let params = ContextParams {
            cells: tokens,
            batch_tokens: BATCH_TOKENS,
            micro_batch_tokens: BATCH_TOKENS,
            outputs: BATCH_TOKENS,
            sequences: 1,
            threads: threads.unwrap_or_else(default_threads).max(1),
            pause: Pause::Spin,
            embeddings: None,
            tap: Tap::Router,
        };
        let context = Context::new(backend, Arc::clone(&model), params);
        let context = context.ok_or_else(|| LoadError::Context {
            cells: params.cells,
            cause: backend.take_error().unwrap_or_default(),
        })?;
        Ok(Self {
            model,
            context,
            chunks: Chunks { tokens, ..chunks },
            batch: Batch::default(),
            top: Vec::new(),
        })
    }

    /// Reads as a model would that has only these experts; `None`: all.
    ///
    /// # Errors
    /// [`ExamError::Experts`] if they are another model's.
    pub fn hold_back(&mut self, kept: Option<&ExpertSets>) -> Result<(), ExamError> {
        let held = self.context.hold_back(kept);
        held.then_some(()).ok_or(ExamError::Experts)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// [`ExamError`] if it is too short or long, or llama.cpp fails.
    pub fn read(&mut self, text: &str) -> Result<Reading, ExamError> {
        let tokens = self.model.tokenize(text, true, false);
        let tokens = tokens.map_err(|_| ExamError::TooLong)?;
        if tokens.len() < MIN_TOKENS {
            return Err(ExamError::TooShort(tokens.len()));
        }
        let size = tokens.len().min(self.chunks.tokens as usize);
        let mut reading: Option<Reading> = None;
        let chunks = tokens.chunks_exact(size);
        for chunk in chunks.take(self.chunks.most.max(1) as usize) {
            let mut chunk = chunk.to_vec();
            if let Some(begin) = self.model.bos() {
                chunk[0] = begin;
            }
            self.read_chunk(&chunk, &mut reading)?;
        }
        reading.ok_or(ExamError::TooShort(tokens.len()))
    }

    fn read_chunk(
        &mut self,
        chunk: &[u32],
        reading: &mut Option<Reading>,
    ) -> Result<(), ExamError> {
        self.context.clear();
        let mut begin = 0;
        for part in chunk.chunks(BATCH_TOKENS as usize) {
            self.batch.clear();
            for (index, token) in part.iter().enumerate() {
                // The last layer's router sees only tokens whose outputs are wanted.
                self.batch.push(*token, begin + index, SEQUENCE, true);
            }
            let decoded = self.context.decode(&mut self.batch);
            decoded.map_err(|error| ExamError::Inference(error.to_string()))?;
            self.add_usage(reading)?;
            if let Some(reading) = reading {
                for index in 0..part.len() {
                    let place = begin + index;
                    let next = chunk.get(place + 1).filter(|_| place >= chunk.len() / 2);
                    if let Some(next) = next {
                        self.foresee(index, *next, reading)?;
                    }
                }
            }
            begin += part.len();
        }
        Ok(())
    }

    fn add_usage(&mut self, reading: &mut Option<Reading>) -> Result<(), ExamError> {
        let usage = self.context.usage();
        let unseen = || ExamError::Inference("its router is not where a mixture has it".into());
        let usage = usage.ok_or_else(unseen)?;
        match reading {
            Some(reading) => {
                reading.usage.add(&usage);
            }
            None => {
                *reading = Some(Reading {
                    tokens: 0,
                    nats: 0.0,
                    likeliest: Vec::new(),
                    usage,
                });
            }
        }
        Ok(())
    }

    /// How well the row at `index` of the batch foresees a token.
    fn foresee(&mut self, index: usize, next: u32, reading: &mut Reading) -> Result<(), ExamError> {
        let missing = || ExamError::Inference("llama.cpp gave no logits".into());
        let logits = self.context.logits_mut(index).ok_or_else(missing)?;
        let found = logprob::of_token(logits, next, 1, &mut self.top);
        let found = found.ok_or_else(missing)?;
        let likeliest = self.top.first().map_or(0, |candidate| candidate.token);
        reading.tokens += 1;
        reading.nats -= f64::from(found);
        reading
            .likeliest
            .push(u32::try_from(likeliest).unwrap_or(0));
        Ok(())
    }
}
