//! What a scheduler is given and what it says: jobs, limits, and the plan of a batch. It decides
//! nothing.

use crate::core::session::Step;
use crate::core::slots::{KvOp, Reuse, SlotId, Slots};

/// A job, by the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// How much of the prompts goes into one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// What fits.
    Full,
    /// A part, [`Cut::LEAST_TOKENS`] at least: several machines compute one after another, and the
    /// later ones wait for the first one's batch.
    Parts,
}

impl Cut {
    /// Batches of fewer tokens cost much more for each of them.
    pub const LEAST_TOKENS: usize = 128;

    /// Of what waits: stages that are alike need about five eighths of the time that one after the
    /// other would take if they are two, half of it if they are three.
    const PARTS: usize = 4;

    /// Tokens of prompts in the next batch, when so many wait.
    pub(super) fn most(self, waiting: usize) -> usize {
        match self {
            Self::Full => waiting,
            Self::Parts => waiting.div_ceil(Self::PARTS).max(Self::LEAST_TOKENS),
        }
    }
}

/// What a scheduler works within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Jobs that run at once.
    pub parallel: u32,
    /// Sequences of the cache, `parallel` at least; those beyond it keep prefixes.
    pub sequences: u32,
    /// Cells of the cache.
    pub cells: u32,
    /// Tokens of prefixes that may be kept outside of the cache.
    pub parked_tokens: usize,
    /// Tokens in a batch, `parallel` at least.
    pub batch_tokens: usize,
    /// How the prompts that wait are cut, where batches are not filled with them.
    pub prompts: Cut,
    /// Rows of logits in a batch, more than `parallel`.
    pub batch_outputs: usize,
    /// Jobs that may wait.
    pub queue: usize,
    /// What the cache can do.
    pub reuse: Reuse,
}

impl Limits {
    /// An empty cache of this kind.
    pub(super) fn slots(&self) -> Slots {
        Slots::new(self.sequences, self.cells, self.reuse, self.parked_tokens)
    }
}

/// How a job uses the cache and the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// Begin with a cached prefix where there is one.
    pub reuse_cache: bool,
    /// Logits after every token of the prompt, not only after the last.
    pub all_outputs: bool,
}

/// A job's part of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Whose.
    pub job: JobId,
    /// The sequence.
    pub slot: SlotId,
    /// The tokens.
    pub step: Step,
    /// Logits are wanted after each of them.
    pub all_outputs: bool,
}

/// What is to be done next: first `ops`, in order, then a batch of all `work`.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Operations on the cache.
    pub ops: Vec<KvOp>,
    /// The batch.
    pub work: Vec<Work>,
}
