//! The types of a batch on its way round: plain data.

use bytes::Bytes;

use super::Precision;
use crate::core::scheduler::JobId;
use crate::core::slots::{KvOp, ParkId, SlotId};
use crate::core::speculation::Spent;
use crate::engine::{Grammar, Sampling};

/// What is wanted of the rows of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing: the middle of a prompt.
    Nothing,
    /// A token after the last row.
    Token {
        /// Its position in the answer, which with the seed is the key of its draw.
        position: u64,
    },
    /// Log-probabilities of a prompt's own tokens, and perhaps a token after the last row.
    Prompt {
        /// The token that follows each row; fewer than rows where the prompt ends.
        next: Vec<u32>,
        /// As in [`Wanted::Token`], if one is wanted.
        position: Option<u64>,
    },
    /// A token after each row, as long as it is the one that was drafted to follow.
    Window {
        /// Of the token after the first row.
        position: u64,
        /// The first row is this token, a draft itself: if it is not what was chosen last,
        /// nothing is wanted.
        assumed: Option<u32>,
        /// The tokens of the rows after the first.
        drafts: Vec<u32>,
    },
}

/// One session's rows of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Whose.
    pub job: JobId,
    /// The sequence of the cache.
    pub slot: SlotId,
    /// Tokens of the sequence that stay; the rest is dropped first.
    pub keep_n: usize,
    /// Rows.
    pub n: usize,
    /// What is wanted of them.
    pub wanted: Wanted,
}

/// How a session's tokens are chosen, for a stage that has not heard of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Voice {
    /// The parameters.
    pub sampling: Sampling,
    /// The key of the draws.
    pub seed: u64,
    /// What the answer must look like.
    pub grammar: Grammar,
    /// Log-probabilities of each token and of so many of the likeliest.
    pub logprobs: Option<u8>,
    /// The end of the prompt, for penalties.
    pub recent: Vec<u32>,
}

/// A session that begins at the last stage, or begins there anew.
#[derive(Debug, Clone, PartialEq)]
pub struct Opening {
    /// Whose.
    pub job: JobId,
    /// How its tokens are chosen.
    pub voice: Voice,
    /// The answer so far.
    pub answer: Vec<u32>,
}

/// A batch on its way to a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// Which of the head's rings: a later one has a larger number.
    pub ring: u64,
    /// Batches of a ring are numbered from 0.
    pub batch: u64,
    /// Operations on the cache, before the batch.
    pub ops: Vec<KvOp>,
    /// The rows.
    pub parts: Vec<Part>,
    /// Sessions that begin at the last stage.
    pub open: Vec<Opening>,
    /// Sessions that ended.
    pub close: Vec<JobId>,
    /// What earlier stages could not do.
    pub failures: Vec<Failure>,
    /// Time that earlier stages computed.
    pub spent: Spent,
    /// The hidden states of all rows.
    pub hidden: TokenRows,
}

/// Rows of hidden states as they lie on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenRows {
    /// Their format.
    pub precision: Precision,
    /// Numbers in a row.
    pub width: usize,
    /// The rows, one after the other.
    pub bytes: Bytes,
}

impl TokenRows {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.precision.row_bytes(self.width) {
            0 => 0,
            row => self.bytes.len() / row,
        }
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the numbers of `n` rows from `first` on.
    pub fn take(&self, first: usize, n: usize, out: &mut Vec<f32>) {
        let row = self.precision.row_bytes(self.width);
        for at in first..first + n {
            if let Some(bytes) = self.bytes.get(at * row..) {
                self.precision.take(bytes, self.width, out);
            }
        }
    }
}

/// A log-probability, without words.
#[derive(Debug, Clone, PartialEq)]
pub struct RawLogprob {
    /// The token.
    pub token: u32,
    /// Its natural logarithm.
    pub logprob: f32,
    /// The likeliest tokens and theirs, likeliest first.
    pub top: Vec<(u32, f32)>,
}

/// What the last stage gives, in the order of the batch's rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// A token of the answer.
    Token {
        /// Whose.
        job: JobId,
        /// Which.
        token: u32,
        /// How likely, where that was asked for.
        logprob: Option<RawLogprob>,
    },
    /// Nothing can follow: bias or grammar leave no token.
    Nothing {
        /// Whose.
        job: JobId,
    },
    /// A token of the prompt.
    Prompt {
        /// Whose.
        job: JobId,
        /// Its place in the prompt.
        at: usize,
        /// How likely.
        logprob: RawLogprob,
    },
}

/// Why a part was not computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The stage has not the tokens that it builds on: it may be computed from the beginning.
    Missing,
    /// It cannot be computed at all: in words.
    Refused(String),
}

/// What a stage could not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A session's rows; its sequence is empty there now.
    Part {
        /// Whose.
        job: JobId,
        /// The sequence.
        slot: SlotId,
        /// Why.
        cause: Cause,
    },
    /// A sequence was lost by an operation.
    Slot(SlotId),
    /// A prefix was not parked.
    Park(ParkId),
}

/// What comes back of a batch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Back {
    /// Of which ring.
    pub ring: u64,
    /// Which.
    pub batch: u64,
    /// Tokens and log-probabilities.
    pub given: Vec<Given>,
    /// What was not computed.
    pub failures: Vec<Failure>,
    /// Time that all stages computed.
    pub spent: Spent,
}
