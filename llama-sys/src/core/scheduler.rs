//! What the next batch holds: which jobs run, on which sequences of the cache, and which tokens
//! of each are computed. It puts [`Session`]s, [`Slots`], [`Admission`] and the sharing of the
//! batch together and says what is to be done; the engine's thread does it and reports back.
//!
//! A round: [`Scheduler::plan`]; the cache operations and the batch of the [`Plan`] go to whoever
//! carries them out, and [`Scheduler::dispatched`] says so; what was sampled goes to
//! [`Scheduler::session_mut`]; jobs that ended are [`Scheduler::remove`]d. Further rounds may be
//! planned before the first has come back: a job takes part in none while its token is awaited.
//! Of what comes back late, only what is of the job's present [`Scheduler::epoch`] counts.

use std::collections::BTreeMap;

use super::admission::{Admission, Demand, GROWTH_CELLS};
use super::batcher;
use super::session::Session;
use super::slots::{KvOp, ParkId, SlotId, Slots};

mod drafting;
mod job;
mod plan;

use job::Job;

pub use plan::{Cut, JobId, Limits, Manner, Plan, Work};

/// The jobs of one model.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    slots: Slots,
    queue: Admission<JobId>,
    jobs: BTreeMap<JobId, Job>,
    running: usize,
    /// Batches that decoding jobs are spread over.
    batches: usize,
}

impl Scheduler {
    /// A scheduler without jobs over an empty cache.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            slots: limits.slots(),
            queue: Admission::new(limits.queue),
            limits,
            jobs: BTreeMap::new(),
            running: 0,
            batches: 1,
        }
    }

    /// From now on decoding jobs are spread over so many batches, which are under way at once.
    pub fn spread(&mut self, batches: usize) {
        self.batches = batches.max(1);
    }

    /// Takes a job whose id is larger than all before. Gives its session back if the queue is
    /// full.
    ///
    /// # Errors
    /// The session, unchanged.
    pub fn submit(
        &mut self,
        id: JobId,
        session: Session,
        manner: Manner,
    ) -> Result<(), Box<Session>> {
        let places = (self.limits.parallel as usize).saturating_sub(self.running);
        if !self.queue.push(id, places) {
            return Err(Box::new(session));
        }
        let job = Job {
            session,
            manner,
            place: None,
            cached: None,
            paused: false,
            held: false,
            epoch: 0,
        };
        self.jobs.insert(id, job);
        Ok(())
    }

    /// Takes a job out: it ended, or nobody wants it. Its tokens stay cached.
    pub fn remove(&mut self, id: JobId) -> Option<Session> {
        let job = self.jobs.remove(&id)?;
        match job.place {
            Some(slot) => {
                self.slots.release(slot);
                self.running -= 1;
            }
            None => self.queue.remove(id),
        }
        Some(job.session)
    }

    /// A paused job keeps its place but takes no part in batches: its reader is slow.
    pub fn set_paused(&mut self, id: JobId, paused: bool) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.paused = paused;
        }
    }

    /// A held job that runs takes no part in batches either, and gives its place to nobody for
    /// that: as many of its steps are under way as may be.
    pub fn set_held(&mut self, id: JobId, held: bool) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.held = held && job.place.is_some();
        }
    }

    /// A job's answer.
    #[must_use]
    pub fn session(&self, id: JobId) -> Option<&Session> {
        self.jobs.get(&id).map(|j| &j.session)
    }

    /// A job's answer.
    pub fn session_mut(&mut self, id: JobId) -> Option<&mut Session> {
        self.jobs.get_mut(&id).map(|j| &mut j.session)
    }

    /// Tokens of the prompt that came from the cache; `None` before the job began.
    #[must_use]
    pub fn cached_tokens(&self, id: JobId) -> Option<usize> {
        self.jobs.get(&id)?.cached
    }

    /// Changes whenever the job is computed anew: results of batches before that are of no use.
    /// `None`: there is no such job.
    #[must_use]
    pub fn epoch(&self, id: JobId) -> Option<u32> {
        self.jobs.get(&id).map(|j| j.epoch)
    }

    /// The jobs that wait: the index is the number of jobs ahead.
    pub fn waiting(&self) -> impl Iterator<Item = JobId> + '_ {
        self.queue.iter()
    }

    /// Jobs that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running
    }

    /// Cells in use, cached prefixes included.
    #[must_use]
    pub fn used_cells(&self) -> usize {
        self.slots.used_cells()
    }

    /// Says what is to be done next. An empty `work`: nothing can be computed now.
    pub fn plan(&mut self, plan: &mut Plan) {
        plan.ops.clear();
        plan.work.clear();
        self.admit(&mut plan.ops);
        if self.running > 0 {
            self.slots.park_idle(&mut plan.ops);
        }
        for (id, share) in self.shares() {
            self.place_work(id, share, plan);
        }
    }

    /// Lets jobs begin that fit. Paused ones make room for those that wait: a slow reader must
    /// not stop others.
    fn admit(&mut self, ops: &mut Vec<KvOp>) {
        loop {
            let next = self.queue.iter().find(|id| !self.jobs[id].paused);
            let Some(id) = next else { return };
            let place = self.running < self.limits.parallel as usize;
            let fits = place && self.demand(id).fits(self.running == 0);
            if fits && self.begin(id, ops) {
                continue;
            }
            let held = |(_, j): &(&JobId, &Job)| j.paused && j.place.is_some();
            let Some(paused) = self.jobs.iter().find(held).map(|(id, _)| *id) else {
                return;
            };
            self.give_way(paused);
        }
    }

    fn demand(&self, id: JobId) -> Demand {
        let job = &self.jobs[&id];
        let running = self.jobs.values().filter(|j| j.place.is_some());
        let need = |j: &Job| j.session.pending() + j.session.room().min(GROWTH_CELLS);
        let tokens = job.session.history();
        let (cached, taken_over) = if job.manner.reuse_cache {
            self.slots.prospect(tokens)
        } else {
            (0, 0)
        };
        let growth = job.session.room().min(GROWTH_CELLS);
        Demand {
            total: self.slots.cells(),
            busy: self.slots.busy_cells(),
            promised: running.map(need).sum(),
            wanted: tokens.len() - cached + taken_over + growth,
        }
    }

    fn begin(&mut self, id: JobId, ops: &mut Vec<KvOp>) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else {
            return false;
        };
        let tokens = job.session.history();
        let Some((slot, cached)) = self.slots.acquire(tokens, job.manner.reuse_cache, ops) else {
            return false;
        };
        job.session.rewind(cached);
        job.epoch += 1;
        job.place = Some(slot);
        job.cached = job.cached.or(Some(cached.min(job.session.prompt_tokens())));
        self.queue.remove(id);
        self.running += 1;
        true
    }

    /// How many tokens of each running job the batch holds, the oldest job first.
    fn shares(&self) -> Vec<(JobId, usize)> {
        let active = |j: &Job| j.is_active() && j.session.uncomputed() > 0;
        let jobs: Vec<(JobId, &Job)> = self
            .jobs
            .iter()
            .filter(|(_, j)| active(j))
            .map(|(id, j)| (*id, j))
            .collect();
        let jobs = self.of_one_batch(jobs);
        let decoding = jobs.iter().filter(|(_, j)| j.decodes());
        let decoding: usize = decoding.map(|(_, j)| j.session.uncomputed()).sum();
        let outputs = self.outputs_each(&jobs);
        // A decoding job wants its one token, and its drafts, before prompts are shared: take
        // them off the budget.
        let wants: Vec<usize> = jobs
            .iter()
            .map(|(_, j)| match (j.session.pending(), j.manner.all_outputs) {
                (0 | 1, _) => 0,
                (pending, true) => pending.min(outputs),
                (pending, false) => pending,
            })
            .collect();
        let budget = self.limits.batch_tokens.saturating_sub(decoding);
        let budget = budget.min(self.limits.prompts.most(wants.iter().sum()));
        let shares = batcher::shares(budget, &wants);
        jobs.iter()
            .zip(shares)
            .map(|((id, j), share)| {
                let all = j.session.uncomputed();
                (*id, if j.decodes() { all } else { share })
            })
            .collect()
    }

    /// Without the decoding jobs that belong in another batch: those go as soon as this one is on
    /// its way.
    fn of_one_batch<'a>(&self, mut jobs: Vec<(JobId, &'a Job)>) -> Vec<(JobId, &'a Job)> {
        if self.batches > 1 {
            let running = self.jobs.values().filter(|j| j.place.is_some());
            let decoding = running.filter(|j| j.decodes()).count();
            let mut left = decoding.div_ceil(self.batches);
            jobs.retain(|(_, j)| {
                let stays = !j.decodes() || left > 0;
                left -= usize::from(stays && j.decodes());
                stays
            });
        }
        jobs
    }

    /// Rows of logits that each job with `all_outputs` may have.
    fn outputs_each(&self, jobs: &[(JobId, &Job)]) -> usize {
        let greedy = jobs.iter().filter(|(_, j)| j.manner.all_outputs).count();
        let spare = self
            .limits
            .batch_outputs
            .saturating_sub(self.limits.parallel as usize + self.drafted_rows());
        (spare / greedy.max(1)).max(1)
    }

    /// Puts `share` tokens of a job in the plan, if cells for them can be had.
    fn place_work(&mut self, id: JobId, share: usize, plan: &mut Plan) {
        loop {
            // Gone from its place since the shares were made: it gave way to an older job.
            let Some((job, slot)) = self.jobs.get(&id).and_then(|j| Some((j, j.place?))) else {
                return;
            };
            let Some(step) = job.session.step(share) else {
                return;
            };
            let tokens = job.session.tokens(step);
            if self.slots.extend(slot, tokens, &mut plan.ops) {
                plan.work.push(Work {
                    job: id,
                    slot,
                    step,
                    all_outputs: job.manner.all_outputs,
                });
                return;
            }
            if self.retract_drafts(id) {
                continue;
            }
            if !self.make_way(id) {
                return;
            }
        }
    }

    /// Takes the place of a paused job, or of the youngest one younger than `id`. False if there
    /// is none.
    fn make_way(&mut self, id: JobId) -> bool {
        let others = self
            .jobs
            .iter()
            .filter(|(j, job)| **j != id && job.place.is_some());
        let victim = others
            .filter(|(j, job)| job.paused || **j > id)
            .max_by_key(|(j, job)| (job.paused, **j))
            .map(|(j, _)| *j);
        match victim {
            Some(victim) => {
                self.give_way(victim);
                true
            }
            None => false,
        }
    }

    fn give_way(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if let Some(slot) = job.place.take() {
            job.session.rewind(0);
            self.slots.release(slot);
            self.running -= 1;
            self.queue.push_front(id);
        }
    }

    /// The plan's batch is on its way. Whatever does not come back computed is [`Self::lost`].
    pub fn dispatched(&mut self, work: &[Work]) {
        for part in work {
            if let Some(job) = self.jobs.get_mut(&part.job) {
                job.session.computed(part.step);
            }
        }
    }

    /// The whole cache is gone: whoever runs waits for a place in another one, in the order of
    /// arrival, and is computed from the beginning.
    pub fn forget_cache(&mut self) {
        let placed = self.jobs.iter().filter(|(_, j)| j.place.is_some());
        let placed: Vec<JobId> = placed.map(|(id, _)| *id).collect();
        for id in placed.into_iter().rev() {
            self.give_way(id);
        }
        self.slots = self.limits.slots();
    }

    /// The cache lost what `slot` held (a cut that its architecture does not allow). Whoever
    /// runs there is computed from the beginning, and the plan must be made anew.
    pub fn lost(&mut self, slot: SlotId, ops: &mut Vec<KvOp>) {
        self.slots.cut(slot, 0, ops);
        if let Some(job) = self.jobs.values_mut().find(|j| j.place == Some(slot)) {
            job.session.rewind(0);
            job.epoch += 1;
            job.cached = Some(0);
        }
    }

    /// What was to be parked under `id` could not be copied.
    pub fn not_parked(&mut self, id: ParkId) {
        self.slots.not_parked(id);
    }

    /// All jobs, the oldest first.
    pub fn jobs(&self) -> impl Iterator<Item = JobId> + '_ {
        self.jobs.keys().copied()
    }
}

#[cfg(test)]
mod tests;
