//! One model that takes memory. It knows no other model.

use std::time::{Duration, Instant};

use super::event::{LoadId, Output, Version};
use super::update::Outdated;

/// What a resident model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is being loaded.
    Loading,
    /// It can be leased.
    Ready,
    /// It ends.
    Draining,
}

/// A model that takes memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resident {
    /// Its load.
    pub load: LoadId,
    /// What it does.
    pub phase: Phase,
    /// Memory that it takes, bytes.
    pub need_bytes: u64,
    /// It stays.
    pub pinned: bool,
    /// It was loaded for guests, and nobody else used it yet.
    pub guests_only: bool,
    /// Leases that are out.
    pub leases: u32,
    /// Of these, guests'.
    pub guests: u32,
    /// When it was loaded or its last lease ended.
    pub last_used: Instant,
    /// The files that it was loaded from.
    pub version: Version,
    /// Its name means other files now.
    pub outdated: Option<Outdated>,
}

impl Resident {
    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Ready && self.leases == 0
    }

    /// When it is let go if nobody asks for it; `None`: it stays, or is in use.
    pub fn expires_at(&self, keep_alive: Duration) -> Option<Instant> {
        (self.is_idle() && !self.pinned).then(|| self.last_used + keep_alive)
    }

    /// Ends it, once.
    pub(super) fn drain(&mut self, out: &mut Vec<Output>) {
        if self.phase != Phase::Draining {
            self.phase = Phase::Draining;
            out.push(Output::Unload(self.load));
        }
    }
}
