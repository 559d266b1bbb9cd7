//! What is lost: peers that are gone, rings that fail, stages that are of no use any more. What
//! takes their place is decided by [`Deployment::recover`].

use std::time::{Duration, Instant};

use protocol::NodeId;
use rand::Rng;

use super::event::{FailureCause, Generation, Loss, Output, PlanReason, Ring, RingEnd};
use super::plan::Place;
use super::slot::Slot;
use super::{Deployment, Phase, WITHDRAW_AFTER, is_fault_of_spare};

impl<R: Rng> Deployment<R> {
    pub(super) fn on_peer_gone(&mut self, peer: NodeId, now: Instant) {
        let places = self.slots.keys().filter(|place| place.peer == peer);
        for place in places.copied().collect::<Vec<_>>() {
            self.miss(place, Loss::Gone, Duration::ZERO, now);
            self.lose(place, Loss::Gone, now);
        }
    }

    pub(super) fn on_ring_failed(
        &mut self,
        generation: Generation,
        peer: Option<NodeId>,
        now: Instant,
    ) {
        let mut rings = self.ring.iter().chain(self.probed());
        let Some(ring) = rings.find(|ring| ring.generation == generation) else {
            return;
        };
        match place_of(ring, peer) {
            Some(place) => self.lose(place, Loss::Blamed, now),
            None => self.relink(now),
        }
    }

    /// A stage stops soon. A ring that works goes on with it until there is another.
    pub(super) fn on_leaving(&mut self, place: Place, now: Instant) {
        let rest = Duration::ZERO;
        self.exclusions.add(place.peer, Loss::Leaving, rest, now);
        if !self.is_in_ring(place) {
            self.lose(place, Loss::Leaving, now);
        }
    }

    /// A stage or a spare that was leased is of no use any more.
    pub(super) fn lose(&mut self, place: Place, why: Loss, now: Instant) {
        let Some(Slot::Held(held)) = self.slots.get(&place) else {
            return;
        };
        let lease = held.lease;
        self.slots.remove(&place);
        self.pulse.forget(place);
        self.spares.retain(|spare| *spare != place);
        self.release(place, lease, now);
        let peer = place.peer;
        let was_in_ring = self.is_in_ring(place);
        if was_in_ring || self.is_preparing(place) || is_fault_of_spare(why) {
            self.exclusions.add(peer, why, Duration::ZERO, now);
        }
        self.on_spare_missed(now);
        if was_in_ring {
            // What was tried while the ring worked is no failure of what begins now.
            self.tries = 0;
            self.end_ring(RingEnd::Stage { peer, why }, now);
        }
        let is_preparing = matches!(self.phase, Phase::Preparing(_));
        if self.is_preparing(place) || (was_in_ring && !is_preparing) {
            self.cause = FailureCause::Stage { peer, why };
            self.recover(PlanReason::Lost, now);
        }
    }

    pub(super) fn end_ring(&mut self, end: RingEnd, now: Instant) {
        let Some(ring) = self.ring.take() else {
            return;
        };
        self.laggards.on_settled();
        let generation = ring.generation;
        self.outputs.push_back(Output::RingLost { generation, end });
        self.withdraw_at = Some(now + WITHDRAW_AFTER);
    }
}

/// The stage of a ring that this peer holds.
pub(super) fn place_of(ring: &Ring, peer: Option<NodeId>) -> Option<Place> {
    let mut stages = ring.stages.iter();
    stages.find(|stage| Some(stage.peer) == peer).copied()
}
