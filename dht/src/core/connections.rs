//! Which connections stay open, and which one a new stream takes.
//!
//! Gossip keeps every connection alive, so idle time closes none; this does:
//! - above [`Config::high`] connections, the least worth among those older than
//!   [`Config::grace`] go until [`Config::low`] are left. Protected peers (mesh, group, relay in
//!   use) and connections with streams of ours in flight never go for that;
//! - a peer has [`MAX_PER_PEER`] at most;
//! - one IP neighbourhood (/24, /56) has [`Config::inbound_per_prefix`] inbound connections at
//!   most, relayed ones not counted; protected peers and exempt ranges are not refused;
//! - never more than [`Config::ceiling`]: a stranger beyond it is refused, and whoever is
//!   protected or was dialed by us takes the place of the least worth inbound stranger;
//! - of two connections to one peer that are not needed both, the larger [`NodeId`] closes the
//!   relayed one and every direct one but one, which it dialed itself if it can. It waits
//!   [`DEDUPE_AFTER`] for the other side's dial and for streams in flight to end.
//!
//! Relayed connections carry control only. Ids and times come in, [`Close`]s go out; it knows no
//! transport, and not why a peer is protected.

mod event;
mod prefix;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use protocol::NodeId;

pub use self::{
    event::{Close, ConnectionId, Dialer, Opened, PeerFacts, Protection, Reason, Traffic, Via},
    prefix::IpRange,
};
use self::{
    prefix::neighbourhood,
    table::{Connection, Table},
};
pub use super::join::Transport;

/// Connections to one peer: two that a hole punch makes, and the relayed one.
pub const MAX_PER_PEER: usize = 3;

/// How long after a peer's last new direct connection duplicates are closed: when both sides dial,
/// the second connection is up to a second late.
pub const DEDUPE_AFTER: Duration = Duration::from_secs(2);

/// Peers that are known as protected or by other facts, connected or not: all that a node has
/// connections for, ten times.
pub const MAX_FACTS: usize = 2048;

/// The owner's bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Above this many connections some are closed.
    pub high: usize,
    /// Down to this many.
    pub low: usize,
    /// Never more than this.
    pub ceiling: usize,
    /// A connection is not closed for room before this age.
    pub grace: Duration,
    /// Inbound connections out of one neighbourhood.
    pub inbound_per_prefix: usize,
    /// Ranges without that quota, beside loopback.
    pub exempt: Vec<IpRange>,
}

impl Default for Config {
    /// A connection costs 150 KB at each end: 160 are 24 MB. Eight of a neighbourhood: a household
    /// or an office behind one address.
    fn default() -> Self {
        Self {
            high: 96,
            low: 64,
            ceiling: 160,
            grace: Duration::from_secs(60),
            inbound_per_prefix: 8,
            exempt: Vec::new(),
        }
    }
}

/// What is known of a peer beyond its connections.
#[derive(Debug, Clone, Default)]
struct Known {
    protections: BTreeSet<Protection>,
    facts: PeerFacts,
}

/// All connections of one node.
#[derive(Debug, Clone)]
pub struct Connections {
    own: NodeId,
    config: Config,
    table: Table,
    known: BTreeMap<NodeId, Known>,
    /// When each peer's duplicates are closed.
    dedupe: BTreeMap<NodeId, Instant>,
}

impl Connections {
    /// None yet.
    pub fn new(own: NodeId, config: Config) -> Self {
        Self {
            own,
            config,
            table: Table::default(),
            known: BTreeMap::new(),
            dedupe: BTreeMap::new(),
        }
    }

    /// Connections that are open and were not told to close.
    pub fn len(&self) -> usize {
        self.table.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether an inbound connection from there would be refused for its neighbourhood, before
    /// its peer is known.
    pub fn is_crowded(&self, address: IpAddr) -> bool {
        let is_exempt = |range: &IpRange| range.contains(address);
        let loopback = address.to_canonical().is_loopback();
        if loopback || self.config.exempt.iter().any(is_exempt) {
            return false;
        }
        let here = neighbourhood(address);
        let inbound = self.table.all().filter(|c| c.is_inbound());
        let neighbours = inbound.filter(|c| match c.opened.via {
            Via::Direct(_, other) => neighbourhood(other) == here,
            Via::Relay => false,
        });
        neighbours.count() >= self.config.inbound_per_prefix
    }

    /// A connection opened; what is closed for it, maybe itself.
    pub fn on_opened(&mut self, opened: Opened, now: Instant) -> Vec<Close> {
        let mut out = Vec::new();
        if self.refuses(&opened) {
            out.push(Close {
                id: opened.id,
                reason: Reason::Crowded,
            });
            return out;
        }
        if self.len() >= self.config.ceiling && !self.make_room(&opened, now, &mut out) {
            out.push(Close {
                id: opened.id,
                reason: Reason::NoRoom,
            });
            return out;
        }
        self.table.0.insert(opened.id, Connection::new(opened, now));
        self.bound_peer(opened.peer, &mut out);
        self.plan_dedupe(opened.peer, now);
        self.poll(now, &mut out);
        out
    }

    /// A connection is closed, by whomever.
    pub fn on_closed(&mut self, id: ConnectionId) {
        if let Some(connection) = self.table.0.remove(&id) {
            let peer = connection.opened.peer;
            if self.table.of_peer(self.own, peer).len() < 2 {
                self.dedupe.remove(&peer);
            }
        }
    }

    /// A stream of ours, or one that was let in for its value (a request under way), began.
    pub fn on_stream_opened(&mut self, id: ConnectionId, now: Instant) {
        if let Some(connection) = self.table.0.get_mut(&id) {
            connection.streams = connection.streams.saturating_add(1);
            connection.last_used = now;
        }
    }

    /// Such a stream ended.
    pub fn on_stream_closed(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.table.0.get_mut(&id) else {
            return;
        };
        connection.streams = connection.streams.saturating_sub(1);
        connection.last_used = now;
        let peer = connection.opened.peer;
        if connection.streams == 0 {
            self.plan_dedupe(peer, now);
        }
    }

    /// A round trip on this connection was measured.
    pub fn on_rtt(&mut self, id: ConnectionId, rtt: Duration) {
        if let Some(connection) = self.table.0.get_mut(&id) {
            connection.rtt = Some(rtt);
        }
    }

    /// Protects a peer, connected or not; `false` if too many peers are known already.
    pub fn protect(&mut self, peer: NodeId, protection: Protection) -> bool {
        let known = self.known_mut(peer);
        known.is_some_and(|known| {
            known.protections.insert(protection);
            true
        })
    }

    /// Takes one protection back.
    pub fn unprotect(&mut self, peer: NodeId, protection: Protection) {
        if let Some(known) = self.known.get_mut(&peer) {
            known.protections.remove(&protection);
            self.forget_unremarkable(peer);
        }
    }

    /// What makes the peer worth keeping; `false` if too many peers are known already.
    pub fn set_facts(&mut self, peer: NodeId, facts: PeerFacts) -> bool {
        let known = self.known_mut(peer);
        let was_known = known.is_some_and(|known| {
            known.facts = facts;
            true
        });
        self.forget_unremarkable(peer);
        was_known
    }

    /// Whether a peer is protected, whatever its streams.
    pub fn is_protected(&self, peer: NodeId) -> bool {
        let known = self.known.get(&peer);
        known.is_some_and(|known| !known.protections.is_empty())
    }

    /// The connection that a new stream to the peer takes: direct before relayed, then the one
    /// that will stay, then the shorter measured way. `None`: there is none that may carry it.
    pub fn choose(&self, peer: NodeId, traffic: Traffic) -> Option<ConnectionId> {
        let best = *self.table.of_peer(self.own, peer).first()?;
        let may_carry = traffic == Traffic::Control || best.is_direct();
        may_carry.then_some(best.opened.id)
    }

    /// When [`Self::poll`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let trim = self.next_trim();
        self.dedupe.values().copied().chain(trim).min()
    }

    /// Closes what is due.
    pub fn poll(&mut self, now: Instant, out: &mut Vec<Close>) {
        let due = self.dedupe.iter().filter(|(_, at)| **at <= now);
        let peers: Vec<NodeId> = due.map(|(peer, _)| *peer).collect();
        for peer in peers {
            self.dedupe.remove(&peer);
            self.close_duplicates(peer, out);
        }
        self.trim(now, out);
    }

    fn refuses(&self, opened: &Opened) -> bool {
        let Via::Direct(_, address) = opened.via else {
            return false;
        };
        let stranger = opened.dialer == Dialer::Peer && !self.is_protected(opened.peer);
        stranger && self.is_crowded(address)
    }

    /// From here on it is not counted; the report of its end finds nothing and changes nothing.
    fn close(&mut self, id: ConnectionId, reason: Reason, out: &mut Vec<Close>) {
        if self.table.0.remove(&id).is_some() {
            out.push(Close { id, reason });
        }
    }

    /// At the ceiling: whether there is a stranger whose place the new one takes.
    fn make_room(&mut self, opened: &Opened, now: Instant, out: &mut Vec<Close>) -> bool {
        if opened.dialer == Dialer::Peer && !self.is_protected(opened.peer) {
            return false;
        }
        let strangers = self
            .table
            .all()
            .filter(|c| c.is_inbound() && self.may_go(c));
        let least = strangers.min_by_key(|c| c.worth(self.facts(c.opened.peer), now));
        let Some(id) = least.map(|connection| connection.opened.id) else {
            return false;
        };
        self.close(id, Reason::NoRoom, out);
        true
    }

    /// Neither protected nor in use.
    fn may_go(&self, connection: &Connection) -> bool {
        connection.streams == 0 && !self.is_protected(connection.opened.peer)
    }

    fn facts(&self, peer: NodeId) -> PeerFacts {
        self.known.get(&peer).map(|k| k.facts).unwrap_or_default()
    }

    /// Beyond [`MAX_PER_PEER`] the worst goes, one without streams if there is one.
    fn bound_peer(&mut self, peer: NodeId, out: &mut Vec<Close>) {
        let mut ranked = self.table.of_peer(self.own, peer);
        while ranked.len() > MAX_PER_PEER {
            let idle = ranked.iter().rposition(|c| c.streams == 0);
            let worst = ranked.remove(idle.unwrap_or(ranked.len() - 1));
            let id = worst.opened.id;
            self.close(id, Reason::Duplicate, out);
            ranked = self.table.of_peer(self.own, peer);
        }
    }

    /// Only the larger of the two closes duplicates, so that both do not close one each.
    fn plan_dedupe(&mut self, peer: NodeId, now: Instant) {
        if self.own > peer && self.table.of_peer(self.own, peer).len() > 1 {
            self.dedupe.insert(peer, now + DEDUPE_AFTER);
        }
    }

    /// All but the best, save those in use: they are looked at again when their streams end.
    fn close_duplicates(&mut self, peer: NodeId, out: &mut Vec<Close>) {
        let ranked = self.table.of_peer(self.own, peer);
        let spare = ranked.iter().skip(1).filter(|c| c.streams == 0);
        let ids: Vec<ConnectionId> = spare.map(|c| c.opened.id).collect();
        for id in ids {
            self.close(id, Reason::Duplicate, out);
        }
    }

    fn trim(&mut self, now: Instant, out: &mut Vec<Close>) {
        let count = self.len();
        if count <= self.config.high {
            return;
        }
        let old = |c: &&Connection| c.at + self.config.grace <= now && self.may_go(c);
        let mut candidates: Vec<&Connection> = self.table.all().filter(old).collect();
        candidates.sort_by_cached_key(|c| c.worth(self.facts(c.opened.peer), now));
        candidates.truncate(count.saturating_sub(self.config.low));
        let ids: Vec<ConnectionId> = candidates.iter().map(|c| c.opened.id).collect();
        for id in ids {
            self.close(id, Reason::Trimmed, out);
        }
    }

    /// When the next connection that may go is out of its grace, if there are too many.
    fn next_trim(&self) -> Option<Instant> {
        if self.len() <= self.config.high {
            return None;
        }
        let candidates = self.table.all().filter(|c| self.may_go(c));
        candidates.map(|c| c.at + self.config.grace).min()
    }

    fn known_mut(&mut self, peer: NodeId) -> Option<&mut Known> {
        let has_room = self.known.len() < MAX_FACTS || self.known.contains_key(&peer);
        has_room.then(|| self.known.entry(peer).or_default())
    }

    fn forget_unremarkable(&mut self, peer: NodeId) {
        let unremarkable = |k: &Known| k.protections.is_empty() && k.facts == PeerFacts::default();
        if self.known.get(&peer).is_some_and(unremarkable) {
            self.known.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests;
