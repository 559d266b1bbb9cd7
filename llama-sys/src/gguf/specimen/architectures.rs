//! Small models with random weights of each architecture that may be cut: deep enough for several
//! stages, with the windows, biases, scales and experts that make architectures differ. They
//! answer nonsense; what counts is that each number in them matters.

use super::{Noise, Vocabulary, small};
use crate::gguf::writer::Builder;

/// Layers.
const LAYERS: u32 = 8;
/// Width of an embedding: a power of 4, so that dividing by its root is exact.
const WIDTH: u64 = 64;
/// Width of a head.
const HEAD: u64 = 16;
/// Heads.
const HEADS: u64 = WIDTH / HEAD;
/// Width of the feed-forward layer, and of an expert's.
const FEED_FORWARD: u64 = 96;
/// Experts of a layer.
const EXPERTS: u64 = 8;
/// Experts that a token uses.
const EXPERTS_USED: u32 = 2;
/// Tokens that windowed layers look back: fewer than a test's prompt has.
const WINDOW: u32 = 8;

/// A kind of model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// The output head is a tensor of its own.
    pub untied: bool,
    /// Layers have experts.
    pub mixture: bool,
    /// Some layers look back a window only.
    pub windowed: bool,
}

/// The kinds of which [`of_kind`] makes models.
pub const KINDS: [Kind; 18] = [
    kind("llama"),
    kind("llama").untied(),
    kind("llama").untied().mixture(),
    kind("qwen2").untied(),
    kind("qwen2"),
    kind("qwen3"),
    kind("qwen3moe").untied().mixture(),
    kind("phi3").untied(),
    kind("olmoe").untied().mixture(),
    kind("olmo2").untied(),
    kind("olmo2").untied().windowed(),
    kind("gemma"),
    kind("gemma2").windowed(),
    kind("gemma3"),
    kind("gemma3").windowed(),
    kind("gpt-oss").untied().mixture().windowed(),
    kind("granite").untied(),
    kind("smollm3"),
];

const fn kind(architecture: &'static str) -> Kind {
    Kind {
        architecture,
        untied: false,
        mixture: false,
        windowed: false,
    }
}

impl Kind {
    const fn untied(mut self) -> Self {
        self.untied = true;
        self
    }

    const fn mixture(mut self) -> Self {
        self.mixture = true;
        self
    }

    const fn windowed(mut self) -> Self {
        self.windowed = true;
        self
    }

    fn is(self, architectures: &[&str]) -> bool {
        architectures.contains(&self.architecture)
    }

    /// Key and value heads.
    fn kv_heads(self) -> u64 {
        if self.is(&["olmoe"]) {
            HEADS
        } else {
            HEADS / 2
        }
    }
}

/// A model of a kind: 8 layers, 64 wide, the vocabulary of [`super::tiny_llama`], 1 to 5 MiB.
#[must_use]
pub fn of_kind(kind: Kind) -> Builder {
    let vocabulary = Vocabulary::bytes();
    let mut weights = Weights {
        builder: vocabulary.describe(hyperparameters(kind)),
        noise: Noise(3),
    };
    weights.matrix("token_embd", WIDTH, vocabulary.len());
    weights.vector("output_norm.weight", WIDTH, 1.0);
    if kind.untied {
        weights.matrix("output", WIDTH, vocabulary.len());
    }
    if kind.is(&["llama"]) {
        weights.vector("rope_freqs.weight", HEAD / 2, 2.0);
    }
    if kind.is(&["phi3"]) {
        weights.vector("rope_factors_long.weight", HEAD / 2, 3.0);
        weights.vector("rope_factors_short.weight", HEAD / 2, 2.0);
    }
    for layer in 0..LAYERS {
        let name = |part: &str| format!("blk.{layer}.{part}");
        attention(&mut weights, kind, &name);
        norms(&mut weights, kind, &name);
        if kind.mixture {
            experts(&mut weights, kind, &name);
        } else {
            feed_forward(&mut weights, kind, &name);
        }
    }
    weights.builder
}

fn hyperparameters(kind: Kind) -> Builder {
    let key = |part: &str| format!("{}.{part}", kind.architecture);
    let mut builder = Builder::new(kind.architecture)
        .text("general.name", "specimen")
        .unsigned(&key("block_count"), LAYERS)
        .unsigned(&key("context_length"), 512)
        .unsigned(&key("embedding_length"), small(WIDTH))
        .unsigned(&key("feed_forward_length"), small(FEED_FORWARD))
        .unsigned(&key("attention.head_count"), small(HEADS))
        .unsigned(&key("attention.head_count_kv"), small(kind.kv_heads()))
        .unsigned(&key("attention.key_length"), small(HEAD))
        .unsigned(&key("attention.value_length"), small(HEAD))
        .unsigned(&key("rope.dimension_count"), small(HEAD))
        .float(&key("rope.freq_base"), 10_000.0)
        .float(&key("attention.layer_norm_rms_epsilon"), 1e-6);
    if kind.mixture {
        builder = builder
            .unsigned(&key("expert_count"), small(EXPERTS))
            .unsigned(&key("expert_used_count"), EXPERTS_USED)
            .unsigned(&key("expert_feed_forward_length"), small(FEED_FORWARD));
    }
    if kind.windowed {
        builder = builder.unsigned(&key("attention.sliding_window"), WINDOW);
    }
    if kind.is(&["gemma2"]) {
        builder = builder
            .float(&key("attn_logit_softcapping"), 50.0)
            .float(&key("final_logit_softcapping"), 30.0);
    }
    if kind.is(&["granite"]) {
        builder = builder
            .float(&key("logit_scale"), 8.0)
            .float(&key("residual_scale"), 0.22)
            .float(&key("embedding_scale"), 12.0)
            .float(&key("attention.scale"), 0.0156);
    }
    builder
}

fn attention(weights: &mut Weights, kind: Kind, name: &dyn Fn(&str) -> String) {
    let (queries, keys) = (HEADS * HEAD, kind.kv_heads() * HEAD);
    if kind.is(&["phi3"]) {
        weights.matrix(&name("attn_qkv"), WIDTH, queries + 2 * keys);
    } else {
        for (part, rows) in [("attn_q", queries), ("attn_k", keys), ("attn_v", keys)] {
            weights.matrix(&name(part), WIDTH, rows);
            if kind.is(&["qwen2", "gpt-oss"]) {
                weights.vector(&name(&format!("{part}.bias")), rows, 0.0);
            }
        }
    }
    weights.matrix(&name("attn_output"), queries, WIDTH);
    if kind.is(&["gpt-oss"]) {
        weights.vector(&name("attn_output.bias"), WIDTH, 0.0);
        weights.vector(&name("attn_sinks.weight"), HEADS, 0.0);
    }
    // One norm for all heads, or one for each position of a head.
    let widths = if kind.is(&["olmo2", "olmoe"]) {
        Some((queries, keys))
    } else if kind.is(&["qwen3", "qwen3moe", "gemma3"]) {
        Some((HEAD, HEAD))
    } else {
        None
    };
    if let Some((of_queries, of_keys)) = widths {
        weights.vector(&name("attn_q_norm.weight"), of_queries, 1.0);
        weights.vector(&name("attn_k_norm.weight"), of_keys, 1.0);
    }
}

fn norms(weights: &mut Weights, kind: Kind, name: &dyn Fn(&str) -> String) {
    let around = kind.is(&["gemma2", "gemma3"]);
    let behind = kind.is(&["olmo2"]);
    let mut norm = |part: &str| weights.vector(&name(&format!("{part}.weight")), WIDTH, 1.0);
    if !behind {
        norm("attn_norm");
    }
    if around || behind || kind.is(&["gpt-oss"]) {
        norm("post_attention_norm");
    }
    if !behind && !kind.is(&["gpt-oss"]) {
        norm("ffn_norm");
    }
    if around || behind {
        norm("post_ffw_norm");
    }
}

fn feed_forward(weights: &mut Weights, kind: Kind, name: &dyn Fn(&str) -> String) {
    if kind.is(&["phi3"]) {
        weights.matrix(&name("ffn_up"), WIDTH, 2 * FEED_FORWARD);
    } else {
        weights.matrix(&name("ffn_gate"), WIDTH, FEED_FORWARD);
        weights.matrix(&name("ffn_up"), WIDTH, FEED_FORWARD);
    }
    weights.matrix(&name("ffn_down"), FEED_FORWARD, WIDTH);
}

fn experts(weights: &mut Weights, kind: Kind, name: &dyn Fn(&str) -> String) {
    weights.matrix(&name("ffn_gate_inp"), WIDTH, EXPERTS);
    let biased = kind.is(&["gpt-oss"]);
    if biased {
        weights.vector(&name("ffn_gate_inp.bias"), EXPERTS, 0.0);
    }
    for (part, columns, rows) in [
        ("ffn_gate_exps", WIDTH, FEED_FORWARD),
        ("ffn_up_exps", WIDTH, FEED_FORWARD),
        ("ffn_down_exps", FEED_FORWARD, WIDTH),
    ] {
        let values = weights.noise.matrix(columns, rows * EXPERTS);
        let weight = name(&format!("{part}.weight"));
        weights.add(&weight, &[columns, rows, EXPERTS], &values);
        if biased {
            let values: Vec<f32> = (0..rows * EXPERTS)
                .map(|_| 0.1 * weights.noise.next())
                .collect();
            weights.add(&name(&format!("{part}.bias")), &[rows, EXPERTS], &values);
        }
    }
}

struct Weights {
    builder: Builder,
    noise: Noise,
}

impl Weights {
    fn matrix(&mut self, name: &str, columns: u64, rows: u64) {
        let values = self.noise.matrix(columns, rows);
        self.add(&format!("{name}.weight"), &[columns, rows], &values);
    }

    /// Numbers around `middle`.
    fn vector(&mut self, name: &str, len: u64, middle: f32) {
        let values: Vec<f32> = (0..len).map(|_| middle + 0.2 * self.noise.next()).collect();
        self.add(name, &[len], &values);
    }

    fn add(&mut self, name: &str, shape: &[u64], values: &[f32]) {
        let builder = std::mem::take(&mut self.builder);
        self.builder = builder.tensor_f32(name, shape, values);
    }
}
