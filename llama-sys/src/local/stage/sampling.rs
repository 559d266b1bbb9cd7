//! The end of the layers: logits become tokens.

use super::{Outcome, Stage};
use crate::stage::{Given, Part, Wanted};

impl Stage {
    /// Chooses what a part wants by the logits that begin at `row`. `Err`: why its session cannot
    /// go on.
    pub(super) fn speak(
        &mut self,
        part: &Part,
        row: usize,
        out: &mut Outcome,
    ) -> Result<(), String> {
        let last = row + part.n - 1;
        match &part.wanted {
            Wanted::Nothing => Ok(()),
            Wanted::Token { position } => self.say(part, last, *position, out).map(drop),
            Wanted::Prompt { next, position } => {
                self.judge(part, row, next, out)?;
                position.map_or(Ok(()), |position| {
                    self.say(part, last, position, out).map(drop)
                })
            }
            Wanted::Window { position, drafts } => self.verify(part, row, (*position, drafts), out),
        }
    }

    /// Chooses the token after `row`; `None`: nothing can follow.
    fn say(
        &mut self,
        part: &Part,
        row: usize,
        position: u64,
        out: &mut Outcome,
    ) -> Result<Option<u32>, String> {
        let speaker = self.speakers.get_mut(&part.job);
        let speaker = speaker.ok_or("the session was not opened")?;
        let speaker = speaker.as_mut().map_err(|words| words.clone())?;
        let logits = self.context.logits_mut(row);
        let logits = logits.ok_or("llama.cpp gave no logits")?;
        let given = speaker.speak(part.job, position, logits, &mut self.buffers)?;
        let token = match given {
            Given::Token { token, .. } => Some(token),
            _ => None,
        };
        out.given.push(given);
        Ok(token)
    }

    /// Tells how likely the prompt's tokens were.
    fn judge(
        &mut self,
        part: &Part,
        row: usize,
        next: &[u32],
        out: &mut Outcome,
    ) -> Result<(), String> {
        let speaker = self.speakers.get(&part.job);
        let speaker = speaker.ok_or("the session was not opened")?;
        let speaker = speaker.as_ref().map_err(Clone::clone)?;
        for (i, &token) in next.iter().enumerate() {
            let logits = self.context.logits_mut(row + i);
            let logits = logits.ok_or("llama.cpp gave no logits")?;
            let logprob = speaker.judge(logits, token, &mut self.buffers);
            out.given.push(Given::Prompt {
                job: part.job,
                at: part.keep_n + i + 1,
                logprob: logprob.ok_or("a token outside the vocabulary")?,
            });
        }
        Ok(())
    }

    /// Chooses a token after each row, as long as it is the one that was drafted to follow: what
    /// was computed behind another one is worth nothing.
    fn verify(
        &mut self,
        part: &Part,
        row: usize,
        (position, drafts): (u64, &[u32]),
        out: &mut Outcome,
    ) -> Result<(), String> {
        for (i, at) in (0..part.n).zip(position..) {
            let token = self.say(part, row + i, at, out)?;
            let is_end = token.is_none_or(|token| self.model.is_end(token));
            if is_end || token != drafts.get(i).copied() {
                break;
            }
        }
        Ok(())
    }
}
