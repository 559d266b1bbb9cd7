//! What happens to leases without their heads: they lapse, fail, are loaded when there is room,
//! and end with the node.

use std::time::{Duration, Instant};

use protocol::{
    ChannelId, LeaseId, NodeId,
    chain::{LeaseReply, Refusal, Refused, Reserve},
    limits::LEASE_LIFETIME,
};
use rand::{Rng, RngExt};

use super::event::{Asker, Failure, Limits, Output, SliceId, Ticket, Told};
use super::lease::{Lease, State};
use super::{Leases, MAX_LEASES, MAX_LEASES_OF_ONE_HEAD, RETRY_AFTER, close, refused};

impl<R: Rng> Leases<R> {
    /// Ends what was not renewed, and what was warm for long enough.
    pub(super) fn lapse(&mut self, now: Instant) {
        let late = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.lapses_at <= now);
        let late: Vec<_> = late.map(|(id, _)| *id).collect();
        for id in late {
            self.end(id, Told::Lapsed, now);
        }
        self.slices.cool(now, &mut self.outputs);
    }

    /// When a lease that is renewed now lapses.
    pub(super) fn lapse_from(&self, now: Instant) -> Instant {
        let lapses_at = now + LEASE_LIFETIME;
        self.stops_at.map_or(lapses_at, |at| at.min(lapses_at))
    }

    /// The lease is no more; nothing is authorised by it.
    pub(super) fn end(&mut self, id: LeaseId, told: Told, now: Instant) {
        let Some(mut lease) = self.leases.remove(&id) else {
            return;
        };
        close(&mut lease, &mut self.outputs);
        if let Some(slice) = lease.slice() {
            // Whoever did not say goodbye hardly comes back within a minute.
            if told == Told::Released && self.stops_at.is_none() {
                self.slices.let_go(slice, now, &mut self.outputs);
            } else {
                self.slices.unload(slice, &mut self.outputs);
            }
        }
        self.tell(id, lease.asker.peer, told);
    }

    /// The lease takes nothing any more; its head is told when it asks.
    pub(super) fn fail(&mut self, id: LeaseId, failure: Failure) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        close(lease, &mut self.outputs);
        if let Some(slice) = lease.slice() {
            self.slices.unload(slice, &mut self.outputs);
        }
        lease.state = State::Failed(failure);
        let head = lease.asker.peer;
        self.tell(id, head, Told::Failed(failure));
    }

    /// The owner's word counts at once: what is not allowed any more ends, then the newest leases
    /// until the rest fits.
    pub(super) fn on_limits(&mut self, limits: Limits) {
        self.limits = limits;
        let live = self.leases.iter().filter(|(_, lease)| !lease.is_failed());
        let forbidden = live.filter(|(_, lease)| !self.limits.allow(lease.asker, &lease.reserve));
        let forbidden: Vec<_> = forbidden.map(|(id, _)| *id).collect();
        for id in forbidden {
            self.fail(id, Failure::NotAllowed);
        }
        self.give_up_spares();
        let limit = self.limits.leasable_bytes();
        while self.promised_bytes() > limit {
            let live = self.leases.iter().filter(|(_, lease)| !lease.is_failed());
            let Some((id, _)) = live.max_by_key(|(_, lease)| lease.serial) else {
                break;
            };
            self.fail(*id, Failure::MemoryTaken);
        }
        self.slices.make_room(0, limit, &mut self.outputs);
    }

    /// Why a head gets no such memory.
    pub(super) fn lacks(&self, head: NodeId, bytes: u64, is_spare: bool) -> Option<LeaseReply> {
        let leases = self.leases.values();
        let of_head = leases.filter(|lease| lease.asker.peer == head).count();
        if self.leases.len() >= MAX_LEASES || of_head >= MAX_LEASES_OF_ONE_HEAD {
            return Some(refused(Refusal::TooMany));
        }
        let limit = self.limits.leasable_bytes();
        let spares = if is_spare { self.spare_bytes() } else { 0 };
        let free_bytes = limit.saturating_sub(self.promised_bytes().saturating_add(spares));
        let refusal = Refused {
            code: Refusal::NoRoom,
            retry_after: Some(RETRY_AFTER),
            needed_bytes: bytes,
            free_bytes,
        };
        (bytes > free_bytes).then_some(LeaseReply::Refused(refusal))
    }

    /// Spares have what nothing else wants; the newest goes first.
    pub(super) fn give_up_spares(&mut self) {
        let limit = self.limits.leasable_bytes();
        while self.promised_bytes().saturating_add(self.spare_bytes()) > limit {
            let spares = self.leases.iter();
            let spares = spares.filter(|(_, lease)| lease.is_spare && !lease.is_failed());
            let Some((id, _)) = spares.max_by_key(|(_, lease)| lease.serial) else {
                break;
            };
            self.fail(*id, Failure::MemoryTaken);
        }
    }

    pub(super) fn on_stop(&mut self, drain: Duration, now: Instant) {
        let stops_at = now + drain;
        self.stops_at = Some(self.stops_at.map_or(stops_at, |at| at.min(stops_at)));
        for lease in self.leases.values_mut() {
            lease.lapses_at = lease.lapses_at.min(stops_at);
        }
        self.slices.make_room(u64::MAX, 0, &mut self.outputs);
        self.lapse(now);
    }

    /// Loads in the order of grants; one that does not fit yet lets no later one pass.
    pub(super) fn load(&mut self) {
        if self.stops_at.is_some() {
            return;
        }
        let going = self.leases.iter();
        let going = going.filter(|(_, lease)| lease.state == State::Going);
        let mut going: Vec<_> = going.map(|(id, lease)| (lease.serial, *id)).collect();
        going.sort_unstable();
        for (_, id) in going {
            if !self.try_load(id) {
                break;
            }
        }
    }

    fn try_load(&mut self, id: LeaseId) -> bool {
        let limit = self.limits.leasable_bytes();
        let Some(lease) = self.leases.get_mut(&id) else {
            return false;
        };
        let Some(slice) = self.slices.try_load(&lease.reserve, lease.bytes, limit) else {
            self.slices.make_room(lease.bytes, limit, &mut self.outputs);
            return false;
        };
        lease.state = State::Holding(slice);
        self.outputs.push_back(Output::Load {
            slice,
            head: lease.asker.peer,
            reserve: lease.reserve.clone(),
        });
        true
    }

    pub(super) fn end_drain(&mut self) {
        let is_idle = self.leases.is_empty() && self.slices.is_empty();
        if self.stops_at.is_some() && is_idle && !self.is_drained {
            self.is_drained = true;
            self.outputs.push_back(Output::Drained);
        }
    }

    pub(super) fn holder(&self, slice: SliceId) -> Option<LeaseId> {
        let mut leases = self.leases.iter();
        let holder = leases.find(|(_, lease): &(_, &Lease)| lease.slice() == Some(slice));
        holder.map(|(id, _)| *id)
    }

    pub(super) fn reply(&mut self, ticket: Ticket, reply: LeaseReply) {
        self.outputs.push_back(Output::Reply { ticket, reply });
    }

    pub(super) fn tell(&mut self, lease: LeaseId, head: NodeId, event: Told) {
        let told = Output::Told { lease, head, event };
        self.outputs.push_back(told);
    }

    pub(super) fn new_lease_id(&mut self) -> LeaseId {
        loop {
            let id = LeaseId(self.rng.random());
            if !self.leases.contains_key(&id) {
                return id;
            }
        }
    }

    pub(super) fn new_channel_id(&mut self) -> ChannelId {
        loop {
            let id = ChannelId(self.rng.random());
            if self.leases.values().all(|lease| lease.channel != id) {
                return id;
            }
        }
    }
}

impl Limits {
    pub(super) fn allow(&self, asker: Asker, reserve: &Reserve) -> bool {
        let model = &reserve.model.name;
        let is_served = self
            .models
            .as_ref()
            .is_none_or(|models| models.contains(model));
        is_served && (self.serves_strangers || !asker.is_stranger)
    }
}
