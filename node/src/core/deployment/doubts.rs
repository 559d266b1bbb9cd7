//! A ring in doubt: batches that do not come back, and rings that break with nobody to blame. Its
//! stages are asked whether they are there; what is not is lost.

use std::time::{Duration, Instant};

use rand::Rng;

use super::attempt::Step;
use super::event::{FailureCause, Generation, Loss, Ring, RingEnd};
use super::{Deployment, Phase};

/// A ring that served for so long did work: what breaks it is not what broke those before.
pub const STEADY_AFTER: Duration = Duration::from_secs(30);

/// Rings that break one after the other with nobody to blame, and are linked anew at once. After
/// these each one costs a rest, as a plan that failed does, and in the end the deployment.
pub const QUICK_RELINKS: u32 = 2;

impl<R: Rng> Deployment<R> {
    /// Batches that are under way on this ring should be back. Slow ones are no loss, so its stages
    /// are asked; each answers from memory.
    pub(super) fn on_overdue(&mut self, generation: Generation, now: Instant) {
        let ring = self.live_ring(generation);
        for stage in ring.map(|ring| ring.stages.clone()).unwrap_or_default() {
            if self.held(stage).is_some() {
                self.pulse.ask(stage, now);
            }
        }
    }

    /// The ring of this number, if it serves or is probed.
    fn live_ring(&self, generation: Generation) -> Option<&Ring> {
        let rings = self.ring.iter().chain(self.probed());
        rings.into_iter().find(|ring| ring.generation == generation)
    }

    pub(super) fn probed(&self) -> Option<&Ring> {
        match &self.phase {
            Phase::Preparing(attempt) => match &attempt.step {
                Step::Probing(ring) => Some(ring),
                _ => None,
            },
            _ => None,
        }
    }

    /// Stages that did not answer in time are lost.
    pub(super) fn check_pulse(&mut self, now: Instant) {
        for place in self.pulse.dead(now) {
            self.pulse.forget(place);
            self.lose(place, Loss::NoAnswer, now);
        }
    }

    /// The ring that serves, or is probed, broke, and nobody knows who it was: the links to the same
    /// stages find out who is not there.
    pub(super) fn relink(&mut self, now: Instant) {
        let is_steady = self.up_since.is_some_and(|at| at + STEADY_AFTER <= now);
        let serving = self.ring.as_ref().map(|ring| ring.stages.clone());
        let probed = self.probed().map(|ring| ring.stages.clone());
        self.breaks = if is_steady && serving.is_some() {
            1
        } else {
            self.breaks.saturating_add(1)
        };
        self.end_ring(RingEnd::Broken, now);
        let is_preparing = matches!(self.phase, Phase::Preparing(_));
        let stages = match (serving, probed) {
            // What is prepared beside the ring goes on.
            (Some(_), None) if is_preparing => return,
            (serving, probed) => probed.or(serving).unwrap_or_default(),
        };
        self.cause = FailureCause::Probe;
        if self.breaks <= QUICK_RELINKS {
            self.tries += 1;
            self.begin(stages, now);
        } else {
            self.tries = self.tries.max(self.breaks);
            self.back_off(now);
        }
    }
}
