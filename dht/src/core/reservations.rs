//! By which relays this node is reached, if it is not reached directly.
//!
//! Transitions of a relay: `Offered → Asked` when a place is free; `Asked → Held` when it agrees;
//! `Asked | Held → Resting` when it refuses or ends, and back to `Offered` after a pause that
//! doubles. A node that others can dial holds none: a reservation costs the relay a connection.
//! It knows no addresses and sends nothing.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use protocol::NodeId;
use rand::{Rng, seq::IteratorRandom};

/// Reservations that are held: with one more than needed a relay may go.
pub const WANTED: usize = 2;

/// How long it may take to learn that others can dial this node; a reservation before that would
/// be given up at once.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// A request that has had no answer for this long has failed.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(15);

/// Relays that are remembered: as many as there are connections.
pub const MAX_RELAYS: usize = 160;

/// The first pause after a refusal, and the longest: a stock relay lets one peer ask once in two
/// minutes over a longer time.
pub const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// See [`FIRST_PAUSE`].
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30 * 60);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Ask this relay for a reservation.
    Reserve(NodeId),
    /// Give the reservation back, or the request for one up.
    Release(NodeId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Offered,
    Asked(Instant),
    Held,
    Resting(Instant),
}

#[derive(Debug, Clone, Copy)]
struct Relay {
    state: State,
    failures: u32,
}

/// The reservations of one node.
#[derive(Debug, Clone)]
pub struct Reservations {
    relays: BTreeMap<NodeId, Relay>,
    is_public: bool,
    /// When the first relay was met; `None` before, and once [`PATIENCE`] has passed since.
    since: Option<Instant>,
    is_patient: bool,
}

impl Default for Reservations {
    fn default() -> Self {
        Self {
            relays: BTreeMap::new(),
            is_public: false,
            since: None,
            is_patient: true,
        }
    }
}

impl Reservations {
    /// A connected peer offers to be a relay.
    pub fn on_offer(&mut self, node: NodeId, now: Instant) {
        if self.relays.len() < MAX_RELAYS {
            if self.is_patient {
                self.since.get_or_insert(now);
            }
            let offered = Relay {
                state: State::Offered,
                failures: 0,
            };
            self.relays.entry(node).or_insert(offered);
        }
    }

    /// A peer is no longer connected: what it held for us ends with that.
    pub fn on_gone(&mut self, node: NodeId) {
        self.relays.remove(&node);
    }

    /// Whether others can dial this node.
    pub fn set_public(&mut self, is_public: bool) {
        self.is_public = is_public;
    }

    /// A relay agreed.
    pub fn on_held(&mut self, node: NodeId) {
        if let Some(relay) = self.relays.get_mut(&node)
            && matches!(relay.state, State::Asked(_))
        {
            (relay.state, relay.failures) = (State::Held, 0);
        }
    }

    /// A relay refused, or the reservation ended.
    pub fn on_lost(&mut self, node: NodeId, now: Instant) {
        if let Some(relay) = self.relays.get_mut(&node) {
            let pause = FIRST_PAUSE.saturating_mul(1 << relay.failures.min(16));
            relay.failures = relay.failures.saturating_add(1);
            relay.state = State::Resting(now + pause.min(LONGEST_PAUSE));
        }
    }

    /// The relays by which this node is reached.
    pub fn held(&self) -> impl Iterator<Item = NodeId> {
        let held = self.relays.iter().filter(|(_, r)| r.state == State::Held);
        held.map(|(node, _)| *node)
    }

    /// When [`Reservations::poll`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let states = self.relays.values().filter_map(|relay| match relay.state {
            State::Asked(at) => Some(at + ASK_TIMEOUT),
            State::Resting(until) => Some(until),
            State::Offered | State::Held => None,
        });
        let begin = self.since.map(|since| since + PATIENCE);
        states.chain(begin).min()
    }

    /// Does what is due.
    pub fn poll<R: Rng>(&mut self, now: Instant, rng: &mut R, out: &mut Vec<Output>) {
        for (node, relay) in &mut self.relays {
            match relay.state {
                State::Asked(at) if at + ASK_TIMEOUT <= now => {
                    relay.failures = relay.failures.saturating_add(1);
                    relay.state = State::Resting(now + FIRST_PAUSE);
                    out.push(Output::Release(*node));
                }
                State::Resting(until) if until <= now => relay.state = State::Offered,
                _ => {}
            }
        }
        if self.since.is_some_and(|since| since + PATIENCE <= now) {
            (self.since, self.is_patient) = (None, false);
        }
        if self.is_public {
            self.release_all(out);
        } else if !self.is_patient {
            self.reserve(now, rng, out);
        }
    }

    fn release_all(&mut self, out: &mut Vec<Output>) {
        for (node, relay) in &mut self.relays {
            if matches!(relay.state, State::Asked(_) | State::Held) {
                relay.state = State::Offered;
                out.push(Output::Release(*node));
            }
        }
    }

    /// Any of the relays: were it the first by id, or the nearest, all nodes would ask the same.
    fn reserve<R: Rng>(&mut self, now: Instant, rng: &mut R, out: &mut Vec<Output>) {
        let taken = |relay: &&Relay| matches!(relay.state, State::Asked(_) | State::Held);
        let free = WANTED.saturating_sub(self.relays.values().filter(taken).count());
        if free == 0 {
            return;
        }
        let offered = self.relays.iter_mut();
        let offered = offered.filter(|(_, relay)| relay.state == State::Offered);
        for (node, relay) in offered.sample(rng, free) {
            relay.state = State::Asked(now);
            out.push(Output::Reserve(*node));
        }
    }
}

#[cfg(test)]
mod tests;
