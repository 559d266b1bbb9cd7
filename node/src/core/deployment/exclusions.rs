//! Peers that plans leave out for a while, and why. Nobody is left out for ever: what was full
//! or broken may not be any more.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use protocol::{NodeId, chain::Refusal};

use super::event::{CallError, Excluded, Loss};

/// Peers remembered at most; whoever comes back first is forgotten first.
const MAX_EXCLUDED: usize = 256;

/// A peer that was full: another head's deployment fails or ends within it.
const FULL_FOR: Duration = Duration::from_secs(20);

/// A peer that failed: its process starts again within it, or its machine does.
const FAILED_FOR: Duration = Duration::from_secs(30);

/// A peer whose owner or whose build says no: that changes by hand only.
const FORBIDDEN_FOR: Duration = Duration::from_secs(600);

/// Who is left out.
#[derive(Debug, Default)]
pub(super) struct Exclusions {
    table: BTreeMap<NodeId, Excluded>,
}

impl Exclusions {
    /// Leaves a peer out for as long as the reason says, or as it asked for.
    pub(super) fn add(&mut self, peer: NodeId, why: Loss, asked: Duration, now: Instant) {
        self.forget(now);
        let until = now + rest(why).max(asked.min(FORBIDDEN_FOR));
        let until = self
            .table
            .get(&peer)
            .map_or(until, |old| until.max(old.until));
        if self.table.len() >= MAX_EXCLUDED {
            let soonest = self.table.values().min_by_key(|excluded| excluded.until);
            if let Some(soonest) = soonest.map(|excluded| excluded.peer) {
                self.table.remove(&soonest);
            }
        }
        self.table.insert(peer, Excluded { peer, why, until });
    }

    pub(super) fn contains(&self, peer: NodeId, now: Instant) -> bool {
        self.table
            .get(&peer)
            .is_some_and(|excluded| now < excluded.until)
    }

    pub(super) fn list(&mut self, now: Instant) -> Vec<Excluded> {
        self.forget(now);
        self.table.values().copied().collect()
    }

    fn forget(&mut self, now: Instant) {
        self.table.retain(|_, excluded| now < excluded.until);
    }
}

fn rest(why: Loss) -> Duration {
    match why {
        Loss::Refused(Refusal::NoRoom | Refusal::TooMany | Refusal::UnknownLease) => FULL_FOR,
        // Nobody gave it the model in time; another time somebody may.
        Loss::Refused(Refusal::UnknownModel) => FAILED_FOR,
        Loss::Refused(_) | Loss::NotAsked(CallError::Broken) => FORBIDDEN_FOR,
        _ => FAILED_FOR,
    }
}
