//! Bringing a plan up: reserving, loading, linking, probing; and what is done when that fails.

use std::time::{Duration, Instant};

use protocol::{
    ChannelId, LeaseId, NodeId,
    chain::{LeaseRequest, Link},
};
use rand::{Rng, RngExt};

use super::event::{FailureCause, Generation, Hop, Loss, Output, PlanReason, Ring, RingEnd};
use super::losses::place_of;
use super::plan::{Place, Plan};
use super::slot::{Held, Slot};
use super::{
    Deployment, LINKING_PATIENCE, LOADING_PATIENCE, MAX_NO_PLANS, MAX_REST, MAX_TRIES,
    PLAN_PATIENCE, PROBING_PATIENCE, Phase, RESERVING_PATIENCE, REST_BASE,
};

/// Stages that are being made a ring.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) stages: Vec<Place>,
    pub(super) step: Step,
    pub(super) until: Instant,
}

/// How far an attempt is.
#[derive(Debug)]
pub(super) enum Step {
    Reserving,
    Loading,
    Linking(Ring),
    Probing(Ring),
}

impl Attempt {
    /// The ring that it makes, once its channels are fixed.
    pub(super) fn ring(&self) -> Option<&Ring> {
        match &self.step {
            Step::Linking(ring) | Step::Probing(ring) => Some(ring),
            Step::Reserving | Step::Loading => None,
        }
    }
}

impl<R: Rng> Deployment<R> {
    pub(super) fn on_plan(&mut self, plan: Plan, now: Instant) {
        if !matches!(
            self.phase,
            Phase::Idle | Phase::Planning { .. } | Phase::Serving
        ) {
            return;
        }
        let is_out = |place: &Place| self.exclusions.contains(place.peer, now);
        let is_change = self.laggards.is_changing();
        let is_unfit = is_change && !self.fits_beside_ring(&plan.stages);
        if is_unfit || plan.stages.iter().any(is_out) {
            return self.on_no_plan(now);
        }
        if !is_change {
            self.spares = plan.spares.iter().copied().filter(|s| !is_out(s)).collect();
        }
        let live = self.ring.as_ref();
        if live.is_some_and(|ring| ring.stages == plan.stages) {
            self.phase = Phase::Serving;
            self.settle(now);
        } else {
            self.begin(plan.stages, now);
        }
    }

    pub(super) fn on_no_plan(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Idle | Phase::Planning { .. }) {
            return;
        }
        if self.keeps_ring(now) {
            return;
        }
        if self.is_hopeless(now) {
            self.cause = FailureCause::NoPlan;
            return self.give_up(now);
        }
        self.cause = match self.cause {
            cause @ FailureCause::Stage { .. } => cause,
            _ => FailureCause::NoPlan,
        };
        self.back_off(now);
    }

    /// Whether there never was a ring, and for a while no plan though nobody is left out: who asks
    /// for the model is better told so than kept waiting.
    fn is_hopeless(&mut self, now: Instant) -> bool {
        let is_nobody_left_out = self.exclusions.list(now).is_empty();
        let is_none_so_far = self.generation == 0 && is_nobody_left_out;
        self.no_plans = if is_none_so_far { self.no_plans + 1 } else { 0 };
        self.no_plans >= MAX_NO_PLANS
    }

    /// Makes these stages a ring. What is leased and in it stays as it is.
    pub(super) fn begin(&mut self, stages: Vec<Place>, now: Instant) {
        self.wanted.clone_from(&stages);
        self.spares.retain(|spare| !stages.contains(spare));
        self.drop_slots_but(&stages, now);
        for stage in &stages {
            self.slots.entry(*stage).or_insert(Slot::Wanted(0));
        }
        self.phase = Phase::Preparing(Attempt {
            stages,
            step: Step::Reserving,
            until: now + RESERVING_PATIENCE,
        });
    }

    /// Gives back what is neither in these stages, nor in the ring, nor a spare.
    pub(super) fn drop_slots_but(&mut self, stages: &[Place], now: Instant) {
        let live = self.ring.as_ref().map_or(&[][..], |ring| &ring.stages);
        let is_kept = |place: &Place| {
            [stages, live, &self.spares]
                .iter()
                .any(|s| s.contains(place))
        };
        let dropped = self.slots.keys().filter(|place| !is_kept(place));
        for place in dropped.copied().collect::<Vec<_>>() {
            self.drop_slot(place, now);
        }
    }

    /// Takes each step that is due.
    pub(super) fn advance(&mut self, now: Instant) {
        while let Some((step, patience)) = self.next_step(now) {
            if let Phase::Preparing(attempt) = &mut self.phase {
                attempt.step = step;
                attempt.until = now + patience;
            }
        }
    }

    fn next_step(&mut self, now: Instant) -> Option<(Step, Duration)> {
        let Phase::Preparing(attempt) = &self.phase else {
            return None;
        };
        let stages = attempt.stages.clone();
        let all = |test: fn(&Held) -> bool| {
            let mut held = stages.iter().map(|stage| self.held(*stage));
            held.all(|held| held.is_some_and(test))
        };
        match &attempt.step {
            Step::Reserving if all(|_| true) => {
                self.go(&stages, now);
                Some((Step::Loading, LOADING_PATIENCE))
            }
            Step::Loading if all(Held::is_ready) => {
                // What the ring's stages are told next would break it.
                self.end_ring(RingEnd::Switched, now);
                let ring = self.new_ring(stages, now)?;
                Some((Step::Linking(ring), LINKING_PATIENCE))
            }
            Step::Linking(ring) if self.unlinked(ring).is_empty() => {
                let ring = ring.clone();
                self.outputs.push_back(Output::Probe(ring.clone()));
                Some((Step::Probing(ring), PROBING_PATIENCE))
            }
            _ => None,
        }
    }

    fn go(&mut self, stages: &[Place], now: Instant) {
        for stage in stages {
            if let Some(held) = self.slots.get_mut(stage).and_then(Slot::held_mut) {
                held.go(now);
            }
        }
    }

    fn new_ring(&mut self, stages: Vec<Place>, now: Instant) -> Option<Ring> {
        for stage in &stages {
            self.slots.get_mut(stage)?.held_mut()?.unlink(now);
        }
        self.generation += 1;
        let first = *stages.first()?;
        let first = Hop {
            peer: first.peer,
            channel: self.held(first)?.channel.in_ring(self.generation),
        };
        Some(Ring {
            generation: Generation(self.generation),
            first,
            back: ChannelId(self.rng.random()),
            stages,
        })
    }

    /// The stages that are not known to have their neighbours in this ring, and the links to them.
    pub(super) fn unlinked(&self, ring: &Ring) -> Vec<(Place, Link)> {
        let links = (0..ring.stages.len()).filter_map(|at| self.link(ring, at));
        let is_linked = |(place, link): &(Place, Link)| {
            let held = self.held(*place);
            held.is_some_and(|held| held.linked == Some(*link))
        };
        links.filter(|link| !is_linked(link)).collect()
    }

    fn link(&self, ring: &Ring, at: usize) -> Option<(Place, Link)> {
        let place = *ring.stages.get(at)?;
        let before = at.checked_sub(1).and_then(|at| ring.stages.get(at));
        let generation = ring.generation.number();
        let (next, next_channel) = match ring.stages.get(at + 1) {
            Some(next) => (next.peer, self.held(*next)?.channel.in_ring(generation)),
            None => (self.head, ring.back),
        };
        let link = Link {
            lease: self.held(place)?.lease,
            previous: before.map_or(self.head, |before| before.peer),
            next,
            next_channel,
            generation,
        };
        Some((place, link))
    }

    pub(super) fn on_probed(
        &mut self,
        generation: Generation,
        result: Result<(), Option<NodeId>>,
        now: Instant,
    ) {
        let Phase::Preparing(attempt) = &self.phase else {
            return;
        };
        let Step::Probing(ring) = &attempt.step else {
            return;
        };
        let ring = ring.clone();
        if ring.generation != generation {
            return;
        }
        match result.map_err(|peer| place_of(&ring, peer)) {
            Ok(()) => self.serve(ring, now),
            Err(Some(place)) => self.lose(place, Loss::Blamed, now),
            Err(None) => {
                self.cause = FailureCause::Probe;
                self.back_off(now);
            }
        }
    }

    fn serve(&mut self, ring: Ring, now: Instant) {
        self.phase = Phase::Serving;
        self.tries = 0;
        self.withdraw_at = None;
        self.ring = Some(ring.clone());
        self.outputs.push_back(Output::RingReady(ring));
        if !self.is_published {
            self.is_published = true;
            self.outputs.push_back(Output::Publish);
        }
        self.up_since = Some(now);
        self.spares_at = Some(now);
        self.settle(now);
    }

    /// A stage of what is wanted is lost or leaves: a spare takes its place, or another plan does.
    pub(super) fn recover(&mut self, reason: PlanReason, now: Instant) {
        if self.keeps_ring(now) {
            return;
        }
        self.tries += 1;
        if self.tries >= MAX_TRIES {
            return self.give_up(now);
        }
        match self.substituted() {
            Some(stages) => self.begin(stages, now),
            None => self.want_plan(reason, now),
        }
    }

    /// What is wanted, with spares for what is not there or leaves; `None` where one lacks.
    fn substituted(&self) -> Option<Vec<Place>> {
        let mut stages = self.wanted.clone();
        for at in 0..stages.len() {
            if self.held(stages[at]).is_none_or(|held| held.is_leaving) {
                stages[at] = self.substitute(stages[at], &stages)?;
            }
        }
        (stages != self.wanted).then_some(stages)
    }

    /// A spare for this place on a peer that has no stage: the one that is furthest.
    fn substitute(&self, place: Place, stages: &[Place]) -> Option<Place> {
        let is_free = |spare: &&Place| {
            let has_stage = |stage: &Place| stage.peer == spare.peer && *stage != place;
            spare.is_like(&place) && !stages.iter().any(has_stage)
        };
        let held = |spare: &Place| self.held(*spare).filter(|held| !held.is_leaving);
        let spares = self.spares.iter().filter(is_free);
        let spares = spares.filter_map(|spare| Some((held(spare)?.standing(), *spare)));
        spares
            .max_by_key(|(standing, _)| *standing)
            .map(|(_, spare)| spare)
    }

    pub(super) fn want_plan(&mut self, reason: PlanReason, now: Instant) {
        self.drop_idle(now);
        self.laggards.on_plan_wanted(reason);
        self.phase = Phase::Planning {
            until: now + PLAN_PATIENCE,
        };
        let held = self.slots.iter().filter(|(_, slot)| slot.held().is_some());
        let held = held.map(|(place, _)| *place).collect();
        self.outputs.push_back(Output::WantPlan {
            reason,
            excluding: self.exclusions.list(now),
            slow: self.laggards.list(now),
            wanted: self.wanted.clone(),
            held,
        });
    }

    /// Places that were wanted or reserved for what is not to be, and are not told to load, are no
    /// gain for the next plan.
    fn drop_idle(&mut self, now: Instant) {
        let has_ring = self.ring.is_some();
        let is_kept = |place: &Place, slot: &Slot| match slot {
            Slot::Held(held) => held.is_going,
            Slot::Wanted(_) => has_ring && self.spares.contains(place),
        };
        let idle = self
            .slots
            .iter()
            .filter(|(place, slot)| !is_kept(place, slot));
        for place in idle.map(|(place, _)| *place).collect::<Vec<_>>() {
            self.drop_slot(place, now);
        }
    }

    fn drop_slot(&mut self, place: Place, now: Instant) {
        self.pulse.forget(place);
        if let Some(Slot::Held(held)) = self.slots.remove(&place) {
            self.release(place, held.lease, now);
        }
    }

    /// Nothing is held while others may want it: all but a ring that works is given back, and the
    /// next try waits a while.
    pub(super) fn back_off(&mut self, now: Instant) {
        if self.keeps_ring(now) {
            return;
        }
        self.tries += 1;
        if self.tries >= MAX_TRIES {
            return self.give_up(now);
        }
        match &self.ring {
            Some(ring) => self.wanted.clone_from(&ring.stages),
            None => self.spares.clear(),
        }
        self.drop_slots_but(&[], now);
        let doublings = (self.tries - 1).min(16);
        let whole = REST_BASE.saturating_mul(1 << doublings).min(MAX_REST);
        let rest = whole.mul_f64(self.rng.random_range(0.5..=1.0));
        self.phase = Phase::Resting { until: now + rest };
    }

    /// No plan works. A ring that does goes on as it is.
    fn give_up(&mut self, now: Instant) {
        if self.ring.is_some() {
            self.phase = Phase::Serving;
            return self.settle(now);
        }
        self.outputs.push_back(Output::Failed(self.cause));
        self.leave(now);
    }

    pub(super) fn release(&mut self, place: Place, lease: LeaseId, now: Instant) {
        self.call(place, LeaseRequest::Release(lease), now);
    }

    pub(super) fn held(&self, place: Place) -> Option<&Held> {
        self.slots.get(&place).and_then(Slot::held)
    }
}
