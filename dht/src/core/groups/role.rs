//! When a node without a group says so. See [`super`] for the transitions.

use std::time::{Duration, Instant};

use super::event::Role;

/// How long a node has peers and none of them near before it is an API client: five probes of
/// each, and a few dials to those that promise to be near.
pub const ALONE_AFTER: Duration = Duration::from_secs(180);

/// How long an API client has a group before it is a member again: others learn of each change.
pub const BACK_AFTER: Duration = Duration::from_secs(60);

/// The role, and since when there is a reason to change it.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoleClock {
    role: Role,
    since: Option<Instant>,
}

impl RoleClock {
    pub(super) fn new() -> Self {
        Self {
            role: Role::Undecided,
            since: None,
        }
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Takes note of how it stands; the new role, if it changed.
    pub(super) fn update(&mut self, in_group: bool, has_peers: bool, now: Instant) -> Option<Role> {
        let (next, wait) = match (self.role, in_group) {
            (Role::Undecided, true) => (Role::Member, Duration::ZERO),
            (Role::ApiClient, true) => (Role::Member, BACK_AFTER),
            // Whoever has nobody to be near to has had no chance.
            (Role::Undecided | Role::Member, false) if has_peers => (Role::ApiClient, ALONE_AFTER),
            _ => {
                self.since = None;
                return None;
            }
        };
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) < wait {
            return None;
        }
        *self = Self {
            role: next,
            since: None,
        };
        Some(next)
    }

    /// When the role changes if nothing else does.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let wait = match self.role {
            Role::ApiClient => BACK_AFTER,
            Role::Undecided | Role::Member => ALONE_AFTER,
        };
        self.since.map(|since| since + wait)
    }
}
