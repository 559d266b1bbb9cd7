//! What the events of a completion say, piece by piece: text and log-probabilities, the echoed
//! prompt first. Whole and streamed answers are made of the same pieces.

use protocol::generate::{Delta, Started, TokenLogprob};

use super::logprobs::LegacyLogprobs;

/// What was asked, as far as it shapes the answer.
#[derive(Debug)]
pub(super) struct Layout {
    /// Choices in all.
    pub(super) choices: usize,
    /// Of each prompt.
    pub(super) choices_per_prompt: u32,
    /// Texts of the prompts that come back before their completions.
    pub(super) echo: Option<Vec<Option<String>>>,
    /// Alternatives beside each token.
    pub(super) logprobs: Option<u32>,
}

/// New text of a choice.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) logprobs: Option<LegacyLogprobs>,
}

impl Piece {
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.logprobs.is_none()
    }
}

/// Where a choice's tokens stand in its text.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    next_offset: usize,
}

impl Layout {
    /// Whether this choice's prompt counts: the first of each prompt's.
    pub(super) fn counts_prompt(&self, choice: u32) -> bool {
        choice.is_multiple_of(self.choices_per_prompt.max(1))
    }

    /// The echoed prompt.
    pub(super) fn on_started(&self, choice: u32, started: &Started, place: &mut Place) -> Piece {
        let Some(texts) = &self.echo else {
            return Piece::default();
        };
        let prompt = choice / self.choices_per_prompt.max(1);
        let sent = texts.get(prompt as usize).cloned().flatten();
        Piece {
            text: sent.unwrap_or_else(|| started.prompt_text.clone()),
            logprobs: self.scored(&started.prompt, place),
        }
    }

    /// Generated text. A completion has no reasoning of its own: what is marked so is text.
    pub(super) fn on_delta(&self, delta: Delta, place: &mut Place) -> Piece {
        let logprobs = self.scored(&delta.logprobs, place);
        let text = match delta.reasoning.is_empty() {
            true => delta.text,
            false => delta.reasoning + &delta.text,
        };
        Piece { text, logprobs }
    }

    fn scored(&self, tokens: &[TokenLogprob], place: &mut Place) -> Option<LegacyLogprobs> {
        let alternatives = self.logprobs?;
        let mut list = LegacyLogprobs::default();
        place.next_offset = list.extend(tokens, alternatives, place.next_offset);
        (!list.is_empty()).then_some(list)
    }
}
