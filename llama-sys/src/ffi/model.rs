//! A loaded model file.

use std::ffi::{CString, c_void};
use std::path::Path;
use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;

use super::backend::Backend;

/// Longest metadata value that is read.
const MAX_META_BYTES: usize = 256;

/// Why a model file could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The path has a NUL byte or is not UTF-8.
    #[error("the model's path cannot be passed on")]
    Path,
    /// llama.cpp refused the file.
    #[error("{0}")]
    Refused(String),
    /// The progress callback asked to stop.
    #[error("loading was stopped")]
    Stopped,
}

/// A loaded model. Read-only, so it may be used from several threads.
#[derive(Debug)]
pub(crate) struct Model {
    model: NonNull<sys::llama_model>,
    vocab: NonNull<sys::llama_vocab>,
    /// Only the vocabulary was loaded: a context would compute with nothing.
    only_vocabulary: bool,
}

// SAFETY: after loading, llama.cpp only reads the model and its vocabulary; contexts, which
// write, are objects of their own.
unsafe impl Send for Model {}
// SAFETY: as above: no function used here changes the model.
unsafe impl Sync for Model {}

/// What the progress callback works on.
struct Progress<'a> {
    report: &'a mut dyn FnMut(f32) -> bool,
    stopped: bool,
}

unsafe extern "C" fn on_progress(progress: f32, data: *mut c_void) -> bool {
    // SAFETY: `data` is the `Progress` on the stack of `Model::load`, which waits for us.
    let state = unsafe { &mut *data.cast::<Progress<'_>>() };
    state.stopped |= !(state.report)(progress.clamp(0.0, 1.0));
    !state.stopped
}

impl Model {
    /// Loads a file. `gpu_layers` below 0: all that fit. `report` is told 0..=1 and answers
    /// whether to go on; it must not panic.
    pub(crate) fn load(
        backend: Backend,
        path: &Path,
        gpu_layers: i32,
        report: &mut dyn FnMut(f32) -> bool,
    ) -> Result<Self, ModelError> {
        // SAFETY: plain values out, nothing passed in.
        let mut params = unsafe { sys::llama_model_default_params() };
        params.n_gpu_layers = gpu_layers;
        Self::load_with(backend, path, params, report)
    }

    /// Loads a file's vocabulary and metadata only. There is no context for it.
    pub(crate) fn load_vocabulary(backend: Backend, path: &Path) -> Result<Self, ModelError> {
        // SAFETY: plain values out, nothing passed in.
        let mut params = unsafe { sys::llama_model_default_params() };
        params.vocab_only = true;
        Self::load_with(backend, path, params, &mut |_| true)
    }

    fn load_with(
        backend: Backend,
        path: &Path,
        mut params: sys::llama_model_params,
        report: &mut dyn FnMut(f32) -> bool,
    ) -> Result<Self, ModelError> {
        let text = path.to_str().ok_or(ModelError::Path)?;
        let path = CString::new(text).map_err(|_| ModelError::Path)?;
        let mut progress = Progress {
            report,
            stopped: false,
        };
        backend.take_error();
        params.progress_callback = Some(on_progress);
        params.progress_callback_user_data = (&raw mut progress).cast();
        // SAFETY: `path` ends in NUL and `progress` outlives the call, which does not keep them.
        let model = unsafe { sys::llama_model_load_from_file(path.as_ptr(), params) };
        let stopped = progress.stopped;
        let Some(model) = NonNull::new(model) else {
            let cause = backend.take_error();
            return Err(match (stopped, cause) {
                (true, _) => ModelError::Stopped,
                (false, Some(line)) => ModelError::Refused(line),
                (false, None) => ModelError::Refused("llama.cpp refused the file".into()),
            });
        };
        // SAFETY: the model is loaded; its vocabulary lives as long as it does.
        let vocab = unsafe { sys::llama_model_get_vocab(model.as_ptr()) };
        let Some(vocab) = NonNull::new(vocab.cast_mut()) else {
            // SAFETY: nothing else has the model yet.
            unsafe { sys::llama_model_free(model.as_ptr()) };
            return Err(ModelError::Refused("the model has no vocabulary".into()));
        };
        Ok(Self {
            model,
            vocab,
            only_vocabulary: params.vocab_only,
        })
    }

    /// True if contexts can be made for it.
    pub(super) fn can_compute(&self) -> bool {
        !self.only_vocabulary
    }

    pub(super) fn as_ptr(&self) -> *mut sys::llama_model {
        self.model.as_ptr()
    }

    pub(super) fn vocab_ptr(&self) -> *const sys::llama_vocab {
        self.vocab.as_ptr()
    }

    /// Tokens that the model was trained to see at once.
    pub(crate) fn context_trained(&self) -> u32 {
        // SAFETY: the model lives as long as `self`.
        let n = unsafe { sys::llama_model_n_ctx_train(self.as_ptr()) };
        u32::try_from(n).unwrap_or(0)
    }

    /// Layers.
    pub(crate) fn layers(&self) -> u32 {
        // SAFETY: the model lives as long as `self`.
        let n = unsafe { sys::llama_model_n_layer(self.as_ptr()) };
        u32::try_from(n).unwrap_or(0)
    }

    /// Width of a hidden state that goes in.
    pub(crate) fn width(&self) -> usize {
        // SAFETY: the model lives as long as `self`.
        let n = unsafe { sys::llama_model_n_embd_inp(self.as_ptr()) };
        usize::try_from(n).unwrap_or(0)
    }

    /// Numbers that a position has for each row of a batch of hidden states.
    pub(super) fn positions_per_row(&self) -> usize {
        // SAFETY: the model lives as long as `self`.
        match unsafe { sys::llama_model_rope_type(self.as_ptr()) } {
            sys::LLAMA_ROPE_TYPE_MROPE | sys::LLAMA_ROPE_TYPE_IMROPE => 4,
            _ => 1,
        }
    }

    /// Width of the embeddings that come out.
    pub(crate) fn embedding_length(&self) -> u32 {
        // SAFETY: the model lives as long as `self`.
        let n = unsafe { sys::llama_model_n_embd_out(self.as_ptr()) };
        u32::try_from(n).unwrap_or(0)
    }

    /// Bytes that one token takes in a KV cache of F16, as far as the file tells: an upper bound
    /// for architectures that keep less.
    pub(crate) fn cell_bytes(&self) -> u64 {
        // SAFETY: the model lives as long as `self`.
        let [layers, heads, heads_kv, width] = unsafe {
            [
                sys::llama_model_n_layer(self.as_ptr()),
                sys::llama_model_n_head(self.as_ptr()),
                sys::llama_model_n_head_kv(self.as_ptr()),
                sys::llama_model_n_embd(self.as_ptr()),
            ]
            .map(|n| u64::try_from(n).unwrap_or(0))
        };
        let of_head = width / heads.max(1);
        let told = |key| self.architecture_meta(key).and_then(|v| v.parse().ok());
        let key: u64 = told("attention.key_length").unwrap_or(of_head);
        let value: u64 = told("attention.value_length").unwrap_or(of_head);
        layers * heads_kv * key.saturating_add(value).saturating_mul(2)
    }

    /// Bytes of all tensors.
    pub(crate) fn tensor_bytes(&self) -> u64 {
        // SAFETY: the model lives as long as `self`.
        unsafe { sys::llama_model_size(self.as_ptr()) }
    }

    /// True if the cache is, wholly or in part, a recurrent state.
    pub(crate) fn is_recurrent(&self) -> bool {
        // SAFETY: the model lives as long as `self`.
        unsafe {
            sys::llama_model_is_recurrent(self.as_ptr())
                || sys::llama_model_is_hybrid(self.as_ptr())
        }
    }

    /// True if the model is an encoder–decoder: a prompt would have to be encoded first.
    pub(crate) fn has_encoder(&self) -> bool {
        // SAFETY: the model lives as long as `self`.
        unsafe { sys::llama_model_has_encoder(self.as_ptr()) }
    }

    /// A metadata value as text, under the key `{architecture}.{key}`.
    pub(crate) fn architecture_meta(&self, key: &str) -> Option<String> {
        let architecture = self.meta("general.architecture")?;
        self.meta(&format!("{architecture}.{key}"))
    }

    fn meta(&self, key: &str) -> Option<String> {
        let key = CString::new(key).ok()?;
        let mut value = vec![0u8; MAX_META_BYTES];
        // SAFETY: the key ends in NUL, and the buffer is as long as is said; llama.cpp ends the
        // value in NUL within it.
        let n = unsafe {
            sys::llama_model_meta_val_str(
                self.as_ptr(),
                key.as_ptr(),
                value.as_mut_ptr().cast(),
                value.len(),
            )
        };
        let n = usize::try_from(n).ok()?.min(MAX_META_BYTES - 1);
        value.truncate(n);
        String::from_utf8(value).ok()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: contexts and samplers hold an `Arc` of the model, so nothing uses it now.
        unsafe { sys::llama_model_free(self.as_ptr()) }
    }
}
