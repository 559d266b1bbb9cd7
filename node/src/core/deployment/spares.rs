//! Spares: places that are loaded beside the ring, so that a stage that is lost costs no load. They
//! are looked for while the ring serves, and never at its cost.

use std::time::{Duration, Instant};

use rand::Rng;

use super::event::{Loss, Output};
use super::plan::{MAX_SPARES, Place};
use super::slot::Slot;
use super::{Deployment, Phase};
use protocol::chain::Refusal;

/// How often spares are looked for: who may be one comes and goes with the swarm.
pub const SPARES_EVERY: Duration = Duration::from_secs(60);

/// After a spare was lost or refused: what took its memory has not gone at once.
pub const SPARES_REST: Duration = Duration::from_secs(20);

impl<R: Rng> Deployment<R> {
    /// What may be kept ready beside the ring. Stages that have a spare already need no other.
    pub(super) fn on_spares(&mut self, places: Vec<Place>, now: Instant) {
        if !matches!(self.phase, Phase::Serving) {
            return;
        }
        let Some(ring) = self.ring.clone() else {
            return;
        };
        for place in places {
            let has_stage = ring.stages.iter().any(|stage| stage.peer == place.peer);
            let is_useful = ring.stages.iter().any(|stage| stage.is_like(&place));
            let is_covered = self.spares.iter().any(|spare| spare.is_like(&place));
            let is_out = self.exclusions.contains(place.peer, now);
            if is_useful && !has_stage && !is_covered && !is_out && self.spares.len() < MAX_SPARES {
                self.spares.push(place);
            }
        }
        self.settle(now);
    }

    /// The ring is as wanted: what is beside it goes, spares come.
    pub(super) fn settle(&mut self, now: Instant) {
        self.laggards.on_settled();
        if let Some(ring) = &self.ring {
            let is_useful = |spare: &Place| ring.stages.iter().any(|stage| stage.is_like(spare));
            self.spares.retain(is_useful);
        }
        self.drop_slots_but(&[], now);
        for spare in &self.spares {
            self.slots.entry(*spare).or_insert(Slot::Wanted(0));
        }
    }

    /// Asks for spares when it is time.
    pub(super) fn look_for_spares(&mut self, now: Instant) {
        let is_due = self.spares_at.is_some_and(|at| at <= now);
        let Some(ring) = self.ring.as_ref().filter(|_| is_due) else {
            return;
        };
        if !matches!(self.phase, Phase::Serving) {
            return;
        }
        let has_spare = |stage: &Place| self.spares.iter().any(|spare| spare.is_like(stage));
        let wanted = ring.stages.iter().filter(|stage| !has_spare(stage));
        let wanted: Vec<Place> = wanted.copied().collect();
        let stages = ring.stages.clone();
        self.spares_at = Some(now + SPARES_EVERY);
        if !wanted.is_empty() {
            self.outputs.push_back(Output::WantSpares {
                stages,
                wanted,
                excluding: self.exclusions.list(now),
                slow: self.laggards.list(now),
            });
        }
    }

    /// A spare is not to be had, or is lost: nothing that is in use depends on it.
    pub(super) fn on_spare_missed(&mut self, now: Instant) {
        let soonest = now + SPARES_REST;
        self.spares_at = self.spares_at.map(|at| at.min(soonest));
    }
}

/// Whether a peer is left out of plans for this, when it was to hold a spare only: that it has no
/// memory to give away says nothing of what it gives to a stage.
pub(super) fn is_fault_of_spare(why: Loss) -> bool {
    !matches!(
        why,
        Loss::Failed | Loss::Refused(Refusal::NoRoom | Refusal::TooMany | Refusal::UnknownLease)
    )
}
