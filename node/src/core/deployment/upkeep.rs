//! What happens by itself: renewals and other requests that are due, answers that are late, stages
//! that fall silent, phases that take too long, and the end.

use std::time::{Duration, Instant};

use protocol::chain::{LeaseRequest, Link};
use rand::Rng;

use super::attempt::Step;
use super::calls::Asked;
use super::event::{CallError, FailureCause, Loss, Output, PlanReason, RingEnd};
use super::plan::Place;
use super::pulse::Pulse;
use super::slot::Slot;
use super::{Deployment, MAX_TRIES, Phase, RELEASE_PATIENCE};

impl<R: Rng> Deployment<R> {
    /// When `Input::Tick` is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        if matches!(self.phase, Phase::Ended) {
            return None;
        }
        let phase = match &self.phase {
            Phase::Planning { until } | Phase::Resting { until } | Phase::Leaving { until } => {
                Some(*until)
            }
            Phase::Preparing(attempt) => Some(attempt.until),
            Phase::Idle | Phase::Serving | Phase::Ended => None,
        };
        let links = self.due_links();
        let slots = self.slots.iter().filter_map(|(place, slot)| {
            let held = slot.held()?;
            let renews = !self.calls.is_asking(*place, &Asked::Renew(held.lease));
            let links = links.iter().any(|(at, _)| at == place);
            Some(held.next_deadline(renews, links))
        });
        let others = [phase, self.withdraw_at, self.calls.next_deadline()];
        let spares = self.spares_at.filter(|_| self.is_serving());
        let others = others
            .into_iter()
            .chain([spares, self.pulse.next_deadline()]);
        slots.chain(others.flatten()).min()
    }

    /// The timer that is over, if one is.
    pub(super) fn woken_by(&self, now: Instant) -> Option<Instant> {
        self.next_deadline().filter(|at| *at <= now)
    }

    fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Serving) && self.ring.is_some()
    }

    /// Everything that follows from the time and from what was just handled.
    pub(super) fn drive(&mut self, now: Instant) {
        for pending in self.calls.late(now) {
            self.on_unanswered(&pending, CallError::Late, now);
        }
        self.check_slots(now);
        self.check_pulse(now);
        self.check_phase(now);
        self.advance(now);
        self.look_ahead(now);
        self.look_for_better(now);
        self.look_for_spares(now);
        self.ask(now);
        self.finish(now);
    }

    fn check_slots(&mut self, now: Instant) {
        let loss = |(place, slot): (&Place, &Slot)| Some((*place, slot.held()?.loss(now)?));
        let lost: Vec<_> = self.slots.iter().filter_map(loss).collect();
        for (place, why) in lost {
            self.lose(place, why, now);
        }
    }

    fn check_phase(&mut self, now: Instant) {
        match &self.phase {
            Phase::Planning { until } if *until <= now => self.on_no_plan(now),
            Phase::Resting { until } if *until <= now => {
                let reason = match self.ring {
                    Some(_) => PlanReason::Leaving,
                    None => PlanReason::NotUp,
                };
                self.want_plan(reason, now);
            }
            Phase::Preparing(attempt) if attempt.until <= now => self.on_step_late(now),
            _ => {}
        }
    }

    fn on_step_late(&mut self, now: Instant) {
        let Phase::Preparing(attempt) = &self.phase else {
            return;
        };
        let stages = attempt.stages.iter().copied();
        let (late, why): (Vec<_>, _) = match &attempt.step {
            Step::Reserving => {
                let wanted = stages.filter(|stage| self.held(*stage).is_none());
                (wanted.collect(), Loss::NotAsked(CallError::Late))
            }
            Step::Loading => {
                let is_ready = |stage: Place| self.held(stage).is_some_and(|held| held.is_ready());
                (
                    stages.filter(|stage| !is_ready(*stage)).collect(),
                    Loss::Stuck,
                )
            }
            Step::Linking(ring) => {
                let unlinked = self.unlinked(ring).into_iter().map(|(place, _)| place);
                (unlinked.collect(), Loss::Unlinked)
            }
            Step::Probing(_) => {
                self.cause = FailureCause::Probe;
                return self.back_off(now);
            }
        };
        for place in late {
            self.miss(place, why, Duration::ZERO, now);
            self.lose(place, why, now);
        }
    }

    /// A ring that works and has a stage that leaves is replaced while it works.
    fn look_ahead(&mut self, now: Instant) {
        let is_leaving = |place: &Place| self.held(*place).is_some_and(|held| held.is_leaving);
        let ring = self.ring.as_ref();
        let leaves = ring.is_some_and(|ring| ring.stages.iter().any(is_leaving));
        if leaves && matches!(self.phase, Phase::Serving) && self.tries + 1 < MAX_TRIES {
            self.recover(PlanReason::Leaving, now);
            self.advance(now);
        }
    }

    /// Sends what is due. Of each kind one request at a time is under way to each place.
    fn ask(&mut self, now: Instant) {
        if let Some(place) = self.due_reservation() {
            let reserve = self.work.reserve(place, self.spares.contains(&place));
            self.call(place, LeaseRequest::Reserve(reserve), now);
        }
        for (place, link) in self.due_links() {
            if self.held(place).is_some_and(|held| held.may_link(now)) {
                self.call(place, LeaseRequest::Link(link), now);
            }
        }
        let due = self.slots.iter().filter_map(|(place, slot)| {
            let held = slot.held().filter(|held| held.may_renew(now))?;
            Some((*place, held.lease))
        });
        for (place, lease) in due.collect::<Vec<_>>() {
            if !self.calls.is_asking(place, &Asked::Renew(lease)) {
                self.call(place, LeaseRequest::Renew(lease), now);
            }
        }
        for place in self.pulse.due(now) {
            if let Some(lease) = self.held(place).map(|held| held.lease) {
                self.call(place, LeaseRequest::Renew(lease), now);
            }
        }
    }

    /// Links of the ring that is being made that nobody was asked to take, or that were not taken.
    fn due_links(&self) -> Vec<(Place, Link)> {
        let Phase::Preparing(attempt) = &self.phase else {
            return Vec::new();
        };
        let Step::Linking(ring) = &attempt.step else {
            return Vec::new();
        };
        let mut links = self.unlinked(ring);
        links.retain(|(place, link)| !self.calls.is_asking(*place, &Asked::Link(*link)));
        links
    }

    /// The first place, in the order of peers, that is wanted and not leased; one at a time.
    fn due_reservation(&self) -> Option<Place> {
        let mut wanted = self.slots.iter().filter(|(_, slot)| slot.held().is_none());
        let place = match &self.phase {
            Phase::Preparing(_) => wanted.find(|(place, _)| self.is_preparing(**place)),
            Phase::Serving | Phase::Planning { .. } => wanted.next(),
            _ => None,
        };
        let place = place.map(|(place, _)| *place);
        place.filter(|place| !self.calls.is_asking(*place, &Asked::Reserve))
    }

    fn finish(&mut self, now: Instant) {
        if self.withdraw_at.is_some_and(|at| at <= now) {
            self.withdraw();
        }
        let Phase::Leaving { until } = self.phase else {
            return;
        };
        if until <= now || !self.calls.may_change_leases() {
            self.phase = Phase::Ended;
            self.outputs.push_back(Output::Ended);
        }
    }

    /// Gives everything back.
    pub(super) fn leave(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Leaving { .. }) {
            return;
        }
        self.end_ring(RingEnd::Stopped, now);
        self.withdraw();
        self.spares.clear();
        self.pulse = Pulse::default();
        for (place, slot) in std::mem::take(&mut self.slots) {
            if let Slot::Held(held) = slot {
                self.release(place, held.lease, now);
            }
        }
        let until = now + RELEASE_PATIENCE;
        self.phase = Phase::Leaving { until };
    }

    fn withdraw(&mut self) {
        self.withdraw_at = None;
        if std::mem::take(&mut self.is_published) {
            self.outputs.push_back(Output::Withdraw);
        }
    }
}
