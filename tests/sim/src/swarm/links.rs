//! Connections: who joins, dials, probes, and what is closed.

use std::time::Duration;

use dht::core::{
    adverts::Closeness,
    connections::{Close, ConnectionId, Dialer, Opened, Protection, Via},
    groups,
    join::{self, Cause, DialId, Family, SearchId, Transport, Way},
    rtt::LEAVE_AFTER,
    score::{Offence, Standing},
};
use protocol::NodeId;

use super::{BOOTSTRAPS, Swarm};
use crate::{peer::Kind, schedule::Event, traffic::Purpose};

/// A handshake and an admission at each end: QUIC's first packets are padded.
const HANDSHAKE: (u64, usize) = (6, 5_000);

/// A probe or its answer with what QUIC, UDP and IP add.
const PROBE_BYTES: usize = 90;

impl Swarm {
    pub(super) fn join(&mut self, number: usize, input: join::Input) {
        let now = self.base + self.now;
        let mut out = Vec::new();
        let peer = &mut self.peers[number];
        peer.join.handle(input, now, &mut self.rng, &mut out);
        for output in out {
            match output {
                join::Output::Search(id, way) => {
                    let event = Event::Searched(number, id, way);
                    self.schedule.push(self.now + search_time(way), event);
                }
                join::Output::Dial {
                    id, peer, address, ..
                } => self.dial_to_join(number, peer, address.family, id),
                join::Output::Abandon(_) => {}
                join::Output::State(state) => self.on_join_state(number, state),
            }
        }
        let due = self.peers[number].join.next_deadline();
        let due = due.map(|due| due.saturating_duration_since(self.base).max(self.now));
        if due.is_some() && self.peers[number].join_at != due {
            self.peers[number].join_at = due;
            let at = due.unwrap_or_default();
            self.schedule.push(at, Event::Join(number));
        }
    }

    pub(super) fn on_join_deadline(&mut self, number: usize) {
        let peer = &mut self.peers[number];
        if peer.is_up && peer.join_at == Some(self.now) {
            peer.join_at = None;
            self.join(number, join::Input::Tick);
        }
    }

    /// Only the bootstrap list leads anywhere.
    pub(super) fn on_searched(&mut self, number: usize, id: SearchId, way: Way) {
        if !self.peers[number].is_up {
            return;
        }
        if way == Way::Bootstrap {
            let list = self.peers[..BOOTSTRAPS].iter().map(|b| b.candidate());
            let found = join::Input::Found(way, list.collect());
            self.join(number, found);
        }
        self.join(number, join::Input::SearchEnded(id, None));
    }

    fn dial_to_join(&mut self, from: usize, to: NodeId, family: Family, id: DialId) {
        let to = self.numbers[&to];
        let vanishes = family == Family::V6 && self.peers[from].is_black_holed;
        if vanishes || !self.can_reach(from, to) {
            return;
        }
        let (a, b) = self.spots(from, to);
        let at = self.now + 2 * a.rtt(&b);
        self.schedule.push(at, Event::Joined { from, to, id });
    }

    pub(super) fn on_join_dialled(&mut self, from: usize, to: usize, id: DialId) {
        let reached = self.peers[from].links.contains_key(&to) || self.connect(from, to);
        let input = if reached {
            join::Input::Reached(id)
        } else {
            join::Input::Failed(id, Cause::Refused)
        };
        self.join(from, input);
    }

    fn on_join_state(&mut self, number: usize, state: join::State) {
        let peer = &self.peers[number];
        if matches!(state, join::State::Joined(_)) && peer.joined.is_none() {
            self.log.joins.push(self.now - peer.started);
            self.settle(number);
        }
    }

    /// A peer that is in the swarm looks around: who is near its key, and who is anywhere.
    pub(super) fn settle(&mut self, number: usize) {
        self.peers[number].joined = Some(self.now);
        for _ in 0..3 {
            self.look_around(number);
        }
    }

    /// Whether two peers are connected now; `from` dials.
    pub(super) fn connect(&mut self, from: usize, to: usize) -> bool {
        let (a, b) = (&self.peers[from], &self.peers[to]);
        let is_barred = |of: &crate::peer::Peer, whom: NodeId| {
            let standing = of.scores.standing(whom, self.base + self.now);
            matches!(standing, Standing::Disconnect | Standing::Banned(_))
        };
        if from == to
            || a.links.contains_key(&to)
            || !b.is_dialable
            || !self.can_reach(from, to)
            || is_barred(a, b.id)
            || is_barred(b, a.id)
        {
            return false;
        }
        let id = self.next_connection;
        self.next_connection += 1;
        self.ends.insert(id, (from, to));
        for (at, other, dialer) in [(from, to, Dialer::Us), (to, from, Dialer::Peer)] {
            self.peers[at].links.insert(other, ConnectionId(id));
            let (messages, bytes) = HANDSHAKE;
            let sent = &mut self.peers[at].sent;
            sent.count(Purpose::Handshake, messages, bytes);
            let opened = Opened {
                id: ConnectionId(id),
                peer: self.peers[other].id,
                dialer,
                via: Via::Direct(Transport::Quic, self.peers[other].address),
            };
            let now = self.base + self.now;
            let closes = self.peers[at].connections.on_opened(opened, now);
            self.close(closes);
        }
        if !self.ends.contains_key(&id) {
            return false;
        }
        for (at, other) in [(from, to), (to, from)] {
            self.peers[at].lost.remove(&other);
            let id = self.peers[other].id;
            let path = Some(groups::Path::Direct);
            self.groups(at, groups::Input::Path(id, path));
            self.count_peers(at);
        }
        true
    }

    pub(super) fn close(&mut self, closes: Vec<Close>) {
        for close in closes {
            self.disconnect(close.id.0);
        }
    }

    pub(super) fn disconnect(&mut self, connection: u64) {
        let Some((one, other)) = self.ends.remove(&connection) else {
            return;
        };
        for topic in &self.peers[one].topics {
            self.meshes.unlink(*topic, one, other);
        }
        for (at, gone) in [(one, other), (other, one)] {
            let peer = &mut self.peers[at];
            peer.links.remove(&gone);
            peer.connections.on_closed(ConnectionId(connection));
            let id = self.peers[gone].id;
            let peer = &mut self.peers[at];
            peer.connections.unprotect(id, Protection::Mesh);
            if !peer.is_up {
                continue;
            }
            // A dial that is refused at once changes nothing.
            peer.lost.entry(gone).or_insert(self.now);
            self.groups(at, groups::Input::Path(id, None));
            self.count_peers(at);
        }
    }

    fn count_peers(&mut self, number: usize) {
        let peer = &self.peers[number];
        if peer.kind != Kind::Bootstrap && peer.joined.is_some() {
            self.join(number, join::Input::Peers(peer.links.len()));
        }
    }

    pub(super) fn groups(&mut self, number: usize, input: groups::Input) {
        let now = self.base + self.now;
        let peer = &mut self.peers[number];
        if !peer.is_up {
            return;
        }
        let mut out = Vec::new();
        peer.groups.handle(input, now, &mut self.rng, &mut out);
        for output in out {
            match output {
                groups::Output::Probe(to) => self.probe(number, to),
                groups::Output::Dial(to) => self.dial_near(number, to),
                groups::Output::Closeness(of, closeness) => {
                    self.on_closeness(number, of, closeness);
                }
                groups::Output::Role(role) => {
                    self.log.roles.insert(number, role);
                }
            }
        }
        let peer = &mut self.peers[number];
        let due = peer.groups.next_deadline();
        let due = due.map(|due| due.saturating_duration_since(self.base).max(self.now));
        if let Some(at) = due
            && peer.groups_at.is_none_or(|set| at < set)
        {
            peer.groups_at = Some(at);
            self.schedule.push(at, Event::Groups(number));
        }
    }

    pub(super) fn on_groups_deadline(&mut self, number: usize) {
        if self.peers[number].groups_at == Some(self.now) {
            self.peers[number].groups_at = None;
            self.groups(number, groups::Input::Tick);
        }
    }

    fn probe(&mut self, from: usize, to: NodeId) {
        let to = self.numbers[&to];
        self.peers[from].sent.count(Purpose::Probe, 1, PROBE_BYTES);
        let (a, b) = self.spots(from, to);
        let rng = &mut self.rng;
        let Some(there) = self.terrain.one_way((&a, &b), self.now, rng) else {
            return;
        };
        if !self.peers[to].is_up || !self.peers[from].links.contains_key(&to) {
            return;
        }
        self.peers[to].sent.count(Purpose::Probe, 1, PROBE_BYTES);
        let back = self.terrain.one_way((&b, &a), self.now, &mut self.rng);
        if let Some(back) = back {
            let rtt = there + back;
            let answer = Event::Answer {
                at: from,
                of: to,
                rtt,
            };
            self.schedule.push(self.now + rtt, answer);
        }
    }

    fn dial_near(&mut self, from: usize, to: NodeId) {
        let to = self.numbers[&to];
        self.log.dials += 1;
        if self.can_reach(from, to) {
            let (a, b) = self.spots(from, to);
            let at = self.now + 2 * a.rtt(&b);
            self.schedule.push(at, Event::Dialled { from, to });
        }
    }

    /// Whoever leaves the group must have been away for as long as the hysteresis says: paths here
    /// do not change for longer than a moment.
    fn on_closeness(&mut self, number: usize, of: NodeId, closeness: Closeness) {
        let other = self.numbers[&of];
        let peer = &mut self.peers[number];
        peer.adverts.set_closeness(&of, closeness);
        if closeness == Closeness::Group {
            peer.members.insert(other);
            peer.connections.protect(of, Protection::Group);
            return;
        }
        peer.connections.unprotect(of, Protection::Group);
        // Who was near and found no place in the group was no member.
        if !peer.members.remove(&other) {
            return;
        }
        let away = peer.lost.get(&other).map(|lost| self.now - *lost);
        if away.is_none_or(|away| away < LEAVE_AFTER) {
            self.log.early_evictions += 1;
        }
        self.log.evictions += 1;
    }

    /// Takes note of a misdeed of a connected peer, and acts on it.
    pub(super) fn offend(&mut self, at: usize, by: usize, offence: Offence) {
        let now = self.base + self.now;
        let culprit = self.peers[by].id;
        let standing = self.peers[at].scores.on_offence(culprit, offence, now);
        if self.peers[by].is_honest() && self.peers[at].is_honest() {
            self.log.honest_offences += 1;
        }
        if matches!(standing, Standing::Disconnect | Standing::Banned(_))
            && let Some(id) = self.peers[at].links.get(&by).copied()
        {
            self.log.cut_off += 1;
            self.disconnect(id.0);
        }
    }
}

fn search_time(way: Way) -> Duration {
    match way {
        Way::Remembered => Duration::from_millis(1),
        Way::Bootstrap => Duration::from_millis(30),
        Way::Mdns => Duration::from_secs(2),
        Way::Rendezvous => Duration::from_secs(20),
    }
}
