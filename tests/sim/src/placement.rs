//! A swarm that decides what to host, under simulation: how soon a model that is asked for is served,
//! how many take it on, and whether anything swings.
//!
//! Each peer is the core of `node` that places models. A model is what is between peers and below
//! them: requests are rates that flow to servers of four sequences each; what is asked for is heard by
//! everybody two seconds late, with the error of an estimate; adverts reach the peers of a shard
//! within 1.5 s, a lookup finds whoever said so a second before, and that a peer is gone is found within
//! a minute; a load takes seconds from the disk and minutes from the hub.

mod host;
mod log;
mod market;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::{Duration, Instant},
};

use node::core::placement::{Errand, Input, Output};
use protocol::ModelName;
use rand::{RngExt, SeedableRng, rngs::StdRng};

pub use self::log::Log;
use self::{
    host::{Host, Said},
    market::Market,
};
use crate::agenda::Agenda;

/// Between two looks of a peer at how things are, as its shell takes them.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Between two steps of the demand.
const STEP: Duration = Duration::from_secs(1);

/// Between two steps of the churn.
const CHURN_EVERY: Duration = Duration::from_secs(5);

/// Peers that hear one another's adverts.
const SHARD: usize = 150;

/// How long a provider record is on its way to where it is looked for.
const PROVIDED_AFTER: Duration = Duration::from_secs(1);

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Config {
    /// Replays the run.
    pub seed: u64,
    /// Peers; three in five can hold models.
    pub peers: usize,
    /// The share of peers that go for a while in ten minutes.
    pub churn: f64,
    /// Requests a second for models that are asked for, by number.
    pub rates: Vec<f64>,
    /// Requests a second that forgers claim of each model, answered or not.
    pub forged: Vec<f64>,
}

/// What happens; peers and models by their number.
#[derive(Debug, Clone, Copy)]
enum Event {
    Look {
        peer: usize,
        life: u32,
    },
    Tick {
        peer: usize,
        life: u32,
    },
    Found {
        peer: usize,
        life: u32,
        errand: Errand,
        model: usize,
    },
    Loaded {
        peer: usize,
        life: u32,
        errand: Errand,
        model: usize,
    },
    Dropped {
        peer: usize,
        life: u32,
        errand: Errand,
    },
    Heard {
        to: usize,
        of: usize,
        model: usize,
        said: Option<Said>,
    },
    Step,
    Churn,
    Return(usize),
}

/// A swarm that places models.
pub struct PlacementSwarm {
    config: Config,
    rng: StdRng,
    base: Instant,
    now: Duration,
    agenda: Agenda<Event>,
    hosts: Vec<Host>,
    market: Market,
    models: Vec<ModelName>,
    /// Who said what of each model, and since when.
    registry: Vec<BTreeMap<usize, (Said, Duration)>>,
    log: Log,
}

impl PlacementSwarm {
    /// A swarm in which nothing is loaded.
    pub fn new(config: Config) -> Self {
        let models = config.rates.len();
        let names = (0..models).map(|n| format!("model-{n}").parse().expect("a model's name"));
        let mut swarm = Self {
            rng: StdRng::seed_from_u64(config.seed),
            base: Instant::now(),
            now: Duration::ZERO,
            agenda: Agenda::default(),
            hosts: Vec::new(),
            market: Market::new(&config),
            models: names.collect(),
            registry: vec![BTreeMap::new(); models],
            log: Log::new(models),
            config,
        };
        swarm.populate();
        swarm
    }

    fn populate(&mut self) {
        for peer in 0..self.config.peers {
            let host = Host::new(peer, self.models.len(), &mut self.rng);
            self.market.ids.push(host.id);
            self.hosts.push(host);
            self.look_later(peer);
        }
        self.agenda.push(STEP, Event::Step);
        self.agenda.push(CHURN_EVERY, Event::Churn);
    }

    /// Who holds nothing has nothing to look for.
    fn look_later(&mut self, peer: usize) {
        if !self.hosts[peer].can_hold() {
            return;
        }
        let life = self.hosts[peer].life;
        let offset = LOOK_EVERY.mul_f64(self.rng.random_range(0.0..1.0));
        self.agenda
            .push(self.now + offset, Event::Look { peer, life });
    }

    /// Goes on for so long.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, event)) = self.agenda.pop(end) {
            self.now = at;
            self.on_event(event);
        }
        self.now = end;
    }

    /// From now on so many requests a second ask for this model.
    pub fn ask(&mut self, model: usize, per_second: f64) {
        self.market.rates[model] = per_second;
    }

    /// The servers of a model are gone at once, for half an hour.
    pub fn kill(&mut self, model: usize) {
        let servers = self.servers(model);
        for peer in servers {
            self.leave(peer, Duration::from_secs(1800));
        }
    }

    /// Peers that serve a model.
    pub fn servers(&self, model: usize) -> BTreeSet<usize> {
        let hosts = self.hosts.iter().enumerate();
        let serving = hosts.filter(|(_, host)| host.is_online && host.held.contains(&model));
        serving.map(|(peer, _)| peer).collect()
    }

    /// What happened so far.
    pub fn log(&self) -> &Log {
        &self.log
    }

    fn is_alive(&self, peer: usize, life: u32) -> bool {
        self.hosts[peer].is_online && self.hosts[peer].life == life
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Look { peer, life } if self.is_alive(peer, life) => {
                self.agenda
                    .push(self.now + LOOK_EVERY, Event::Look { peer, life });
                self.look(peer);
            }
            Event::Tick { peer, life } if self.is_alive(peer, life) => {
                self.hosts[peer].ticks_at = None;
                self.feed(peer, Input::Tick);
            }
            Event::Found {
                peer,
                life,
                errand,
                model,
            } if self.is_alive(peer, life) => {
                self.on_found(peer, model);
                self.look(peer);
                self.feed(peer, Input::Found(errand));
            }
            Event::Loaded {
                peer,
                life,
                errand,
                model,
            } if self.is_alive(peer, life) => {
                self.hosts[peer].load(model);
                self.look(peer);
                let cause = None;
                self.feed(peer, Input::Taken { errand, cause });
            }
            Event::Dropped { peer, life, errand } if self.is_alive(peer, life) => {
                self.feed(peer, Input::Dropped(errand));
            }
            Event::Heard {
                to,
                of,
                model,
                said,
            } => self.hosts[to].hear(of, model, said),
            Event::Step => self.step(),
            Event::Churn => self.on_churn(),
            Event::Return(peer) => self.on_return(peer),
            _ => {}
        }
    }

    /// A peer looks at how things are.
    fn look(&mut self, peer: usize) {
        let scene = self.hosts[peer].scene(&self.models, &self.market);
        self.feed(peer, Input::Scene(Box::new(scene)));
    }

    fn feed(&mut self, peer: usize, input: Input) {
        let now = self.base + self.now;
        let mut out = Vec::new();
        let host = &mut self.hosts[peer];
        host.core.handle(input, now, &mut self.rng, &mut out);
        for output in out {
            self.on_output(peer, output);
        }
        self.tell(peer);
        self.tick_later(peer);
    }

    fn on_output(&mut self, peer: usize, output: Output) {
        let life = self.hosts[peer].life;
        match output {
            Output::Find { errand, model } => {
                let took = Duration::from_secs_f64(self.rng.random_range(0.4..1.5));
                let model = self.number(&model);
                let event = Event::Found {
                    peer,
                    life,
                    errand,
                    model,
                };
                self.agenda.push(self.now + took, event);
            }
            Output::Take { errand, model, .. } => {
                let model = self.number(&model);
                let is_stored = self.hosts[peer].stored.contains(&model);
                let seconds = match is_stored {
                    true => self.rng.random_range(3.0..10.0),
                    false => self.rng.random_range(60.0..180.0),
                };
                self.log.on_take(peer, model, self.now, !is_stored);
                self.hosts[peer].begin(model);
                let event = Event::Loaded {
                    peer,
                    life,
                    errand,
                    model,
                };
                self.agenda
                    .push(self.now + Duration::from_secs_f64(seconds), event);
            }
            Output::Drop { errand, model, .. } => {
                let model = self.number(&model);
                self.log.on_drop(peer, model, self.now);
                self.hosts[peer].held.remove(&model);
                let event = Event::Dropped { peer, life, errand };
                self.agenda.push(self.now + Duration::from_secs(1), event);
            }
        }
    }

    fn number(&self, model: &ModelName) -> usize {
        let place = self.models.iter().position(|known| known == model);
        place.expect("only what is asked for is taken on")
    }

    /// What a peer says of itself now goes to its shard and into the table.
    fn tell(&mut self, peer: usize) {
        for model in 0..self.models.len() {
            let says = self.hosts[peer].says(&self.models, model);
            let said = self.registry[model].get(&peer).map(|(said, _)| *said);
            if says != said {
                self.say(peer, model, says);
            }
        }
    }

    fn say(&mut self, peer: usize, model: usize, says: Option<Said>) {
        match says {
            Some(says) => {
                self.registry[model].insert(peer, (says, self.now));
            }
            None => {
                self.registry[model].remove(&peer);
            }
        }
        for to in self.shard(peer) {
            self.hears(to, (peer, model), says, 0.2..1.5);
        }
    }

    /// A peer hears what another says of a model so many seconds later.
    fn hears(
        &mut self,
        to: usize,
        (of, model): (usize, usize),
        said: Option<Said>,
        seconds: Range<f64>,
    ) {
        let after = Duration::from_secs_f64(self.rng.random_range(seconds));
        let heard = Event::Heard {
            to,
            of,
            model,
            said,
        };
        self.agenda.push(self.now + after, heard);
    }

    fn shard(&self, peer: usize) -> impl Iterator<Item = usize> + use<> {
        let first = peer / SHARD * SHARD;
        let last = (first + SHARD).min(self.hosts.len());
        (first..last).filter(move |other| *other != peer)
    }

    /// What a lookup finds of a model: those who were there a second ago.
    fn on_found(&mut self, peer: usize, model: usize) {
        let known = self.registry[model].iter();
        let known: Vec<(usize, Said)> = known
            .filter(|(of, (_, since))| **of != peer && *since + PROVIDED_AFTER <= self.now)
            .map(|(of, (said, _))| (*of, *said))
            .collect();
        for (of, said) in known {
            self.hosts[peer].hear(of, model, Some(said));
        }
        // Whoever says that it serves is asked whether it is there.
        for of in self.hosts[peer].servers(model) {
            if !self.hosts[of].is_online {
                self.hosts[peer].hear(of, model, None);
            }
        }
    }

    fn tick_later(&mut self, peer: usize) {
        let host = &mut self.hosts[peer];
        let Some(deadline) = host.core.next_deadline() else {
            return;
        };
        let at = deadline.saturating_duration_since(self.base).max(self.now);
        if host.ticks_at.is_none_or(|ticks_at| at < ticks_at) {
            host.ticks_at = Some(at);
            let life = host.life;
            self.agenda.push(at, Event::Tick { peer, life });
        }
    }

    /// The demand goes on for a second.
    fn step(&mut self) {
        self.agenda.push(self.now + STEP, Event::Step);
        for model in 0..self.models.len() {
            let servers = self.servers(model).len();
            let load = self.market.step(model, servers);
            self.log.on_step(model, load, self.now);
        }
        let free = self.hosts.iter().filter(|host| host.is_online);
        self.market.rivals = free.filter(|host| host.free() > 0).count();
        self.market.publish(&mut self.rng);
    }

    fn on_churn(&mut self) {
        self.agenda.push(self.now + CHURN_EVERY, Event::Churn);
        let share = self.config.churn * CHURN_EVERY.as_secs_f64() / 600.0;
        for peer in 0..self.hosts.len() {
            if self.hosts[peer].is_online && self.rng.random_bool(share) {
                let away = Duration::from_secs(self.rng.random_range(30..300));
                self.leave(peer, away);
            }
        }
    }

    fn leave(&mut self, peer: usize, away: Duration) {
        self.hosts[peer].leave();
        self.log.on_leave(peer);
        for model in 0..self.models.len() {
            if self.registry[model].remove(&peer).is_none() {
                continue;
            }
            for to in 0..self.hosts.len() {
                if self.hosts[to].knows(peer, model) {
                    self.hears(to, (peer, model), None, 5.0..60.0);
                }
            }
        }
        self.agenda.push(self.now + away, Event::Return(peer));
    }

    /// It comes again with what it has on its disk, and hears what its shard says.
    fn on_return(&mut self, peer: usize) {
        self.hosts[peer].is_online = true;
        let neighbours: BTreeSet<usize> = self.shard(peer).collect();
        for model in 0..self.models.len() {
            for (of, (said, _)) in &self.registry[model] {
                if neighbours.contains(of) {
                    self.hosts[peer].hear(*of, model, Some(*said));
                }
            }
        }
        self.look_later(peer);
    }
}
