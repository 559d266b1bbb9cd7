//! The end of the layers: logits become tokens.

use std::collections::BTreeMap;

use super::{Outcome, Stage};
use crate::core::scheduler::JobId;
use crate::core::speculation::{Sampled, verdict};
use crate::local::speaker::Speaker;
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
            Wanted::Token { position } => self.verify(part, last, (*position, &[]), out),
            Wanted::Prompt { next, position } => {
                self.judge(part, row, next, out)?;
                position.map_or(Ok(()), |position| {
                    self.verify(part, last, (position, &[]), out)
                })
            }
            Wanted::Window {
                position,
                assumed,
                drafts,
            } => {
                let counts = match assumed {
                    Some(token) => self.expects(part, *position, *token)?,
                    None => true,
                };
                if counts {
                    self.verify(part, row, (*position, drafts), out)?;
                }
                Ok(())
            }
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
        let speaker = speaker_of(&mut self.speakers, part)?;
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
        let speaker = speaker_of(&mut self.speakers, part)?;
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
        let (mut said, mut trouble) = (Vec::new(), None);
        let verdict = verdict(drafts, &mut said, |i| {
            let at = position.wrapping_add(i as u64);
            match self.say(part, row + i, at, out) {
                Ok(Some(token)) if self.model.is_end(token) => Sampled::Last(token),
                Ok(Some(token)) => Sampled::Token(token),
                Ok(None) => Sampled::Nothing,
                Err(words) => {
                    trouble = Some(words);
                    Sampled::Nothing
                }
            }
        });
        if let Some(words) = trouble {
            return Err(words);
        }
        let speaker = speaker_of(&mut self.speakers, part)?;
        speaker
            .expectation
            .on_verdict(place(position), &said, verdict);
        Ok(())
    }

    /// Whether `token` is what was chosen last for the session, and `position` is the next one.
    fn expects(&mut self, part: &Part, position: u64, token: u32) -> Result<bool, String> {
        let speaker = speaker_of(&mut self.speakers, part)?;
        Ok(speaker.expectation.holds(place(position), token))
    }
}

/// Positions that a context may have; what a head says beyond is no position.
const POSITIONS: u64 = u32::MAX as u64;

/// Where expectations count from: the token at `position` follows the row of that number.
fn place(position: u64) -> usize {
    usize::try_from(position & POSITIONS).unwrap_or(0)
}

fn speaker_of<'s>(
    speakers: &'s mut BTreeMap<JobId, Result<Speaker, String>>,
    part: &Part,
) -> Result<&'s mut Speaker, String> {
    let speaker = speakers.get_mut(&part.job);
    let speaker = speaker.ok_or("the session was not opened")?;
    speaker.as_mut().map_err(|words| words.clone())
}
