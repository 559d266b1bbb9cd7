//! What a context is made with, and how llama.cpp is told. It makes none.

use llama_cpp_sys_2 as sys;

use crate::ffi::threads::Pause;

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// Not at all: one vector a token.
    None,
    /// As the model's file says.
    Model,
}

/// What is taken out of a computation beside its logits, or instead of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tap {
    /// Nothing.
    None,
    /// The hidden states after the last layer instead of logits: the model's layers are followed
    /// by others elsewhere.
    Hidden,
    /// How a mixture's router chooses, which may be held back.
    Router,
}

/// What a context is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContextParams {
    /// Cells of the KV cache.
    pub(crate) cells: u32,
    /// Tokens in a batch.
    pub(crate) batch_tokens: u32,
    /// Tokens that are computed at once.
    pub(crate) micro_batch_tokens: u32,
    /// Rows of logits in a batch.
    pub(crate) outputs: u32,
    /// Sequences.
    pub(crate) sequences: u32,
    /// Threads to compute with.
    pub(crate) threads: u32,
    /// What they do between two batches.
    pub(crate) pause: Pause,
    /// Embeddings instead of logits, and how they are pooled.
    pub(crate) embeddings: Option<Pooling>,
    /// What else is wanted of the computation.
    pub(crate) tap: Tap,
}

impl ContextParams {
    /// As llama.cpp wants them: one cache for all sequences, whose cells any of them may take.
    pub(super) fn raw(&self) -> sys::llama_context_params {
        // SAFETY: plain values out, nothing passed in.
        let mut raw = unsafe { sys::llama_context_default_params() };
        raw.n_ctx = self.cells;
        raw.n_batch = self.batch_tokens;
        raw.n_ubatch = self.micro_batch_tokens;
        raw.n_seq_max = self.sequences;
        raw.n_outputs_max = self.outputs.max(self.sequences);
        raw.n_threads = self.threads as i32;
        raw.n_threads_batch = self.threads as i32;
        raw.kv_unified = true;
        raw.swa_full = true;
        raw.no_perf = true;
        raw.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_AUTO;
        if let Some(pooling) = self.embeddings {
            raw.embeddings = true;
            raw.n_outputs_max = self.batch_tokens;
            raw.pooling_type = match pooling {
                Pooling::None => sys::LLAMA_POOLING_TYPE_NONE,
                Pooling::Model => sys::LLAMA_POOLING_TYPE_UNSPECIFIED,
            };
        }
        raw
    }
}
