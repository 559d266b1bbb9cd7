//! One board of a swarm under simulation: whom its notes reach, how soon, and what adversaries do
//! about it.
//!
//! Each peer is the cores of `dht` that spread notes (meetings, sessions with real messages of set
//! reconciliation, tolls, guests, scores, rates) and real signed entries. A model is what is between
//! peers and below them: connections (some ten, to anybody), the mesh of gossip with its
//! announcements, loss and delay of each hop, and where notes are kept: in memory, an author's rate
//! held at each peer. A reconciliation takes the time of its round trips and happens at its end.
//! An honest note is verified once; what adversaries send is verified by each receiver.

mod agenda;
mod gossip;
mod hostile;
mod links;
mod member;
mod report;
mod visits;

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use protocol::{
    UnixMillis,
    board::{BoardName, Entry, Kind, Note, Saying},
    limits::NOTE_LIFETIME,
    names::SwarmName,
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IteratorRandom};

use self::{agenda::Event, gossip::Message, member::Member};
pub use self::{
    member::Trick,
    report::{Delivery, Log},
};
use crate::{agenda::Agenda, terrain::Terrain};

/// The wall clock when it begins.
const BEGAN: u64 = 1_800_000_000_000;

/// Between two steps of the churn.
const CHURN_EVERY: Duration = Duration::from_secs(5);

/// Between two heartbeats of gossip, as a node sets it up.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Config {
    /// Replays the run.
    pub seed: u64,
    /// Honest peers.
    pub peers: usize,
    /// Adversaries, of each trick as many.
    pub hostile: usize,
    /// The chance that a message of gossip is lost.
    pub loss: f64,
    /// The share of honest peers that go for a while in ten minutes.
    pub churn: f64,
    /// Notes that honest peers write in a second, all together.
    pub notes: f64,
}

/// A board under simulation.
pub struct BoardSwarm {
    config: Config,
    rng: StdRng,
    base: Instant,
    now: Duration,
    agenda: Agenda<Event>,
    terrain: Terrain,
    members: Vec<Member>,
    messages: Vec<Message>,
    board: BoardName,
    swarm: SwarmName,
    writes: bool,
    churns: bool,
    log: Log,
}

impl BoardSwarm {
    /// A swarm whose peers know each other and follow a board on which nothing is written yet.
    pub fn new(config: Config) -> Self {
        let mut swarm = Self {
            rng: StdRng::seed_from_u64(config.seed),
            base: Instant::now(),
            now: Duration::ZERO,
            agenda: Agenda::default(),
            terrain: Terrain {
                loss: config.loss,
                is_parted: false,
            },
            members: Vec::new(),
            messages: Vec::new(),
            board: "all".parse().expect("a board's name"),
            swarm: SwarmName::public(),
            writes: true,
            churns: true,
            log: Log::default(),
            config,
        };
        swarm.populate();
        swarm
    }

    fn populate(&mut self) {
        let honest = std::iter::repeat_n(None, self.config.peers);
        let each = self.config.hostile;
        let tricks = Trick::ALL.into_iter();
        let tricks = tricks.flat_map(|trick| std::iter::repeat_n(Some(trick), each));
        for trick in honest.chain(tricks) {
            let key = SigningKey::from_bytes(&self.rng.random());
            let member = Member::new(key, trick, self.at(), &mut self.rng);
            self.members.push(member);
        }
        for number in 0..self.members.len() {
            self.follow(number);
            let offset = HEARTBEAT.mul_f64(self.rng.random_range(0.0..1.0));
            self.agenda.push(offset, Event::Heartbeat(number));
        }
        self.agenda.push(Duration::from_secs(5), Event::Write);
        self.agenda.push(CHURN_EVERY, Event::Churn);
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

    /// No more notes, and nobody goes: what is under way comes to its end.
    pub fn rest(&mut self, time: Duration) {
        (self.writes, self.churns) = (false, false);
        self.run(time);
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Heartbeat(number) => self.on_heartbeat(number),
            Event::Gossip { from, to, message } => self.on_gossip(from, to, message),
            Event::Poll(number) => {
                self.members[number].polls_at = None;
                self.poll(number);
            }
            Event::Visit { from, to, id } => self.on_visit(from, to, id),
            Event::Write => self.on_write(),
            Event::Churn => self.on_churn(),
            Event::Return(number) => self.on_return(number),
            Event::Dial { from, to } => self.connect(from, to),
        }
    }

    /// Somebody writes a note.
    fn on_write(&mut self) {
        if !self.writes {
            return;
        }
        let pause = Duration::from_secs_f64(self.rng.random_range(0.5..1.5) / self.config.notes);
        self.agenda.push(self.now + pause, Event::Write);
        let there = self.members.iter().enumerate();
        let mut there = there.filter(|(_, member)| member.is_online && member.is_honest());
        let Some((author, _)) = there.by_ref().choose(&mut self.rng) else {
            return;
        };
        let text = format!("note {}", self.messages.len());
        let entry = Rc::new(self.note(author, &text, self.unix()));
        self.members[author].keep(&entry);
        let message = self.message(author, entry.bytes.clone(), Some(entry));
        self.expect(message);
        self.publish(author, message);
    }

    fn note(&self, author: usize, body: &str, written: UnixMillis) -> Entry {
        let note = Note {
            board: self.board.clone(),
            kind: Kind::Status,
            parent: None,
            body: body.to_owned(),
            agent: None,
            attachments: Vec::new(),
        };
        let key = &self.members[author].key;
        let expires = written.saturating_add(NOTE_LIFETIME);
        let signed = Entry::sign(key, &self.swarm, Saying::Note(note), written, expires);
        signed.expect("a note within its limits")
    }

    fn message(&mut self, from: usize, bytes: Bytes, sound: Option<Rc<Entry>>) -> usize {
        let mut message = Message::new(bytes, sound, self.members.len());
        message.seen.insert(from);
        self.messages.push(message);
        self.messages.len() - 1
    }

    fn on_churn(&mut self) {
        if !self.churns {
            return;
        }
        self.agenda.push(self.now + CHURN_EVERY, Event::Churn);
        let share = self.config.churn * CHURN_EVERY.as_secs_f64() / 600.0;
        for number in 0..self.config.peers {
            if !self.members[number].is_online || !self.rng.random_bool(share) {
                continue;
            }
            self.leave(number);
            let away = Duration::from_secs(self.rng.random_range(5..90));
            self.agenda.push(self.now + away, Event::Return(number));
        }
    }

    fn leave(&mut self, number: usize) {
        self.members[number].is_online = false;
        for other in self.members[number].links.clone() {
            self.disconnect(number, other);
        }
    }

    /// It comes again with what it had, and knows where others were.
    fn on_return(&mut self, number: usize) {
        let at = self.at();
        self.members[number].restart(at, self.now);
        self.follow(number);
    }

    /// The network falls into halves, or is one again. Then everybody finds one or two of the other
    /// half within seconds, as those do who remember them.
    pub fn part(&mut self, is_parted: bool) {
        self.terrain.is_parted = is_parted;
        for number in 0..self.members.len() {
            for other in self.members[number].links.clone() {
                if self.are_parted(number, other) {
                    self.disconnect(number, other);
                }
            }
            let others = 0..self.members.len();
            let side = self.members[number].spot.side;
            let others = others.filter(|other| self.members[*other].spot.side != side);
            for to in others.sample(&mut self.rng, if is_parted { 0 } else { 2 }) {
                let after = Duration::from_secs_f64(self.rng.random_range(0.0..5.0));
                self.agenda
                    .push(self.now + after, Event::Dial { from: number, to });
            }
        }
    }

    fn are_parted(&self, one: usize, other: usize) -> bool {
        let spot = |number: usize| &self.members[number].spot;
        self.terrain.are_parted(spot(one), spot(other))
    }

    fn at(&self) -> Instant {
        self.base + self.now
    }

    fn unix(&self) -> UnixMillis {
        UnixMillis(BEGAN).saturating_add(self.now)
    }
}
