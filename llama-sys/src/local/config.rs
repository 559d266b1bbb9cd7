//! What a model is loaded with, and what can go wrong.

use std::path::PathBuf;

use crate::engine::Speculate;
use crate::ffi::model::ModelError;
use crate::hardware::Memory;

/// Tokens of one sequence where nothing else is asked for. Longer contexts cost memory that
/// most chats never use.
const DEFAULT_CONTEXT_TOKENS: u32 = 8192;

/// Tokens of one sequence where memory is short: a question and its answer.
const MIN_CONTEXT_TOKENS: u32 = 512;

/// The cache takes this part of the available memory at most, where nothing else is asked for:
/// weights and buffers need memory, too, and so do other programs.
const MEMORY_PARTS: u64 = 4;

/// Sequences at once where nothing else is asked for. They share one pool of cells, so more of
/// them cost nearly nothing until they are used.
const DEFAULT_PARALLEL: u32 = 16;

/// Cells of the pool for each sequence where nothing else is asked for; one sequence alone may
/// use them all.
const CELLS_PER_SEQUENCE: u32 = 512;

/// Sequences of the cache at least: a prefix takes no memory but its cells.
const MIN_SEQUENCES_KEPT: u32 = 32;

/// llama.cpp's own limit on sequences in a context.
pub(super) const MAX_SEQUENCES: u32 = 256;

/// How to load a model. `None`: as fits model and machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalConfig {
    /// The GGUF file; the first part of a model in several.
    pub model: PathBuf,
    /// Tokens of one sequence.
    pub context_length: Option<u32>,
    /// Sequences at once.
    pub parallel: Option<u32>,
    /// Cells of the KV cache that all sequences share; one sequence's tokens at least.
    pub cells: Option<u32>,
    /// Threads; else as many as there are physical cores, fewer while other programs keep these
    /// busy.
    pub threads: Option<u32>,
    /// Tokens in a batch: more is faster in prefill, and each step (the time until a new or
    /// cancelled job is noticed) takes longer.
    pub batch_tokens: u32,
    /// Tokens that are computed at once within a batch; `None`: all. With 1, nothing depends on
    /// the shape of a batch, and an answer that is resumed, repeated or answered beside others
    /// has the same bits; prompts are then as slow as answers.
    pub micro_batch_tokens: Option<u32>,
    /// Layers on the GPU; `None`: all, where there is one.
    pub gpu_layers: Option<u32>,
    /// Jobs that wait beside those that run.
    pub queue_limit: u32,
    /// Where drafts come from.
    pub speculate: Speculate,
    /// The draft model's file; its vocabulary is the model's, else it is left out.
    pub draft: Option<PathBuf>,
}

impl LocalConfig {
    /// The defaults for a model file.
    #[must_use]
    pub fn new(model: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            context_length: None,
            parallel: None,
            cells: None,
            threads: None,
            batch_tokens: 512,
            micro_batch_tokens: None,
            gpu_layers: None,
            queue_limit: 256,
            speculate: Speculate::default(),
            draft: None,
        }
    }

    /// Sequences at once.
    pub(super) fn sequences(&self) -> u32 {
        self.parallel
            .unwrap_or(DEFAULT_PARALLEL)
            .clamp(1, MAX_SEQUENCES)
    }

    /// Sequences of the cache: those beyond the running ones keep prefixes.
    pub(super) fn sequences_kept(&self, recurrent: bool) -> u32 {
        if recurrent {
            // Each recurrent state takes memory of its own.
            return self.sequences();
        }
        (self.sequences() * 2).clamp(MIN_SEQUENCES_KEPT, MAX_SEQUENCES)
    }

    /// Tokens of one sequence, for a model trained on `trained`, where `affordable` cells fit
    /// in memory. What is asked for is tried even if it does not fit.
    pub(super) fn context(&self, trained: u32, affordable: u32) -> u32 {
        let trained = if trained == 0 { u32::MAX } else { trained };
        let default = DEFAULT_CONTEXT_TOKENS.min(affordable.max(MIN_CONTEXT_TOKENS));
        self.context_length.unwrap_or(default).clamp(1, trained)
    }

    /// Cells of the cache for sequences of `context` tokens, where `affordable` fit in memory.
    pub(super) fn cells(&self, context: u32, affordable: u32) -> u32 {
        let default = (self.sequences() * CELLS_PER_SEQUENCE).min(affordable);
        self.cells.unwrap_or(default).max(context)
    }

    /// Cells that fit in memory, of `cell_bytes` each.
    pub(super) fn affordable_cells(cell_bytes: u64) -> u32 {
        let memory = Memory::detect().available_bytes;
        if memory == 0 || cell_bytes == 0 {
            return u32::MAX;
        }
        let cells = memory / MEMORY_PARTS / cell_bytes;
        u32::try_from(cells).unwrap_or(u32::MAX)
    }

    /// Threads to compute with.
    pub(super) fn threads(&self) -> u32 {
        self.threads.unwrap_or_else(default_threads).max(1)
    }

    /// Tokens in a batch: one for each sequence at least.
    pub(super) fn batch(&self) -> u32 {
        self.batch_tokens.max(self.sequences() + 1)
    }

    /// Tokens that are computed at once.
    pub(super) fn micro_batch(&self) -> u32 {
        let batch = self.batch();
        self.micro_batch_tokens.map_or(batch, |n| n.clamp(1, batch))
    }

    /// Layers on the GPU, as llama.cpp counts them.
    pub(super) fn gpu_layers(&self) -> i32 {
        self.gpu_layers
            .map_or(-1, |n| i32::try_from(n).unwrap_or(-1))
    }
}

/// As many as there are physical cores that this process may use.
pub(super) fn default_threads() -> u32 {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    let physical = sysinfo::System::physical_core_count().unwrap_or(allowed);
    u32::try_from(physical.min(allowed)).unwrap_or(1)
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file is not there or cannot be read.
    #[error("the model file cannot be read")]
    File(#[source] std::io::Error),
    /// llama.cpp refused the file.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// llama.cpp could not make a context: mostly memory.
    #[error("no context of {cells} tokens could be made: {cause}")]
    Context {
        /// Cells that were asked for.
        cells: u32,
        /// llama.cpp's words.
        cause: String,
    },
    /// The model is of a kind that is not served.
    #[error("{0}")]
    Unsupported(String),
    /// The first, empty computation failed.
    #[error("the model does not compute: {0}")]
    WarmUp(String),
    /// No thread could be started.
    #[error("no thread could be started")]
    Thread(#[source] std::io::Error),
}
