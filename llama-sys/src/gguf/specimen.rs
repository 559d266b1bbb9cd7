//! Tiny models made on the spot, for tests of whatever loads models: sound ones, and some that
//! pass every check of a header and still end the process that gives them to llama.cpp.
//!
//! The deadly ones show why models are loaded in a worker process. Each was found by experiment
//! with llama.cpp as of `llama-cpp-sys-2` 0.1.161 and is held to it by `tests/specimen.rs`.

use super::writer::Builder;

mod architectures;
mod encoder;

pub use architectures::{KINDS, Kind, of_kind};
pub use encoder::{Pooled, tiny_bert};

/// Width of an embedding.
const WIDTH: u64 = 64;
/// Width of a head.
const HEAD: u64 = 32;
/// Width of keys and values (one head of two).
const KV_WIDTH: u64 = HEAD;
/// Width of the feed-forward layer.
const FEED_FORWARD: u64 = 96;
/// Layers.
const LAYERS: u32 = 2;
/// Tokens before the bytes: unknown, begin and end of text.
const SPECIALS: [&str; 3] = ["<unk>", "<s>", "</s>"];
/// `LLAMA_TOKEN_TYPE_…` of the first tokens: unknown, control, control.
const SPECIAL_TYPES: [i32; 3] = [UNKNOWN, CONTROL, CONTROL];
/// `LLAMA_TOKEN_TYPE_UNKNOWN`.
const UNKNOWN: i32 = 2;
/// `LLAMA_TOKEN_TYPE_CONTROL`.
const CONTROL: i32 = 3;
/// `LLAMA_TOKEN_TYPE_BYTE`.
const BYTE: i32 = 6;
/// `LLAMA_TOKEN_TYPE_NORMAL`.
const NORMAL: i32 = 1;

/// A sound model of the llama architecture with random weights: 2 layers, a context of 512
/// tokens, a vocabulary of 259 (the bytes, and unknown, begin and end of text), 600 KiB. It
/// answers nonsense, the same nonsense always.
#[must_use]
pub fn tiny_llama() -> Builder {
    let vocabulary = Vocabulary::bytes();
    with_weights(
        vocabulary.describe(hyperparameters()),
        vocabulary.len(),
        KV_WIDTH,
    )
}

/// Ends the process while it loads: llama.cpp asserts that not more experts are used than exist.
#[must_use]
pub fn aborts_while_loading() -> Builder {
    tiny_llama()
        .unsigned("llama.expert_count", 2)
        .unsigned("llama.expert_used_count", 3)
}

/// Loads, and ends the process when a context is made for it: the graph of the architecture
/// asserts that keys and values have one width.
#[must_use]
pub fn aborts_at_context() -> Builder {
    let vocabulary = Vocabulary::bytes();
    let builder = vocabulary
        .describe(hyperparameters())
        .unsigned("llama.attention.key_length", small(HEAD))
        .unsigned("llama.attention.value_length", small(HEAD / 2));
    with_weights(builder, vocabulary.len(), KV_WIDTH / 2)
}

/// Loads, gives a context, and ends the process with the first text that is no token as a whole:
/// the tokenizer falls back to byte tokens, which this vocabulary lacks, and lets a C++
/// exception out. A prompt of token ids below 259 is answered.
#[must_use]
pub fn aborts_at_first_text() -> Builder {
    let vocabulary = Vocabulary::without_bytes();
    with_weights(
        vocabulary.describe(hyperparameters()),
        vocabulary.len(),
        KV_WIDTH,
    )
}

struct Vocabulary {
    tokens: Vec<String>,
    types: Vec<i32>,
}

impl Vocabulary {
    fn bytes() -> Self {
        Self::of((0..=u8::MAX).map(|byte| format!("<0x{byte:02X}>")), BYTE)
    }

    fn without_bytes() -> Self {
        Self::of(
            (0..=u8::MAX).map(|number| format!("word{number:03}")),
            NORMAL,
        )
    }

    fn of(rest: impl Iterator<Item = String>, ty: i32) -> Self {
        let tokens: Vec<String> = SPECIALS
            .into_iter()
            .map(str::to_owned)
            .chain(rest)
            .collect();
        let mut types = SPECIAL_TYPES.to_vec();
        types.resize(tokens.len(), ty);
        Self { tokens, types }
    }

    fn len(&self) -> u64 {
        self.tokens.len() as u64
    }

    fn describe(&self, builder: Builder) -> Builder {
        builder
            .text("tokenizer.ggml.model", "llama")
            .texts("tokenizer.ggml.tokens", &self.tokens)
            .floats("tokenizer.ggml.scores", &vec![0.0; self.tokens.len()])
            .signed_numbers("tokenizer.ggml.token_type", &self.types)
            .unsigned("tokenizer.ggml.unknown_token_id", 0)
            .unsigned("tokenizer.ggml.bos_token_id", 1)
            .unsigned("tokenizer.ggml.eos_token_id", 2)
            .flag("tokenizer.ggml.add_bos_token", true)
            .flag("tokenizer.ggml.add_space_prefix", false)
    }
}

fn hyperparameters() -> Builder {
    Builder::new("llama")
        .text("general.name", "specimen")
        .unsigned("llama.block_count", LAYERS)
        .unsigned("llama.context_length", 512)
        .unsigned("llama.embedding_length", small(WIDTH))
        .unsigned("llama.feed_forward_length", small(FEED_FORWARD))
        .unsigned("llama.attention.head_count", small(WIDTH / HEAD))
        .unsigned("llama.attention.head_count_kv", small(KV_WIDTH / HEAD))
        .unsigned("llama.rope.dimension_count", small(HEAD))
        .float("llama.attention.layer_norm_rms_epsilon", 1e-6)
}

fn small(number: u64) -> u32 {
    u32::try_from(number).expect("a small constant")
}

fn with_weights(builder: Builder, vocabulary: u64, value_width: u64) -> Builder {
    let mut noise = Noise(1);
    let mut builder = builder
        .tensor_f32(
            "token_embd.weight",
            &[WIDTH, vocabulary],
            &noise.matrix(WIDTH, vocabulary),
        )
        .tensor_f32("output_norm.weight", &[WIDTH], &ones());
    for layer in 0..LAYERS {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        builder = builder
            .tensor_f32(&name("attn_norm"), &[WIDTH], &ones())
            .tensor_f32(&name("ffn_norm"), &[WIDTH], &ones());
        for (part, columns, rows) in [
            ("attn_q", WIDTH, WIDTH),
            ("attn_k", WIDTH, KV_WIDTH),
            ("attn_v", WIDTH, value_width),
            ("attn_output", WIDTH, WIDTH),
            ("ffn_gate", WIDTH, FEED_FORWARD),
            ("ffn_up", WIDTH, FEED_FORWARD),
            ("ffn_down", FEED_FORWARD, WIDTH),
        ] {
            let values = noise.matrix(columns, rows);
            builder = builder.tensor_f32(&name(part), &[columns, rows], &values);
        }
    }
    builder
}

fn ones() -> Vec<f32> {
    vec![1.0; usize::try_from(WIDTH).expect("a small constant")]
}

/// Weights out of a fixed sequence (SplitMix64), so that each build of a model is the same file.
struct Noise(u64);

impl Noise {
    fn matrix(&mut self, columns: u64, rows: u64) -> Vec<f32> {
        let scale = (3.0 / columns as f32).sqrt();
        (0..columns * rows).map(|_| scale * self.next()).collect()
    }

    /// Uniform in −1..1.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bits = u16::try_from((mixed ^ (mixed >> 31)) >> 48).expect("16 bits are left");
        f32::from(bits) / 32_768.0 - 1.0
    }
}
