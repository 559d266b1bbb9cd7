//! A context: the KV cache and the compute buffers for one model.

#![expect(
    clippy::cast_possible_truncation,
    reason = "positions and sequences are below the context's size, an i32 of llama.cpp's"
)]

use std::ptr::NonNull;
use std::sync::Arc;

use llama_cpp_sys_2 as sys;

use super::backend::Backend;
use super::batch::Batch;
use super::capture::Capture;
use super::model::Model;
use super::routing::Routing;
pub(crate) use super::threads::Pause;
use super::threads::ThreadPool;
use crate::gguf::{ExpertSets, Usage};

mod params;

pub(crate) use self::params::{ContextParams, Pooling, Tap};

/// Why a batch was not computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// A limit or the vocabulary is not kept to; llama.cpp was not called.
    #[error("the batch breaks a limit: {0}")]
    Invalid(&'static str),
    /// No cells are free.
    #[error("the KV cache is full")]
    NoCells,
    /// llama.cpp failed.
    #[error("llama.cpp answered {code}{}", cause.as_deref().map(|c| format!(": {c}")).unwrap_or_default())]
    Failed {
        /// Its return code.
        code: i32,
        /// What it logged.
        cause: Option<String>,
    },
}

/// A context. Used by one thread at a time.
#[derive(Debug)]
pub(crate) struct Context {
    context: NonNull<sys::llama_context>,
    memory: sys::llama_memory_t,
    model: Arc<Model>,
    backend: Backend,
    params: ContextParams,
    /// Which tokens of the last batch have logits.
    outputs: Vec<i8>,
    /// Freed after the context, which calls into it.
    capture: Option<Capture>,
    /// Likewise.
    routing: Option<Routing>,
    /// Kept for as long as the context.
    threads: Option<Threads>,
}

/// Threads that contexts share which never compute at the same time.
pub(crate) type Threads = Arc<ThreadPool>;

// SAFETY: llama.cpp's contexts may be used from any thread, by one at a time; `&mut self` on all
// that compute or write sees to that.
unsafe impl Send for Context {}

impl Context {
    /// Makes a context. `None` if llama.cpp cannot (memory, an unknown architecture), or the
    /// model is a vocabulary only.
    pub(crate) fn new(backend: Backend, model: Arc<Model>, params: ContextParams) -> Option<Self> {
        Self::beside(backend, model, params, None)
    }

    /// Makes a context that computes with another one's threads, if there are any; never while
    /// that one computes.
    pub(crate) fn beside(
        backend: Backend,
        model: Arc<Model>,
        mut params: ContextParams,
        threads: Option<Threads>,
    ) -> Option<Self> {
        params.threads = threads.as_ref().map_or(params.threads, |pool| pool.size());
        if !model.can_compute() {
            return None;
        }
        let mut raw = params.raw();
        let (capture, routing) = match params.tap {
            Tap::None => (None, None),
            Tap::Hidden => (Some(Capture::new(&model, &params)), None),
            Tap::Router => (None, Some(Routing::new(&model, &params)?)),
        };
        if params.tap != Tap::None {
            // Rows are captured for the tokens whose outputs are wanted only.
            raw.n_outputs_max = params.batch_tokens;
        }
        if let Some(capture) = &capture {
            raw.cb_eval = Some(Capture::CALLBACK);
            raw.cb_eval_user_data = capture.user_data();
        }
        if let Some(routing) = &routing {
            raw.cb_eval = Some(Routing::CALLBACK);
            raw.cb_eval_user_data = routing.user_data();
        }
        // SAFETY: the model is loaded, and the `Arc` keeps it for as long as the context lives; so
        // do capture and routing, which `drop` below lets outlive the context.
        let context = unsafe { sys::llama_init_from_model(model.as_ptr(), raw) };
        let context = NonNull::new(context)?;
        // SAFETY: the context was just made; its memory lives as long as it does.
        let memory = unsafe { sys::llama_get_memory(context.as_ptr()) };
        let threads =
            threads.or_else(|| ThreadPool::new(params.threads, params.pause).map(Arc::new));
        if let Some(pool) = &threads {
            // SAFETY: the pool is freed after the context: `drop` below runs before fields are
            // dropped.
            unsafe {
                sys::llama_attach_threadpool(context.as_ptr(), pool.as_ptr(), pool.as_ptr());
            }
        }
        Some(Self {
            context,
            memory,
            model,
            backend,
            params,
            outputs: Vec::new(),
            capture,
            routing,
            threads,
        })
    }

    /// What it computes with, for a context that never computes at the same time.
    pub(crate) fn threads(&self) -> Option<Threads> {
        self.threads.clone()
    }

    /// Computes with this many threads from now on, those it was made with at most.
    pub(crate) fn set_threads(&mut self, threads: u32) {
        let threads = threads.clamp(1, self.params.threads) as i32;
        // SAFETY: the context lives as long as `self`; the pool has threads enough.
        unsafe { sys::llama_set_n_threads(self.context.as_ptr(), threads, threads) }
    }

    /// True if there is a KV cache or a recurrent state: the model can generate.
    pub(crate) fn has_memory(&self) -> bool {
        !self.memory.is_null()
    }

    /// Cells of the cache as llama.cpp made it.
    pub(crate) fn cells(&self) -> u32 {
        // SAFETY: the context lives as long as `self`.
        unsafe { sys::llama_n_ctx(self.context.as_ptr()) }
    }

    /// How the context pools.
    pub(crate) fn pools(&self) -> bool {
        // SAFETY: the context lives as long as `self`.
        let kind = unsafe { sys::llama_pooling_type(self.context.as_ptr()) };
        kind != sys::LLAMA_POOLING_TYPE_NONE && kind != sys::LLAMA_POOLING_TYPE_UNSPECIFIED
    }

    /// Computes a batch.
    pub(crate) fn decode(&mut self, batch: &mut Batch) -> Result<(), DecodeError> {
        self.check(batch)?;
        self.outputs.clear();
        if let Some(capture) = &mut self.capture {
            capture.clear();
        }
        if let Some(routing) = &mut self.routing {
            routing.clear();
        }
        let raw = batch.raw();
        // SAFETY: all arrays of the batch have `n_tokens` entries and live for the call; sizes,
        // tokens and sequences were checked, without which llama.cpp aborts.
        let code = unsafe { sys::llama_decode(self.context.as_ptr(), raw) };
        match code {
            0 => {
                self.outputs.extend_from_slice(batch.outputs());
                Ok(())
            }
            1 => Err(DecodeError::NoCells),
            code => Err(DecodeError::Failed {
                code,
                cause: self.backend.take_error(),
            }),
        }
    }

    fn check(&self, batch: &Batch) -> Result<(), DecodeError> {
        let invalid = |what| Err(DecodeError::Invalid(what));
        let outputs = batch.outputs().iter().filter(|o| **o != 0).count();
        let sequences = self.params.sequences as i32;
        if batch.len() == 0 || batch.len() > self.params.batch_tokens as usize {
            return invalid("number of tokens");
        }
        let most = self.params.outputs.max(self.params.sequences) as usize;
        let all_fit = self.params.embeddings.is_some() || self.params.tap != Tap::None;
        if !all_fit && outputs > most {
            return invalid("number of outputs");
        }
        if self.params.tap == Tap::Hidden && outputs != batch.len() {
            return invalid("a token of a stage whose output is not wanted");
        }
        self.check_input(batch)?;
        if !batch.sequences().iter().all(|s| (0..sequences).contains(s)) {
            return invalid("a sequence that does not exist");
        }
        Ok(())
    }

    /// Either a token of the vocabulary or a row of hidden state for each place.
    fn check_input(&self, batch: &Batch) -> Result<(), DecodeError> {
        let invalid = |what| Err(DecodeError::Invalid(what));
        let vocab = self.model.vocab_size() as i32;
        if batch.hidden().is_empty() {
            if batch.tokens().len() != batch.len() {
                return invalid("number of tokens");
            }
            if !batch.tokens().iter().all(|t| (0..vocab).contains(t)) {
                return invalid("a token outside the vocabulary");
            }
            return Ok(());
        }
        if !batch.tokens().is_empty() {
            return invalid("tokens beside hidden states");
        }
        // llama.cpp reads several positions for each row where a position is a point in a picture.
        if self.model.positions_per_row() != 1 {
            return invalid("hidden states for a model with positions of several parts");
        }
        if Some(batch.hidden().len()) != batch.len().checked_mul(self.model.width()) {
            return invalid("width of the hidden states");
        }
        Ok(())
    }

    /// The hidden states after the last layer: a row for each token of the last batch, in its
    /// order. `None` if the context captures none, the last batch failed, or the model's graph
    /// has no such place.
    pub(crate) fn hidden(&self) -> Option<&[f32]> {
        let rows = self.capture.as_ref()?.rows()?;
        let complete = !self.outputs.is_empty()
            && Some(rows.len()) == self.outputs.len().checked_mul(self.model.width());
        complete.then_some(rows)
    }

    /// Lets the router choose among these experts only from now on; `None`: among all. False if the
    /// context does not watch the router, or they are another model's.
    pub(crate) fn hold_back(&mut self, kept: Option<&ExpertSets>) -> bool {
        let routing = self.routing.as_mut();
        routing.is_some_and(|routing| routing.hold_back(kept))
    }

    /// How the router chose in the last batch. `None` if the context does not watch it, the batch
    /// failed, or the output of some token was not wanted: the last layer computes no others.
    pub(crate) fn usage(&mut self) -> Option<Usage> {
        let complete = !self.outputs.is_empty() && self.outputs.iter().all(|o| *o != 0);
        self.routing.as_mut()?.usage().filter(|_| complete)
    }

    /// The logits after the token at `index` of the last batch. They may be changed in place.
    /// `None` if none were wanted there.
    pub(crate) fn logits_mut(&mut self, index: usize) -> Option<&mut [f32]> {
        let has_logits = self.params.tap != Tap::Hidden && self.params.embeddings.is_none();
        if !has_logits || *self.outputs.get(index)? == 0 {
            return None;
        }
        // SAFETY: logits were computed at `index`.
        let row = unsafe { sys::llama_get_logits_ith(self.context.as_ptr(), index as i32) };
        let n = self.model.vocab_size() as usize;
        // SAFETY: the row is the context's own buffer of one float a token of the vocabulary,
        // valid until the next decode, which needs `&mut self`.
        (!row.is_null()).then(|| unsafe { std::slice::from_raw_parts_mut(row, n) })
    }

    /// The vector of the token at `index` of the last batch (without pooling), or of all tokens
    /// of sequence 0 (with it).
    pub(crate) fn embedding(&mut self, index: usize) -> Option<&[f32]> {
        if self.params.embeddings.is_none() || *self.outputs.get(index)? == 0 {
            return None;
        }
        let context = self.context.as_ptr();
        // SAFETY: the last batch computed embeddings, at `index` and for sequence 0.
        let row = unsafe {
            if self.pools() {
                sys::llama_get_embeddings_seq(context, 0)
            } else {
                sys::llama_get_embeddings_ith(context, index as i32)
            }
        };
        let n = self.model.embedding_length() as usize;
        // SAFETY: the row is the context's own buffer of one vector, valid until the next decode.
        (!row.is_null()).then(|| unsafe { std::slice::from_raw_parts(row, n) })
    }

    /// Drops the positions from `keep` on of a sequence. False if the cache cannot hold exactly
    /// the first `keep` positions now; then the sequence is empty.
    pub(crate) fn cut(&mut self, sequence: u32, keep: usize) -> bool {
        let sequence = sequence as i32;
        // SAFETY: the memory lives as long as the context.
        let (removed, first, last) = unsafe {
            (
                sys::llama_memory_seq_rm(self.memory, sequence, keep as i32, -1),
                sys::llama_memory_seq_pos_min(self.memory, sequence),
                sys::llama_memory_seq_pos_max(self.memory, sequence),
            )
        };
        let recurrent = self.model.is_recurrent();
        let whole = keep == 0 || ((first == 0 || recurrent) && last == keep as i32 - 1);
        if removed && whole {
            return true;
        }
        // SAFETY: as above; removing a whole sequence never fails.
        unsafe { sys::llama_memory_seq_rm(self.memory, sequence, -1, -1) };
        keep == 0
    }

    /// Lets the empty sequence `to` share the first `len` positions of `from`.
    pub(crate) fn share(&mut self, from: u32, to: u32, len: usize) {
        // SAFETY: the memory lives as long as the context; the cache is unified, where any part
        // of a sequence may be shared.
        unsafe { sys::llama_memory_seq_cp(self.memory, from as i32, to as i32, 0, len as i32) }
    }

    /// A copy of what the cache holds of a sequence, for [`Context::restore`]. `None` if there
    /// is no memory for it or llama.cpp fails.
    pub(crate) fn save(&mut self, sequence: u32) -> Option<Vec<u8>> {
        let context = self.context.as_ptr();
        // SAFETY: the context lives as long as `self`.
        let size = unsafe { sys::llama_state_seq_get_size(context, sequence as i32) };
        let mut state = Vec::new();
        state.try_reserve_exact(size).ok()?;
        // SAFETY: the buffer has room for `size` bytes, which llama.cpp keeps to.
        let written = unsafe {
            sys::llama_state_seq_get_data(context, state.as_mut_ptr(), size, sequence as i32)
        };
        if written != size || size == 0 {
            return None;
        }
        // SAFETY: these bytes were just written, within the capacity.
        unsafe { state.set_len(written) };
        Some(state)
    }

    /// Gives the empty sequence what [`Context::save`] of this same context copied. False, and
    /// the sequence stays empty, if the cache has no cells for it.
    pub(crate) fn restore(&mut self, sequence: u32, state: &[u8]) -> bool {
        // SAFETY: the buffer has that many bytes; they were written by `save` in this process,
        // so llama.cpp finds the layers that it expects.
        let read = unsafe {
            sys::llama_state_seq_set_data(
                self.context.as_ptr(),
                state.as_ptr(),
                state.len(),
                sequence as i32,
            )
        };
        if read != state.len() {
            // SAFETY: the memory lives as long as the context; removing a whole sequence never
            // fails.
            unsafe { sys::llama_memory_seq_rm(self.memory, sequence as i32, -1, -1) };
        }
        read == state.len()
    }

    /// Empties the cache.
    pub(crate) fn clear(&mut self) {
        if self.has_memory() {
            // SAFETY: the memory lives as long as the context.
            unsafe { sys::llama_memory_clear(self.memory, false) }
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by `llama_init_from_model`, freed only here.
        unsafe { sys::llama_free(self.context.as_ptr()) }
    }
}

#[cfg(test)]
mod tests;
