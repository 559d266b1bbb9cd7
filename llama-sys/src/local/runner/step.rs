//! One step of the thread: a batch planned, computed, and its results sent.

use std::time::{Duration, Instant};

use super::Runner;
use crate::core::scheduler::Work;
use crate::core::select;
use crate::core::slots::{KvOp, SlotId};
use crate::engine::JobError;
use crate::ffi::context::DecodeError;
use crate::local::logprobs;
use crate::local::runner::Buffers;

impl Runner {
    /// Plans and computes one batch. False if there was nothing to compute.
    pub(super) fn generate(&mut self) -> bool {
        if self.tasks.is_empty() || self.context.is_none() {
            return false;
        }
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
        if self.apply(&plan.ops) {
            if !plan.work.is_empty() {
                self.compute(&plan.work);
            }
        } else {
            // A sequence was lost: nothing of the plan holds.
            self.retract_all(&plan.work);
        }
        self.buffers.plan = plan;
        worked
    }

    /// Carries out operations on the cache. False if a sequence lost its tokens by it.
    fn apply(&mut self, ops: &[KvOp]) -> bool {
        let mut lost: Vec<SlotId> = Vec::new();
        for op in ops {
            let Some(context) = &mut self.context else {
                return false;
            };
            let empty = match *op {
                KvOp::Cut { slot, keep } => (!context.cut(slot.0, keep)).then_some(slot),
                // What is lost cannot be shared.
                KvOp::Share { from, to, .. } if lost.contains(&from) => Some(to),
                KvOp::Share { from, to, len } => {
                    context.share(from.0, to.0, len);
                    None
                }
                KvOp::Park { slot, id } => {
                    match context.save(slot.0).filter(|_| !lost.contains(&slot)) {
                        Some(state) => drop(self.parked.insert(id, state)),
                        None => self.scheduler.not_parked(id),
                    }
                    None
                }
                KvOp::Unpark { id, slot } => {
                    let state = self.parked.get(&id);
                    let restored = state.is_some_and(|s| context.restore(slot.0, s));
                    (!restored).then_some(slot)
                }
                KvOp::Discard { id } => {
                    self.parked.remove(&id);
                    None
                }
            };
            if let Some(slot) = empty {
                lost.push(slot);
                self.scheduler.lost(slot, &mut self.buffers.ops);
            }
        }
        // The cache has none of the tokens that `lost` dropped: nothing is left to do for them.
        self.buffers.ops.clear();
        lost.is_empty()
    }

    fn retract_all(&mut self, work: &[Work]) {
        let mut ops = std::mem::take(&mut self.buffers.ops);
        for part in work {
            self.scheduler.retract(part, &mut ops);
        }
        self.apply(&ops);
        ops.clear();
        self.buffers.ops = ops;
    }

    /// Computes a batch. If llama.cpp refuses it, each part is tried by itself, so that one
    /// bad job takes no other with it.
    fn compute(&mut self, work: &[Work]) {
        match self.decode(work) {
            Ok(()) => self.on_computed(work),
            Err(error) if work.len() == 1 => self.on_refused(&work[0], &error),
            Err(error) => {
                tracing::warn!(%error, jobs = work.len(), "a batch failed; its jobs are tried one by one");
                self.retract_all(work);
                for part in work {
                    let mut ops = std::mem::take(&mut self.buffers.ops);
                    let replaced = self.scheduler.replace(part, &mut ops);
                    let intact = self.apply(&ops);
                    self.buffers.ops.clear();
                    if replaced && intact {
                        self.compute(std::slice::from_ref(part));
                    }
                }
            }
        }
    }

    fn on_refused(&mut self, part: &Work, error: &DecodeError) {
        tracing::warn!(%error, "a job failed");
        // What the cache holds of it is not known.
        let mut ops = vec![KvOp::Cut {
            slot: part.slot,
            keep: 0,
        }];
        self.scheduler.lost(part.slot, &mut ops);
        self.apply(&ops);
        self.fail(part.job, JobError::Inference(error.to_string()));
    }

    fn decode(&mut self, work: &[Work]) -> Result<(), DecodeError> {
        let batch = &mut self.buffers.batch;
        batch.clear();
        for part in work {
            let Some(session) = self.scheduler.session(part.job) else {
                continue;
            };
            let tokens = session.tokens(part.step);
            for (i, &token) in tokens.iter().enumerate() {
                let last = i + 1 == tokens.len() && part.step.wants_sample;
                let position = part.step.keep_n + i;
                batch.push(token, position, part.slot.0, last || part.all_outputs);
            }
        }
        let Some(context) = &mut self.context else {
            return Err(DecodeError::Invalid("no context"));
        };
        let Some(governor) = &mut self.governor else {
            return context.decode(batch);
        };
        let (begun, cpu) = (Instant::now(), processor_time());
        let result = context.decode(batch);
        let now = Instant::now();
        let cpu = processor_time().saturating_sub(cpu);
        let threads = governor.threads();
        governor.on_computed(now - begun, cpu, now);
        if governor.threads() != threads {
            tracing::debug!(
                from = threads,
                to = governor.threads(),
                "threads follow the load"
            );
            context.set_threads(governor.threads());
        }
        result
    }

    /// Takes the results of a batch.
    fn on_computed(&mut self, work: &[Work]) {
        self.scheduler.computed(work);
        let now = Instant::now();
        let mut row = 0;
        for part in work {
            row += part.step.n;
            let result = self.on_part(part, row - part.step.n, now);
            match result {
                Ok(false) => {}
                Ok(true) => self.remove(part.job),
                Err(error) => self.fail(part.job, error),
            }
        }
    }

    /// Takes the results of one job, whose tokens begin at `row` of the batch. True if the
    /// answer ended.
    fn on_part(&mut self, part: &Work, row: usize, now: Instant) -> Result<bool, JobError> {
        let (Some(task), Some(context), Some(session)) = (
            self.tasks.get_mut(&part.job),
            self.context.as_mut(),
            self.scheduler.session(part.job),
        ) else {
            return Ok(true);
        };
        if part.all_outputs {
            logprobs::add_prompt(task, context, session, (part, row), &mut self.buffers.top);
        }
        let cached = self.scheduler.cached_tokens(part.job).unwrap_or(0);
        if !task.started {
            self.load.prefill_tokens += part.step.n as u64;
        }
        if !part.step.wants_sample {
            return Ok(false);
        }
        if !task.started {
            task.first_token(now);
            task.send_started(session, cached);
            self.load.cached_tokens += cached as u64;
        }
        if task.prompt_only {
            task.send_prompt_only();
            return Ok(true);
        }
        self.load.decode_tokens += 1;
        self.sample(part, row + part.step.n - 1)
    }

    /// Chooses the next token of a job by the logits at `row`. True if the answer ended.
    fn sample(&mut self, part: &Work, row: usize) -> Result<bool, JobError> {
        let (Some(task), Some(context), Some(session)) = (
            self.tasks.get_mut(&part.job),
            self.context.as_mut(),
            self.scheduler.session_mut(part.job),
        ) else {
            return Ok(true);
        };
        let missing = || JobError::Inference("llama.cpp gave no logits".into());
        let logits = context.logits_mut(row).ok_or_else(missing)?;
        let position = session.answer().len() as u64;
        let Buffers { scratch, top, .. } = &mut self.buffers;
        match task.chooser.choose(logits, position, scratch) {
            Some(token) => {
                let logprob = task
                    .logprobs
                    .and_then(|n| logprobs::describe(&task.words.model, logits, token, n, top));
                session.sampled(token, logprob, &task.words, &mut task.delta);
                if session.ending().is_none() && !task.chooser.accept(token) {
                    return Err(JobError::Grammar(
                        "it refused a token it had allowed".into(),
                    ));
                }
            }
            None if select::argmax(logits).is_none() => {
                return Err(JobError::Inference(
                    "the model's output is not a number".into(),
                ));
            }
            // Bias or grammar leave nothing: the answer is as long as it can be.
            None => session.stop(&mut task.delta),
        }
        task.send_delta();
        if session.ending().is_none() {
            return Ok(false);
        }
        task.send_finished(session);
        Ok(true)
    }
}

/// Processor time that this process has used.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
