//! What is drafted before a batch is planned: for each session that decodes, as its drafter says.

use std::time::Instant;

use super::Runner;
use crate::core::scheduler::JobId;
use crate::core::speculation::{Conditions, MAX_WINDOW, Proposal};
use crate::local::draft::Asked;

/// Tokens that the draft model catches up with between two windows at most; where there are more,
/// the time that it takes says nothing of drafting.
const FEW: usize = MAX_WINDOW + 1;

impl Runner {
    /// Puts drafts behind the sessions that they pay for.
    pub(super) fn draft(&mut self) {
        if self.sources.is_empty() {
            return;
        }
        for (&job, task) in &mut self.tasks {
            if let Some(epoch) = self.scheduler.epoch(job) {
                task.drafter.follow(epoch);
                self.scheduler.set_held(job, task.drafter.is_full());
            }
        }
        let mut jobs = std::mem::take(&mut self.buffers.draftable);
        jobs.extend(self.scheduler.draftable());
        let mut around = self.conditions();
        for job in jobs.drain(..) {
            around.room -= self.draft_for(job, &around).min(around.room);
        }
        self.buffers.draftable = jobs;
    }

    /// What sessions draft under now.
    pub(super) fn conditions(&self) -> Conditions {
        Conditions {
            latency: self.pace.latency(),
            others: self.scheduler.decoding().saturating_sub(1),
            room: self.scheduler.draft_room(),
            ..Conditions::default()
        }
    }

    /// Drafts for one session. How many tokens.
    fn draft_for(&mut self, job: JobId, around: &Conditions) -> usize {
        let session = self.scheduler.session_mut(job);
        let Some((task, session)) = self.tasks.get_mut(&job).zip(session) else {
            return 0;
        };
        let costs = self.pace.costs();
        match task.drafter.propose(session, self.sources, costs, around) {
            Proposal::Nothing => 0,
            Proposal::Tokens(tokens) => session.draft(tokens, &task.words),
            Proposal::OfModel(tokens) => self.ask_model(job, tokens),
        }
    }

    /// Has the draft model draft. One that fails is not asked again.
    fn ask_model(&mut self, job: JobId, tokens: usize) -> usize {
        let session = self.scheduler.session_mut(job);
        let task = self.tasks.get(&job);
        let Some(((model, task), session)) = self.draft_model.as_mut().zip(task).zip(session)
        else {
            return 0;
        };
        let asked = Asked {
            job,
            text: session.text(),
            position: (session.text().len() - session.prompt_tokens()) as u64,
            voice: &task.voice,
            tokens,
        };
        let begun = Instant::now();
        let held = model.held(job);
        let said = model.draft(&asked, &mut self.buffers.drafts);
        if held + FEW >= asked.text.len() {
            self.pace
                .on_draft(self.buffers.drafts.len(), begun.elapsed());
        }
        if let Err(error) = said {
            tracing::warn!(%error, "the draft model failed, and is not asked again");
            self.draft_model = None;
            self.sources.model = false;
            return 0;
        }
        session.draft(&self.buffers.drafts, &task.words)
    }
}
