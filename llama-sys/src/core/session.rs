//! One answer: the tokens so far, what to compute next, the text that comes out, and when it
//! ends. The same state machine drives a model in this process and a chain of stages on other
//! peers: it asks for [`Step`]s and takes what was sampled. It knows no model, no cache, no wire.
//!
//! A step says how many tokens of the context to keep, so a rollback (a rejected draft, a cache
//! that was taken away, another peer) is nothing but a step with a smaller `keep_n`.
//!
//! Drafted tokens may lie behind the history's end ([`Session::draft`]): steps go on into them, and
//! what is sampled either confirms the first of them or drops them all. Where drafts come from, and
//! which results count, is not known here. Without drafts nothing of this shows.
//!
//! | state | event | then |
//! |---|---|---|
//! | prefill | [`Session::computed`], history not at its end | prefill |
//! | prefill, decode | [`Session::sampled`] with a token | decode |
//! | prefill, decode | an end token, a stop string, a limit | ended |
//! | decode | [`Session::sampled`] with another token than the first draft | decode, without drafts |
//! | any | [`Session::rewind`] | prefill, without drafts |

use std::collections::VecDeque;

use super::text::Assembler;
use crate::engine::{Delta, FinishReason, JobError, TokenLogprob};

/// What tokens look like, asked of the model's vocabulary.
pub trait Lexicon {
    /// Appends the token's bytes as they show in the answer.
    fn append_bytes(&self, token: u32, bytes: &mut Vec<u8>);
    /// True if the token ends an answer.
    fn ends_answer(&self, token: u32) -> bool;
}

/// How an answer begins and what limits it.
#[derive(Debug, Clone, Default)]
pub struct SessionParams {
    /// The prompt; not empty.
    pub prompt: Vec<u32>,
    /// The answer's tokens so far, if it was begun elsewhere.
    pub resume: Vec<u32>,
    /// Bytes of the answer's text that need not be sent again.
    pub sent_text_bytes: usize,
    /// Tokens of the answer at most, `resume` included.
    pub max_tokens: Option<u32>,
    /// Tokens of prompt and answer at most.
    pub context_length: u32,
    /// Strings that end the answer.
    pub stop: Vec<String>,
}

/// What to compute next: keep `keep_n` tokens of the context, then append the tokens
/// `keep_n..keep_n + n` of the history and the drafts behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Tokens of the context that stay.
    pub keep_n: usize,
    /// Tokens to compute.
    pub n: usize,
    /// The history's last token is among them, or drafts behind it are: tokens are to be sampled
    /// after that last one and after each draft.
    pub wants_sample: bool,
    /// Of the tokens, the last ones that are drafts. Where all are, the step assumes that the drafts
    /// before it are accepted, and the first of its own, too.
    pub drafted: usize,
}

impl Step {
    /// It begins with a draft: it counts only if that one is what is sampled before.
    #[must_use]
    pub fn assumes(&self) -> bool {
        self.drafted == self.n
    }

    /// Its last rows that follow another row of it and are drafts: what is sampled before each
    /// of them judges it.
    #[must_use]
    pub fn judged(&self) -> usize {
        self.drafted - usize::from(self.assumes())
    }
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Why.
    pub reason: FinishReason,
    /// The stop string.
    pub stop: Option<String>,
    /// Tokens of the answer, an end token not counted.
    pub completion_tokens: u32,
}

/// One answer.
#[derive(Debug)]
pub struct Session {
    /// The history, and drafts behind it.
    text: Vec<u32>,
    /// Tokens of `text` that are the history.
    certain: usize,
    prompt_tokens: usize,
    /// The history ends the answer when it is this long.
    limit: usize,
    computed: usize,
    assembler: Assembler,
    /// Bytes of text and tokens yet to be swallowed because the client has them.
    skip_text_bytes: usize,
    skip_tokens: usize,
    /// Log-probabilities of tokens that the assembler still holds.
    logprobs: VecDeque<TokenLogprob>,
    ending: Option<Ending>,
    bytes: Vec<u8>,
}

impl Session {
    /// Begins an answer, or goes on with one: text of `resume` that was not sent is put in
    /// `delta`, and [`Self::ending`] is set at once where `resume` is complete.
    ///
    /// # Errors
    /// [`JobError::Invalid`] without a prompt, [`JobError::ContextLengthExceeded`] if the prompt
    /// leaves no room for a token that is wanted.
    pub fn new(
        params: SessionParams,
        lexicon: &dyn Lexicon,
        delta: &mut Delta,
    ) -> Result<Self, JobError> {
        let context = params.context_length as usize;
        let prompt_tokens = params.prompt.len();
        let wanted = params.max_tokens.map_or(usize::MAX, |n| n as usize);
        if prompt_tokens == 0 {
            return Err(JobError::Invalid("the prompt is empty".into()));
        }
        if prompt_tokens + wanted.min(1) > context {
            return Err(JobError::ContextLengthExceeded {
                prompt_tokens: u32::try_from(prompt_tokens).unwrap_or(u32::MAX),
                context_length: params.context_length,
            });
        }
        let mut session = Self {
            text: params.prompt,
            certain: prompt_tokens,
            prompt_tokens,
            limit: context.min(prompt_tokens.saturating_add(wanted)),
            computed: 0,
            assembler: Assembler::new(params.stop),
            skip_text_bytes: params.sent_text_bytes,
            skip_tokens: 0,
            logprobs: VecDeque::new(),
            ending: None,
            bytes: Vec::new(),
        };
        session.replay(&params.resume, lexicon, delta);
        Ok(session)
    }

    fn replay(&mut self, resume: &[u32], lexicon: &dyn Lexicon, delta: &mut Delta) {
        if self.certain >= self.limit {
            self.end_by_length(delta);
        }
        self.skip_tokens = resume.len();
        for &token in resume {
            self.sampled(token, None, lexicon, delta);
        }
    }

    /// All tokens: the prompt's, then the answer's.
    #[must_use]
    pub fn history(&self) -> &[u32] {
        &self.text[..self.certain]
    }

    /// All tokens, and the drafts behind them.
    #[must_use]
    pub fn text(&self) -> &[u32] {
        &self.text
    }

    /// The drafts behind the history's end that were neither confirmed nor dropped.
    #[must_use]
    pub fn drafts(&self) -> &[u32] {
        &self.text[self.certain..]
    }

    /// The tokens of a step.
    #[must_use]
    pub fn tokens(&self, step: Step) -> &[u32] {
        &self.text[step.keep_n..step.keep_n + step.n]
    }

    /// Tokens of the prompt.
    #[must_use]
    pub fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    /// The answer's tokens so far.
    #[must_use]
    pub fn answer(&self) -> &[u32] {
        &self.text[self.prompt_tokens..self.certain]
    }

    /// Tokens of the context that are computed, drafts included.
    #[must_use]
    pub fn computed_tokens(&self) -> usize {
        self.computed
    }

    /// Tokens yet to be computed before the next one can be sampled; 0 once the answer ended.
    #[must_use]
    pub fn pending(&self) -> usize {
        match self.ending {
            Some(_) => 0,
            None => self.certain.saturating_sub(self.computed),
        }
    }

    /// Tokens yet to be computed, drafts included; 0 once the answer ended.
    #[must_use]
    pub fn uncomputed(&self) -> usize {
        match self.ending {
            Some(_) => 0,
            None => self.text.len() - self.computed,
        }
    }

    /// Tokens that the answer may still grow by.
    #[must_use]
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.certain)
    }

    /// Drafts that there is room for: with all of them accepted, one token more is sampled.
    #[must_use]
    pub fn draft_room(&self) -> usize {
        self.room().saturating_sub(1 + self.drafts().len())
    }

    /// Puts drafts behind the history and the drafts that are there. Those are left out that could
    /// not count: beyond the answer's limits, and from a token on that would end it. How many were
    /// taken.
    pub fn draft(&mut self, drafts: &[u32], lexicon: &dyn Lexicon) -> usize {
        if self.ending.is_some() {
            return 0;
        }
        let (before, room) = (self.text.len(), self.draft_room());
        let counting = drafts.iter().take_while(|t| !lexicon.ends_answer(**t));
        self.text.extend(counting.take(room));
        self.text.len() - before
    }

    /// Drops the drafts that are in no step yet.
    pub fn retract_drafts(&mut self) {
        self.text.truncate(self.certain.max(self.computed));
    }

    /// Drops all drafts, computed ones too.
    pub fn drop_drafts(&mut self) {
        self.text.truncate(self.certain);
        self.computed = self.computed.min(self.certain);
    }

    /// How the answer ended.
    #[must_use]
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// The next step, of at most `most` tokens. `None` when there is nothing to compute.
    #[must_use]
    pub fn step(&self, most: usize) -> Option<Step> {
        let n = self.uncomputed().min(most);
        let end = self.computed + n;
        (n > 0).then_some(Step {
            keep_n: self.computed,
            n,
            wants_sample: end >= self.certain,
            drafted: end.saturating_sub(self.certain.max(self.computed)),
        })
    }

    /// A step was computed, or is under way; to be told before what it gives.
    pub fn computed(&mut self, step: Step) {
        self.computed = (step.keep_n + step.n).min(self.text.len());
    }

    /// Only the first `keep_n` tokens of the context are still computed, or already are
    /// (a cached prefix). At least one token is always computed anew: its logits are needed.
    pub fn rewind(&mut self, keep_n: usize) {
        self.drop_drafts();
        self.computed = keep_n.min(self.certain - 1);
    }

    /// A token was sampled after the history's last: the first draft is confirmed if it is that
    /// one, else all are dropped. A verdict's tokens are told one after another. Puts what can be shown in `delta`; the
    /// answer's end, if this was it, is [`Self::ending`].
    pub fn sampled(
        &mut self,
        token: u32,
        logprob: Option<TokenLogprob>,
        lexicon: &dyn Lexicon,
        delta: &mut Delta,
    ) {
        if self.ending.is_some() {
            return;
        }
        if lexicon.ends_answer(token) {
            self.assembler_finish(delta);
            self.end(FinishReason::Stop, None);
            return;
        }
        self.append(token);
        self.logprobs.extend(logprob);
        self.bytes.clear();
        lexicon.append_bytes(token, &mut self.bytes);
        let (text_before, tokens_before) = (delta.text.len(), delta.tokens.len());
        let stopped = self
            .assembler
            .push(token, &self.bytes, &mut delta.text, &mut delta.tokens);
        self.settle(delta, text_before, tokens_before);
        if stopped {
            let stop = self.assembler.stop().map(str::to_owned);
            self.end(FinishReason::Stop, stop);
        } else if self.certain >= self.limit {
            self.end_by_length(delta);
        }
    }

    fn append(&mut self, token: u32) {
        if self.drafts().first() != Some(&token) {
            self.drop_drafts();
            self.text.push(token);
        }
        self.certain += 1;
    }

    /// Ends the answer here, as a model would that has nothing more to say.
    pub fn stop(&mut self, delta: &mut Delta) {
        if self.ending.is_none() {
            self.assembler_finish(delta);
            self.end(FinishReason::Stop, None);
        }
    }

    fn end_by_length(&mut self, delta: &mut Delta) {
        self.assembler_finish(delta);
        self.end(FinishReason::Length, None);
    }

    fn assembler_finish(&mut self, delta: &mut Delta) {
        let (text_before, tokens_before) = (delta.text.len(), delta.tokens.len());
        self.assembler.finish(&mut delta.text, &mut delta.tokens);
        self.settle(delta, text_before, tokens_before);
    }

    /// After the assembler appended to `delta`: swallows what the client has, and adds the
    /// log-probabilities of the tokens that came out.
    fn settle(&mut self, delta: &mut Delta, text_before: usize, tokens_before: usize) {
        let fresh = delta.text.len() - text_before;
        let mut skip = self.skip_text_bytes.min(fresh);
        self.skip_text_bytes -= skip;
        while !delta.text.is_char_boundary(text_before + skip) {
            skip += 1;
        }
        delta.text.drain(text_before..text_before + skip);
        let released = delta.tokens.len() - tokens_before;
        let known = self.skip_tokens.min(released);
        self.skip_tokens -= known;
        delta.tokens.drain(tokens_before..tokens_before + known);
        let logprobs = (released - known).min(self.logprobs.len());
        delta.logprobs.extend(self.logprobs.drain(..logprobs));
    }

    fn end(&mut self, reason: FinishReason, stop: Option<String>) {
        self.drop_drafts();
        let answer = self.certain - self.prompt_tokens;
        self.ending = Some(Ending {
            reason,
            stop,
            completion_tokens: u32::try_from(answer).unwrap_or(u32::MAX),
        });
    }
}

#[cfg(test)]
mod tests;
