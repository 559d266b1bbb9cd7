//! What a model is, as its header claims: architecture, sizes, tokenizer, templates, memory. The
//! claims are bounded but not proved; only llama.cpp's loading tells whether a model works. It
//! does not know devices, engines, or how a template is rendered.

mod attention;
mod memory;
mod quantization;
mod sampling;
mod tokenizer;

use serde::Serialize;

use super::error::excerpt;
use super::header::Header;
use super::limits;

pub use attention::Attention;
pub use memory::{MemoryEstimate, PARKED_PART};
pub use sampling::SamplingDefaults;
pub use tokenizer::{ChatTemplates, FimTokens, Token, Tokenizer};

/// Widths, heads and experts beyond this are no model's; the largest known width is 18,432.
const MAX_SIZE: u64 = 1 << 20;

/// Architectures whose layers see the whole text at once, or that make no text: they embed, rank
/// or need another way of driving than token after token (diffusion, encoder and decoder, audio).
const NOT_GENERATING: [&str; 20] = [
    "bert",
    "dream",
    "eurobert",
    "gemma-embedding",
    "jina-bert-v2",
    "jina-bert-v3",
    "llada",
    "llada-moe",
    "llama-embed",
    "modern-bert",
    "neo-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "pockettts",
    "qwen3tts",
    "rnd1",
    "t5",
    "t5encoder",
    "wavtokenizer-dec",
    "clip",
];

/// What a model is, as its header claims.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelFacts {
    /// `general.architecture`, such as `llama` or `qwen3moe`.
    pub architecture: String,
    /// `general.name`.
    pub name: Option<String>,
    /// Layers, 1 to 512.
    pub layers: u32,
    /// Experts of a mixture, if it is one.
    pub experts: Option<Experts>,
    /// Tokens that the model was trained to see at once.
    pub context_length: u32,
    /// Width of an embedding.
    pub embedding_length: u32,
    /// Width of the widest feed-forward layer; 0 where unknown.
    pub feed_forward_length: u32,
    /// Tokens of the vocabulary; 0 where unknown.
    pub vocab_size: u32,
    /// Heads, and what a cached token costs.
    pub attention: Attention,
    /// The tokenizer and its special tokens.
    pub tokenizer: Tokenizer,
    /// Chat templates, not yet parsed.
    pub chat_templates: ChatTemplates,
    /// The name of the file's quantization, such as `Q4_K_M`.
    pub quantization: String,
    /// Numbers in all tensors.
    pub parameters: u64,
    /// Bytes of all tensors.
    pub tensor_bytes: u64,
    /// How the model wants embeddings of tokens pooled.
    pub pooling: Option<Pooling>,
    /// What the model's makers advise for sampling.
    pub sampling: SamplingDefaults,
    /// Bytes that each sequence's state takes beside the cache (recurrent models).
    pub state_bytes_per_sequence: u64,
}

/// Experts of a mixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Experts {
    /// In each layer.
    pub count: u32,
    /// Used for each token.
    pub used: u32,
}

/// How embeddings of tokens become one (`enum llama_pooling_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Pooling {
    /// Not at all.
    None,
    /// The mean.
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
    /// A score instead of an embedding: a reranker.
    Rank,
}

/// Why a sound header is no model that can be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FactsError {
    /// A key that every model has is missing or has another type.
    #[error("the file does not say its `{0}`")]
    Missing(String),
    /// A number that no model has.
    #[error("`{key}` is {found}, which is not possible")]
    OutOfRange {
        /// The key.
        key: String,
        /// The number found.
        found: u64,
    },
    /// An adapter, a vision projector, an importance matrix, a vocabulary.
    #[error("the file holds no model but: {0}")]
    NotAModel(String),
}

impl ModelFacts {
    /// Facts of a model in one file.
    ///
    /// # Errors
    /// [`FactsError`] when the file holds something else than a model, or lacks what all have.
    pub fn from_header(header: &Header) -> Result<Self, FactsError> {
        Self::from_headers(std::slice::from_ref(header))
    }

    /// Facts of a model in several files, the first of which holds the metadata.
    ///
    /// # Errors
    /// As [`ModelFacts::from_header`].
    pub fn from_headers(headers: &[Header]) -> Result<Self, FactsError> {
        let first = headers
            .first()
            .ok_or_else(|| FactsError::NotAModel("no file".to_owned()))?;
        let keys = Keys::of(first)?;
        let layers = keys.number("block_count", 1..=limits::MAX_LAYERS)?;
        let embedding_length = keys.number("embedding_length", 1..=MAX_SIZE)?;
        let tensors = || headers.iter().flat_map(Header::tensors);
        let sum = |total: u64, more: u64| total.saturating_add(more);
        Ok(Self {
            name: first.text("general.name").map(str::to_owned),
            layers,
            experts: keys.experts()?,
            context_length: keys.number("context_length", 1..=u32::MAX.into())?,
            embedding_length,
            feed_forward_length: keys.largest("feed_forward_length")?,
            vocab_size: keys.vocab_size()?,
            attention: Attention::read(&keys, layers, embedding_length)?,
            tokenizer: Tokenizer::read(first),
            chat_templates: ChatTemplates::read(first),
            quantization: quantization::name(headers),
            parameters: tensors().map(super::Tensor::elements).fold(0, sum),
            tensor_bytes: tensors().map(|tensor| tensor.bytes).fold(0, sum),
            pooling: keys.pooling(),
            sampling: SamplingDefaults::read(first),
            state_bytes_per_sequence: memory::state_bytes_per_sequence(&keys, layers)?,
            architecture: keys.architecture.to_owned(),
        })
    }

    /// The model continues text, token after token.
    #[must_use]
    pub fn can_generate(&self) -> bool {
        !NOT_GENERATING.contains(&self.architecture.as_str()) && self.attention.causal
    }

    /// The model continues text and says how a conversation is written.
    #[must_use]
    pub fn can_chat(&self) -> bool {
        self.can_generate() && self.chat_templates.default.is_some()
    }

    /// The model embeds text: any that is no reranker and not made for sound; where it names no
    /// pooling, the mean is taken.
    #[must_use]
    pub fn can_embed(&self) -> bool {
        let sound = ["pockettts", "qwen3tts", "wavtokenizer-dec"];
        self.pooling != Some(Pooling::Rank) && !sound.contains(&self.architecture.as_str())
    }

    /// The model fills gaps in text.
    #[must_use]
    pub fn can_infill(&self) -> bool {
        let fim = &self.tokenizer.fim;
        self.can_generate() && fim.prefix.is_some() && fim.suffix.is_some() && fim.middle.is_some()
    }
}

/// Keys of one architecture.
struct Keys<'a> {
    header: &'a Header,
    architecture: &'a str,
}

impl<'a> Keys<'a> {
    fn of(header: &'a Header) -> Result<Self, FactsError> {
        if let Some(kind) = header.text("general.type").filter(|kind| *kind != "model") {
            return Err(FactsError::NotAModel(excerpt(kind)));
        }
        let key = "general.architecture";
        match header.text(key) {
            Some("clip") => Err(FactsError::NotAModel(
                "a vision or audio projector".to_owned(),
            )),
            Some("") | None => Err(FactsError::Missing(key.to_owned())),
            Some(architecture) => Ok(Self {
                header,
                architecture,
            }),
        }
    }

    fn key(&self, part: &str) -> String {
        format!("{}.{part}", self.architecture)
    }

    /// A number that must be there.
    fn number(&self, part: &str, range: std::ops::RangeInclusive<u64>) -> Result<u32, FactsError> {
        let key = self.key(part);
        match self.header.unsigned(&key) {
            Some(found) => checked(&key, found, range),
            None => Err(FactsError::Missing(excerpt(&key))),
        }
    }

    /// A number that may be missing.
    fn optional(&self, part: &str) -> Result<Option<u32>, FactsError> {
        let key = self.key(part);
        self.header
            .unsigned(&key)
            .map(|found| checked(&key, found, 0..=MAX_SIZE))
            .transpose()
    }

    /// A number for each layer, written once or as an array; empty where missing.
    fn per_layer(&self, part: &str, layers: u32) -> Result<Vec<u32>, FactsError> {
        let key = self.key(part);
        let check = |found| checked(&key, found, 0..=MAX_SIZE);
        let numbers = match self.header.array(&key).map(|array| &array.items) {
            Some(super::Items::Unsigned(numbers)) => numbers.clone(),
            Some(super::Items::Signed(numbers)) => numbers
                .iter()
                .map(|number| u64::try_from(*number).unwrap_or(0))
                .collect(),
            _ => match self.header.unsigned(&key) {
                Some(number) => vec![number; layers as usize],
                None => Vec::new(),
            },
        };
        numbers
            .into_iter()
            .take(layers as usize)
            .map(check)
            .collect()
    }

    fn largest(&self, part: &str) -> Result<u32, FactsError> {
        let layers = u32::try_from(limits::MAX_LAYERS).expect("a small constant");
        Ok(self.per_layer(part, layers)?.into_iter().max().unwrap_or(0))
    }

    fn experts(&self) -> Result<Option<Experts>, FactsError> {
        let count = self.optional("expert_count")?.unwrap_or(0);
        let used = self.largest("expert_used_count")?;
        Ok((count > 0).then_some(Experts { count, used }))
    }

    fn vocab_size(&self) -> Result<u32, FactsError> {
        let tokens = self
            .header
            .array("tokenizer.ggml.tokens")
            .map(|array| array.len);
        let key = self.key("vocab_size");
        let found = tokens.or_else(|| self.header.unsigned(&key)).unwrap_or(0);
        checked(&key, found, 0..=limits::MAX_ARRAY_ELEMENTS)
    }

    fn pooling(&self) -> Option<Pooling> {
        match self.header.unsigned(&self.key("pooling_type"))? {
            0 => Some(Pooling::None),
            1 => Some(Pooling::Mean),
            2 => Some(Pooling::Cls),
            3 => Some(Pooling::Last),
            4 => Some(Pooling::Rank),
            _ => None,
        }
    }
}

fn checked(key: &str, found: u64, range: std::ops::RangeInclusive<u64>) -> Result<u32, FactsError> {
    u32::try_from(found)
        .ok()
        .filter(|_| range.contains(&found))
        .ok_or_else(|| FactsError::OutOfRange {
            key: excerpt(key),
            found,
        })
}

#[cfg(test)]
mod tests;
