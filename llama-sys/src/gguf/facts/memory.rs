//! How much memory a model will take, before it is loaded. An estimate on the safe side for
//! admission; what it really took is measured afterwards.

use serde::Serialize;

use super::super::tensor_type::TensorType;
use super::{FactsError, Keys, ModelFacts};

/// Tokens that llama.cpp computes at once (`n_ubatch`), which its buffers are made for.
const COMPUTE_TOKENS: u64 = 512;

/// Process, tokenizer and llama.cpp itself: 10 to 25 MiB measured with SmolLM2 and smaller ones.
const FIXED_BYTES: u64 = 32 << 20;

/// Prefixes outside of the cache may take this part of what the cache takes: the last few
/// conversations of one user, or the system prompts of several.
pub const PARKED_PART: u64 = 2;

/// What a loaded model takes, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryEstimate {
    /// Tensors.
    pub weights: u64,
    /// Keys and values of the context.
    pub kv: u64,
    /// Keys and values of prefixes that are kept outside of the cache.
    pub parked: u64,
    /// States of recurrent layers.
    pub state: u64,
    /// Buffers for computing, and all else.
    pub compute: u64,
}

impl MemoryEstimate {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        let cache = self.kv.saturating_add(self.parked);
        [self.weights, cache, self.state, self.compute]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

impl ModelFacts {
    /// Bytes that one token takes in the cache over all layers.
    #[must_use]
    pub fn kv_bytes_per_token(&self, keys: TensorType, values: TensorType) -> u64 {
        self.attention.kv_bytes_per_token(keys, values)
    }

    /// What the model takes with a cache of `context_tokens` tokens in all, shared by `sequences`,
    /// keys and values in F16, flash attention on.
    ///
    /// Compared with llama.cpp's own buffers for SmolLM2-135M: 123 MiB against 110 MiB of compute
    /// buffer at 8192 tokens, weights and cache equal.
    #[must_use]
    pub fn memory_estimate(&self, context_tokens: u64, sequences: u64) -> MemoryEstimate {
        let per_token = self.kv_bytes_per_token(TensorType::F16, TensorType::F16);
        MemoryEstimate {
            weights: self.tensor_bytes,
            kv: per_token.saturating_mul(context_tokens),
            parked: per_token.saturating_mul(context_tokens / PARKED_PART),
            state: self.state_bytes_per_sequence.saturating_mul(sequences),
            compute: self.compute_bytes(context_tokens),
        }
    }

    /// What of [`MemoryEstimate::compute`] only whoever computes logits takes.
    #[must_use]
    pub fn logits_buffer_bytes(&self) -> u64 {
        COMPUTE_TOKENS * u64::from(self.vocab_size) * 4
    }

    /// Logits, a few activations, the widest feed-forward layer (of each used expert), and the
    /// attention mask, for a full batch.
    fn compute_bytes(&self, context_tokens: u64) -> u64 {
        let used = self
            .experts
            .map_or(1, |experts| u64::from(experts.used.max(1)));
        let heads = u64::from(self.attention.heads) * u64::from(self.attention.key_length);
        let activations = 6 * u64::from(self.embedding_length) + 3 * heads;
        let feed_forward = 3 * used * u64::from(self.feed_forward_length);
        let wide = u64::from(self.vocab_size) + activations + feed_forward;
        // Floats of four bytes; a mask in F16, and another where some layers are windowed.
        let masks = if self.attention.sliding_window.is_some() {
            2
        } else {
            1
        };
        let batch = COMPUTE_TOKENS.saturating_mul(wide.saturating_mul(4));
        let mask = COMPUTE_TOKENS.saturating_mul(context_tokens.saturating_mul(2 * masks));
        FIXED_BYTES.saturating_add(batch).saturating_add(mask)
    }
}

/// State that a sequence keeps in recurrent layers (Mamba's convolution and state, RWKV's state),
/// as llama.cpp's `n_embd_r` and `n_embd_s`, in floats of four bytes.
pub(super) fn state_bytes_per_sequence(keys: &Keys<'_>, layers: u32) -> Result<u64, FactsError> {
    let number = |part| {
        keys.optional(part)
            .map(|found| u64::from(found.unwrap_or(0)))
    };
    let inner = number("ssm.inner_size")?;
    let state = number("ssm.state_size")?;
    let groups = number("ssm.group_count")?;
    let kernel = number("ssm.conv_kernel")?;
    let head = number("wkv.head_size")?;
    let width = number("embedding_length")?;
    let mamba = kernel.saturating_sub(1) * (inner + 2 * groups * state) + state * inner;
    let rwkv = if head > 0 { width * (head + 2) } else { 0 };
    Ok(mamba
        .saturating_add(rwkv)
        .saturating_mul(4)
        .saturating_mul(layers.into()))
}
