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
//! Of a model whose files were replaced, a second load may take the first one's place (`update`).
//!
//! Whoever waits for room waits in order: a later request never takes room that an earlier one
//! waits for. Waiting ends at a deadline in any case.
//!
//! A guest (another peer's request) never waits for room, evicts nothing, and has a model loaded
//! only where memory is free and no guest did within [`GUEST_LOAD_GAP`]; what was loaded for
//! guests alone makes room first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use protocol::ModelName;

mod event;
mod resident;
mod room;
mod update;

pub use self::event::{Input, LoadId, Output, Policy, Refusal, Ticket, Version, Want};
pub use self::resident::{Phase, Resident};
use self::update::name_of;
pub use self::update::{Outdated, UPDATE_PATIENCE};

/// Requests that wait for a load or for room at most, all models together: more than the API
/// admits by default, few enough to scan at each event.
pub const MAX_WAITING: usize = 1024;

/// Leases of one model at most: sixteen times the sequences of a llama.cpp context.
pub const MAX_LEASES: u32 = 4096;

/// How long a failed load is remembered: retries of impatient clients within it cost nothing.
pub const FAILURE_MEMORY: Duration = Duration::from_secs(10);

/// The least time between two loads for guests: strangers do not keep the disk busy.
pub const GUEST_LOAD_GAP: Duration = Duration::from_secs(60);

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
    /// Loads of newer files of models that are resident.
    updates: BTreeMap<ModelName, Resident>,
    /// What newer files took the place of, until its answers have ended: one of a model at most.
    retired: Vec<(ModelName, Resident)>,
    waiting: VecDeque<Waiting>,
    failures: BTreeMap<ModelName, Failure>,
    next_load: u64,
    guest_load: Option<Instant>,
    /// Models that are kept for the swarm.
    kept: BTreeSet<ModelName>,
    /// Memory that stages for other peers' chains take.
    lent_bytes: u64,
    stopping: bool,
}

impl Residency {
    /// Nothing is loaded.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            residents: BTreeMap::new(),
            updates: BTreeMap::new(),
            retired: Vec::new(),
            waiting: VecDeque::new(),
            failures: BTreeMap::new(),
            next_load: 0,
            guest_load: None,
            kept: BTreeSet::new(),
            lent_bytes: 0,
            stopping: false,
        }
    }

    /// Takes what happened; appends what is to be done.
    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Output>) {
        match input {
            Input::Acquire(want) => self.on_acquire(want, now, out),
            Input::Cancel(ticket) => self.waiting.retain(|waiting| waiting.want.ticket != ticket),
            Input::Release(load) => self.on_release(load, now),
            Input::ReleaseGuest(load) => self.on_release_guest(load, now),
            Input::Loaded(load) => self.on_loaded(load, now),
            Input::Ended { load, cause } => self.on_ended(load, cause, now, out),
            Input::Unload(model) => self.on_unload(&model, out),
            Input::Keep(models) => self.kept = models,
            Input::Lent(bytes) => self.lent_bytes = bytes,
            Input::Stop => self.on_stop(out),
            Input::Tick => {}
        }
        self.expire(now, out);
        self.serve(now, out);
    }

    /// When `Input::Tick` is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let keep_alive = self.policy.keep_alive;
        let residents = self.residents.iter();
        let aging = residents.filter(|(model, _)| !self.kept.contains(*model));
        let idle = aging.filter_map(|(_, resident)| resident.expires_at(keep_alive));
        let waiting = self.waiting.iter().map(|waiting| waiting.deadline);
        idle.chain(waiting).min()
    }

    /// The models that are loaded or being loaded, or end, by name.
    pub fn residents(&self) -> &BTreeMap<ModelName, Resident> {
        &self.residents
    }

    /// Everything that takes memory: of a model whose files were replaced, the older and the newer.
    pub fn all(&self) -> impl Iterator<Item = (&ModelName, &Resident)> {
        let retired = self
            .retired
            .iter()
            .map(|(model, resident)| (model, resident));
        self.residents.iter().chain(&self.updates).chain(retired)
    }

    /// Models of which only what was loaded of older files is left.
    pub fn replaced(&self) -> impl Iterator<Item = &ModelName> {
        let models = self.retired.iter().map(|(model, _)| model);
        models.filter(|model| !self.residents.contains_key(*model))
    }

    /// Requests that wait for this model.
    pub fn waiting_for(&self, model: &ModelName) -> usize {
        let waiting = self.waiting.iter();
        waiting
            .filter(|waiting| waiting.want.model == *model)
            .count()
    }

    /// Whether anybody but guests waits for a load or for room.
    pub fn owner_waits(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.want.guest)
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
        self.update(&want, now, out);
        let deadline = now + self.policy.wait;
        self.waiting.push_back(Waiting { want, deadline });
    }

    fn on_release(&mut self, load: LoadId, now: Instant) {
        if let Some(resident) = self.resident_mut(load) {
            resident.leases = resident.leases.saturating_sub(1);
            resident.last_used = now;
        }
    }

    fn on_release_guest(&mut self, load: LoadId, now: Instant) {
        if let Some(resident) = self.resident_mut(load) {
            resident.guests = resident.guests.saturating_sub(1);
        }
        self.on_release(load, now);
    }

    fn on_loaded(&mut self, load: LoadId, now: Instant) {
        if self.on_update_loaded(load, now) {
            return;
        }
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
        if self.on_update_ended(load) {
            return;
        }
        let Some(model) = name_of(&self.residents, load) else {
            return;
        };
        let ended = self.residents.remove(&model);
        let phase = ended.map_or(Phase::Draining, |resident| resident.phase);
        if self.promote(&model) {
            return;
        }
        let cause = cause.filter(|_| phase != Phase::Draining);
        if let Some(cause) = cause {
            self.remember_failure(model, cause, now);
        } else if phase == Phase::Loading {
            self.refuse_waiting_for(&model, &Refusal::Unloaded, out);
        }
    }

    /// Models whose last load failed a moment ago, or that failed after it.
    pub fn failed(&self) -> impl Iterator<Item = &ModelName> {
        self.failures.keys()
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
        self.drain_updates(model, out);
    }

    fn on_stop(&mut self, out: &mut Vec<Output>) {
        self.stopping = true;
        for waiting in self.waiting.drain(..) {
            refuse(waiting.want.ticket, Refusal::Stopping, out);
        }
        let retired = self.retired.iter_mut().map(|(_, resident)| resident);
        let newer = self.updates.values_mut();
        for resident in self.residents.values_mut().chain(newer).chain(retired) {
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
        self.let_go_retired(out);
        let keep_alive = self.policy.keep_alive;
        for (model, resident) in &mut self.residents {
            let wanted = self
                .waiting
                .iter()
                .any(|waiting| waiting.want.model == *model);
            let expired = resident.expires_at(keep_alive).is_some_and(|at| at <= now);
            if expired && !wanted && !self.kept.contains(model) {
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
            if !absent(self) {
                return true;
            }
            let refused = if waiting.want.guest {
                self.try_place_guest(&waiting.want, room_is_awaited, now, out)
            } else {
                !room_is_awaited && self.try_place(&waiting.want, now, out)
            };
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
        resident.guests += u32::from(want.guest);
        resident.pinned |= want.pinned;
        resident.guests_only &= want.guest;
        out.push(Output::Grant {
            ticket: want.ticket,
            load: resident.load,
        });
        true
    }

    fn resident_mut(&mut self, load: LoadId) -> Option<&mut Resident> {
        let retired = self.retired.iter_mut().map(|(_, resident)| resident);
        let newer = self.updates.values_mut();
        let mut all = self.residents.values_mut().chain(newer).chain(retired);
        all.find(|resident| resident.load == load)
    }
}

fn refuse(ticket: Ticket, refusal: Refusal, out: &mut Vec<Output>) {
    out.push(Output::Refuse { ticket, refusal });
}

#[cfg(test)]
mod tests;
