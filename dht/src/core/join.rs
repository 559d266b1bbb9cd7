//! Joining the swarm: four ways at once, the first success wins, nothing is ever given up.
//!
//! [`Join`] takes [`Input`]s with the time and answers with [`Output`]s; the shell searches and
//! dials as it is told and reports back under the same id. A dial that is reported as reached
//! has passed the handshake and, in a private swarm, proved membership both ways.
//!
//! Transitions of [`State`]:
//! - `Joining → Joined` and `Alone → Joined`: the first peer;
//! - `Joined → Joining`: the last peer is gone; every way begins anew at once;
//! - `Joining → Alone`: each way has ended a round and there is still no peer. Rounds go on, with
//!   rests of at most [`MAX_BACKOFF`];
//! - `Alone → Joining`: the network changed, so what failed before may work now.
//!
//! It knows no socket, no resolver and no list of peers; addresses are text that it hands back.

mod address;
mod backoff;
mod cause;
mod lane;
mod report;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use protocol::NodeId;
use rand::{Rng, seq::SliceRandom};

pub use self::{
    address::{Address, Candidate, Family, MAX_ADDRESSES_PER_PEER, Transport},
    backoff::{BACKOFF_BASE, MAX_BACKOFF},
    cause::Cause,
    lane::{DIAL_TIMEOUT, MAX_CANDIDATES, MIN_ROUND, QUIET_SLOTS, SLOTS, STAGGER},
    report::{Report, WayReport, WayState},
};
use self::{
    cause::Families,
    lane::{Lane, Phase},
};

/// After this a search is taken to be over: a lookup in the public DHT takes 10 to 30 s.
pub const SEARCH_TIMEOUT: Duration = Duration::from_secs(45);

/// Peers from which on the ways rest at full length: the swarm's own lookups find the others.
pub const ENOUGH_PEERS: usize = 8;

/// Dials in flight at most, over all ways and families.
pub const MAX_DIALS: usize = Way::ALL.len() * 2 * SLOTS;

/// A way to find the swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Peers of last time.
    Remembered,
    /// The list of bootstrap nodes, compiled in, configured or from an invite.
    Bootstrap,
    /// Multicast DNS on the local network.
    Mdns,
    /// A provider record in the public IPFS DHT.
    Rendezvous,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Remembered,
        Self::Bootstrap,
        Self::Mdns,
        Self::Rendezvous,
    ];
}

/// One search for peers; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SearchId(pub u64);

/// One dial; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DialId(pub u64);

/// Where the node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Every way was tried and nobody was reached; tries go on.
    Alone,
    /// Not all ways have been tried yet.
    Joining,
    /// So many peers of the swarm are connected.
    Joined(usize),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A deadline of [`Join::next_deadline`] has come; harmless at any time.
    Tick,
    /// Peers were found, asked for or not; may come many times during one search.
    Found(Way, Vec<Candidate>),
    /// A search is over; with a cause if it failed rather than found nobody.
    SearchEnded(SearchId, Option<Cause>),
    /// A dial's peer was reached and admitted; [`Input::Peers`] follows it.
    Reached(DialId),
    /// A dial failed.
    Failed(DialId, Cause),
    /// So many peers of the swarm are connected now.
    Peers(usize),
    /// An interface or a default route came or went.
    NetworkChanged,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Look for peers this way; answer with [`Input::Found`] and [`Input::SearchEnded`].
    Search(SearchId, Way),
    /// Dial; answer with [`Input::Reached`] or [`Input::Failed`].
    Dial {
        /// Under which id to answer.
        id: DialId,
        /// Which way the address came.
        way: Way,
        /// Whom one must find there.
        peer: NodeId,
        /// Where.
        address: Address,
    },
    /// Give this dial up; an answer to it is ignored.
    Abandon(DialId),
    /// The node stands elsewhere than before.
    State(State),
}

/// The join procedure of one node.
#[derive(Debug, Clone)]
pub struct Join {
    lanes: BTreeMap<Way, Lane>,
    families: Families,
    state: State,
    peers: usize,
    /// The next id, of searches and dials alike.
    next_id: u64,
    /// When a change of the network was last acted upon.
    changed: Option<Instant>,
    /// A change came too soon after the last one and waits until then.
    restart_at: Option<Instant>,
}

impl Join {
    /// A node that begins with these ways at its first [`Input::Tick`].
    pub fn new(ways: &[Way], now: Instant) -> Self {
        let lane = |way| {
            let used = ways.contains(&way);
            Lane::new(if used {
                Phase::Resting(now)
            } else {
                Phase::Off
            })
        };
        Self {
            lanes: Way::ALL.map(|way| (way, lane(way))).into(),
            families: Families::default(),
            state: State::Joining,
            peers: 0,
            next_id: 0,
            changed: None,
            restart_at: None,
        }
    }

    /// Where the node stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// What each way does and met, for `shoal status` and `shoal doctor`.
    pub fn report(&self) -> Report {
        report::of(self.state, &self.families, &self.lanes)
    }

    /// When [`Input::Tick`] is due, whatever else happens; `None` if every way is off.
    pub fn next_deadline(&self) -> Option<Instant> {
        let slots = self.slots();
        let lanes = self.lanes.values();
        let lanes = lanes.filter_map(|lane| lane.next_deadline(slots));
        lanes.chain(self.restart_at).min()
    }

    /// Takes an input; what is to be done is appended to `out`.
    pub fn handle<R: Rng>(
        &mut self,
        input: Input,
        now: Instant,
        rng: &mut R,
        out: &mut Vec<Output>,
    ) {
        match input {
            Input::Tick => {}
            Input::Found(way, found) => self.on_found(way, found, now, rng),
            Input::SearchEnded(id, failure) => self.on_search_ended(id, failure),
            Input::Reached(id) => self.on_reached(id, now, out),
            Input::Failed(id, cause) => self.on_failed(id, cause, now),
            Input::Peers(count) => self.on_peers(count, now),
            Input::NetworkChanged => self.on_network_changed(now),
        }
        self.drive(now, rng, out);
    }

    fn on_found<R: Rng>(&mut self, way: Way, mut found: Vec<Candidate>, now: Instant, rng: &mut R) {
        // Remembered peers come best first. Elsewhere a stranger may choose the order.
        if way != Way::Remembered {
            found.shuffle(rng);
        }
        let first = self.families.first();
        let Some(lane) = self.lanes.get_mut(&way) else {
            return;
        };
        if lane.phase == Phase::Off {
            return;
        }
        for candidate in found {
            lane.offer(candidate, first, now);
        }
        if lane.queued() > 0 {
            lane.wake(now);
        }
    }

    fn on_search_ended(&mut self, id: SearchId, failure: Option<Cause>) {
        for lane in self.lanes.values_mut() {
            if matches!(lane.phase, Phase::Running(Some((open, _))) if open == id) {
                lane.on_search_ended(failure);
            }
        }
    }

    fn on_reached(&mut self, id: DialId, now: Instant, out: &mut Vec<Output>) {
        let mut lanes = self.lanes.values_mut();
        let Some((peer, family)) = lanes.find_map(|lane| lane.on_reached(id, now)) else {
            return;
        };
        self.families.on_dial(family, None);
        // Whoever counts the peers says so itself; this dial's success need not wait for that.
        self.peers = self.peers.max(1);
        let spare = self.lanes.values_mut().flat_map(|lane| lane.forget(peer));
        out.extend(spare.map(Output::Abandon));
    }

    fn on_failed(&mut self, id: DialId, cause: Cause, now: Instant) {
        let mut lanes = self.lanes.values_mut();
        if let Some(family) = lanes.find_map(|lane| lane.on_failed(id, cause, now)) {
            self.families.on_dial(family, Some(cause));
        }
    }

    fn on_peers(&mut self, count: usize, now: Instant) {
        let lost_the_last = self.peers > 0 && count == 0;
        self.peers = count;
        if lost_the_last {
            self.renew(now);
        }
        if count >= ENOUGH_PEERS {
            self.lanes.values_mut().for_each(Lane::drop_queue);
        }
    }

    fn on_network_changed(&mut self, now: Instant) {
        let earliest = self.changed.map_or(now, |last| last + MIN_ROUND);
        self.restart_at = Some(earliest.max(now));
    }

    /// Every way begins anew as soon as it may, as on the first day.
    fn renew(&mut self, now: Instant) {
        for lane in self.lanes.values_mut() {
            lane.rounds = 0;
            lane.failures = 0;
            lane.wake(now);
        }
    }

    /// Does whatever is due.
    fn drive<R: Rng>(&mut self, now: Instant, rng: &mut R, out: &mut Vec<Output>) {
        if self.restart_at.is_some_and(|at| at <= now) {
            self.restart(now, out);
        }
        for way in Way::ALL {
            self.end_overdue(way, now, out);
            self.settle(way, now, rng);
            self.start_round(way, now, out);
            self.start_dials(way, now, out);
        }
        self.show_state(out);
    }

    /// The network is another one: dials in flight left through the old, and what is known of the
    /// families was learnt there.
    fn restart(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.restart_at = None;
        self.changed = Some(now);
        self.families = Families::default();
        for lane in self.lanes.values_mut() {
            out.extend(lane.clear().into_iter().map(Output::Abandon));
            if matches!(lane.phase, Phase::Running(_)) {
                lane.rest(now);
            }
        }
        self.renew(now);
    }

    fn end_overdue(&mut self, way: Way, now: Instant, out: &mut Vec<Output>) {
        let Some(lane) = self.lanes.get_mut(&way) else {
            return;
        };
        for id in lane.overdue(now) {
            out.push(Output::Abandon(id));
            if let Some(family) = lane.on_failed(id, Cause::TimedOut, now) {
                self.families.on_dial(family, Some(Cause::TimedOut));
            }
        }
        if matches!(lane.phase, Phase::Running(Some((_, deadline))) if deadline <= now) {
            lane.on_search_ended(Some(Cause::TimedOut));
        }
    }

    fn settle<R: Rng>(&mut self, way: Way, now: Instant, rng: &mut R) {
        let joined = self.peers > 0;
        let Some(lane) = self.lanes.get_mut(&way).filter(|lane| lane.is_spent()) else {
            return;
        };
        let succeeded = lane.settle(&self.families);
        let pause = if joined || succeeded {
            backoff::pause(u32::MAX, rng)
        } else {
            backoff::pause(lane.failures, rng)
        };
        lane.rest(now + pause);
    }

    fn start_round(&mut self, way: Way, now: Instant, out: &mut Vec<Output>) {
        let id = SearchId(self.next_id);
        let enough = self.peers >= ENOUGH_PEERS;
        let Some(lane) = self.lanes.get_mut(&way) else {
            return;
        };
        if !matches!(lane.phase, Phase::Resting(until) if until <= now) {
            return;
        }
        if enough {
            lane.drop_queue();
            lane.phase = Phase::Resting(now + MAX_BACKOFF);
            return;
        }
        self.next_id += 1;
        lane.start(id, now + SEARCH_TIMEOUT, now);
        out.push(Output::Search(id, way));
    }

    fn start_dials(&mut self, way: Way, now: Instant, out: &mut Vec<Output>) {
        let slots = self.slots();
        let Some(lane) = self.lanes.get_mut(&way) else {
            return;
        };
        if !matches!(lane.phase, Phase::Running(_)) {
            return;
        }
        while let Some((peer, address)) = lane.take_ready(slots, now) {
            let id = DialId(self.next_id);
            self.next_id += 1;
            lane.on_started(id, peer, address.family, now);
            out.push(Output::Dial {
                id,
                way,
                peer,
                address,
            });
        }
    }

    fn show_state(&mut self, out: &mut Vec<Output>) {
        let mut used = self.lanes.values().filter(|lane| lane.phase != Phase::Off);
        let state = match self.peers {
            0 if used.all(|lane| lane.rounds > 0) => State::Alone,
            0 => State::Joining,
            peers => State::Joined(peers),
        };
        if state != self.state {
            self.state = state;
            out.push(Output::State(state));
        }
    }

    fn slots(&self) -> usize {
        if self.peers > 0 { QUIET_SLOTS } else { SLOTS }
    }
}

#[cfg(test)]
mod tests;
