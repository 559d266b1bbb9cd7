//! What came of a batch, told to whoever waits for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Runner;
use crate::core::scheduler::{JobId, Work};
use crate::core::slots::SlotId;
use crate::core::speculation::Judged;
use crate::engine::JobError;
use crate::local::chain::{Flown, Landed};
use crate::stage::{Cause, Failure, Given, RawLogprob};

/// Times that an answer is computed from its beginning because a stage has lost it; then
/// something other than chance is at work.
const MAX_MISSING: u32 = 3;

/// What was chosen for one job's part of a batch.
#[derive(Debug, Default)]
struct Said {
    tokens: Vec<u32>,
    logprobs: Vec<Option<RawLogprob>>,
    /// Nothing can follow them.
    is_over: bool,
}

impl Runner {
    /// A batch came back around the ring.
    pub(super) fn on_landed(&mut self, landed: Landed) {
        let Landed { parts, back, took } = landed;
        self.on_computed(&parts, back.spent.total.min(took), &back.failures);
        if back.failures.is_empty() && decoded_rows(&parts).is_some() {
            self.pace.on_trip(took, back.spent);
        }
        self.on_outcome(&parts, back.given, &back.failures);
    }

    /// A batch took so long to compute.
    pub(super) fn on_computed(&mut self, parts: &[Flown], spent: Duration, failures: &[Failure]) {
        if let Some(rows) = decoded_rows(parts).filter(|_| failures.is_empty()) {
            self.pace.on_step(rows, spent);
        }
    }

    /// Takes what came of a batch.
    pub(super) fn on_outcome(
        &mut self,
        parts: &[Flown],
        given: impl IntoIterator<Item = Given>,
        failures: &[Failure],
    ) {
        let mut current = std::mem::take(&mut self.buffers.current);
        let is_current = |part: &&Flown| self.scheduler.epoch(part.work.job) == Some(part.epoch);
        current.extend(parts.iter().filter(is_current).copied());
        for failure in failures {
            self.on_failure(failure, &mut current);
        }
        let mut said: BTreeMap<JobId, Said> = BTreeMap::new();
        for given in given {
            self.gather(given, &mut said);
        }
        self.begin_answers(&current, Instant::now());
        for part in current.drain(..) {
            self.take(&part, said.remove(&part.work.job).unwrap_or_default());
        }
        self.buffers.current = current;
    }

    fn gather(&mut self, given: Given, said: &mut BTreeMap<JobId, Said>) {
        match given {
            Given::Prompt { job, at, logprob } => self.on_prompt(job, at, &logprob),
            Given::Nothing { job } => said.entry(job).or_default().is_over = true,
            Given::Token {
                job,
                token,
                logprob,
            } => {
                let said = said.entry(job).or_default();
                said.tokens.push(token);
                said.logprobs.push(logprob);
            }
        }
    }

    fn on_failure(&mut self, failure: &Failure, current: &mut Vec<Flown>) {
        let (job, slot, cause) = match failure {
            Failure::Park(id) => return self.scheduler.not_parked(*id),
            Failure::Slot(slot) => return self.lose(*slot),
            Failure::Part { job, slot, cause } => (*job, *slot, cause),
        };
        let before = current.len();
        current.retain(|part| part.work.job != job);
        if current.len() == before {
            // Of a job that ended or is computed anew since.
            return;
        }
        self.lose(slot);
        let error = match (cause, self.tasks.get_mut(&job)) {
            (Cause::Refused(words), _) => words.clone(),
            (Cause::Missing, Some(task)) => {
                task.missing += 1;
                if task.missing <= MAX_MISSING {
                    return;
                }
                "the stages of the model lose what it builds on".into()
            }
            (Cause::Missing, None) => return,
        };
        tracing::warn!(%error, "a job failed");
        self.fail(job, JobError::Inference(error));
    }

    /// A sequence is empty: whoever runs there is computed from the beginning.
    fn lose(&mut self, slot: SlotId) {
        self.scheduler.lost(slot, &mut self.buffers.ops);
    }

    fn on_prompt(&mut self, job: JobId, at: usize, logprob: &RawLogprob) {
        let session = self.scheduler.session(job);
        if let Some((task, session)) = self.tasks.get_mut(&job).zip(session) {
            task.add_prompt(session, at, logprob);
        }
    }

    /// Tells those that their prompt is computed whose first token comes with this batch.
    fn begin_answers(&mut self, parts: &[Flown], now: Instant) {
        for part in parts.iter().map(|part| part.work) {
            let session = self.scheduler.session(part.job);
            let Some((task, session)) = self.tasks.get_mut(&part.job).zip(session) else {
                continue;
            };
            if task.started {
                continue;
            }
            self.load.prefill_tokens += part.step.n as u64;
            if part.step.wants_sample {
                let cached = self.scheduler.cached_tokens(part.job).unwrap_or(0);
                task.first_token(now);
                task.send_started(session, cached);
                self.load.cached_tokens += cached as u64;
            }
        }
    }

    /// Takes what was said for a job's part, if it counts, and tells the reader.
    fn take(&mut self, part: &Flown, said: Said) {
        let job = part.work.job;
        let Some(window) = part.window else {
            if part.work.step.wants_sample {
                self.refuse(&part.work, "a result that nobody can judge".into());
            }
            return;
        };
        let around = self.conditions();
        let Some(task) = self.tasks.get_mut(&job) else {
            return;
        };
        let costs = self.pace.costs();
        match task.drafter.on_result(window, &said.tokens, costs, &around) {
            Ok(Judged::Live { trial, .. }) if !said.tokens.is_empty() || said.is_over => {
                self.load.drafted_tokens += trial.drafted as u64;
                self.load.accepted_tokens += trial.accepted as u64;
                self.tell(job, said);
                self.scheduler.settled(job, &mut self.buffers.ops);
                self.settle(&part.work);
            }
            Ok(Judged::Void { trial }) => self.load.drafted_tokens += trial.drafted as u64,
            Ok(Judged::Late) => {}
            Ok(Judged::Live { .. }) => self.refuse(&part.work, "no token was chosen".into()),
            Err(error) => self.refuse(&part.work, error.to_string()),
        }
    }

    /// The end of the layers says what cannot be.
    fn refuse(&mut self, part: &Work, error: String) {
        tracing::warn!(%error, "a job failed");
        self.lose(part.slot);
        self.fail(part.job, JobError::Inference(error));
    }

    /// Puts tokens behind a job's answer.
    fn tell(&mut self, job: JobId, said: Said) {
        let session = self.scheduler.session_mut(job);
        let Some((task, session)) = self.tasks.get_mut(&job).zip(session) else {
            return;
        };
        if task.prompt_only {
            return;
        }
        for (token, logprob) in said.tokens.into_iter().zip(said.logprobs) {
            let logprob = logprob.map(|raw| task.words.describe(&raw));
            self.load.decode_tokens += u64::from(session.ending().is_none());
            session.sampled(token, logprob, &task.words, &mut task.delta);
        }
        if said.is_over {
            // Bias or grammar leave nothing: the answer is as long as it can be.
            session.stop(&mut task.delta);
        }
    }

    /// Sends what came together for a job, and its end.
    fn settle(&mut self, part: &Work) {
        let session = self.scheduler.session(part.job);
        let Some((task, session)) = self.tasks.get_mut(&part.job).zip(session) else {
            return;
        };
        if !part.step.wants_sample {
            return;
        }
        if task.prompt_only {
            task.send_prompt_only();
            return self.remove(part.job);
        }
        task.send_delta();
        if session.ending().is_some() {
            task.send_finished(session);
            self.remove(part.job);
        }
    }
}

/// The rows of a batch that holds nothing but decoded and drafted ones.
fn decoded_rows(parts: &[Flown]) -> Option<usize> {
    let steps = || parts.iter().map(|part| part.work.step);
    let decodes = steps().all(|step| step.wants_sample && step.n <= step.drafted + 1);
    decodes.then(|| steps().map(|step| step.n).sum())
}
