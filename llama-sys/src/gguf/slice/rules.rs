//! Which architectures may be cut, and what llama.cpp's graph of each does that a slice must make
//! good. A row is added together with its specimen, which the exactness test then covers.

use super::Obstacle;

/// How an architecture marks its layers that look back a window only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Window {
    /// No layer does.
    None,
    /// Those of a pattern, if the file names a window; without one the graph is another, in which
    /// no layer does. The number is the pattern's usual period.
    Optional(u32),
    /// Those of a pattern, always: a stage without such a layer would end the process.
    Always(u32),
}

/// What an architecture's graph multiplies embeddings with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scaled {
    /// Nothing.
    Not,
    /// √width, tokens' embeddings only: whoever looks them up has to do it.
    Tokens,
    /// √width, whatever comes in: it must be undone between stages.
    All,
    /// `embedding_scale`, whatever comes in: slices say 1, and whoever looks up does it.
    ByKey,
}

/// How models of an architecture are cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// `general.architecture`.
    pub(super) architecture: &'static str,
    /// Cuts lie at multiples of this: layers differ in a way that the file does not tell.
    pub(super) period: u32,
    pub(super) window: Window,
    pub(super) scaled: Scaled,
    /// llama.cpp wants `output.weight` by name and does not take the embeddings for it.
    pub(super) names_output: bool,
    /// Its experts are chosen one by one, so that those that are left are used as if the others had
    /// never been chosen.
    pub(super) plain_routing: bool,
    /// Numbers of layers by which llama.cpp tells how the model computes.
    pub(super) telling_counts: &'static [u32],
}

impl Rule {
    const fn uniform(architecture: &'static str) -> Self {
        Self {
            architecture,
            period: 1,
            window: Window::None,
            scaled: Scaled::Not,
            names_output: false,
            plain_routing: false,
            telling_counts: &[],
        }
    }
}

/// The architectures that may be cut. Mistral and Mixtral are `llama` in files.
const RULES: [Rule; 13] = [
    Rule {
        plain_routing: true,
        ..Rule::uniform("llama")
    },
    Rule::uniform("qwen2"),
    Rule::uniform("qwen3"),
    Rule {
        plain_routing: true,
        ..Rule::uniform("qwen3moe")
    },
    Rule::uniform("phi3"),
    Rule {
        names_output: true,
        plain_routing: true,
        ..Rule::uniform("olmoe")
    },
    Rule {
        names_output: true,
        window: Window::Optional(4),
        ..Rule::uniform("olmo2")
    },
    Rule {
        scaled: Scaled::All,
        ..Rule::uniform("gemma")
    },
    Rule {
        scaled: Scaled::All,
        window: Window::Always(2),
        // 27B.
        telling_counts: &[46],
        ..Rule::uniform("gemma2")
    },
    Rule {
        scaled: Scaled::Tokens,
        window: Window::Optional(6),
        // 27B.
        telling_counts: &[62],
        ..Rule::uniform("gemma3")
    },
    Rule {
        names_output: true,
        plain_routing: true,
        window: Window::Always(2),
        ..Rule::uniform("gpt-oss")
    },
    Rule {
        scaled: Scaled::ByKey,
        ..Rule::uniform("granite")
    },
    Rule {
        // Each fourth layer has no rotation.
        period: 4,
        ..Rule::uniform("smollm3")
    },
];

/// Architectures whose layers use more than the hidden state that the layer before left.
const SHARED: [&str; 5] = ["gemma3n", "gemma4", "deepseek4", "hrm-text", "eagle3"];

/// Architectures with recurrent layers.
const RECURRENT: [&str; 18] = [
    "arwkv7",
    "bailingmoe3",
    "falcon-h1",
    "granitehybrid",
    "jamba",
    "kimi-linear",
    "lfm2",
    "lfm2moe",
    "mamba",
    "mamba2",
    "minimax-01",
    "nemotron_h",
    "nemotron_h_moe",
    "plamo2",
    "qwen3next",
    "rwkv6",
    "rwkv6qwen2",
    "rwkv7",
];

/// Architectures whose positions have several parts.
const POSITIONS: [&str; 4] = ["qwen2vl", "qwen3vl", "qwen3vlmoe", "paddleocr"];

/// The rule of an architecture, or why there is none.
pub(super) fn of(architecture: &str) -> Result<&'static Rule, Obstacle> {
    if let Some(rule) = RULES.iter().find(|rule| rule.architecture == architecture) {
        return Ok(rule);
    }
    Err(if SHARED.contains(&architecture) {
        Obstacle::SharedState
    } else if RECURRENT.contains(&architecture) {
        Obstacle::Recurrent
    } else if POSITIONS.contains(&architecture) {
        Obstacle::Positions
    } else {
        Obstacle::NotProved
    })
}

/// The architectures that may be cut.
pub(super) fn architectures() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|rule| rule.architecture)
}
