//! When a worker is started again and when it is given up. It does not know what a worker is: it
//! hears of starts, deaths and good answers, and says when to start the next one.
//!
//! Transitions: `Waiting → Loading` when [`Restart::poll`] says `Start`; `Loading → Ready`;
//! `Loading | Ready → Waiting` at a death, or `→ Failed` when deaths have piled up;
//! `Loading → Failed` when the load is refused before the model was ever ready. `Failed` is final.

use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// How patient a supervisor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Pause before the first restart; doubled by each further failure.
    pub backoff_base: Duration,
    /// No pause is longer.
    pub backoff_cap: Duration,
    /// Deaths with no good answer in between at which the model is given up.
    pub max_failures: u32,
    /// The same while the model has never been ready: a file that ends its worker does so always.
    pub max_load_failures: u32,
    /// A load that reports no progress for this long has hung.
    pub load_stall: Duration,
    /// A worker that has work and does none of it for this long has hung: a driver, or a grammar
    /// that llama.cpp cannot get through.
    pub run_stall: Duration,
}

impl Default for RestartPolicy {
    /// A first restart at once (a running answer waits for it), five tries within some seconds.
    /// Two minutes of silence: the slowest step of a load that reports nothing is the warm-up of
    /// a large model out of a cold disk. Five for work: a batch of 512 tokens at two a second.
    fn default() -> Self {
        Self {
            backoff_base: Duration::from_millis(100),
            backoff_cap: Duration::from_secs(10),
            max_failures: 5,
            max_load_failures: 3,
            load_stall: Duration::from_secs(120),
            run_stall: Duration::from_secs(300),
        }
    }
}

/// Where a worker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// A start is due at this time.
    Waiting {
        /// When.
        until: Instant,
    },
    /// It loads; the last sign of progress came at this time.
    Loading {
        /// When.
        progress: Instant,
    },
    /// It serves.
    Ready,
    /// It was given up for this cause.
    Failed(String),
}

/// What the supervisor must do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start a worker.
    Start,
    /// End the worker: it has hung. Its death is reported like any other.
    KillStalled,
}

/// The restarts of one worker.
#[derive(Debug, Clone)]
pub struct Restart {
    policy: RestartPolicy,
    phase: Phase,
    /// Deaths since the last good answer.
    failures: u32,
    /// Cause of the last death.
    cause: String,
    /// The last sign of work since it has some; `None`: it has none.
    working: Option<Instant>,
    ever_ready: bool,
    starts: u32,
}

impl Restart {
    /// A worker whose first start is due now.
    pub fn new(policy: RestartPolicy, now: Instant) -> Self {
        Self {
            policy,
            phase: Phase::Waiting { until: now },
            failures: 0,
            cause: String::new(),
            working: None,
            ever_ready: false,
            starts: 0,
        }
    }

    /// Where the worker is.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Deaths since the last good answer.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Cause of the last death; empty before the first.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// Starts after the first.
    pub fn restarts(&self) -> u32 {
        self.starts.saturating_sub(1)
    }

    /// When [`Self::poll`] wants to be called next, whatever else happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { until } => Some(until),
            Phase::Loading { progress } => Some(progress + self.policy.load_stall),
            Phase::Ready => self.working.map(|sign| sign + self.policy.run_stall),
            Phase::Failed(_) => None,
        }
    }

    /// What is due. A `Start` is counted as done: the phase is `Loading` from here on.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        if self.next_deadline()? > now {
            return None;
        }
        if matches!(self.phase, Phase::Ready) {
            self.working = Some(now);
            return Some(Action::KillStalled);
        }
        let action = match self.phase {
            Phase::Waiting { .. } => {
                self.starts += 1;
                Action::Start
            }
            _ => Action::KillStalled,
        };
        self.phase = Phase::Loading { progress: now };
        Some(action)
    }

    /// Whether the worker has work that waits for nobody else.
    pub fn on_work(&mut self, has_work: bool, now: Instant) {
        self.working = has_work.then(|| self.working.unwrap_or(now));
    }

    /// The worker showed that it works.
    pub fn on_sign_of_work(&mut self, now: Instant) {
        self.working = self.working.map(|_| now);
    }

    /// The load went on.
    pub fn on_progress(&mut self, now: Instant) {
        if let Phase::Loading { progress } = &mut self.phase {
            *progress = now;
        }
    }

    /// The model is loaded.
    pub fn on_ready(&mut self) {
        if matches!(self.phase, Phase::Loading { .. }) {
            self.phase = Phase::Ready;
            self.ever_ready = true;
        }
    }

    /// An answer ended well.
    pub fn on_good_answer(&mut self) {
        self.failures = 0;
    }

    /// This many of the deaths were one request's doing, which is refused from now on.
    pub fn on_conviction(&mut self, deaths: u32) {
        self.failures = self.failures.saturating_sub(deaths);
    }

    /// The worker said that it cannot load the model. Before the model was ever ready this is
    /// final: the same file gives the same error. Later (memory is short just now) it is a death.
    pub fn on_load_refused(&mut self, cause: &str, now: Instant, jitter: f64) {
        if self.ever_ready {
            self.on_death(cause, now, jitter);
        } else if !matches!(self.phase, Phase::Failed(_)) {
            self.phase = Phase::Failed(cause.to_owned());
        }
    }

    /// The worker died. `jitter` is uniform in 0..1.
    pub fn on_death(&mut self, cause: &str, now: Instant, jitter: f64) {
        if matches!(self.phase, Phase::Failed(_)) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.working = None;
        cause.clone_into(&mut self.cause);
        let limit = if self.ever_ready {
            self.policy.max_failures
        } else {
            self.policy.max_load_failures
        };
        self.phase = if self.failures >= limit {
            Phase::Failed(format!(
                "given up after {} failures: {cause}",
                self.failures
            ))
        } else {
            let until = now + self.backoff(jitter);
            Phase::Waiting { until }
        };
    }

    /// Half of the pause is certain, half is chance: workers that died of one cause (memory) do
    /// not come back in step.
    fn backoff(&self, jitter: f64) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(31);
        let pause = self.policy.backoff_base.saturating_mul(1 << doublings);
        let pause = pause.min(self.policy.backoff_cap);
        pause.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }
}
