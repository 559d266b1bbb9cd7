//! The requests that have ended workers, so that a client's retry does not do it again.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, Hash as _, Hasher, RandomState};

use crate::engine::{Grammar, Job, JobError, Prompt};

/// Requests remembered. Each has cost two workers, so there are few; the oldest is forgotten.
const REMEMBERED: usize = 64;

/// Fingerprints under a key of this process: nobody can make another's request collide.
#[derive(Debug, Default)]
pub(super) struct Poison {
    key: RandomState,
    known: VecDeque<u64>,
}

impl Poison {
    /// Refuses a request that is known.
    pub(super) fn check(&self, job: &Job) -> Result<(), JobError> {
        if !self.known.is_empty() && self.known.contains(&self.fingerprint(job)) {
            return Err(refusal());
        }
        Ok(())
    }

    pub(super) fn remember(&mut self, job: &Job) {
        if self.known.len() == REMEMBERED {
            self.known.pop_front();
        }
        self.known.push_back(self.fingerprint(job));
    }

    /// What the model would compute: not the request's id, nor how far an answer has come, nor
    /// the seed, which a client leaves to us and so changes with every try.
    fn fingerprint(&self, job: &Job) -> u64 {
        let mut hash = self.key.build_hasher();
        match &job.prompt {
            Prompt::Text {
                text,
                parse_special,
            } => (0_u8, text, parse_special).hash(&mut hash),
            Prompt::Tokens(tokens) => (1_u8, tokens).hash(&mut hash),
            Prompt::Infill { prefix, suffix } => (2_u8, prefix, suffix).hash(&mut hash),
        }
        match &job.grammar {
            Grammar::None => 0_u8.hash(&mut hash),
            Grammar::JsonObject => 1_u8.hash(&mut hash),
            Grammar::JsonSchema(schema) => (2_u8, schema).hash(&mut hash),
            Grammar::Gbnf(rules) => (3_u8, rules).hash(&mut hash),
        }
        (job.logprobs, job.prompt_logprobs).hash(&mut hash);
        hash.finish()
    }
}

/// What a convicted request hears.
pub(super) fn refusal() -> JobError {
    JobError::Inference("this request ends the model's process and is refused".into())
}
