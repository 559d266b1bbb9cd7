//! Which models are loaded: what is loaded on demand, what makes room, what is let go. It
//! knows no engine, no file and no clock; a model is a name and the memory that it needs.
//!
//! A model's states:
//! - (absent) → `Loading`: somebody waits for it and there is room (`Output::Load`)
//! - `Loading` → `Ready`: `Input::Loaded`; everybody who waits for it gets a lease
//! - `Loading` → (absent): `Input::Ended` with a cause; remembered for a while, so that a
//!   broken file is not read again for every request
//! - `Ready` → `Draining`: idle for the keep-alive, or idle and its room is needed, or asked
//!   for (`Output::Unload`); never for room or age while a lease is out
//! - `Ready` → (absent): `Input::Ended` with a cause: its engine gave up
//! - `Draining` → (absent): `Input::Ended`
//!
//! Whoever waits for room waits in order: a later request never takes room that an earlier one
//! waits for. Waiting ends at a deadline in any case.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use protocol::ModelName;

mod event;
mod resident;

pub use self::event::{Input, LoadId, Output, Policy, Refusal, Ticket, Want};
pub use self::resident::{Phase, Resident};

/// Requests that wait for a load or for room at most, all models together: more than the API
/// admits by default, few enough to scan at each event.
pub const MAX_WAITING: usize = 1024;

/// Leases of one model at most: sixteen times the sequences of a llama.cpp context.
pub const MAX_LEASES: u32 = 4096;

/// How long a failed load is remembered: retries of impatient clients within it cost nothing.
pub const FAILURE_MEMORY: Duration = Duration::from_secs(10);

/// Failed models remembered at most; the oldest is forgotten first.
pub const MAX_FAILURES: usize = 64;

#[derive(Debug)]
struct Waiting {
    want: Want,
    deadline: Instant,
}

#[derive(Debug)]
struct Failure {
    cause: String,
    until: Instant,
}

/// The models that are loaded, and who waits for which.
#[derive(Debug)]
pub struct Residency {
    policy: Policy,
    residents: BTreeMap<ModelName, Resident>,
    waiting: VecDeque<Waiting>,
    failures: BTreeMap<ModelName, Failure>,
    next_load: u64,
    stopping: bool,
}

impl Residency {
    /// Nothing is loaded.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            residents: BTreeMap::new(),
            waiting: VecDeque::new(),
            failures: BTreeMap::new(),
            next_load: 0,
            stopping: false,
        }
    }

    /// Takes what happened; appends what is to be done.
    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Output>) {
        match input {
            Input::Acquire(want) => self.on_acquire(want, now, out),
            Input::Cancel(ticket) => self.waiting.retain(|waiting| waiting.want.ticket != ticket),
            Input::Release(load) => self.on_release(load, now),
            Input::Loaded(load) => self.on_loaded(load, now),
            Input::Ended { load, cause } => self.on_ended(load, cause, now, out),
            Input::Unload(model) => self.on_unload(&model, out),
            Input::Stop => self.on_stop(out),
            Input::Tick => {}
        }
        self.expire(now, out);
        self.serve(now, out);
    }

    /// When `Input::Tick` is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let keep_alive = self.policy.keep_alive;
        let residents = self.residents.values();
        let idle = residents.filter_map(|resident| resident.expires_at(keep_alive));
        let waiting = self.waiting.iter().map(|waiting| waiting.deadline);
        idle.chain(waiting).min()
    }

    /// The models that take memory, by name.
    pub fn residents(&self) -> &BTreeMap<ModelName, Resident> {
        &self.residents
    }

    /// Requests that wait for this model.
    pub fn waiting_for(&self, model: &ModelName) -> usize {
        let waiting = self.waiting.iter();
        waiting
            .filter(|waiting| waiting.want.model == *model)
            .count()
    }

    /// The policy.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    fn on_acquire(&mut self, want: Want, now: Instant, out: &mut Vec<Output>) {
        if self.stopping {
            return refuse(want.ticket, Refusal::Stopping, out);
        }
        if self.waiting.len() >= MAX_WAITING {
            return refuse(want.ticket, Refusal::Overloaded, out);
        }
        let deadline = now + self.policy.wait;
        self.waiting.push_back(Waiting { want, deadline });
    }

    fn on_release(&mut self, load: LoadId, now: Instant) {
        if let Some(resident) = self.resident_mut(load) {
            resident.leases = resident.leases.saturating_sub(1);
            resident.last_used = now;
        }
    }

    fn on_loaded(&mut self, load: LoadId, now: Instant) {
        if let Some(resident) = self
            .resident_mut(load)
            .filter(|r| r.phase == Phase::Loading)
        {
            resident.phase = Phase::Ready;
            resident.last_used = now;
        }
    }

    fn on_ended(
        &mut self,
        load: LoadId,
        cause: Option<String>,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let mut residents = self.residents.iter();
        let Some((model, resident)) = residents.find(|(_, resident)| resident.load == load) else {
            return;
        };
        let (model, phase) = (model.clone(), resident.phase);
        self.residents.remove(&model);
        let cause = cause.filter(|_| phase != Phase::Draining);
        if let Some(cause) = cause {
            self.remember_failure(model, cause, now);
        } else if phase == Phase::Loading {
            self.refuse_waiting_for(&model, &Refusal::Unloaded, out);
        }
    }

    fn remember_failure(&mut self, model: ModelName, cause: String, now: Instant) {
        self.failures.retain(|_, failure| failure.until > now);
        if self.failures.len() >= MAX_FAILURES {
            let oldest = self
                .failures
                .iter()
                .min_by_key(|(_, failure)| failure.until);
            if let Some(oldest) = oldest.map(|(model, _)| model.clone()) {
                self.failures.remove(&oldest);
            }
        }
        let until = now + FAILURE_MEMORY;
        self.failures.insert(model, Failure { cause, until });
    }

    fn on_unload(&mut self, model: &ModelName, out: &mut Vec<Output>) {
        self.failures.remove(model);
        self.refuse_waiting_for(model, &Refusal::Unloaded, out);
        if let Some(resident) = self.residents.get_mut(model) {
            resident.drain(out);
        }
    }

    fn on_stop(&mut self, out: &mut Vec<Output>) {
        self.stopping = true;
        for waiting in self.waiting.drain(..) {
            refuse(waiting.want.ticket, Refusal::Stopping, out);
        }
        for resident in self.residents.values_mut() {
            resident.drain(out);
        }
    }

    fn refuse_waiting_for(&mut self, model: &ModelName, refusal: &Refusal, out: &mut Vec<Output>) {
        self.waiting.retain(|waiting| {
            let stays = waiting.want.model != *model;
            if !stays {
                refuse(waiting.want.ticket, refusal.clone(), out);
            }
            stays
        });
    }

    /// Ends what has waited or idled too long. Whoever a ready model can serve is not late.
    fn expire(&mut self, now: Instant, out: &mut Vec<Output>) {
        let residents = &self.residents;
        self.waiting.retain(|waiting| {
            let phase = residents
                .get(&waiting.want.model)
                .map(|resident| resident.phase);
            let late = waiting.deadline <= now && phase != Some(Phase::Ready);
            if late {
                let refusal = match phase {
                    Some(Phase::Loading) => Refusal::StillLoading,
                    _ => Refusal::NoRoom,
                };
                refuse(waiting.want.ticket, refusal, out);
            }
            !late
        });
        let keep_alive = self.policy.keep_alive;
        for (model, resident) in &mut self.residents {
            let wanted = self
                .waiting
                .iter()
                .any(|waiting| waiting.want.model == *model);
            let expired = resident.expires_at(keep_alive).is_some_and(|at| at <= now);
            if expired && !wanted {
                resident.drain(out);
            }
        }
    }

    /// Serves the waiting in order: first leases on what is ready, then loads. Once one has to
    /// wait for room, no later one may start a load.
    fn serve(&mut self, now: Instant, out: &mut Vec<Output>) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|waiting| !self.try_lease(&waiting.want, out));
        let mut room_is_awaited = false;
        waiting.retain(|waiting| {
            let absent = |this: &Self| !this.residents.contains_key(&waiting.want.model);
            let refused =
                absent(self) && !room_is_awaited && self.try_place(&waiting.want, now, out);
            room_is_awaited |= absent(self) && !refused;
            !refused
        });
        self.waiting = waiting;
    }

    fn try_lease(&mut self, want: &Want, out: &mut Vec<Output>) -> bool {
        let resident = self.residents.get_mut(&want.model);
        let Some(resident) = resident.filter(|resident| resident.phase == Phase::Ready) else {
            return false;
        };
        if resident.leases >= MAX_LEASES {
            refuse(want.ticket, Refusal::Overloaded, out);
            return true;
        }
        resident.leases += 1;
        resident.pinned |= want.pinned;
        out.push(Output::Grant {
            ticket: want.ticket,
            load: resident.load,
        });
        true
    }

    /// Begins the load of an absent model if there is room, else makes room. True: the ticket
    /// was refused. After a load was begun it still waits.
    fn try_place(&mut self, want: &Want, now: Instant, out: &mut Vec<Output>) -> bool {
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
        let available_bytes = self.policy.budget_bytes.saturating_sub(pinned_bytes);
        (want.need_bytes > available_bytes).then_some(Refusal::TooLarge {
            need_bytes: want.need_bytes,
            available_bytes,
        })
    }

    fn free_bytes(&self) -> u64 {
        let residents = self.residents.values();
        let used = residents.fold(0u64, |sum, resident| {
            sum.saturating_add(resident.need_bytes)
        });
        self.policy.budget_bytes.saturating_sub(used)
    }

    fn begin_load(&mut self, want: &Want, now: Instant, out: &mut Vec<Output>) {
        let load = LoadId(self.next_load);
        self.next_load += 1;
        let resident = Resident {
            load,
            phase: Phase::Loading,
            need_bytes: want.need_bytes,
            pinned: want.pinned,
            leases: 0,
            last_used: now,
        };
        self.residents.insert(want.model.clone(), resident);
        out.push(Output::Load {
            load,
            model: want.model.clone(),
            ticket: want.ticket,
        });
    }

    /// Drains the least recently used idle models until `need_bytes` are free or will be; none
    /// if even all of them would not do. Models that somebody waits for are not touched.
    fn make_room(&mut self, need_bytes: u64, out: &mut Vec<Output>) {
        let draining = self
            .residents
            .values()
            .filter(|r| r.phase == Phase::Draining);
        let mut coming = self.free_bytes();
        coming = draining.fold(coming, |sum, resident| {
            sum.saturating_add(resident.need_bytes)
        });
        let idle = self
            .residents
            .iter()
            .filter(|(_, r)| r.is_idle() && !r.pinned);
        let mut idle: Vec<_> = idle
            .map(|(model, resident)| (resident.last_used, model.clone(), resident.need_bytes))
            .collect();
        idle.sort_unstable();
        let mut victims = Vec::new();
        for (_, model, bytes) in idle {
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

    fn resident_mut(&mut self, load: LoadId) -> Option<&mut Resident> {
        self.residents
            .values_mut()
            .find(|resident| resident.load == load)
    }
}

fn refuse(ticket: Ticket, refusal: Refusal, out: &mut Vec<Output>) {
    out.push(Output::Refuse { ticket, refusal });
}

#[cfg(test)]
mod tests;
