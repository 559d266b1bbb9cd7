//! Connections and the mesh of gossip upon them.

use std::time::Duration;

use dht::core::{
    board::Input,
    score::{Offence, Standing},
};
use rand::{RngExt, seq::IteratorRandom};

use super::{BoardSwarm, HEARTBEAT, agenda::Event};
use crate::mesh::{DEGREE, DEGREE_HIGH, DEGREE_LOW, LAZY};

/// Connections that a peer looks for, and has at most.
const LINKS: usize = 12;
const MOST_LINKS: usize = 30;

/// What was heard within this is announced.
const ANNOUNCED: Duration = Duration::from_secs(3);

impl BoardSwarm {
    /// A peer comes: it follows the board, and finds others.
    pub(super) fn follow(&mut self, number: usize) {
        let board = self.board.clone();
        self.tell(number, Input::Followed(board));
        self.look_for_links(number);
    }

    fn look_for_links(&mut self, number: usize) {
        let missing = LINKS.saturating_sub(self.members[number].links.len());
        let others = 0..self.members.len();
        for other in others.sample(&mut self.rng, missing) {
            self.connect(number, other);
        }
    }

    /// Connects two that are there and bear each other.
    pub(super) fn connect(&mut self, one: usize, other: usize) {
        let is_there = |number: usize| {
            let member = &self.members[number];
            member.is_online && member.links.len() < MOST_LINKS
        };
        if one == other || !is_there(one) || !is_there(other) || self.are_parted(one, other) {
            return;
        }
        if self.is_banned(one, other) || self.is_banned(other, one) {
            return;
        }
        for (here, there) in [(one, other), (other, one)] {
            if self.members[here].links.insert(there) {
                let met = Input::Met(self.members[there].node, self.board.clone());
                self.tell(here, met);
            }
        }
    }

    pub(super) fn disconnect(&mut self, one: usize, other: usize) {
        for (here, there) in [(one, other), (other, one)] {
            self.members[here].links.remove(&there);
            self.members[here].mesh.remove(&there);
            let gone = Input::Gone(self.members[there].node);
            self.tell(here, gone);
        }
    }

    fn is_banned(&self, at: usize, who: usize) -> bool {
        let (member, node) = (&self.members[at], self.members[who].node);
        let standing = member.scores.standing(node, self.at());
        matches!(standing, Standing::Banned(_))
    }

    /// Counts an offence, and does what follows; `is_cut`: at once.
    pub(super) fn blame(&mut self, at: usize, who: usize, offence: Offence, is_cut: bool) {
        let (now, node) = (self.at(), self.members[who].node);
        let standing = self.members[at].scores.on_offence(node, offence, now);
        if self.members[who].is_honest() {
            self.log.honest_offences += 1;
        }
        if is_cut || matches!(standing, Standing::Disconnect | Standing::Banned(_)) {
            self.log.cut_off += 1;
            self.disconnect(at, who);
        }
    }

    pub(super) fn on_heartbeat(&mut self, number: usize) {
        self.agenda
            .push(self.now + HEARTBEAT, Event::Heartbeat(number));
        if !self.members[number].is_online {
            return;
        }
        self.look_for_links(number);
        self.mend_mesh(number);
        self.announce(number);
        self.act(number);
    }

    fn mend_mesh(&mut self, number: usize) {
        let member = &self.members[number];
        if member.mesh.len() < DEGREE_LOW {
            let others = member.links.difference(&member.mesh).copied();
            let has_room = |other: &usize| self.members[*other].mesh.len() < DEGREE_HIGH;
            let missing = DEGREE - member.mesh.len();
            let others = others.filter(has_room).sample(&mut self.rng, missing);
            for other in others {
                self.members[number].mesh.insert(other);
                self.members[other].mesh.insert(number);
            }
        }
        if !self.members[number].mesh.is_empty() {
            let now = self.now;
            self.members[number].meshed_since.get_or_insert(now);
        }
    }

    /// Tells a few beside the mesh what was heard lately; they ask for what they lack.
    fn announce(&mut self, number: usize) {
        let since = self.now.saturating_sub(ANNOUNCED);
        let member = &mut self.members[number];
        member.recent.retain(|(at, _)| *at >= since);
        if member.recent.is_empty() || !member.is_honest() {
            return;
        }
        let member = &self.members[number];
        let others = member.links.difference(&member.mesh).copied();
        let others = others.sample(&mut self.rng, LAZY as usize);
        for to in others {
            for (_, message) in self.members[number].recent.clone() {
                if !self.messages[message].seen.contains(to) {
                    let asks = self.members[number].spot.rtt(&self.members[to].spot);
                    self.send(number, to, message, asks);
                }
            }
        }
    }

    /// One copy of a message, after so long.
    pub(super) fn send(&mut self, from: usize, to: usize, message: usize, after: Duration) {
        let ends = (&self.members[from].spot, &self.members[to].spot);
        let Some(takes) = self.terrain.one_way(ends, self.now, &mut self.rng) else {
            return;
        };
        let at = self.now + after + takes;
        if self.messages[message].comes_first(to, at) {
            self.agenda.push(at, Event::Gossip { from, to, message });
        }
    }

    /// Chances for what adversaries do now and then.
    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.rng.random_bool(share)
    }
}
