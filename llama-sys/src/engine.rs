//! What an engine takes and gives: one loaded model that answers many jobs at once.
//!
//! The node talks to [`Engine`] only; that it is a supervised worker process behind a socket
//! (or, in tests of other crates, [`crate::fake::FakeEngine`]) is not visible here.

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

/// One answer wanted. Everything is plain: templates are rendered, tools are prompt and grammar.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// For logs and cancellation; unique among the engine's running jobs.
    pub request_id: String,
    /// What the answer continues.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Key of the counter-based generator. Token at position `p` of the answer depends on
    /// `(seed, p)` and the distribution only.
    pub seed: u64,
    /// Tokens to generate at most, `resume` included; `None`: up to the end of the context.
    pub max_tokens: Option<u32>,
    /// Strings that end the answer and never show in it.
    pub stop: Vec<String>,
    /// What the answer must look like.
    pub grammar: Grammar,
    /// `Some(n)`: log-probabilities of each chosen token and the `n` (0..=20) likeliest.
    pub logprobs: Option<u8>,
    /// Log-probabilities of the prompt's tokens too (turns the prefix cache off for this job).
    pub prompt_logprobs: bool,
    /// Special tokens (`<tool_call>`, `[TOOL_CALLS]`, …) appear in the answer's text.
    pub show_special: bool,
    /// An answer begun elsewhere: its tokens so far, and how many bytes of their text were sent.
    pub resume: Option<Resume>,
}

/// What an answer continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Text, tokenized by the model. BOS is added where the model wants it and the text does not
    /// begin with it already.
    Text {
        /// The text.
        text: String,
        /// Special tokens written in the text become tokens.
        parse_special: bool,
    },
    /// Token ids, taken as they are.
    Tokens(Vec<u32>),
    /// Text before and after the gap that the answer fills.
    Infill {
        /// Before the gap.
        prefix: String,
        /// After the gap.
        suffix: String,
    },
}

/// An answer that was begun elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resume {
    /// The answer's tokens so far.
    pub tokens: Vec<u32>,
    /// Bytes of its text that the client has.
    pub sent_text_bytes: usize,
}

/// How tokens are chosen. Selection is Gumbel-max under a counter-based generator; temperature 0
/// takes the likeliest token.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0..=2; 0: the likeliest token always.
    pub temperature: f32,
    /// 0..=1; 1: off.
    pub top_p: f32,
    /// 0: off.
    pub top_k: u32,
    /// 0..=1; 0: off.
    pub min_p: f32,
    /// 1: off.
    pub repeat_penalty: f32,
    /// −2..=2; 0: off.
    pub presence_penalty: f32,
    /// −2..=2; 0: off.
    pub frequency_penalty: f32,
    /// Added to these tokens' logits; `-inf` forbids one.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for Sampling {
    /// llama.cpp's own defaults (`common_params_sampling`).
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_p: 0.95,
            top_k: 40,
            min_p: 0.05,
            repeat_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
        }
    }
}

/// What an answer must look like, enforced token by token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Grammar {
    /// Anything.
    #[default]
    None,
    /// Any JSON object.
    JsonObject,
    /// A JSON value that fits this schema (JSON text).
    JsonSchema(String),
    /// A grammar in llama.cpp's GBNF with the rule `root`.
    Gbnf(String),
}

/// One item of an answer. Order: `Queued`*, `Started`, `Delta`*, then `Finished` or `Failed`,
/// which is the last. A channel that closes without either means that the job was cancelled.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The job waits.
    Queued {
        /// Jobs ahead of it.
        position: u32,
    },
    /// Prefill is done; the first token follows.
    Started {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Of these, taken from the prefix cache.
        cached_tokens: u32,
        /// With `prompt_logprobs`: one entry a token of the prompt.
        prompt: Vec<TokenLogprob>,
    },
    /// New text and the tokens that it came from.
    Delta(Delta),
    /// The answer is complete.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// The stop string that ended it.
        stop: Option<String>,
        /// Tokens of the whole answer, those of `resume` included, the end-of-generation token
        /// not counted.
        completion_tokens: u32,
        /// Where the time went.
        timing: Timing,
    },
    /// The answer broke off.
    Failed(JobError),
}

/// New text and the tokens that it came from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Delta {
    /// Cut at UTF-8 borders; text that may yet become a stop string is held back.
    pub text: String,
    /// Tokens whose text ended in this or an earlier delta.
    pub tokens: Vec<u32>,
    /// With `logprobs`: one entry for each of `tokens`.
    pub logprobs: Vec<TokenLogprob>,
}

/// A token and how likely the model held it, before any sampling parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// Its id.
    pub token: u32,
    /// Its bytes; not always whole UTF-8.
    pub bytes: Vec<u8>,
    /// Natural logarithm; `None` for the first token of a prompt.
    pub logprob: Option<f32>,
    /// The likeliest tokens at this place, likeliest first.
    pub top: Vec<TokenLogprob>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it, or a stop string did.
    Stop,
    /// `max_tokens` or the context's end was reached.
    Length,
}

/// Where a job's time went, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timing {
    /// Between arrival and the first step.
    pub queued_micros: u64,
    /// Between the first step and the first token.
    pub prefill_micros: u64,
    /// Between the first token and the end.
    pub decode_micros: u64,
}

/// Why a job was refused or broke off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The prompt leaves no room in the context.
    #[error("the prompt has {prompt_tokens} tokens, the context holds {context_length}")]
    ContextLengthExceeded {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Tokens that one sequence may have.
        context_length: u32,
    },
    /// The queue is full.
    #[error("the queue is full ({waiting} requests wait)")]
    Overloaded {
        /// Jobs that wait.
        waiting: u32,
    },
    /// The grammar or schema cannot be enforced.
    #[error("the grammar cannot be used: {0}")]
    Grammar(String),
    /// A token id outside the vocabulary, an empty prompt, …
    #[error("{0}")]
    Invalid(String),
    /// The model cannot do this (infill without its tokens, embeddings without pooling).
    #[error("{0}")]
    Unsupported(String),
    /// The worker died; whoever asks may resume from the tokens it has.
    #[error("the model's process ended in mid-answer")]
    WorkerLost,
    /// The model could not be loaded.
    #[error("the model could not be loaded: {0}")]
    LoadFailed(String),
    /// The engine is stopping.
    #[error("the model is being unloaded")]
    Stopping,
    /// llama.cpp refused a batch.
    #[error("inference failed: {0}")]
    Inference(String),
}

/// Facts of a loaded model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelInfo {
    /// Tokens of the vocabulary.
    pub vocab_size: u32,
    /// Width of an embedding.
    pub embedding_length: u32,
    /// Tokens that one sequence may have.
    pub context_length: u32,
    /// Sequences that may run at once.
    pub parallel: u32,
    /// Bytes of the model's tensors.
    pub model_bytes: u64,
    /// The model can fill in the middle.
    pub infill: bool,
    /// The model can embed text.
    pub embeddings: bool,
}

/// Where drafts come from that the model verifies several of at once. Answers are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Speculate {
    /// Nothing is drafted.
    Off,
    /// The answer's own text.
    NGram,
    /// A draft model.
    Draft,
    /// The answer's own text, and a draft model where there is one.
    #[default]
    Auto,
}

impl Speculate {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Off, Self::NGram, Self::Draft, Self::Auto];

    /// Its name in configurations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::NGram => "ngram",
            Self::Draft => "draft",
            Self::Auto => "auto",
        }
    }

    /// What [`Self::as_str`] calls so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }

    /// Drafts are looked up in the answer's own text.
    #[must_use]
    pub const fn looks_up(self) -> bool {
        matches!(self, Self::NGram | Self::Auto)
    }

    /// A draft model drafts.
    #[must_use]
    pub const fn uses_model(self) -> bool {
        matches!(self, Self::Draft | Self::Auto)
    }
}

/// State of an engine, for people and for placement.
#[derive(Debug, Clone, PartialEq)]
pub enum EngineState {
    /// The worker starts and loads; 0..=1.
    Loading(f32),
    /// Jobs run.
    Ready(ModelInfo),
    /// The worker died and is started again after a pause.
    Restarting {
        /// Deaths since the last answer that ended well.
        failures: u32,
        /// What ended it.
        cause: String,
    },
    /// It was given up; no job runs until the engine is made anew.
    Failed(String),
    /// Running jobs end, new ones are refused.
    Draining,
}

/// How busy an engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Sequences that run.
    pub running: u32,
    /// Jobs that wait.
    pub waiting: u32,
    /// Cells of the KV cache in use, kept prefixes included.
    pub kv_used: u32,
    /// Cells in all.
    pub kv_total: u32,
    /// Resident memory of the worker, bytes.
    pub memory_bytes: u64,
    /// Tokens of prompts that were computed, since the start.
    pub prefill_tokens: u64,
    /// Tokens of prompts that came from the prefix cache, since the start.
    pub cached_tokens: u64,
    /// Tokens generated, since the start.
    pub decode_tokens: u64,
    /// Tokens drafted and verified, since the start.
    pub drafted_tokens: u64,
    /// Of these, accepted.
    pub accepted_tokens: u64,
    /// Times that the worker was started again.
    pub restarts: u32,
}

/// One loaded model.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Takes a job. Refusals known at once come as `Err`. Dropping the receiver cancels the job
    /// within one batch step.
    async fn generate(&self, job: Job) -> Result<mpsc::Receiver<Event>, JobError>;

    /// Embeds each input: pooled as the model says (else the mean), normalised to length 1.
    /// Also answers the inputs' tokens in all. Each input gives what it gives alone.
    async fn embed(&self, inputs: Vec<Prompt>) -> Result<(Vec<Vec<f32>>, u32), JobError>;

    /// The tokens of a text.
    async fn tokenize(&self, text: String, parse_special: bool) -> Result<Vec<u32>, JobError>;

    /// The text of tokens, special ones as the model writes them; invalid UTF-8 replaced.
    async fn detokenize(&self, tokens: Vec<u32>) -> Result<String, JobError>;

    /// State changes; the current one is always there.
    fn state(&self) -> watch::Receiver<EngineState>;

    /// How busy it is now.
    fn load(&self) -> Load;

    /// Refuses new jobs, waits for the running ones until `deadline`, then ends the worker.
    async fn drain(&self, deadline: std::time::Duration);
}
