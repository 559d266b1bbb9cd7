//! A tiny encoder: BERT with random weights, the kind of model that embeds text and writes none.

use super::{CONTROL, NORMAL, Noise, UNKNOWN, small};
use crate::gguf::writer::Builder;

/// Width of an embedding.
const WIDTH: u64 = 32;
/// Heads.
const HEADS: u32 = 2;
/// Width of the feed-forward layer.
const FEED_FORWARD: u64 = 48;
/// Layers.
const LAYERS: u32 = 2;
/// Positions: the longest text.
const POSITIONS: u64 = 64;
/// Tokens that stand for no text: padding, unknown, begin, end, mask.
const SPECIALS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
/// Pieces of words, beside single letters.
const PIECES: [&str; 8] = ["sea", "fish", "shoal", "swim", "water", "s", "er", "ing"];

/// How a model's file says that the vectors of a text's tokens become one
/// (`LLAMA_POOLING_TYPE_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Pooled {
    /// Not at all.
    None = 0,
    /// The mean of all tokens.
    Mean = 1,
    /// The vector of the first token.
    First = 2,
    /// The vector of the last token.
    Last = 3,
    /// A score instead of a vector: a reranker.
    Rank = 4,
}

/// A sound model of the BERT architecture with random weights: 2 layers, 32 wide, texts of 64
/// tokens at most, a WordPiece vocabulary of lower-case letters and a few pieces. It embeds text,
/// meaninglessly, and cannot generate.
#[must_use]
pub fn tiny_bert(pooled: Pooled) -> Builder {
    let tokens = vocabulary();
    let mut types = vec![CONTROL; SPECIALS.len()];
    types[1] = UNKNOWN;
    types.resize(tokens.len(), NORMAL);
    let builder = Builder::new("bert")
        .text("general.name", "specimen")
        .unsigned("bert.block_count", LAYERS)
        .unsigned("bert.context_length", small(POSITIONS))
        .unsigned("bert.embedding_length", small(WIDTH))
        .unsigned("bert.feed_forward_length", small(FEED_FORWARD))
        .unsigned("bert.attention.head_count", HEADS)
        .float("bert.attention.layer_norm_epsilon", 1e-12)
        .flag("bert.attention.causal", false)
        .unsigned("bert.pooling_type", pooled as u32)
        .text("tokenizer.ggml.model", "bert")
        .unsigned("tokenizer.ggml.token_type_count", 2)
        .texts("tokenizer.ggml.tokens", &tokens)
        .signed_numbers("tokenizer.ggml.token_type", &types)
        .unsigned("tokenizer.ggml.padding_token_id", 0)
        .unsigned("tokenizer.ggml.unknown_token_id", 1)
        .unsigned("tokenizer.ggml.bos_token_id", 2)
        .unsigned("tokenizer.ggml.cls_token_id", 2)
        .unsigned("tokenizer.ggml.seperator_token_id", 3)
        .unsigned("tokenizer.ggml.mask_token_id", 4);
    with_weights(builder, tokens.len() as u64)
}

/// The tokens as GGUF files write WordPiece: words begin with U+2581, what continues does not.
fn vocabulary() -> Vec<String> {
    let letters = ('a'..='z').map(String::from);
    let pieces: Vec<String> = letters.chain(PIECES.map(str::to_owned)).collect();
    let mut tokens: Vec<String> = SPECIALS.map(str::to_owned).to_vec();
    tokens.extend(pieces.iter().map(|piece| format!("\u{2581}{piece}")));
    tokens.extend(pieces);
    // One letter is a piece, too.
    let mut seen = std::collections::BTreeSet::new();
    tokens.retain(|token| seen.insert(token.clone()));
    tokens
}

fn with_weights(builder: Builder, vocabulary: u64) -> Builder {
    let mut weights = Weights {
        builder,
        noise: Noise(2),
    };
    weights.matrix("token_embd.weight", WIDTH, vocabulary);
    weights.matrix("token_types.weight", WIDTH, 2);
    weights.matrix("position_embd.weight", WIDTH, POSITIONS);
    weights.norm("token_embd_norm");
    for layer in 0..LAYERS {
        let name = |part: &str| format!("blk.{layer}.{part}");
        for (part, columns, rows) in [
            ("attn_q", WIDTH, WIDTH),
            ("attn_k", WIDTH, WIDTH),
            ("attn_v", WIDTH, WIDTH),
            ("attn_output", WIDTH, WIDTH),
            ("ffn_up", WIDTH, FEED_FORWARD),
            ("ffn_down", FEED_FORWARD, WIDTH),
        ] {
            weights.matrix(&format!("{}.weight", name(part)), columns, rows);
            weights.constant(&format!("{}.bias", name(part)), rows, 0.0);
        }
        weights.norm(&name("attn_output_norm"));
        weights.norm(&name("layer_output_norm"));
    }
    weights.builder
}

struct Weights {
    builder: Builder,
    noise: Noise,
}

impl Weights {
    fn matrix(&mut self, name: &str, columns: u64, rows: u64) {
        let values = self.noise.matrix(columns, rows);
        self.add(name, &[columns, rows], &values);
    }

    fn norm(&mut self, name: &str) {
        self.constant(&format!("{name}.weight"), WIDTH, 1.0);
        self.constant(&format!("{name}.bias"), WIDTH, 0.0);
    }

    fn constant(&mut self, name: &str, len: u64, value: f32) {
        let values = vec![value; usize::try_from(len).expect("a small constant")];
        self.add(name, &[len], &values);
    }

    fn add(&mut self, name: &str, shape: &[u64], values: &[f32]) {
        let builder = std::mem::take(&mut self.builder);
        self.builder = builder.tensor_f32(name, shape, values);
    }
}
