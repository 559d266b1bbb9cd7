//! One turn of the thread: a batch planned and sent on its way, or computed at once; and what
//! came of a batch, told to whoever waits for it.

use std::time::Instant;

use super::{Buffers, Runner};
use crate::core::scheduler::{JobId, Plan, Work};
use crate::core::slots::SlotId;
use crate::engine::JobError;
use crate::local::chain::{Departure, Flown};
use crate::local::ring::Ring;
use crate::local::stage::Rows;
use crate::stage::{Cause, Failure, Given, Opening, Part, Wanted};

/// Times that an answer is computed from its beginning because a stage has lost it; then
/// something other than chance is at work.
const MAX_MISSING: u32 = 3;

impl Runner {
    /// Plans batches as long as there is something to compute and room for it. False if there was
    /// nothing.
    pub(super) fn generate(&mut self) -> bool {
        let mut worked = false;
        while !self.tasks.is_empty() && self.ring.has_room() && self.turn() {
            worked = true;
            if matches!(self.ring, Ring::Whole(_)) {
                // Whoever came or went meanwhile is looked at before the next batch.
                break;
            }
        }
        worked
    }

    /// Plans a batch and has it computed. False if there was nothing to compute.
    fn turn(&mut self) -> bool {
        let mut plan = std::mem::take(&mut self.buffers.plan);
        self.scheduler.plan(&mut plan);
        for (position, id) in (0u32..).zip(self.scheduler.waiting()) {
            if let Some(task) = self.tasks.get_mut(&id) {
                task.report_position(position);
            }
        }
        let now = Instant::now();
        for part in &plan.work {
            if let Some(task) = self.tasks.get_mut(&part.job) {
                task.begin(now);
            }
        }
        let worked = !plan.work.is_empty() || !plan.ops.is_empty();
        if worked {
            self.fill(&plan.work);
            self.scheduler.dispatched(&plan.work);
            self.dispatch(&mut plan);
        }
        self.buffers.plan = plan;
        worked
    }

    /// Writes the parts of a batch and their tokens into the buffers.
    fn fill(&mut self, work: &[Work]) {
        let Buffers { parts, tokens, .. } = &mut self.buffers;
        parts.clear();
        tokens.clear();
        for part in work {
            let Some(session) = self.scheduler.session(part.job) else {
                continue;
            };
            tokens.extend_from_slice(session.tokens(part.step));
            let position = session.answer().len() as u64;
            let position = part.step.wants_sample.then_some(position);
            let wanted = match position {
                _ if part.all_outputs => {
                    let prompt = &session.history()[..session.prompt_tokens()];
                    let from = (part.step.keep_n + 1).min(prompt.len());
                    let to = (from + part.step.n).min(prompt.len());
                    let next = prompt[from..to].to_vec();
                    Wanted::Prompt { next, position }
                }
                Some(position) => Wanted::Token { position },
                None => Wanted::Nothing,
            };
            parts.push(Part {
                job: part.job,
                slot: part.slot,
                keep_n: part.step.keep_n,
                n: part.step.n,
                wanted,
            });
        }
    }

    fn dispatch(&mut self, plan: &mut Plan) {
        // What earlier batches lost is settled before this one.
        plan.ops.splice(..0, self.buffers.ops.drain(..));
        if let Ring::Whole(stage) = &mut self.ring {
            let mut outcome = std::mem::take(&mut self.buffers.outcome);
            let Buffers { parts, tokens, .. } = &self.buffers;
            stage.run(&plan.ops, parts, Rows::Tokens(tokens), &mut outcome);
            let flown: Vec<Flown> = plan.work.iter().filter_map(|w| self.flown(w)).collect();
            self.on_outcome(&flown, outcome.given.drain(..), &outcome.failures);
            self.buffers.outcome = outcome;
            return;
        }
        let flown: Vec<Flown> = plan.work.iter().filter_map(|w| self.flown(w)).collect();
        let open = flown.iter().filter_map(|part| self.opening(part)).collect();
        let Ring::Chain(chain) = &mut self.ring else {
            return;
        };
        let departure = Departure {
            ops: std::mem::take(&mut plan.ops),
            parts: std::mem::take(&mut self.buffers.parts),
            tokens: &self.buffers.tokens,
            flown,
            open,
        };
        if let Err(error) = chain.dispatch(departure) {
            self.break_off(&error);
        }
    }

    fn flown(&self, work: &Work) -> Option<Flown> {
        let epoch = self.scheduler.epoch(work.job)?;
        Some(Flown { work: *work, epoch })
    }

    /// What the last stage must know of a job before it chooses a token for it, unless it knows.
    fn opening(&mut self, part: &Flown) -> Option<Opening> {
        let job = part.work.job;
        let Ring::Chain(chain) = &mut self.ring else {
            return None;
        };
        let speaks = part.work.step.wants_sample || part.work.all_outputs;
        if !speaks || !chain.must_open(job, part.epoch) {
            return None;
        }
        Some(Opening {
            job,
            voice: self.tasks.get(&job)?.voice.clone(),
            answer: self.scheduler.session(job)?.answer().to_vec(),
        })
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
        current.extend(parts.iter().filter(is_current).map(|part| part.work));
        for failure in failures {
            self.on_failure(failure, &mut current);
        }
        let now = Instant::now();
        let mut is_begun = false;
        for given in given {
            if let Given::Prompt { job, at, logprob } = &given {
                self.on_prompt(*job, *at, logprob);
                continue;
            }
            if !std::mem::replace(&mut is_begun, true) {
                self.begin_answers(&current, now);
            }
            self.on_given(given, &current);
        }
        if !is_begun {
            self.begin_answers(&current, now);
        }
        for part in current.drain(..) {
            self.settle(&part);
        }
        self.buffers.current = current;
    }

    fn on_failure(&mut self, failure: &Failure, current: &mut Vec<Work>) {
        let (job, slot, cause) = match failure {
            Failure::Park(id) => return self.scheduler.not_parked(*id),
            Failure::Slot(slot) => return self.lose(*slot),
            Failure::Part { job, slot, cause } => (*job, *slot, cause),
        };
        let before = current.len();
        current.retain(|part| part.job != job);
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

    fn on_prompt(&mut self, job: JobId, at: usize, logprob: &crate::stage::RawLogprob) {
        let session = self.scheduler.session(job);
        if let Some((task, session)) = self.tasks.get_mut(&job).zip(session) {
            task.add_prompt(session, at, logprob);
        }
    }

    /// Tells those that their prompt is computed whose first token comes with this batch.
    fn begin_answers(&mut self, parts: &[Work], now: Instant) {
        for part in parts {
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

    /// Takes a token of a job.
    fn on_given(&mut self, given: Given, current: &[Work]) {
        let (job, token) = match given {
            Given::Token {
                job,
                token,
                logprob,
            } => (job, Some((token, logprob))),
            Given::Nothing { job } => (job, None),
            Given::Prompt { .. } => return,
        };
        let wanted = current.iter().any(|p| p.job == job && p.step.wants_sample);
        let session = self.scheduler.session_mut(job);
        let Some((task, session)) = self.tasks.get_mut(&job).zip(session).filter(|_| wanted) else {
            return;
        };
        if task.prompt_only {
            return;
        }
        match token {
            Some((token, logprob)) => {
                let logprob = logprob.map(|raw| task.words.describe(&raw));
                self.load.decode_tokens += 1;
                session.sampled(token, logprob, &task.words, &mut task.delta);
            }
            // Bias or grammar leave nothing: the answer is as long as it can be.
            None => session.stop(&mut task.delta),
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
