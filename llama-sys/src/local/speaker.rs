//! How one session's tokens are chosen, where the logits are: its chooser, and what is told of
//! how likely they were.

use std::sync::Arc;

use super::chooser::{Chooser, Scratch};
use super::{grammar, prompt};
use crate::core::logprob;
use crate::core::scheduler::JobId;
use crate::core::select::{self, Candidate};
use crate::core::speculation::Expectation;
use crate::engine::JobError;
use crate::ffi::model::Model;
use crate::stage::{Given, RawLogprob, Voice};

/// Likeliest tokens that are told at most.
const MAX_TOP_LOGPROBS: u8 = 20;

/// One session's choice of tokens.
#[derive(Debug)]
pub(super) struct Speaker {
    chooser: Chooser,
    /// Log-probabilities of so many of the likeliest.
    logprobs: Option<u8>,
    /// What was chosen last.
    pub(super) expectation: Expectation,
    model: Arc<Model>,
}

/// Buffers that all speakers share.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    scratch: Scratch,
    top: Vec<Candidate>,
}

impl Speaker {
    /// The speaker of an answer that stands at `answer`.
    pub(super) fn new(model: &Arc<Model>, voice: &Voice, answer: &[u32]) -> Result<Self, JobError> {
        prompt::check(model, &voice.recent)?;
        prompt::check(model, answer)?;
        let grammar = grammar::sampler(model, &voice.grammar)?;
        let mut chooser = Chooser::new(model, &voice.sampling, voice.seed, grammar)?;
        chooser.accept_prompt(&voice.recent);
        let mut speaker = Self {
            chooser,
            logprobs: voice.logprobs.map(|n| n.min(MAX_TOP_LOGPROBS)),
            expectation: Expectation::default(),
            model: Arc::clone(model),
        };
        if answer.iter().all(|token| speaker.accept(*token)) {
            return Ok(speaker);
        }
        let message = "the answer so far does not fit the grammar";
        Err(JobError::Invalid(message.into()))
    }

    /// Tells the grammar and the penalties of a token. False if the grammar cannot take it.
    fn accept(&mut self, token: u32) -> bool {
        self.model.is_end(token) || self.chooser.accept(token)
    }

    /// The token at `position` of the answer, by the logits there.
    pub(super) fn speak(
        &mut self,
        job: JobId,
        position: u64,
        logits: &mut [f32],
        buffers: &mut Buffers,
    ) -> Result<Given, String> {
        let Some(token) = self.chooser.choose(logits, position, &mut buffers.scratch) else {
            if select::argmax(logits).is_none() {
                return Err("the model's output is not a number".into());
            }
            return Ok(Given::Nothing { job });
        };
        if !self.accept(token) {
            return Err("the grammar refused a token it had allowed".into());
        }
        let logprob = self
            .logprobs
            .and_then(|n| describe(logits, token, n, &mut buffers.top));
        Ok(Given::Token {
            job,
            token,
            logprob,
        })
    }

    /// How likely a token of the prompt was.
    pub(super) fn judge(
        &self,
        logits: &[f32],
        token: u32,
        buffers: &mut Buffers,
    ) -> Option<RawLogprob> {
        describe(logits, token, self.logprobs.unwrap_or(0), &mut buffers.top)
    }
}

/// The log-probability of `token` and of the `n` likeliest.
fn describe(logits: &[f32], token: u32, n: u8, top: &mut Vec<Candidate>) -> Option<RawLogprob> {
    let logprob = logprob::of_token(logits, token, usize::from(n), top)?;
    #[expect(clippy::cast_sign_loss, reason = "a token that has logits")]
    let top = top.iter().map(|c| (c.token as u32, c.logit)).collect();
    Some(RawLogprob {
        token,
        logprob,
        top,
    })
}
