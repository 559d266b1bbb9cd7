//! Memory for a model that is absent: taken where it is free, else made by letting others go.

use std::time::Instant;

use super::{GUEST_LOAD_GAP, LoadId, Output, Phase, Refusal, Residency, Resident, Want, refuse};

impl Residency {
    /// Begins the load of an absent model if there is room, else makes room. True: the ticket
    /// was refused. After a load was begun it still waits.
    pub(super) fn try_place(&mut self, want: &Want, now: Instant, out: &mut Vec<Output>) -> bool {
        if let Some(refusal) = self.hopeless(want, now) {
            refuse(want.ticket, refusal, out);
            return true;
        }
        if self.free_bytes() >= want.need_bytes {
            self.begin_load(want, now, out);
        } else {
            self.make_room(want.need_bytes, out);
        }
        false
    }

    fn hopeless(&self, want: &Want, now: Instant) -> Option<Refusal> {
        let failure = self.failures.get(&want.model);
        if let Some(failure) = failure.filter(|failure| failure.until > now) {
            return Some(Refusal::LoadFailed {
                cause: failure.cause.clone(),
                retry_after: failure.until - now,
            });
        }
        let pinned = self.residents.values().filter(|resident| resident.pinned);
        let pinned_bytes = pinned.fold(0u64, |sum, resident| {
            sum.saturating_add(resident.need_bytes)
        });
        let available_bytes = self.budget_bytes().saturating_sub(pinned_bytes);
        (want.need_bytes > available_bytes).then_some(Refusal::TooLarge {
            need_bytes: want.need_bytes,
            available_bytes,
        })
    }

    /// Memory that a load could take now, bytes.
    pub fn free_bytes(&self) -> u64 {
        let used = self.all().fold(0u64, |sum, (_, resident)| {
            sum.saturating_add(resident.need_bytes)
        });
        self.budget_bytes().saturating_sub(used)
    }

    /// What models may take together now.
    fn budget_bytes(&self) -> u64 {
        self.policy.budget_bytes.saturating_sub(self.lent_bytes)
    }

    /// Begins the load of an absent model for a guest if nothing stands against it. True: the
    /// ticket was refused.
    pub(super) fn try_place_guest(
        &mut self,
        want: &Want,
        room_is_awaited: bool,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> bool {
        let too_soon = |last: Instant| now.saturating_duration_since(last) < GUEST_LOAD_GAP;
        let refusal = match self.hopeless(want, now) {
            Some(refusal) => refusal,
            None if room_is_awaited
                || self.free_bytes() < want.need_bytes
                || (!want.placed && self.guest_load.is_some_and(too_soon)) =>
            {
                Refusal::NoRoom
            }
            None => {
                if !want.placed {
                    self.guest_load = Some(now);
                }
                self.begin_load(want, now, out);
                return false;
            }
        };
        refuse(want.ticket, refusal, out);
        true
    }

    fn begin_load(&mut self, want: &Want, now: Instant, out: &mut Vec<Output>) {
        let resident = self.new_load(want, now, out);
        self.residents.insert(want.model.clone(), resident);
    }

    /// A load of what is wanted. The caller keeps it.
    pub(super) fn new_load(
        &mut self,
        want: &Want,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> Resident {
        let load = LoadId(self.next_load);
        self.next_load += 1;
        out.push(Output::Load {
            load,
            model: want.model.clone(),
            ticket: want.ticket,
        });
        Resident {
            load,
            phase: Phase::Loading,
            need_bytes: want.need_bytes,
            pinned: want.pinned,
            guests_only: want.guest,
            leases: 0,
            guests: 0,
            last_used: now,
            version: want.version,
            outdated: None,
        }
    }

    /// Drains idle models until `need_bytes` are free or will be, those of guests and then the
    /// least recently used first, and last those that are kept for the swarm; none if even all of
    /// them would not do.
    fn make_room(&mut self, need_bytes: u64, out: &mut Vec<Output>) {
        let draining = self.all().filter(|(_, r)| r.phase == Phase::Draining);
        let mut coming = self.free_bytes();
        coming = draining.fold(coming, |sum, (_, resident)| {
            sum.saturating_add(resident.need_bytes)
        });
        let idle = self
            .residents
            .iter()
            .filter(|(_, r)| r.is_idle() && !r.pinned);
        let mut idle: Vec<_> = idle
            .map(|(model, resident)| {
                let (kept, owners) = (self.kept.contains(model), !resident.guests_only);
                let order = (kept, owners, resident.last_used, model.clone());
                (order, resident.need_bytes)
            })
            .collect();
        idle.sort_unstable();
        let mut victims = Vec::new();
        for ((_, _, _, model), bytes) in idle {
            if coming >= need_bytes {
                break;
            }
            coming = coming.saturating_add(bytes);
            victims.push(model);
        }
        if coming >= need_bytes {
            for model in victims {
                self.residents
                    .get_mut(&model)
                    .into_iter()
                    .for_each(|resident| resident.drain(out));
            }
        }
    }
}
