//! One deployment, as its head drives it: from a plan to a ring that serves, and on from there
//! when stages fail or leave. It sends, loads and plans nothing itself, and knows no session.
//!
//! Phases:
//! - idle → preparing: the first `Input::Plan`
//! - preparing, four steps, each with a deadline:
//!   - reserving → loading: every stage is leased; one refusal → resting
//!   - loading → linking: every stage is ready
//!   - linking → probing: every stage has its neighbours (`Output::Probe`)
//!   - probing → serving: a token came around (`Output::RingReady`, `Output::Publish`)
//! - preparing → preparing, with a spare for it, or → planning: a stage was lost
//! - resting → planning: the rest is over (`Output::WantPlan`)
//! - planning → preparing: a plan; → resting: none
//! - serving → preparing or planning: a stage was lost (`Output::RingLost`), or is slow or about
//!   to leave (the ring goes on until the next one is to be linked)
//! - any → leaving: `Input::Stop`, or [`MAX_TRIES`] plans failed in a row (`Output::Failed`)
//! - leaving → ended: every lease was given back, or [`RELEASE_PATIENCE`] passed
//!
//! **Reserving is all or nothing, in the order of the peers' ids.** A stage peer never lets
//! anybody wait, so heads cannot block one another; the one order sees to it that of two heads
//! that want the same peers, one has all of them and the other none, instead of half each. After
//! a refusal everything is given back before the next try, after a rest that is partly chance.
//!
//! **A reservation loads nothing.** The stages are told to load (by the first renewal) when all
//! of them are reserved: no peer reads 20 GB for a deployment that will not be.
//!
//! **Links go out together.** A stage's channel is known since its reservation, and nothing is
//! sent around the ring before all have answered.
//!
//! When a stage is lost the others keep their leases, so a plan (or a spare) that leaves their
//! layers alone only waits for what is new. At most one ring is ready at a time.
//!
//! **A stage that hangs is found by asking.** When batches are overdue, and when stages are linked,
//! each of them owes an answer out of its memory; whoever owes it for too long while others answer
//! is lost (`pulse`).

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use protocol::{
    ChannelId, NodeId,
    chain::{Granted, LeaseReply, LeaseRequest, Refusal, Refused, StageState},
};
use rand::Rng;

mod attempt;
mod calls;
mod doubts;
mod event;
mod exclusions;
mod laggards;
mod losses;
mod plan;
mod pulse;
mod slot;
mod spares;
mod status;
mod upkeep;

use self::attempt::Attempt;
pub use self::calls::CALL_PATIENCE;
use self::calls::{Asked, Calls, Pending};
pub use self::doubts::{QUICK_RELINKS, STEADY_AFTER};
pub use self::event::{
    CallError, CallId, Excluded, FailureCause, Generation, Hop, Input, Loss, Output, PlanReason,
    Ring, RingEnd, Slow,
};
use self::exclusions::Exclusions;
use self::laggards::Laggards;
pub use self::plan::{MAX_SPARES, MAX_STAGES, Place, Plan, PlanError, Work};
pub use self::pulse::PULSE_PATIENCE;
use self::pulse::Pulse;
use self::slot::{Held, Report, Slot};
use self::spares::is_fault_of_spare;
pub use self::spares::{SPARES_EVERY, SPARES_REST};
pub use self::status::{Doing, StageStatus, Status};

/// Requests for one reservation: a packet may be lost, a peer that misses two is not there.
const MAX_RESERVE_TRIES: u32 = 2;

/// How often a stage that loads is asked how far it is: a cached slice is ready within two
/// seconds, and a small message costs nothing beside what is loaded.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// The same for a load that began a moment ago: while an answer waits for it, each tenth of a second
/// counts.
const POLL_FIRST: Duration = Duration::from_millis(50);

/// The pause before a request that was not answered is sent again.
const RETRY_GAP: Duration = Duration::from_millis(500);

/// A stage that answers no renewal for so long is lost: several were tried, and its lease would
/// end in ten seconds more.
pub const SILENT_AFTER: Duration = Duration::from_secs(20);

/// A load whose progress stands still for so long is stuck: the slowest disks and links report
/// more often.
pub const STUCK_AFTER: Duration = Duration::from_secs(120);

/// Reserving takes two seconds where a peer is slow; leases that are not renewed yet outlive it.
pub const RESERVING_PATIENCE: Duration = Duration::from_secs(20);

/// A slice of 100 GB over a link of 100 Mbit/s; one that does not move is found much earlier.
pub const LOADING_PATIENCE: Duration = Duration::from_secs(3 * 3600);

/// Links are answered from memory: four tries of each.
pub const LINKING_PATIENCE: Duration = Duration::from_secs(8);

/// One token through the ring, with cold caches and disks that still read.
pub const PROBING_PATIENCE: Duration = Duration::from_secs(15);

/// The planner computes; it may first ask peers for figures.
pub const PLAN_PATIENCE: Duration = Duration::from_secs(15);

/// Whoever gives leases back waits for the answers so long; a lease whose release was lost lapses.
pub const RELEASE_PATIENCE: Duration = Duration::from_secs(3);

/// A ring that is replaced sooner stays published: requests wait for it.
pub const WITHDRAW_AFTER: Duration = Duration::from_secs(10);

/// Plans that fail in a row before the deployment is given up: with the rests between them, longer
/// than a peer that failed is left out.
pub const MAX_TRIES: u32 = 8;

/// Plans that are not to be had in a row, before the first ring and with nobody left out: peers that
/// are there, and how far they are from one another, are known within some seconds.
pub const MAX_NO_PLANS: u32 = 5;

/// The longest rest after the first failure; it doubles with each.
pub const REST_BASE: Duration = Duration::from_secs(1);

/// The longest rest of all.
pub const MAX_REST: Duration = Duration::from_secs(30);

#[derive(Debug)]
enum Phase {
    Idle,
    Planning { until: Instant },
    Resting { until: Instant },
    Preparing(Attempt),
    Serving,
    Leaving { until: Instant },
    Ended,
}

/// One deployment.
#[derive(Debug)]
pub struct Deployment<R> {
    head: NodeId,
    work: Work,
    phase: Phase,
    /// What is leased or to be leased. In the order of peers, which is the order of reserving.
    slots: BTreeMap<Place, Slot>,
    /// Places beside the ring that are kept ready for it.
    spares: Vec<Place>,
    /// The stages that were last to be a ring.
    wanted: Vec<Place>,
    /// The ring that is ready.
    ring: Option<Ring>,
    generation: u64,
    calls: Calls,
    exclusions: Exclusions,
    /// Failures since a ring was ready.
    tries: u32,
    /// What failed last.
    cause: FailureCause,
    /// Who was asked whether it is there.
    pulse: Pulse,
    /// Who was found slow.
    laggards: Laggards,
    /// When spares are looked for.
    spares_at: Option<Instant>,
    /// Since when the last ring served.
    up_since: Option<Instant>,
    /// Rings that broke one after the other, with nobody to blame.
    breaks: u32,
    /// Plans that were not to be had in a row.
    no_plans: u32,
    is_published: bool,
    withdraw_at: Option<Instant>,
    outputs: VecDeque<Output>,
    rng: R,
}

impl<R: Rng> Deployment<R> {
    /// A deployment that waits for its first plan. `rng` makes channels and spreads rests.
    pub fn new(head: NodeId, work: Work, rng: R) -> Self {
        Self {
            head,
            work,
            phase: Phase::Idle,
            slots: BTreeMap::new(),
            spares: Vec::new(),
            wanted: Vec::new(),
            ring: None,
            generation: 0,
            calls: Calls::default(),
            exclusions: Exclusions::default(),
            tries: 0,
            cause: FailureCause::NoPlan,
            pulse: Pulse::default(),
            laggards: Laggards::default(),
            spares_at: None,
            up_since: None,
            breaks: 0,
            no_plans: 0,
            is_published: false,
            withdraw_at: None,
            outputs: VecDeque::new(),
            rng,
        }
    }

    /// Takes what happened. After [`Output::Ended`] nothing matters any more.
    pub fn handle(&mut self, input: Input, now: Instant) {
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        self.pulse.on_woken(self.woken_by(now), now);
        match input {
            Input::Plan(plan) => self.on_plan(plan, now),
            Input::NoPlan => self.on_no_plan(now),
            Input::Answered { call, result } => self.on_answered(call, result, now),
            Input::Probed { generation, result } => self.on_probed(generation, result, now),
            Input::RingFailed { generation, peer } => self.on_ring_failed(generation, peer, now),
            Input::Overdue(generation) => self.on_overdue(generation, now),
            Input::Spares(places) => self.on_spares(places, now),
            Input::PeerGone(peer) => self.on_peer_gone(peer, now),
            Input::Stop => self.leave(now),
            Input::Tick => {}
        }
        self.drive(now);
    }

    /// The next thing to do.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether a frame on this channel from this peer is the result of a ring of ours.
    pub fn may_receive(&self, channel: ChannelId, peer: NodeId) -> bool {
        let probed = match &self.phase {
            Phase::Preparing(attempt) => attempt.ring(),
            _ => None,
        };
        let mut rings = self.ring.iter().chain(probed);
        rings.any(|ring| ring.back == channel && ring.stages.last().is_some_and(|s| s.peer == peer))
    }

    fn on_answered(&mut self, call: CallId, result: Result<LeaseReply, CallError>, now: Instant) {
        let Some((pending, is_late)) = self.calls.take(call) else {
            return;
        };
        if pending.is_prompt() && result.is_ok() {
            self.pulse.on_answer(pending.place, pending.sent_at, now);
        }
        match (pending.asked, result) {
            (Asked::Release(_), _) => {}
            (Asked::Reserve, Ok(LeaseReply::Granted(granted))) => {
                self.on_granted(&pending, &granted, now);
            }
            (Asked::Reserve, Ok(LeaseReply::Refused(refused))) => {
                self.on_refused(pending.place, &refused, now);
            }
            (Asked::Link(_) | Asked::Renew(_), Ok(LeaseReply::State(state))) => {
                self.on_state(&pending, &state, now);
            }
            (Asked::Link(_) | Asked::Renew(_), Ok(LeaseReply::Refused(refused))) => {
                self.on_lease_refused(&pending, refused.code, now);
            }
            (_, Ok(_)) => self.on_unanswered(&pending, CallError::Broken, now),
            // A late one was counted when it became late.
            (_, Err(error)) if !is_late => self.on_unanswered(&pending, error, now),
            (_, Err(_)) => {}
        }
    }

    fn on_granted(&mut self, pending: &Pending, granted: &Granted, now: Instant) {
        let place = pending.place;
        let is_preparing = self.is_preparing(place);
        match self.slots.get_mut(&place) {
            Some(slot @ Slot::Wanted(_)) => {
                let mut held = Held::new(granted, pending.sent_at, now);
                if !is_preparing {
                    held.go(now);
                }
                *slot = Slot::Held(Box::new(held));
            }
            // The answer to an earlier try.
            Some(Slot::Held(held)) if held.lease == granted.lease => {}
            _ => self.release(place, granted.lease, now),
        }
    }

    /// A reservation is refused: a ring's whole attempt is over, or one spare less.
    fn on_refused(&mut self, place: Place, refused: &Refused, now: Instant) {
        let why = match refused.code {
            Refusal::Draining => Loss::Leaving,
            code => Loss::Refused(code),
        };
        self.miss(place, why, refused.retry_after.unwrap_or_default(), now);
    }

    /// A place that was wanted is not to be had.
    fn miss(&mut self, place: Place, why: Loss, rest: Duration, now: Instant) {
        if !matches!(self.slots.get(&place), Some(Slot::Wanted(_))) {
            return;
        }
        self.slots.remove(&place);
        self.spares.retain(|spare| *spare != place);
        let is_preparing = self.is_preparing(place);
        if is_preparing || is_fault_of_spare(why) {
            self.exclusions.add(place.peer, why, rest, now);
        }
        if !is_preparing {
            self.on_spare_missed(now);
        } else {
            let peer = place.peer;
            self.cause = FailureCause::Stage { peer, why };
            self.back_off(now);
        }
    }

    fn on_state(&mut self, pending: &Pending, state: &StageState, now: Instant) {
        let place = pending.place;
        let Some(held) = self.held_for(pending) else {
            return;
        };
        let report = Report::from(state);
        held.on_report(report, pending.sent_at, now);
        if let Asked::Link(link) = pending.asked {
            held.on_link_answered(link, now);
        }
        let (is_failed, is_leaving) = (held.is_failed(), held.is_leaving);
        self.on_course(place, now);
        if is_failed {
            self.lose(place, Loss::Failed, now);
        } else if is_leaving {
            self.on_leaving(place, now);
        }
    }

    fn on_lease_refused(&mut self, pending: &Pending, code: Refusal, now: Instant) {
        if self.held_for(pending).is_some() {
            self.lose(pending.place, Loss::Refused(code), now);
        }
    }

    fn on_unanswered(&mut self, pending: &Pending, error: CallError, now: Instant) {
        let place = pending.place;
        if pending.asked == Asked::Reserve {
            if self.slots.get_mut(&place).is_some_and(Slot::is_hopeless) {
                self.miss(place, Loss::NotAsked(error), Duration::ZERO, now);
            }
            return;
        }
        let Some(held) = self.held_for(pending) else {
            return;
        };
        held.on_unanswered(now);
        if error == CallError::Broken {
            self.lose(place, Loss::NotAsked(error), now);
        }
    }

    /// The lease that a request was about, where it is still held.
    fn held_for(&mut self, pending: &Pending) -> Option<&mut Held> {
        let lease = match pending.asked {
            Asked::Link(link) => link.lease,
            Asked::Renew(lease) | Asked::Release(lease) => lease,
            Asked::Reserve => return None,
        };
        let held = self.slots.get_mut(&pending.place)?.held_mut()?;
        (held.lease == lease).then_some(held)
    }

    fn call(&mut self, place: Place, request: LeaseRequest, now: Instant) {
        let asked = Asked::of(&request);
        if matches!(asked, Asked::Link(_)) {
            self.pulse.note_asked(place, now);
        }
        let call = self.calls.insert(place, asked, now);
        self.outputs.push_back(Output::Call {
            call,
            peer: place.peer,
            request,
        });
    }
}

#[cfg(test)]
mod tests;
