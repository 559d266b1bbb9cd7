//! What a scheduler is given and what it says: jobs, limits, and the plan of a batch. It decides
//! nothing.

use crate::core::session::Step;
use crate::core::slots::{KvOp, Reuse, SlotId, Slots};

/// A job, by the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(pub u64);

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
