//! What heads and slices are loaded with, and what they and whoever carries their payloads say to
//! each other: plain data.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use super::Precision;
use crate::engine::Speculate;

/// What a head is loaded with. Its stages hold as many cells and sequences.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadConfig {
    /// The file with the vocabulary and the embeddings.
    pub file: PathBuf,
    /// Tokens of one sequence.
    pub context_length: u32,
    /// Sequences at once.
    pub parallel: u32,
    /// Cells of each stage's cache; one sequence's tokens at least.
    pub cells: u32,
    /// Sequences of each stage's cache, `parallel` at least: those beyond keep prefixes.
    pub sequences: u32,
    /// Tokens in a batch.
    pub batch_tokens: u32,
    /// Jobs that wait beside those that run.
    pub queue_limit: u32,
    /// How hidden states are sent.
    pub precision: Precision,
    /// Every embedding is multiplied by this: some models do it on their way into the first layer.
    pub embedding_scale: f32,
    /// Memory that the process may take for itself.
    pub memory_limit_bytes: Option<u64>,
    /// Where drafts come from.
    pub speculate: Speculate,
    /// The draft model's file; its vocabulary is the head's, else it is left out.
    pub draft: Option<PathBuf>,
}

/// What a slice is loaded with.
#[derive(Debug, Clone, PartialEq)]
pub struct SliceConfig {
    /// The slice's file.
    pub file: PathBuf,
    /// Cells of its cache.
    pub cells: u32,
    /// Sequences of its cache.
    pub sequences: u32,
    /// Tokens in a batch at most.
    pub batch_tokens: u32,
    /// Threads; else as many as there are physical cores, fewer while other programs keep these
    /// busy.
    pub threads: Option<u32>,
    /// Layers on the GPU; `None`: all, where there is one.
    pub gpu_layers: Option<u32>,
    /// The model ends here: tokens are chosen.
    pub is_last: bool,
    /// Hidden states that come in are multiplied by this.
    pub input_scale: f32,
    /// How hidden states are sent on.
    pub precision: Precision,
    /// Memory that the process may take for itself, the mapped file not counted.
    pub memory_limit_bytes: Option<u64>,
}

/// What a stage says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromStage {
    /// For the next stage.
    Next(Bytes),
    /// For the head.
    Back(Bytes),
    /// What came in was of a ring that was lost, and is worth nothing.
    Nothing,
    /// What came in cannot be: the ring is of no use any more.
    Broken(String),
}

/// Facts of a loaded slice.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SliceInfo {
    /// Numbers of a hidden state.
    pub width: u32,
    /// Layers.
    pub layers: u32,
    /// Bytes of its tensors.
    pub model_bytes: u64,
    /// Time that one token alone takes.
    pub token_time: Duration,
}

/// Batches on their way at once: two for each stage of a long chain on a fast link, and prompts'
/// pieces that fill a slow one. Each is a payload in the memory of every stage.
pub const MAX_IN_FLIGHT: usize = 8;

/// What the head says to whoever carries its payloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromHead {
    /// Carry this to the first stage.
    Forward(Bytes),
    /// What came back cannot be: the ring is of no use any more.
    Broken(String),
}

/// What the head is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToHead {
    /// A ring of stages is ready; its number is larger than that of any before.
    Up(u64),
    /// The ring is lost.
    Down,
    /// The last stage gave this back.
    Back(Bytes),
}
