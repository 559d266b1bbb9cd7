//! Heads of a model and what a cached token of them costs. It knows llama.cpp's rules for missing
//! keys, not how attention is computed.

use serde::Serialize;

use super::super::tensor_type::TensorType;
use super::{FactsError, Keys};

/// Heads of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attention {
    /// Query heads of the layer that has the most; 0 in a purely recurrent model.
    pub heads: u32,
    /// Key and value heads of each layer; 0 in recurrent layers.
    pub kv_heads: Vec<u32>,
    /// Width of a key of one head.
    pub key_length: u32,
    /// Width of a value of one head.
    pub value_length: u32,
    /// Tokens that windowed layers look back, if the model has such layers.
    pub sliding_window: Option<u32>,
    /// Each layer caches one compressed vector instead of keys and values (DeepSeek's MLA).
    pub latent: bool,
    /// Tokens see only what is before them.
    pub causal: bool,
}

impl Attention {
    pub(super) fn read(keys: &Keys<'_>, layers: u32, width: u32) -> Result<Self, FactsError> {
        let mut heads = keys.per_layer("attention.head_count", layers)?;
        heads.resize(layers as usize, 0);
        let mut kv_heads = keys.per_layer("attention.head_count_kv", layers)?;
        let given = kv_heads.len();
        // llama.cpp: as many key and value heads as query heads where the key is missing.
        kv_heads.extend(heads.iter().skip(given));
        let most = heads.iter().copied().max().unwrap_or(0);
        let usual = width.checked_div(most).unwrap_or(0);
        let latent = keys
            .optional("attention.key_length_mla")?
            .is_some_and(|length| length > 0);
        Ok(Self {
            heads: most,
            kv_heads,
            key_length: keys.optional("attention.key_length")?.unwrap_or(usual),
            value_length: keys.optional("attention.value_length")?.unwrap_or(usual),
            sliding_window: keys
                .optional("attention.sliding_window")?
                .filter(|window| *window > 0),
            latent,
            causal: keys
                .header
                .flag(&keys.key("attention.causal"))
                .unwrap_or(true),
        })
    }

    /// Bytes that one token takes in the cache over all layers, for keys and values of these
    /// types. Windowed layers count in full: prefixes can be cut off and kept only in a whole
    /// cache.
    #[must_use]
    pub fn kv_bytes_per_token(&self, keys: TensorType, values: TensorType) -> u64 {
        let layers = 0..self.kv_heads.len();
        layers
            .map(|layer| self.layer_kv_bytes_per_token(layer, keys, values))
            .fold(0, u64::saturating_add)
    }

    /// The same for one layer; 0 for one that the model does not have.
    #[must_use]
    pub fn layer_kv_bytes_per_token(
        &self,
        layer: usize,
        keys: TensorType,
        values: TensorType,
    ) -> u64 {
        let heads = self.kv_heads.get(layer).copied().unwrap_or(0);
        let row = |ty: TensorType, length: u32| {
            ty.row_bytes(u64::from(heads) * u64::from(length))
                .unwrap_or(u64::MAX)
        };
        let cached_keys = row(keys, self.key_length);
        let cached_values = match self.latent {
            true => 0,
            false => row(values, self.value_length),
        };
        cached_keys.saturating_add(cached_values)
    }
}
