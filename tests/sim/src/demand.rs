//! The demand of a swarm under simulation: how well it is estimated, at what cost, how soon a need is
//! known, and what forgers do about it.
//!
//! Each peer is the cores of `dht` that count and tell ([`Rates`], [`Author`]) and real signed
//! records; some of them listen ([`Listener`]), and the others take how many tell from the nearest
//! of those. A model is what is between peers: each record comes to each listener after a delay of
//! its own, or is lost; the copies that gossip makes are counted. What users ask for is a Poisson
//! process of each peer's own.

mod forger;
mod report;

use std::{
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant},
};

use dht::{
    core::{
        adverts::{Moment, Verdict},
        demand::{Author, Listener, Outcome, Rates},
    },
    demand::Asked,
};
use ed25519_dalek::SigningKey;
use protocol::{
    ModelName, NodeId, Signed, UnixMillis, Verified, demand::Demand as Said, names::SwarmName,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use self::forger::Forger;
pub use self::report::{Accuracy, Report};

/// The wall clock when it begins.
const BEGAN: u64 = 1_800_000_000_000;

/// One step: shorter than any delay that matters.
const STEP: Duration = Duration::from_millis(100);

/// Peers that listen at most; the others are near one of them.
const MOST_EARS: usize = 16;

/// How long a record takes to a listener.
const WAY_MILLIS: std::ops::Range<u64> = 100..600;

/// Between two looks at the estimates.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The models that are asked for. `MISSED` is what nobody serves, `RARE` what one peer begins to ask
/// for, `FORGED` what nobody asks for.
const HOT: &str = "org/hot";
const WARM: &str = "org/warm";
const MISSED: &str = "org/missed";
const RARE: &str = "org/rare";
const FORGED: &str = "org/forged";

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Replays the run.
    pub seed: u64,
    /// Honest peers.
    pub peers: usize,
    /// Identities of forgers, beside them.
    pub forgers: usize,
    /// The share of honest peers whose users ask for anything.
    pub asking: f64,
    /// The share of these whose users ask for what nobody serves.
    pub missing: f64,
    /// The chance that a record does not come to a listener.
    pub loss: f64,
}

impl Default for Config {
    /// A thousand peers, half of which ask, a tenth of those in vain.
    fn default() -> Self {
        Self {
            seed: 1,
            peers: 1000,
            forgers: 0,
            asking: 0.5,
            missing: 0.1,
            loss: 0.0,
        }
    }
}

/// A swarm whose users ask for models.
pub struct DemandSwarm {
    config: Config,
    rng: StdRng,
    base: Instant,
    now: Duration,
    swarm: SwarmName,
    peers: Vec<Peer>,
    forgers: Vec<Forger>,
    ears: Vec<Listener>,
    under_way: BTreeMap<(Duration, u64), Message>,
    sent: u64,
    looked: Duration,
    report: Report,
}

struct Peer {
    key: SigningKey,
    rates: Rates,
    author: Author,
    habits: Vec<Habit>,
}

/// What a peer's users ask for.
struct Habit {
    model: ModelName,
    per_second: f64,
    outcome: Asked,
}

/// A record on its way to one listener.
struct Message {
    ear: usize,
    said: Rc<Verified<Said>>,
    bytes: usize,
    is_forged: bool,
}

impl DemandSwarm {
    /// Nobody has asked for anything yet.
    pub fn new(config: Config) -> Self {
        let base = Instant::now();
        let swarm = SwarmName::public();
        let mut rng = StdRng::seed_from_u64(config.seed);
        let mut key = || SigningKey::from_bytes(&rng.random());
        let ears = (0..config.peers.clamp(1, MOST_EARS))
            .map(|_| Listener::new(NodeId::from(&key()), swarm.clone(), base));
        let ears = ears.collect();
        let peers = (0..config.peers)
            .map(|_| Peer::new(key(), &swarm))
            .collect();
        let forgers = (0..config.forgers).map(|_| Forger::new(key())).collect();
        let mut new = Self {
            config,
            rng,
            base,
            now: Duration::ZERO,
            swarm,
            peers,
            forgers,
            ears,
            under_way: BTreeMap::new(),
            sent: 0,
            looked: Duration::ZERO,
            report: Report::new(config.peers),
        };
        new.give_habits();
        new
    }

    /// Most ask for one model, and with rates that differ by a factor of eight.
    fn give_habits(&mut self) {
        for peer in &mut self.peers {
            let rng = &mut self.rng;
            if !rng.random_bool(self.config.asking) {
                continue;
            }
            let per_second = rng.random_range(-8.0_f64..-5.0).exp2();
            let name = if rng.random_bool(0.7) { HOT } else { WARM };
            peer.habits.push(Habit::new(name, per_second, served()));
            if rng.random_bool(self.config.missing) {
                peer.habits
                    .push(Habit::new(MISSED, per_second, Asked::Unmet));
            }
        }
    }

    /// Runs for so long.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            self.deliver();
            self.ask_and_tell();
            self.forge();
            if self.now >= self.looked + LOOK_EVERY {
                self.looked = self.now;
                self.look();
            }
        }
    }

    /// What was found since the last call.
    pub fn report(&mut self) -> Report {
        let mut report = std::mem::replace(&mut self.report, Report::new(self.config.peers));
        report.finish();
        report
    }

    /// One peer's users begin to ask in vain for what nobody asked for before: how long until every
    /// listener knows; `None`: not within that time.
    pub fn need(&mut self, within: Duration) -> Option<Duration> {
        let rare: ModelName = RARE.parse().expect("a model's name");
        let at = self.moment();
        let peer = self.peers.first_mut()?;
        peer.rates.on_asked(&rare, Asked::Unmet, at.now);
        peer.author.on_asked(at.now);
        let began = self.now;
        while self.now < began + within {
            self.run(STEP);
            let now = self.moment().now;
            let knows = |ear: &Listener| {
                let demand = ear.demand(&[], now);
                demand.iter().any(|demand| demand.model == rare)
            };
            if self.ears.iter().all(knows) {
                return Some(self.now - began);
            }
        }
        None
    }

    /// Whoever serves what most ask for is lost: from now on everybody asks in vain.
    pub fn lose(&mut self) {
        let habits = self.peers.iter_mut().flat_map(|peer| &mut peer.habits);
        habits.for_each(|habit| habit.outcome = Asked::Unmet);
        let at = self.moment();
        for peer in &mut self.peers {
            for habit in &peer.habits {
                peer.rates.on_asked(&habit.model, Asked::Unmet, at.now);
                peer.author.on_asked(at.now);
            }
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.base + self.now,
            unix: UnixMillis(BEGAN).saturating_add(self.now),
        }
    }

    fn ask_and_tell(&mut self) {
        let at = self.moment();
        let size = u32::try_from(self.peers.len()).unwrap_or(u32::MAX);
        let mut told = Vec::new();
        for (number, peer) in self.peers.iter_mut().enumerate() {
            peer.ask(at, &mut self.rng);
            let ear = number % self.ears.len();
            if peer.author.next_deadline().is_some_and(|due| due <= at.now) {
                let crowd = self.ears[ear].crowd_of(size, at.now);
                let asking = peer.rates.asking(at.now);
                if let Some((record, stamp)) = peer.author.poll(asking, &crowd, at) {
                    let said = Said::from(&record);
                    let signed = Signed::sign(&peer.key, stamp.sequence, stamp.expires, &said);
                    told.push(signed.expect("a record is short"));
                }
            }
        }
        for signed in told {
            self.send(signed, false);
        }
    }

    fn forge(&mut self) {
        let at = self.moment();
        let mut told = Vec::new();
        for forger in &mut self.forgers {
            told.extend(forger.poll(&self.swarm, at, &mut self.rng));
        }
        for signed in told {
            self.send(signed, true);
        }
    }

    /// On its way to everybody who listens.
    fn send(&mut self, signed: Signed<Said>, is_forged: bool) {
        let unix = self.moment().unix;
        let bytes = signed.encode().len();
        let Ok(said) = signed.verify(unix) else {
            self.report.count(&Outcome::Expired, is_forged);
            return;
        };
        let said = Rc::new(said);
        for ear in 0..self.ears.len() {
            if self.rng.random_bool(self.config.loss) {
                continue;
            }
            let way = Duration::from_millis(self.rng.random_range(WAY_MILLIS));
            self.sent += 1;
            let message = Message {
                ear,
                said: Rc::clone(&said),
                bytes,
                is_forged,
            };
            self.under_way.insert((self.now + way, self.sent), message);
        }
    }

    fn deliver(&mut self) {
        let at = self.moment();
        while let Some(first) = self.under_way.first_entry() {
            if first.key().0 > self.now {
                break;
            }
            let message = first.remove();
            let outcome = self.ears[message.ear].handle(&message.said, at);
            self.report.count(&outcome, message.is_forged);
            if outcome.verdict() == Verdict::Accept {
                let share = 1.0 / self.ears.len() as f64;
                self.report.carry(self.now, message.bytes, share);
            }
        }
        for ear in &mut self.ears {
            if ear.next_deadline().is_some_and(|due| due <= at.now) {
                ear.handle_timeout(at.now);
            }
        }
    }

    /// Compares what each listener estimates with what all peers together were asked.
    fn look(&mut self) {
        let now = self.moment().now;
        let mut truth: BTreeMap<ModelName, (f64, f64)> = BTreeMap::new();
        let mut totals = Vec::new();
        for peer in &self.peers {
            let asking = peer.rates.asking(now);
            if !asking.is_empty() {
                totals.push(asking.iter().map(|asking| asking.arrivals_per_second).sum());
            }
            for asking in asking {
                let sum = truth.entry(asking.model).or_default();
                sum.0 += asking.arrivals_per_second;
                sum.1 += asking.unmet_per_second;
            }
        }
        self.report.on_totals(totals, self.config.forgers);
        for ear in &self.ears {
            self.report.compare(&ear.demand(&[], now), &truth);
        }
    }
}

impl Peer {
    fn new(key: SigningKey, swarm: &SwarmName) -> Self {
        Self {
            author: Author::new(NodeId::from(&key), swarm.clone()),
            key,
            rates: Rates::default(),
            habits: Vec::new(),
        }
    }

    /// What its users ask for in one step.
    fn ask(&mut self, at: Moment, rng: &mut StdRng) {
        for habit in &self.habits {
            if rng.random_bool((habit.per_second * STEP.as_secs_f64()).min(1.0)) {
                self.rates.on_asked(&habit.model, habit.outcome, at.now);
                self.author.on_asked(at.now);
            }
        }
    }
}

impl Habit {
    fn new(name: &str, per_second: f64, outcome: Asked) -> Self {
        Self {
            model: name.parse().expect("a model's name"),
            per_second,
            outcome,
        }
    }
}

fn served() -> Asked {
    Asked::Served {
        waited: Duration::from_millis(1500),
    }
}
