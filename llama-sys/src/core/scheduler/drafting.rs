//! The scheduler's part in drafts: for whom there is room, and what becomes of those that were
//! rejected.

use super::job::Job;
use super::{JobId, Scheduler};
use crate::core::slots::{KvOp, Reuse};

impl Scheduler {
    /// What came of a job's batch was told to its session: of what it had computed, the drafts that
    /// were rejected are given up.
    pub fn settled(&mut self, id: JobId, ops: &mut Vec<KvOp>) {
        if let Some((job, slot)) = self.jobs.get(&id).and_then(|j| Some((j, j.place?))) {
            self.slots.cut(slot, job.session.computed_tokens(), ops);
        }
    }

    /// The jobs that drafts may be put behind now.
    pub fn draftable(&self) -> impl Iterator<Item = JobId> + '_ {
        let jobs = self.jobs.iter().filter(|(_, j)| j.is_draftable());
        jobs.map(|(id, _)| *id)
    }

    /// Running jobs that decode and have something to compute: the next batch holds them.
    #[must_use]
    pub fn decoding(&self) -> usize {
        let next = |j: &&Job| j.is_active() && j.session.pending() == 1;
        self.jobs.values().filter(next).count()
    }

    /// Rows that the next batch has for drafts: what everything else leaves.
    #[must_use]
    pub fn draft_room(&self) -> usize {
        let jobs = self.jobs.values().filter(|j| j.is_active());
        let (mut rows, mut all_outputs) = (0, false);
        for job in jobs {
            rows += job.session.uncomputed();
            all_outputs |= job.manner.all_outputs && job.session.uncomputed() > 0;
        }
        let outputs = self.limits.batch_outputs;
        let outputs = outputs.saturating_sub(self.limits.parallel as usize + self.drafted_rows());
        let spare = self.limits.batch_tokens.saturating_sub(rows).min(outputs);
        let can_cut = self.limits.reuse == Reuse::Any;
        if all_outputs || !can_cut { 0 } else { spare }
    }

    /// Rows of the next batch that are drafts.
    pub(super) fn drafted_rows(&self) -> usize {
        let active = self.jobs.values().filter(|j| j.is_active());
        let drafts = active.map(|j| j.session.uncomputed() - j.session.pending());
        drafts.sum()
    }

    /// Takes the drafts back that are in no step yet: nobody gives way for them. False if there
    /// are none.
    pub(super) fn retract_drafts(&mut self, id: JobId) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else {
            return false;
        };
        let before = job.session.uncomputed();
        job.session.retract_drafts();
        job.session.uncomputed() < before
    }
}
