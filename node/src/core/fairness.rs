//! Which peer's request is answered next, so that none has more of the node than another that
//! waits, and the node's own user goes before all of them.
//!
//! Each peer has a counter of what it was given, in tokens weighed by their work; the waiting
//! request whose peer was given least is the next. A request is charged by its estimate when its
//! turn comes and by its tokens as they come, so a peer whose answers run is not taken for one
//! that had nothing. A peer that comes anew starts where the last one admitted stood: nobody saves
//! up by being away. This is start-time fair queueing (Goyal, Vin and Cheng, 1996) over measured
//! tokens, as in the virtual token counter (Sheng et al., "Fairness in Serving Large Language
//! Models", 2024). While two peers wait, what they were given differs by one request at most.
//!
//! A request's states:
//! - (asked) → waiting, or refused: its peer is too fast, or the queue is full. A full queue drops
//!   the last request of the peer that has most in it, if the newcomer has fewer (longest queue
//!   drop): a flood of one peer keeps no other out.
//! - waiting → admitted (`Output::Admit`): its model has a sequence that is not kept for the
//!   node's own user, its peer has few running, and nobody of the own user waits
//! - waiting, admitted → (gone): `Input::Leave`
//!
//! It knows no engine, no message and no clock. Many identities are many peers here: what one
//! person may have with a thousand keys is bounded by the limits for all peers together.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use protocol::{ModelName, NodeId};

mod event;
#[cfg(test)]
mod tests;

pub use self::event::{Ask, Input, Output, Policy, Refusal, Room, Rooms, Ticket};
use crate::core::pace::Pace;

/// Peers that are told apart: ten times the connections that a node ever has, 150 bytes each.
pub const MAX_PEERS: usize = 4096;

/// A peer that asked for nothing so long is forgotten with its debts when there is no room.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// The least time between two searches of a full table for peers to forget.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// An answer's time while none was measured.
const FIRST_ANSWER_TIME: Duration = Duration::from_secs(5);

/// The least and the longest wait that a refusal advises: it is a guess.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

#[derive(Debug)]
struct Peer {
    /// What it was given, estimates of what runs included.
    given: u64,
    pace: Pace,
    waiting: usize,
    running: usize,
    seen: Instant,
}

#[derive(Debug)]
struct Waiting {
    ask: Ask,
    position: Option<u32>,
}

#[derive(Debug)]
struct Running {
    ask: Ask,
    /// What it cost so far.
    spent: u64,
    since: Instant,
}

impl Running {
    /// What its peer is charged now.
    fn charged(&self) -> u64 {
        self.spent.max(self.ask.estimate)
    }
}

/// The requests of peers: those that wait and those that are answered.
#[derive(Debug)]
pub struct Fairness {
    policy: Policy,
    peers: BTreeMap<NodeId, Peer>,
    waiting: BTreeMap<Ticket, Waiting>,
    running: BTreeMap<Ticket, Running>,
    rooms: Rooms,
    /// Where the counter of the last admitted peer stood.
    level: u64,
    /// Weighed mean over the last answers.
    answer_time: Duration,
    swept: Option<Instant>,
}

impl Fairness {
    /// Nobody asked yet, and nothing is loaded.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            peers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            rooms: Rooms::default(),
            level: 0,
            answer_time: FIRST_ANSWER_TIME,
            swept: None,
        }
    }

    /// Takes what happened; appends what is to be done.
    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Output>) {
        match input {
            Input::Ask(ask) => self.on_ask(ask, now, out),
            Input::Leave(ticket) => self.on_leave(ticket, now),
            Input::Spend { ticket, cost } => return self.on_spend(ticket, cost),
            Input::Rooms(rooms) => self.rooms = rooms,
        }
        self.admit(now, out);
        self.tell_positions(out);
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Requests that are answered.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Requests that wait for this model.
    pub fn waiting_for(&self, model: &ModelName) -> usize {
        let waiting = self.waiting.values();
        waiting.filter(|w| w.ask.model == *model).count()
    }

    fn on_ask(&mut self, mut ask: Ask, now: Instant, out: &mut Vec<Output>) {
        ask.estimate = ask.estimate.max(1);
        if let Err(refusal) = self.take(&ask, now, out) {
            let ticket = ask.ticket;
            return out.push(Output::Refuse { ticket, refusal });
        }
        let waiting = Waiting {
            ask,
            position: None,
        };
        self.waiting.insert(waiting.ask.ticket, waiting);
    }

    /// Counts a request that will wait, or says why it may not.
    fn take(&mut self, ask: &Ask, now: Instant, out: &mut Vec<Output>) -> Result<(), Refusal> {
        let retry_after = self.retry_after();
        let (policy, level) = (self.policy, self.level);
        let is_full = self.waiting.len() >= policy.max_waiting;
        let peer = self
            .peer(ask.peer, now)
            .ok_or(Refusal::TooManyPeers { retry_after })?;
        let pause = peer.pace.wait(1.0, now);
        if !pause.is_zero() {
            return Err(Refusal::TooFast { retry_after: pause });
        }
        peer.pace.spend(1.0, now);
        if peer.waiting >= policy.max_waiting_per_peer {
            return Err(Refusal::PeerQueueFull { retry_after });
        }
        let waits = peer.waiting;
        if is_full && !self.drop_of_longest(waits, out) {
            return Err(Refusal::QueueFull { retry_after });
        }
        let peer = self.peers.get_mut(&ask.peer).expect("it was just found");
        if peer.waiting == 0 && peer.running == 0 {
            peer.given = peer.given.max(level);
        }
        peer.waiting += 1;
        Ok(())
    }

    /// The peer's entry, made if there is room.
    fn peer(&mut self, id: NodeId, now: Instant) -> Option<&mut Peer> {
        if !self.peers.contains_key(&id) && self.peers.len() >= MAX_PEERS {
            self.sweep(now);
            if self.peers.len() >= MAX_PEERS {
                return None;
            }
        }
        let (rate, given) = (self.policy.rate, self.level);
        let peer = self.peers.entry(id).or_insert_with(|| Peer {
            given,
            pace: Pace::new(rate, now),
            waiting: 0,
            running: 0,
            seen: now,
        });
        peer.seen = now;
        Some(peer)
    }

    /// Forgets peers of which nothing is lost by it, or that were away for long.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now < swept + SWEEP_EVERY) {
            return;
        }
        self.swept = Some(now);
        let level = self.level;
        self.peers.retain(|_, peer| {
            let is_even = peer.given <= level && peer.pace.is_rested(now);
            let is_away = now.saturating_duration_since(peer.seen) >= FORGET_AFTER;
            peer.waiting + peer.running > 0 || !(is_even || is_away)
        });
    }

    /// Makes a place in the full queue for a peer that has `waits` in it; false: there is no peer
    /// that has clearly more.
    fn drop_of_longest(&mut self, waits: usize, out: &mut Vec<Output>) -> bool {
        let retry_after = self.retry_after();
        let longest = self.peers.iter().max_by_key(|(_, peer)| peer.waiting);
        let Some((&id, peer)) = longest else {
            return false;
        };
        if peer.waiting < waits + 2 {
            return false;
        }
        let mut last = self.waiting.values().rev();
        let last = last.find(|waiting| waiting.ask.peer == id);
        let ticket = last.expect("a peer's count is of these").ask.ticket;
        self.remove_waiting(ticket);
        let refusal = Refusal::QueueFull { retry_after };
        out.push(Output::Refuse { ticket, refusal });
        true
    }

    fn remove_waiting(&mut self, ticket: Ticket) -> Option<Ask> {
        let ask = self.waiting.remove(&ticket)?.ask;
        if let Some(peer) = self.peers.get_mut(&ask.peer) {
            peer.waiting -= 1;
        }
        Some(ask)
    }

    fn on_leave(&mut self, ticket: Ticket, now: Instant) {
        if self.remove_waiting(ticket).is_some() {
            return;
        }
        let Some(running) = self.running.remove(&ticket) else {
            return;
        };
        let took = now.saturating_duration_since(running.since);
        self.answer_time = (self.answer_time * 7 + took) / 8;
        if let Some(peer) = self.peers.get_mut(&running.ask.peer) {
            let unspent = running.charged() - running.spent;
            peer.given = peer.given.saturating_sub(unspent);
            peer.running -= 1;
            peer.seen = now;
            // While nobody is there, nobody is owed anything.
            if self.waiting.is_empty() && self.running.is_empty() {
                self.level = self.level.max(peer.given);
            }
        }
    }

    fn on_spend(&mut self, ticket: Ticket, cost: u64) {
        let Some(running) = self.running.get_mut(&ticket) else {
            return;
        };
        let before = running.charged();
        running.spent = running.spent.saturating_add(cost);
        let more = running.charged() - before;
        if let Some(peer) = self.peers.get_mut(&running.ask.peer) {
            peer.given = peer.given.saturating_add(more);
        }
    }

    fn admit(&mut self, now: Instant, out: &mut Vec<Output>) {
        while let Some(ticket) = self.next() {
            let ask = self.remove_waiting(ticket).expect("it was found waiting");
            let peer = self.peers.get_mut(&ask.peer).expect("it had one waiting");
            self.level = self.level.max(peer.given);
            peer.given = peer.given.saturating_add(ask.estimate);
            peer.running += 1;
            let running = Running {
                ask,
                spent: 0,
                since: now,
            };
            self.running.insert(ticket, running);
            out.push(Output::Admit(ticket));
        }
    }

    /// Whose turn it is.
    fn next(&self) -> Option<Ticket> {
        if self.own_waits() || self.running.len() >= self.policy.max_running {
            return None;
        }
        let mut order = self.order().into_iter();
        order.find(|ticket| self.may_run(&self.waiting[ticket].ask))
    }

    fn may_run(&self, ask: &Ask) -> bool {
        let busy = self.peers.get(&ask.peer).map_or(0, |peer| peer.running);
        busy < self.policy.max_running_per_peer && self.free_for(&ask.model) > 0
    }

    /// Sequences of this model that peers could be given now.
    pub fn free_for(&self, model: &ModelName) -> u32 {
        let unloaded = Room {
            parallel: 1,
            leases: 0,
            guests: 0,
        };
        let room = self.rooms.models.get(model).unwrap_or(&unloaded);
        let running = self.running.values();
        let running = running.filter(|r| r.ask.model == *model).count();
        let running = u32::try_from(running).unwrap_or(u32::MAX);
        let own = room.leases.saturating_sub(room.guests);
        let free = room.parallel.saturating_sub(own.saturating_add(running));
        let share = guest_slots(room.parallel, self.policy.own_percent);
        free.min(share.saturating_sub(running))
    }

    /// Whether the node's own user waits for anything: more use a model than run at a time.
    /// Peers alone never do, since they are given free sequences only.
    fn own_waits(&self) -> bool {
        let mut rooms = self.rooms.models.values();
        self.rooms.own_waits || rooms.any(|room| room.leases > room.parallel)
    }

    /// The waiting requests in the order in which they would be admitted if all models had room
    /// and estimates were right.
    fn order(&self) -> Vec<Ticket> {
        let mut starts: BTreeMap<NodeId, u64> = BTreeMap::new();
        let mut order: Vec<(u64, Ticket)> = Vec::with_capacity(self.waiting.len());
        for (&ticket, Waiting { ask, .. }) in &self.waiting {
            let given = || self.peers.get(&ask.peer).map_or(0, |peer| peer.given);
            let start = starts.entry(ask.peer).or_insert_with(given);
            order.push((*start, ticket));
            *start = start.saturating_add(ask.estimate);
        }
        order.sort_unstable();
        order.into_iter().map(|(_, ticket)| ticket).collect()
    }

    fn tell_positions(&mut self, out: &mut Vec<Output>) {
        for (position, ticket) in (0..).zip(self.order()) {
            let waiting = self
                .waiting
                .get_mut(&ticket)
                .expect("the order is of these");
            if waiting.position.replace(position) != Some(position) {
                out.push(Output::Position { ticket, position });
            }
        }
    }

    /// When a place in the queue will be free, by the answers of late.
    fn retry_after(&self) -> Duration {
        let ahead = u32::try_from(self.waiting.len() + 1).unwrap_or(u32::MAX);
        let at_once = u32::try_from(self.running.len().max(1)).unwrap_or(u32::MAX);
        let wait = self.answer_time.saturating_mul(ahead) / at_once;
        wait.clamp(RETRY.0, RETRY.1)
    }
}

/// Sequences of a model that peers may have at a time: all but the own user's share, and one of
/// a model that runs few.
pub fn guest_slots(parallel: u32, own_percent: u8) -> u32 {
    let own = u64::from(parallel) * u64::from(own_percent.min(100));
    let own = u32::try_from(own.div_ceil(100)).unwrap_or(u32::MAX);
    parallel.saturating_sub(own).max(1)
}
