//! What the scheduler knows of one job.

use super::Manner;
use crate::core::session::Session;
use crate::core::slots::SlotId;

#[derive(Debug)]
pub(super) struct Job {
    pub(super) session: Session,
    pub(super) manner: Manner,
    pub(super) place: Option<SlotId>,
    /// Tokens that came from the cache when it first began.
    pub(super) cached: Option<usize>,
    pub(super) paused: bool,
    /// Nothing of it can be sent before something comes back.
    pub(super) held: bool,
    /// Times that what it had computed was put in question.
    pub(super) epoch: u32,
}

impl Job {
    /// Runs, and may take part in batches.
    pub(super) fn is_active(&self) -> bool {
        self.place.is_some() && !self.paused && !self.held
    }

    /// Wants its next token, or has drafts behind one that is under way.
    pub(super) fn decodes(&self) -> bool {
        self.session.pending() <= 1
    }

    pub(super) fn is_draftable(&self) -> bool {
        let session = &self.session;
        let begun = !session.answer().is_empty() && session.ending().is_none();
        let nothing_drafted = session.uncomputed() == session.pending();
        begun && nothing_drafted && self.is_active() && self.decodes() && !self.manner.all_outputs
    }
}
