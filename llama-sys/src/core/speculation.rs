//! How many tokens to draft, from which source, and when to send a further window although the last
//! one is still under way. It works on estimates: how often drafts are accepted ([`Acceptance`],
//! per session) and how long steps take ([`Costs`], per engine). It knows no tokens, and neither
//! how drafts are made nor how they are verified.
//!
//! Speculative decoding is Leviathan, Kalman, Matias, *Fast Inference from Transformers via
//! Speculative Decoding* (2023). Here the noise of a token depends on (seed, position) only, so the
//! verifier takes what it would have taken anyway, and what is decided here changes the answer's
//! speed and nothing else.
//!
//! Estimates err, and a text can be made to mislead them. So each session has an account, in steps
//! without drafts: every result pays a hundredth of one in, accepted tokens pay in what they saved,
//! drafts pay out what their rows cost. What is not covered is not drafted: whatever the text, the
//! loss is at most one step (three after a gain) and a hundredth.

use std::time::Duration;

mod acceptance;
mod costs;
mod drafter;
mod pace;
mod shadow;
mod verdict;
mod windows;

pub use acceptance::Acceptance;
pub use costs::Costs;
pub use drafter::{Drafter, Proposal, Sources};
pub use pace::{Pace, Spent};
pub use shadow::{SHADOW_TOKENS, Shadow};
pub use verdict::{Expectation, Sampled, Verdict, verdict};
pub use windows::{Judged, MAX_WINDOWS, ResultError, Trial, WindowId, Windows};

/// Drafts in one window at most: with nine of ten accepted, the seventeenth counts once in six times.
pub const MAX_WINDOW: usize = 16;

/// Steps that a session may lose at first, and after gains.
const START_STEPS: f64 = 1.0;
const MOST_STEPS: f64 = 3.0;

/// The part of a step that each result pays in.
const INCOME_STEPS: f64 = 0.01;

/// Drafts of a trial that the estimates speak against, and results before the first, and the most,
/// until it is made: without one, a wrong estimate would stand for ever.
const PROBE_TOKENS: usize = 2;
const FIRST_PAUSE: u32 = 32;
const LONGEST_PAUSE: u32 = 1024;

/// Results after which one step goes without drafts, so that its time stays known. Where texts are
/// looked up that happens by itself.
const PLAIN_EVERY: u32 = 128;

/// Where drafts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The session's own text, at a place of which so many tokens agree with its end.
    NGram {
        /// Tokens that agree.
        agreeing: usize,
    },
    /// A draft model.
    Model,
}

/// What a window is drafted under.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions {
    /// One trip around the ring, the computing not counted; nothing for a whole model.
    pub latency: Duration,
    /// Other sessions that decode in the same batch.
    pub others: usize,
    /// Rows that the batch has left for drafts.
    pub room: usize,
    /// Drafts of this session that are under way ([`Windows::ahead`]).
    pub ahead: usize,
    /// Windows of this session that are under way and may yet count ([`Windows::live`]).
    pub windows: usize,
}

/// A window to draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draft {
    /// From where.
    pub source: Source,
    /// Tokens, at least one.
    pub tokens: usize,
}

/// The decisions for one session.
#[derive(Debug, Clone)]
pub struct Speculation {
    acceptance: Acceptance,
    account: f64,
    since_plain: u32,
    since_drafted: u32,
    pause: u32,
}

impl Default for Speculation {
    fn default() -> Self {
        Self {
            acceptance: Acceptance::default(),
            account: START_STEPS,
            since_plain: 0,
            since_drafted: 0,
            pause: FIRST_PAUSE,
        }
    }
}

impl Speculation {
    /// What to draft next, out of the sources that have something, while the windows are not full
    /// ([`Windows::is_full`]). With windows under way: whether to send one more. `None`: nothing; with no window under way, a step without drafts.
    #[must_use]
    pub fn choose(&self, sources: &[Source], costs: &Costs, at: &Conditions) -> Option<Draft> {
        let first = at.windows == 0;
        if first && self.since_plain >= PLAIN_EVERY || at.windows >= MAX_WINDOWS {
            return None;
        }
        // Behind a step without drafts there is nothing to go on from.
        if !first && (at.ahead == 0 || at.latency.is_zero()) {
            return None;
        }
        let offers = sources
            .iter()
            .map(|source| Offer::new(self, *source, costs, at));
        let best = offers
            .clone()
            .filter_map(|offer| offer.best())
            .max_by(|a, b| a.1.total_cmp(&b.1));
        let probe = || offers.clone().find_map(|offer| offer.probe());
        match best {
            Some((draft, _)) => Some(draft),
            None if first && self.since_drafted >= self.pause => probe(),
            None => None,
        }
    }

    /// A window's result came, a void one's or one's without drafts too.
    pub fn on_result(&mut self, trial: &Trial, costs: &Costs, at: &Conditions) {
        self.account += INCOME_STEPS;
        match trial.source.filter(|_| trial.drafted > 0) {
            None => {
                self.since_plain = 0;
                self.since_drafted = self.since_drafted.saturating_add(1);
            }
            Some(source) => self.on_drafted(source, trial, costs, at),
        }
        self.account = self.account.min(MOST_STEPS);
    }

    fn on_drafted(&mut self, source: Source, trial: &Trial, costs: &Costs, at: &Conditions) {
        let offer = Offer::new(self, source, costs, at);
        let cost = offer.extra(trial.drafted, trial.ahead > 0) / offer.plain();
        self.account += trial.accepted as f64 - cost;
        self.acceptance
            .record(source, trial.ahead, trial.tried, trial.accepted);
        self.since_plain += 1;
        self.since_drafted = 0;
        if trial.accepted > 0 {
            self.pause = FIRST_PAUSE;
        } else if trial.tried > 0 {
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Drafts that were only compared with what came fared so: they cost nothing, and tell when it
    /// pays to verify them again.
    pub fn on_shadow(&mut self, source: Source, tried: usize, accepted: usize) {
        self.acceptance.record(source, 0, tried, accepted);
    }

    /// How often drafts were accepted.
    #[must_use]
    pub fn acceptance(&self) -> &Acceptance {
        &self.acceptance
    }
}

/// What one source has to offer now.
#[derive(Debug, Clone, Copy)]
struct Offer<'s> {
    speculation: &'s Speculation,
    source: Source,
    costs: &'s Costs,
    at: &'s Conditions,
}

impl<'s> Offer<'s> {
    fn new(
        speculation: &'s Speculation,
        source: Source,
        costs: &'s Costs,
        at: &'s Conditions,
    ) -> Self {
        Self {
            speculation,
            source,
            costs,
            at,
        }
    }

    /// Seconds of a step without drafts, there and back.
    fn plain(&self) -> f64 {
        self.costs.step(self.at.others + 1) + self.at.latency.as_secs_f64()
    }

    /// Seconds that `n` drafts add: to the step that they lie in, or as a window of their own,
    /// which what is sent next may have to wait for.
    fn extra(&self, n: usize, further: bool) -> f64 {
        let others = self.at.others;
        let rows = if further {
            self.costs.step(n)
        } else {
            (self.costs.step(others + 1 + n) - self.costs.step(others + 1)).max(0.0)
        };
        rows + self.costs.draft(self.source) * n as f64
    }

    fn most(&self) -> usize {
        self.at.room.min(MAX_WINDOW)
    }

    fn affordable(&self, n: usize) -> bool {
        self.extra(n, self.at.windows > 0) <= self.speculation.account * self.plain()
    }

    /// The number of drafts that gains most, and what it gains.
    fn best(&self) -> Option<(Draft, f64)> {
        let mut best: Option<(usize, f64)> = None;
        let expected = self.speculation.acceptance.expected(self.source);
        let before = expected.up_to(self.at.ahead);
        for n in 1..=self.most() {
            let gain = self.gain(n, before, expected.up_to(self.at.ahead + n));
            let better = gain > best.map_or(0.0, |(_, gain)| gain);
            if better && self.affordable(n) {
                best = Some((n, gain));
            }
        }
        best.map(|(n, gain)| (self.draft(n), gain))
    }

    /// What `n` drafts gain, where `before` of those under way are expected to be accepted, and
    /// `with` when these join them. For a first window, tokens a second of all sessions, in parts
    /// of what they are without. For a further one, seconds saved, in parts of a ring: tokens come
    /// sooner, others' wait for its rows.
    fn gain(&self, n: usize, before: f64, with: f64) -> f64 {
        let (plain, others) = (self.plain(), self.at.others as f64);
        if self.at.windows == 0 {
            let longer = 1.0 + self.extra(n, false) / plain;
            (1.0 + others + with) / ((1.0 + others) * longer) - 1.0
        } else {
            let a_token = 1.0 / (1.0 + before);
            (with - before) * a_token - (1.0 + others) * self.extra(n, true) / plain
        }
    }

    fn probe(&self) -> Option<Draft> {
        let n = self.most().min(PROBE_TOKENS);
        (n > 0 && self.affordable(n)).then(|| self.draft(n))
    }

    fn draft(&self, tokens: usize) -> Draft {
        Draft {
            source: self.source,
            tokens,
        }
    }
}

#[cfg(test)]
mod tests;
