//! One request to one head: since when it says nothing new, and how long it may.
//!
//! A peer that is gone is found by the transport, which hears heartbeats and passes none on
//! (`protocol::limits::MAX_REPLY_SILENCE`). The limits here are for one that lives and does not get
//! on, and so they are longer.

use std::time::{Duration, Instant};

use protocol::generate::Started;

use super::event::AttemptId;
use crate::core::ranking::{Choice, Target};

/// How long a peer may take to its first token at least: a long prompt on a slow machine is
/// minutes of prefill.
pub const FIRST_PATIENCE: Duration = Duration::from_secs(120);

/// The same in predicted times to the first token, where that is longer.
const PREDICTIONS_OF_PATIENCE: u32 = 4;

/// How long a peer may take to its next token: beyond what the prefill of others' prompts in its
/// batch takes, below what a person waits.
pub const STALL: Duration = Duration::from_secs(60);

/// A first token is not late before this, whatever was predicted: below it a second request
/// costs more than it gains.
pub const HEDGE_FLOOR: Duration = Duration::from_secs(2);

/// A first token is late after this many predicted times.
const PREDICTIONS_OF_LATENESS: u32 = 3;

/// One request to one head.
#[derive(Debug)]
pub(super) struct Attempt {
    id: AttemptId,
    choice: Choice,
    opened: Instant,
    last_heard: Instant,
    /// Kept until its first token.
    started: Option<Started>,
    begun: bool,
}

impl Attempt {
    pub(super) fn new(id: AttemptId, choice: Choice, now: Instant) -> Self {
        Self {
            id,
            choice,
            opened: now,
            last_heard: now,
            started: None,
            begun: false,
        }
    }

    pub(super) fn id(&self) -> AttemptId {
        self.id
    }

    pub(super) fn choice(&self) -> Choice {
        self.choice
    }

    pub(super) fn target(&self) -> Target {
        self.choice.target
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.last_heard = now;
    }

    /// It says that it begins; `false`: for the second time.
    pub(super) fn start(&mut self, started: Started, now: Instant) -> bool {
        self.heard(now);
        let again = self.begun || self.started.is_some();
        self.started = Some(started);
        !again
    }

    /// Its first token came: what it said at its beginning, once.
    pub(super) fn begin(&mut self) -> Option<Started> {
        self.begun = true;
        self.started.take()
    }

    /// When its silence ends it. The own head has its own deadlines (of loads and workers).
    pub(super) fn quiet_at(&self, is_leader: bool) -> Option<Instant> {
        if self.target() == Target::Own {
            return None;
        }
        let first = self.choice.first_token * PREDICTIONS_OF_PATIENCE;
        let patience = match is_leader {
            true => STALL,
            false => first.max(FIRST_PATIENCE),
        };
        Some(self.last_heard + patience)
    }

    /// When its first token is late. The own head is waited for: what it loads it keeps.
    pub(super) fn late_at(&self) -> Option<Instant> {
        let late = self.choice.first_token * PREDICTIONS_OF_LATENESS;
        (self.target() != Target::Own).then(|| self.opened + late.max(HEDGE_FLOOR))
    }
}
