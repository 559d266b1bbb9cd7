//! The swarm: its peers, its clock, and what happens to them one event after the other.

mod gossip;
mod hostile;
mod links;
mod log;
mod upkeep;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use dht::core::{
    groups::{self, Groups},
    join,
};
use protocol::NodeId;
use rand::{RngExt, SeedableRng, rngs::StdRng};

pub use self::log::{Coverage, Log};
use crate::{
    mesh::Meshes,
    peer::{Kind, Peer},
    ring::Ring,
    schedule::{Event, Schedule},
    terrain::{Spot, Terrain},
    traffic::Sent,
};

/// Nodes of the bootstrap list; all but the first are gone.
pub(crate) const BOOTSTRAPS: usize = 3;

/// Between two steps of the churn.
const CHURN_EVERY: Duration = Duration::from_secs(10);

/// Between two waves of congestion, how long one lasts, and whom it meets.
const CONGESTION: (Duration, Duration, f64) =
    (Duration::from_secs(30), Duration::from_secs(8), 0.02);

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Config {
    /// Replays the run.
    pub seed: u64,
    /// Honest peers.
    pub peers: usize,
    /// Adversaries.
    pub hostile: Vec<(Kind, usize)>,
    /// The share of what they hear that Sybils pass on.
    pub relayed: f64,
    /// The chance that a message is lost.
    pub loss: f64,
    /// The share of honest peers that go, and come, in ten minutes.
    pub churn: f64,
    /// Over how long the peers start.
    pub ramp: Duration,
    /// Peers start as members of a swarm that is there already; else they join from nothing.
    pub is_grown: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            peers: 1000,
            hostile: Vec::new(),
            relayed: 0.5,
            loss: 0.01,
            churn: 0.0,
            ramp: Duration::from_secs(60),
            is_grown: true,
        }
    }
}

/// A swarm under simulation.
pub struct Swarm {
    config: Config,
    rng: StdRng,
    base: Instant,
    now: Duration,
    schedule: Schedule,
    terrain: Terrain,
    peers: Vec<Peer>,
    numbers: BTreeMap<NodeId, usize>,
    ring: Ring,
    meshes: Meshes,
    /// The two ends of each connection.
    ends: BTreeMap<u64, (usize, usize)>,
    next_connection: u64,
    log: Log,
}

impl Swarm {
    /// A swarm at its beginning.
    pub fn new(config: Config) -> Self {
        let mut swarm = Self {
            rng: StdRng::seed_from_u64(config.seed),
            base: Instant::now(),
            now: Duration::ZERO,
            schedule: Schedule::default(),
            terrain: Terrain {
                loss: config.loss,
                is_parted: false,
            },
            peers: Vec::new(),
            numbers: BTreeMap::new(),
            ring: Ring::default(),
            meshes: Meshes::default(),
            ends: BTreeMap::new(),
            next_connection: 0,
            log: Log::default(),
            config,
        };
        for number in 0..BOOTSTRAPS {
            swarm.add(Kind::Bootstrap);
            swarm.peers[number].is_up = number == 0;
        }
        swarm.schedule.push(Duration::ZERO, Event::Start(0));
        swarm.populate();
        swarm.schedule.push(CHURN_EVERY, Event::Churn);
        swarm.schedule.push(CONGESTION.0, Event::Congestion);
        swarm
    }

    fn populate(&mut self) {
        let mut kinds = vec![Kind::Honest; self.config.peers];
        for (kind, count) in self.config.hostile.clone() {
            kinds.extend(vec![kind; count]);
        }
        for kind in kinds {
            let number = self.add(kind);
            if self.config.is_grown {
                self.ring.insert(&self.peers[number].hashed, number);
            }
            let at = self.config.ramp.mul_f64(self.rng.random_range(0.0..1.0));
            self.schedule.push(at, Event::Start(number));
        }
    }

    fn add(&mut self, kind: Kind) -> usize {
        let number = self.peers.len();
        let mut peer = Peer::new(number, kind, self.base, &mut self.rng);
        peer.is_dialable |= kind == Kind::Bootstrap;
        self.numbers.insert(peer.id, number);
        self.peers.push(peer);
        number
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, event)) = self.schedule.pop(end) {
            self.now = at;
            self.handle(event);
        }
        self.now = end;
    }

    /// Parts the network in two halves, or joins them again.
    pub fn part(&mut self, is_parted: bool) {
        self.terrain.is_parted = is_parted;
        if !is_parted {
            return;
        }
        let across: Vec<u64> = (self.ends.iter())
            .filter(|(_, (one, other))| self.peers[*one].spot.side != self.peers[*other].spot.side)
            .map(|(connection, _)| *connection)
            .collect();
        for connection in across {
            self.lapse_later(connection);
        }
    }

    /// From now on no new peer comes and none goes.
    pub fn stop_churn(&mut self) {
        self.config.churn = 0.0;
    }

    /// So many more honest peers join from nothing, over so long.
    pub fn grow(&mut self, peers: usize, over: Duration) {
        for _ in 0..peers {
            let number = self.add(Kind::Honest);
            let wait = over.mul_f64(self.rng.random_range(0.0..1.0));
            self.schedule.push(self.now + wait, Event::Start(number));
        }
    }

    /// Begins to count what peers send.
    pub fn reset_traffic(&mut self) {
        for peer in &mut self.peers {
            peer.sent = Sent::default();
        }
    }

    /// What happened so far.
    pub fn log(&self) -> &Log {
        &self.log
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Start(peer) => self.start(peer),
            Event::Join(peer) => self.on_join_deadline(peer),
            Event::Groups(peer) => self.on_groups_deadline(peer),
            Event::Upkeep(peer) => self.upkeep(peer),
            Event::Searched(peer, id, way) => self.on_searched(peer, id, way),
            Event::Joined { from, to, id } => self.on_join_dialled(from, to, id),
            Event::Dialled { from, to } => {
                self.connect(from, to);
            }
            Event::Answer { at, of, rtt } => {
                if self.peers[at].links.contains_key(&of) {
                    let id = self.peers[of].id;
                    self.groups(at, groups::Input::Reply(id, rtt));
                }
            }
            Event::Lapsed { connection } => self.disconnect(connection),
            Event::Gossip { to, from, message } => self.deliver(to, from, &message),
            Event::Hostile(peer) => self.act_hostile(peer),
            Event::Churn => self.churn(),
            Event::Congestion => self.congest(),
        }
    }

    fn start(&mut self, number: usize) {
        let peer = &mut self.peers[number];
        peer.is_up = true;
        peer.started = self.now;
        self.ring.insert(&peer.hashed, number);
        if self.config.is_grown && self.now <= self.config.ramp || peer.kind == Kind::Bootstrap {
            peer.groups = Groups::new(peer.groups.coordinate(), self.base + self.now);
            self.settle(number);
        } else {
            peer.join = join::Join::new(&join::Way::ALL, self.base + self.now);
            self.join(number, join::Input::Tick);
        }
        let first = self.now + Duration::from_secs(1);
        self.schedule.push(first, Event::Upkeep(number));
        if !matches!(
            self.peers[number].kind,
            Kind::Honest | Kind::Bootstrap | Kind::Sybil | Kind::WrongClock
        ) {
            self.schedule.push(first, Event::Hostile(number));
        }
    }

    /// The machine is switched off: the others find out when nothing answers any more.
    fn stop(&mut self, number: usize) {
        let peer = &mut self.peers[number];
        peer.is_up = false;
        self.ring.remove(&peer.hashed);
        let topics = std::mem::take(&mut peer.topics);
        let connections: Vec<u64> = peer.links.values().map(|id| id.0).collect();
        // What it knew is gone with it.
        peer.believed.clear();
        peer.adverts =
            dht::core::adverts::Adverts::new(peer.id, peer.profile.swarm.clone(), [0; 32]);
        for topic in topics {
            self.meshes.leave(topic, number);
        }
        for connection in connections {
            self.lapse_later(connection);
        }
    }

    /// QUIC gives a silent peer up after half a minute, or sooner.
    fn lapse_later(&mut self, connection: u64) {
        let wait = Duration::from_millis(self.rng.random_range(15_000..30_000));
        self.schedule
            .push(self.now + wait, Event::Lapsed { connection });
    }

    fn churn(&mut self) {
        self.schedule.push(self.now + CHURN_EVERY, Event::Churn);
        let share = self.config.churn * CHURN_EVERY.as_secs_f64() / 600.0;
        for number in BOOTSTRAPS..self.peers.len() {
            let peer = &self.peers[number];
            if peer.is_up && peer.kind == Kind::Honest && self.rng.random_bool(share) {
                self.stop(number);
                let newcomer = self.add(Kind::Honest);
                self.start(newcomer);
            }
        }
    }

    fn congest(&mut self) {
        let (every, lasting, share) = CONGESTION;
        self.schedule.push(self.now + every, Event::Congestion);
        for peer in &mut self.peers {
            if self.rng.random_bool(share) {
                peer.spot.congested_until = self.now + lasting;
            }
        }
    }

    fn can_reach(&self, one: usize, other: usize) -> bool {
        let (a, b) = (&self.peers[one], &self.peers[other]);
        a.is_up && b.is_up && !self.terrain.are_parted(&a.spot, &b.spot)
    }

    fn spots(&self, one: usize, other: usize) -> (Spot, Spot) {
        (self.peers[one].spot, self.peers[other].spot)
    }
}
