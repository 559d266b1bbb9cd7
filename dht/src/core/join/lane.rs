//! One way into the swarm: its rounds, its queue of addresses and its dials in flight.
//!
//! Transitions of a lane: `Off` is final; `Resting → Running` when its rest is over, when peers
//! turn up unasked or when the network changed; `Running → Resting` when its search is over, its
//! queue is empty and no dial is in flight.
//!
//! Each family has dial slots of its own, so that the dials of a family whose packets vanish
//! never stand in the other's way.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use protocol::NodeId;

use super::{
    DialId, SearchId,
    address::{Address, Candidate, Family, interleave},
    cause::{Cause, Families, Tally},
};

/// Dials in flight of one way and family. With four ways and two families 64 in all: a home
/// router's table holds thousands.
pub const SLOTS: usize = 8;

/// The same once there is a peer: the rest goes on quietly.
pub const QUIET_SLOTS: usize = 1;

/// The time between two dials to one peer (RFC 8305 section 5, "Connection Attempt Delay"). A
/// dial that fails earlier lets the next begin at once.
pub const STAGGER: Duration = Duration::from_millis(250);

/// After this a dial has failed: five round trips of a bad path, and a lost SYN sent again twice.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Peers whose addresses one round tries: as many as a bootstrap list has.
pub const MAX_CANDIDATES: usize = 64;

/// The least time between two rounds of one way, whatever turns up: peers that are announced and
/// refuse at once are not dialed in a loop.
pub const MIN_ROUND: Duration = Duration::from_secs(1);

/// An address that waits for its turn.
#[derive(Debug, Clone)]
struct Queued {
    peer: NodeId,
    address: Address,
    /// Which of its peer's addresses it is: all first ones go before all second ones.
    turn: u32,
    not_before: Instant,
}

/// A dial in flight.
#[derive(Debug, Clone)]
struct Dial {
    peer: NodeId,
    family: Family,
    deadline: Instant,
}

/// What a lane does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Switched off by the configuration.
    Off,
    /// Until then it rests.
    Resting(Instant),
    /// A round runs; its search is open until the deadline.
    Running(Option<(SearchId, Instant)>),
}

/// One way's state.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub(super) phase: Phase,
    /// Rounds in a row that led to nobody.
    pub(super) failures: u32,
    /// Rounds ended since the node was last joined or the network changed.
    pub(super) rounds: u32,
    /// What the last failed round is told to have met.
    pub(super) cause: Option<Cause>,
    pub(super) last_success: Option<Instant>,
    started: Option<Instant>,
    has_succeeded: bool,
    tally: Tally,
    queue: Vec<Queued>,
    dials: BTreeMap<DialId, Dial>,
    /// Whose addresses this round has taken.
    peers: BTreeSet<NodeId>,
}

impl Lane {
    pub(super) fn new(phase: Phase) -> Self {
        Self {
            phase,
            failures: 0,
            rounds: 0,
            cause: None,
            last_success: None,
            started: None,
            has_succeeded: false,
            tally: Tally::default(),
            queue: Vec::new(),
            dials: BTreeMap::new(),
            peers: BTreeSet::new(),
        }
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.dials.len()
    }

    /// Begins a round.
    pub(super) fn start(&mut self, search: SearchId, search_deadline: Instant, now: Instant) {
        self.phase = Phase::Running(Some((search, search_deadline)));
        self.started = Some(now);
        self.has_succeeded = false;
        self.tally = Tally::default();
        self.peers = self.queue.iter().map(|queued| queued.peer).collect();
    }

    /// Rests until `until`, or until the least length of a round is over if that is later.
    pub(super) fn rest(&mut self, until: Instant) {
        let earliest = self.started.map_or(until, |started| started + MIN_ROUND);
        self.phase = Phase::Resting(until.max(earliest));
        self.peers.clear();
    }

    /// A resting lane begins as soon as [`MIN_ROUND`] allows.
    pub(super) fn wake(&mut self, now: Instant) {
        if let Phase::Resting(until) = self.phase {
            self.rest(until.min(now));
        }
    }

    /// Ends the round where it is; the ids are the dials to abandon.
    pub(super) fn clear(&mut self) -> Vec<DialId> {
        self.queue.clear();
        std::mem::take(&mut self.dials).into_keys().collect()
    }

    /// Drops what is queued.
    pub(super) fn drop_queue(&mut self) {
        self.queue.clear();
    }

    /// Takes a peer's addresses, once in a round.
    pub(super) fn offer(&mut self, candidate: Candidate, first: Family, now: Instant) {
        let peer = candidate.peer;
        if self.peers.contains(&peer) || self.peers.len() >= MAX_CANDIDATES {
            return;
        }
        self.peers.insert(peer);
        for (address, turn) in interleave(candidate.addresses, first).into_iter().zip(0..) {
            let not_before = now + STAGGER * turn;
            self.queue.push(Queued {
                peer,
                address,
                turn,
                not_before,
            });
        }
    }

    /// The next address whose time has come and whose family has a slot.
    pub(super) fn take_ready(&mut self, slots: usize, now: Instant) -> Option<(NodeId, Address)> {
        let ready =
            |queued: &Queued| queued.not_before <= now && self.used(queued.address.family) < slots;
        let indexed = self.queue.iter().enumerate();
        let (index, _) = indexed
            .filter(|(_, queued)| ready(queued))
            .min_by_key(|(index, queued)| (queued.turn, *index))?;
        let queued = self.queue.remove(index);
        Some((queued.peer, queued.address))
    }

    /// A dial began.
    pub(super) fn on_started(&mut self, id: DialId, peer: NodeId, family: Family, now: Instant) {
        let deadline = now + DIAL_TIMEOUT;
        self.dials.insert(
            id,
            Dial {
                peer,
                family,
                deadline,
            },
        );
    }

    /// A dial reached its peer, if it is one of this lane's: whom, and over which family.
    pub(super) fn on_reached(&mut self, id: DialId, now: Instant) -> Option<(NodeId, Family)> {
        let dial = self.dials.remove(&id)?;
        self.has_succeeded = true;
        self.last_success = Some(now);
        self.failures = 0;
        Some((dial.peer, dial.family))
    }

    /// A dial failed, if it is one of this lane's: over which family. Its peer's next address may
    /// go at once.
    pub(super) fn on_failed(&mut self, id: DialId, cause: Cause, now: Instant) -> Option<Family> {
        let dial = self.dials.remove(&id)?;
        self.tally.on_dial(dial.family, cause);
        let of_peer = self.queue.iter_mut().filter(|q| q.peer == dial.peer);
        if let Some(next) = of_peer.min_by_key(|queued| queued.turn) {
            next.not_before = next.not_before.min(now);
        }
        Some(dial.family)
    }

    /// The search is over.
    pub(super) fn on_search_ended(&mut self, failure: Option<Cause>) {
        if let Some(cause) = failure {
            self.tally.on_search(cause);
        }
        self.phase = Phase::Running(None);
    }

    /// The peer was reached: its other addresses are not tried; the ids are the dials to abandon.
    pub(super) fn forget(&mut self, peer: NodeId) -> Vec<DialId> {
        self.queue.retain(|queued| queued.peer != peer);
        let to_peer = self.dials.iter().filter(|(_, dial)| dial.peer == peer);
        let ids: Vec<DialId> = to_peer.map(|(id, _)| *id).collect();
        for id in &ids {
            self.dials.remove(id);
        }
        ids
    }

    /// Dials whose time is over.
    pub(super) fn overdue(&self, now: Instant) -> Vec<DialId> {
        let overdue = self.dials.iter().filter(|(_, dial)| dial.deadline <= now);
        overdue.map(|(id, _)| *id).collect()
    }

    /// Nothing of the round is left to wait for.
    pub(super) fn is_spent(&self) -> bool {
        self.phase == Phase::Running(None) && self.queue.is_empty() && self.dials.is_empty()
    }

    /// Closes the books of a spent round; whether it led to somebody.
    pub(super) fn settle(&mut self, families: &Families) -> bool {
        self.rounds = self.rounds.saturating_add(1);
        if self.has_succeeded {
            self.cause = None;
        } else {
            self.failures = self.failures.saturating_add(1);
            self.cause = Some(self.tally.cause(families));
        }
        self.has_succeeded
    }

    /// When something is due.
    pub(super) fn next_deadline(&self, slots: usize) -> Option<Instant> {
        let search = match self.phase {
            Phase::Off => return None,
            Phase::Resting(until) => return Some(until),
            Phase::Running(search) => search.map(|(_, deadline)| deadline),
        };
        let startable = |queued: &&Queued| self.used(queued.address.family) < slots;
        let starts = self.queue.iter().filter(startable).map(|q| q.not_before);
        let ends = self.dials.values().map(|dial| dial.deadline);
        search.into_iter().chain(starts).chain(ends).min()
    }

    fn used(&self, family: Family) -> usize {
        let same = self.dials.values().filter(|dial| dial.family == family);
        same.count()
    }
}
