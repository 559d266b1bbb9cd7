//! Which requests may run on a worker that has died under some of them, and who is to blame.
//!
//! A death takes every running request with it; as a rule one of them (or none) caused it. So:
//! - A request that has made [`CLEAR_TOKENS`] tokens since its start on this worker is *cleared*:
//!   a request that crashes does so in its prefill, or where it crashed before, which its retry
//!   reaches at once. The uncleared ones are the suspects of a death; all, when there are none.
//! - After the first death everybody is tried again, together. Whoever was a suspect twice is
//!   then *on probation*: it starts only while no other uncleared request runs, and nobody starts
//!   until it is cleared. So the next death has one suspect, who is convicted.
//! - A request loses its worker [`MAX_LOSSES`] times at most; deaths that convict another do not
//!   count.
//!
//! It knows neither requests nor workers, only ids.

use std::collections::{BTreeMap, VecDeque};

#[cfg(test)]
mod tests;

/// Tokens after which a request is cleared. A retry begins where the last token was sent, and
/// text that may become a stop string is held back, so that the place of the crash may lie some
/// tokens ahead.
pub const CLEAR_TOKENS: u32 = 16;

/// Times that a request may lose its worker; with the last it fails.
pub const MAX_LOSSES: u32 = 3;

/// Suspicions that put a request on probation, and that convict it if it is alone.
const STRIKES: u32 = 2;

/// One request on its way.
#[derive(Debug, Clone, Default)]
struct Suspect {
    running: bool,
    cleared: bool,
    progress: u32,
    /// Deaths in which it was a suspect.
    strikes: u32,
    /// Deaths under it.
    losses: u32,
}

/// What a death means for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try it again.
    Retry,
    /// It has lost its worker too often, through no fault that could be shown.
    Lost,
    /// It caused this many deaths; it must not run again.
    Convicted {
        /// Deaths.
        deaths: u32,
    },
}

/// The requests of one worker.
#[derive(Debug, Clone, Default)]
pub struct Suspects {
    requests: BTreeMap<u64, Suspect>,
    /// Not yet started, first come first; each is in `requests`.
    waiting: VecDeque<u64>,
}

impl Suspects {
    /// A request wants to run: a new one, or one that tries again.
    pub fn enqueue(&mut self, id: u64) {
        let suspect = self.requests.entry(id).or_default();
        if !suspect.running && !self.waiting.contains(&id) {
            self.waiting.push_back(id);
        }
    }

    /// The next request to start now. It counts as running from here on.
    pub fn start_next(&mut self) -> Option<u64> {
        if self.waiting.is_empty() {
            return None;
        }
        let on_probation = |id: &u64| self.requests.get(id).is_some_and(Suspect::on_probation);
        let uncleared = |suspect: &&Suspect| suspect.running && !suspect.cleared;
        let mut unproven = self.requests.values().filter(uncleared).peekable();
        let at = match self.waiting.iter().position(on_probation) {
            Some(_) if unproven.peek().is_some() => return None,
            Some(at) => at,
            None if unproven.any(Suspect::on_probation) => return None,
            None => 0,
        };
        let id = self.waiting.remove(at)?;
        let suspect = self.requests.get_mut(&id)?;
        suspect.running = true;
        suspect.cleared = false;
        suspect.progress = 0;
        Some(id)
    }

    /// A running request made tokens. True if this cleared it, so that another may start.
    pub fn on_progress(&mut self, id: u64, tokens: u32) -> bool {
        let Some(suspect) = self.requests.get_mut(&id) else {
            return false;
        };
        suspect.progress = suspect.progress.saturating_add(tokens);
        let newly = suspect.running && !suspect.cleared && suspect.progress >= CLEAR_TOKENS;
        suspect.cleared |= newly;
        newly
    }

    /// A request ended, or nobody wants it any more. True if it ran.
    pub fn remove(&mut self, id: u64) -> bool {
        self.waiting.retain(|waiting| *waiting != id);
        self.requests
            .remove(&id)
            .is_some_and(|suspect| suspect.running)
    }

    /// Requests on their way.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Requests that have not been started.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The worker died: what becomes of each request that ran. Those that are to be retried stay
    /// known, and must be enqueued again; the others are forgotten.
    pub fn on_death(&mut self) -> Vec<(u64, Verdict)> {
        let suspects = self.suspects_of_death();
        let convict = self.convict(&suspects);
        let mut verdicts = Vec::new();
        for (id, suspect) in &mut self.requests {
            if !std::mem::take(&mut suspect.running) {
                continue;
            }
            let verdict = match convict {
                Some(guilty) if guilty == *id => Verdict::Convicted {
                    deaths: suspect.strikes,
                },
                Some(_) => Verdict::Retry,
                None => suspect.lose(),
            };
            verdicts.push((*id, verdict));
        }
        for (id, verdict) in &verdicts {
            if *verdict != Verdict::Retry {
                self.requests.remove(id);
            }
        }
        verdicts
    }

    fn suspects_of_death(&self) -> Vec<u64> {
        let running = self.requests.iter().filter(|(_, suspect)| suspect.running);
        let uncleared = running.clone().filter(|(_, suspect)| !suspect.cleared);
        let suspects: Vec<u64> = uncleared.map(|(id, _)| *id).collect();
        if suspects.is_empty() {
            return running.map(|(id, _)| *id).collect();
        }
        suspects
    }

    /// Counts the strike, and names the one that has shown to be guilty.
    fn convict(&mut self, suspects: &[u64]) -> Option<u64> {
        for id in suspects {
            if let Some(suspect) = self.requests.get_mut(id) {
                suspect.strikes += 1;
            }
        }
        match suspects {
            [only] => self
                .requests
                .get(only)
                .filter(|s| s.strikes >= STRIKES)
                .map(|_| *only),
            _ => None,
        }
    }
}

impl Suspect {
    fn on_probation(&self) -> bool {
        self.strikes >= STRIKES
    }

    fn lose(&mut self) -> Verdict {
        self.losses += 1;
        if self.losses >= MAX_LOSSES {
            Verdict::Lost
        } else {
            Verdict::Retry
        }
    }
}
