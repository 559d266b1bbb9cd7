//! The windows of one session that are under way: what each assumes, and which of them a result
//! makes void. It knows neither what was drafted from where nor how results travel, but that they
//! come in the order in which windows were sent.
//!
//! A window begins with the history's last token, or (drafted further while others are under way)
//! with a draft: then it counts only if all windows before are accepted whole and the token sampled
//! behind them is that draft.
//!
//! | window | event | then |
//! |---|---|---|
//! | live | its result, accepted whole, and the next one's first draft sampled | done, the next is live |
//! | live | any other result of it | done, all later ones are void |
//! | void | its result | done, nothing of it counts |
//! | any | [`Windows::clear`] | forgotten; a result of it is late |

use std::collections::VecDeque;

use thiserror::Error;

use super::Source;
use crate::core::session::Step;

/// Windows of a session under way at most: with 4, half of the text must be guessed right 16 to 64
/// tokens ahead to fill a ring, and further ones hardly ever count.
pub const MAX_WINDOWS: usize = 4;

/// A window, by the order of sending. Its result repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WindowId(pub u64);

/// A result that no honest verifier sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ResultError {
    /// A window before it has no result yet.
    #[error("the result of a window came before that of the window sent first")]
    OutOfOrder,
    /// More than the rows that were to be sampled, or others than were drafted before the last.
    #[error("the result of a window does not follow from its drafts")]
    Impossible,
}

/// How the drafts of one window fared: for the statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// Where they came from; `None` for a window without drafts.
    pub source: Option<Source>,
    /// Drafts under way when it was sent.
    pub ahead: usize,
    /// Drafts in it.
    pub drafted: usize,
    /// Of these, judged: those accepted, and the one rejected.
    pub tried: usize,
    /// Of these, accepted.
    pub accepted: usize,
}

/// What a result means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// Its tokens are the session's next.
    Live {
        /// How its drafts fared.
        trial: Trial,
        /// Tokens of the context that stay for the step sent next.
        keep_n: usize,
        /// Later windows that this made void.
        voided: usize,
    },
    /// Nothing of it counts.
    Void {
        /// How its drafts fared: the first may have been judged by the window before.
        trial: Trial,
    },
    /// Of before the last [`Windows::clear`].
    Late,
}

#[derive(Debug, Clone)]
struct Window {
    id: WindowId,
    /// Where its first draft lies, or would lie, in the context.
    drafts_at: usize,
    drafts: Vec<u32>,
    /// Its first draft is its first row.
    assumes: bool,
    source: Option<Source>,
    ahead: usize,
    void: bool,
    /// Of its drafts, judged by the window before.
    tried: usize,
}

/// The windows under way, the first sent first.
#[derive(Debug, Clone, Default)]
pub struct Windows {
    windows: VecDeque<Window>,
    next_id: u64,
}

impl Windows {
    /// Notes that `step` was sent, which wants a sample and ends with `drafts`. `None` if there are
    /// too many windows under way, or it does not follow the last of them.
    pub fn on_sent(
        &mut self,
        step: Step,
        drafts: &[u32],
        source: Option<Source>,
    ) -> Option<WindowId> {
        let assumes = step.assumes();
        let fits = !assumes || self.end() == Some(step.keep_n);
        if self.is_full() || drafts.len() != step.drafted || !fits {
            return None;
        }
        let id = WindowId(self.next_id);
        self.next_id += 1;
        self.windows.push_back(Window {
            id,
            drafts_at: step.keep_n + step.n - step.drafted,
            drafts: drafts.to_vec(),
            assumes,
            source,
            ahead: self.ahead(),
            void: false,
            tried: 0,
        });
        Some(id)
    }

    /// Where the context ends behind the last window, if that one is not void.
    fn end(&self) -> Option<usize> {
        let last = self.windows.back().filter(|w| !w.void)?;
        Some(last.drafts_at + last.drafts.len())
    }

    /// Windows under way, void ones too.
    #[must_use]
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// No window is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// No further window can be sent before a result comes: void ones take places, too.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.windows.len() >= MAX_WINDOWS
    }

    /// Windows that may yet count.
    #[must_use]
    pub fn live(&self) -> usize {
        self.windows.iter().filter(|w| !w.void).count()
    }

    /// Drafts under way that may yet be accepted.
    #[must_use]
    pub fn ahead(&self) -> usize {
        let live = self.windows.iter().filter(|w| !w.void);
        live.map(|w| w.drafts.len()).sum()
    }

    /// A chain was lost, or the session was rewound: no result counts any more.
    pub fn clear(&mut self) {
        self.windows.clear();
    }

    /// Judges a result: `tokens` are what the verifier returned for the window.
    ///
    /// # Errors
    /// [`ResultError`]; the windows are unchanged.
    pub fn on_result(&mut self, id: WindowId, tokens: &[u32]) -> Result<Judged, ResultError> {
        let Some(first) = self.windows.front().filter(|w| w.id <= id) else {
            return if id.0 < self.next_id {
                Ok(Judged::Late)
            } else {
                Err(ResultError::OutOfOrder)
            };
        };
        if first.id != id {
            return Err(ResultError::OutOfOrder);
        }
        if !first.void && !first.allows(tokens) {
            return Err(ResultError::Impossible);
        }
        let window = self.windows.pop_front();
        Ok(window.map_or(Judged::Late, |w| self.judge(&w, tokens)))
    }

    fn judge(&mut self, window: &Window, tokens: &[u32]) -> Judged {
        if window.void {
            return Judged::Void {
                trial: window.trial(0),
            };
        }
        let accepted = window.accepted(tokens);
        let voided = self.settle_later(window, accepted, tokens);
        let own_end = window.drafts_at + accepted;
        Judged::Live {
            trial: window.trial(accepted),
            keep_n: self.end().unwrap_or(own_end),
            voided,
        }
    }

    /// Makes later windows void unless what they assume came true. How many it made so.
    fn settle_later(&mut self, window: &Window, accepted: usize, tokens: &[u32]) -> usize {
        let whole = accepted == window.drafts.len() && window.sampled_rows() == tokens.len();
        let Some(next) = self.windows.front_mut() else {
            return 0;
        };
        next.tried = usize::from(whole);
        if whole && next.assumes && next.drafts.first() == tokens.last() {
            return 0;
        }
        self.windows.iter_mut().for_each(|w| w.void = true);
        self.windows.len()
    }
}

impl Window {
    /// The drafts that its own rows judge: its first row is not one of them.
    fn judged(&self) -> &[u32] {
        &self.drafts[usize::from(self.assumes)..]
    }

    fn sampled_rows(&self) -> usize {
        self.judged().len() + 1
    }

    fn allows(&self, tokens: &[u32]) -> bool {
        let before_last = tokens.len().saturating_sub(1);
        tokens.len() <= self.sampled_rows() && self.judged()[..before_last] == tokens[..before_last]
    }

    fn accepted(&self, tokens: &[u32]) -> usize {
        let pairs = self.judged().iter().zip(tokens);
        usize::from(self.assumes) + pairs.take_while(|(a, b)| a == b).count()
    }

    fn trial(&self, accepted: usize) -> Trial {
        let tried = if self.void {
            self.tried
        } else {
            (accepted + 1).min(self.drafts.len())
        };
        Trial {
            source: self.source,
            ahead: self.ahead,
            drafted: self.drafts.len(),
            tried,
            accepted,
        }
    }
}

#[cfg(test)]
mod tests;
