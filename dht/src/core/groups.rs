//! Who is near, measured: the own group, whom to probe and dial for it, and the role that follows.
//!
//! A peer is near by its own round-trip times and the hysteresis of [`crate::core::rtt`]. The
//! group is the near peers, at most [`MAX_GROUP`]: who is in it stays until it is no longer near,
//! or has had no connection for [`LEAVE_AFTER`](crate::core::rtt::LEAVE_AFTER), and free places go
//! to the nearest. Whether two members are near to one another is what their adverts say; the
//! planner reads it there.
//!
//! Probing has a budget: at most one probe in [`PROBE_SPACING`], whatever the number of peers, the
//! longest overdue first, so that a crowd of new connections delays the others' probes and starves
//! nobody's. Dialling has one too, see [`dialing`](DIAL_SPACING).
//!
//! Transitions of [`Role`]:
//! - undecided → member: a first peer is in the group;
//! - undecided or member → API client: there were peers, and none in the group, for
//!   [`ALONE_AFTER`] without a break;
//! - API client → member: somebody is in the group for [`BACK_AFTER`] without a break.
//!
//! It does not know connections, only how a peer is reached, nor adverts, only what they say of
//! places.

mod dialing;
mod event;
mod measured;
mod role;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use protocol::{NodeId, advert::Neighbour, limits::MAX_NEIGHBOURS};
use rand::Rng;

use self::{dialing::Dialing, measured::Measured, role::RoleClock};
pub use self::{
    dialing::{
        DIAL_SPACING, FIRST_DIALS, FIRST_SPACING, MAX_ATTEMPTS, MAX_GUESS_ERROR, MAX_PLACES,
        MAX_RETRY_AFTER, RETRY_AFTER,
    },
    event::{Input, Output, Path, Role},
    measured::{FRESH_EVERY, FRESH_PROBES, MEMBER_EVERY, SELDOM_EVERY, SUSPECT_EVERY},
    role::{ALONE_AFTER, BACK_AFTER},
};
use super::{adverts::Closeness, coordinates::Coordinate, rtt::Estimate};

/// Members of a group. Its connections are never closed for room, so they are a third of those
/// that a node keeps; no chain has more stages.
pub const MAX_GROUP: usize = 32;

/// Members above which nobody is dialled for being near: choice enough for any chain.
pub const ENOUGH_MEMBERS: usize = 12;

/// Peers that are measured: more than there can be connections, and members that lost theirs.
pub const MAX_MEASURED: usize = 256;

/// The least time between two probes, of whomever: a thousand bytes a second at most.
pub const PROBE_SPACING: Duration = Duration::from_millis(125);

/// Peers of a shard up to which each names [`MAX_NEIGHBOURS`]: what a shard aims at
/// ([`super::shards::TARGET`]).
pub const FULL_LISTS: usize = 100;

/// The measured peers of one node and what follows from them.
#[derive(Debug, Clone)]
pub struct Groups {
    peers: BTreeMap<NodeId, Measured>,
    own: Coordinate,
    dialing: Dialing,
    role: RoleClock,
    /// When the next probe may be.
    probe_slot: Instant,
    /// When the next tick is due, as of the last input.
    due: Option<Instant>,
}

impl Groups {
    /// Nobody yet. `own` is where the node was last time, or the default.
    pub fn new(own: Coordinate, now: Instant) -> Self {
        Self {
            peers: BTreeMap::new(),
            own,
            dialing: Dialing::new(now),
            role: RoleClock::new(),
            probe_slot: now,
            due: None,
        }
    }

    /// Where this node is, for its advert.
    pub fn coordinate(&self) -> Coordinate {
        self.own
    }

    /// What this node is.
    pub fn role(&self) -> Role {
        self.role.role()
    }

    /// What a peer is to this node.
    pub fn closeness(&self, peer: &NodeId) -> Closeness {
        let measured = self.peers.get(peer);
        measured.map_or(Closeness::Stranger, |measured| measured.closeness)
    }

    /// What the probes of a peer say; `None`: too few answers so far.
    pub fn estimate(&self, peer: &NodeId) -> Option<Estimate> {
        (self.peers.get(peer)).and_then(|measured| measured.estimator.estimate())
    }

    /// The members of the group, by id.
    pub fn group(&self) -> impl Iterator<Item = NodeId> {
        let members = self.peers.iter().filter(|(_, m)| is_member(m));
        members.map(|(peer, _)| *peer)
    }

    /// Peers that are measured.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// The nearest connected peers, nearest first, for the own advert in a shard of so many. They
    /// are the most of an advert, so where there are more adverts than in [`FULL_LISTS`] each names
    /// fewer, and what a node hears and passes on stays the same.
    pub fn neighbours(&self, shard_peers: usize) -> Vec<Neighbour> {
        let connected = self.peers.iter().filter(|(_, m)| m.is_direct());
        let mut nearest: Vec<Neighbour> = connected
            .filter_map(|(node, measured)| {
                let rtt = measured.estimator.estimate()?.rtt;
                Some(Neighbour { node: *node, rtt })
            })
            .collect();
        nearest.sort_unstable_by_key(|neighbour| (neighbour.rtt, neighbour.node));
        nearest.truncate(MAX_NEIGHBOURS * FULL_LISTS / shard_peers.max(FULL_LISTS));
        nearest
    }

    /// When [`Input::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.due
    }

    fn next_due(&self) -> Option<Instant> {
        let records = self.peers.values();
        let probe = records.clone().filter_map(Measured::probe_due).min();
        let probe = probe.map(|due| due.max(self.probe_slot));
        let losses = records.clone().filter_map(Measured::loss_due);
        let ends = records.filter_map(Measured::ends);
        let dial = self.wants_members().then(|| self.dialing.next_deadline());
        let others = [probe, dial.flatten(), self.role.next_deadline()];
        losses.chain(ends).chain(others.into_iter().flatten()).min()
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
            Input::Path(peer, path) => self.on_path(peer, path, now),
            Input::Reply(peer, rtt) => self.on_outcome(peer, Some(rtt), now, rng),
            Input::Lost(peer) => self.on_outcome(peer, None, now, rng),
            Input::Said {
                peer,
                place,
                is_dialable,
            } => self.on_said(peer, place, is_dialable),
            Input::Silent(peer) => self.dialing.on_silent(&peer),
        }
        self.drive(now, rng, out);
        self.due = self.next_due();
    }

    fn on_path(&mut self, peer: NodeId, path: Option<Path>, now: Instant) {
        if let Some(measured) = self.peers.get_mut(&peer) {
            measured.set_path(path, now);
        } else if let Some(path) = path
            && self.peers.len() < MAX_MEASURED
        {
            let place = self.dialing.place(&peer);
            self.peers.insert(peer, Measured::new(path, place, now));
        }
    }

    fn on_said(&mut self, peer: NodeId, place: Option<Coordinate>, is_dialable: bool) {
        if let Some(measured) = self.peers.get_mut(&peer) {
            measured.place = place;
        }
        self.dialing.on_said(peer, place, is_dialable, &self.own);
    }

    fn on_outcome<R: Rng>(
        &mut self,
        peer: NodeId,
        rtt: Option<Duration>,
        now: Instant,
        rng: &mut R,
    ) {
        let Some(measured) = self.peers.get_mut(&peer) else {
            return;
        };
        if !measured.on_outcome(rtt, now, rng) || rtt.is_none() {
            return;
        }
        if measured.is_near() {
            self.dialing.on_near(&peer);
        }
        // The estimate rather than the sample: one delayed answer does not move the coordinate.
        if let (Some(place), Some(estimate)) = (measured.place, measured.estimator.estimate()) {
            self.own.observe(&place, estimate.rtt, rng);
        }
    }

    /// Does whatever is due.
    fn drive<R: Rng>(&mut self, now: Instant, rng: &mut R, out: &mut Vec<Output>) {
        self.lose_overdue(now, rng);
        self.forget_ended(now, out);
        self.regroup(out);
        self.probe(now, out);
        self.dial(now, out);
        let in_group = self.peers.values().any(is_member);
        let has_peers = self.peers.values().any(Measured::is_connected);
        let role = self.role.update(in_group, has_peers, now);
        out.extend(role.map(Output::Role));
    }

    fn lose_overdue<R: Rng>(&mut self, now: Instant, rng: &mut R) {
        for measured in self.peers.values_mut() {
            if measured.loss_due().is_some_and(|due| due <= now) {
                measured.on_outcome(None, now, rng);
            }
        }
    }

    fn forget_ended(&mut self, now: Instant, out: &mut Vec<Output>) {
        let is_over = |measured: &Measured| measured.ends().is_some_and(|end| end <= now);
        let ended = self.peers.extract_if(.., |_, measured| is_over(measured));
        let known = ended.filter(|(_, measured)| measured.closeness != Closeness::Stranger);
        out.extend(known.map(|(peer, _)| Output::Closeness(peer, Closeness::Stranger)));
    }

    /// Who is no longer near leaves the group; free places go to the nearest.
    fn regroup(&mut self, out: &mut Vec<Output>) {
        if self.is_settled() {
            return;
        }
        let near = |(peer, measured): (&NodeId, &Measured)| {
            let rtt = measured.estimator.estimate().map(|estimate| estimate.rtt);
            let rank = (!is_member(measured), rtt.unwrap_or(Duration::MAX), *peer);
            measured.is_near().then_some(rank)
        };
        let mut ranked: Vec<_> = self.peers.iter().filter_map(near).collect();
        ranked.sort_unstable();
        let group: Vec<NodeId> = ranked.into_iter().map(|(.., peer)| peer).collect();
        let group = group.get(..MAX_GROUP).unwrap_or(&group);
        for (peer, measured) in &mut self.peers {
            let closeness = match measured.is_near() {
                true if group.contains(peer) => Closeness::Group,
                true => Closeness::Near,
                false => Closeness::Stranger,
            };
            if closeness != measured.closeness {
                measured.closeness = closeness;
                out.push(Output::Closeness(*peer, closeness));
            }
        }
    }

    /// Everybody is where its probes put it: the usual case, told without sorting.
    fn is_settled(&self) -> bool {
        let is_known = |m: &Measured| m.is_near() == (m.closeness != Closeness::Stranger);
        let waits = |m: &Measured| m.closeness == Closeness::Near;
        let members = self.peers.values().filter(|m| is_member(m)).count();
        self.peers.values().all(is_known)
            && (members >= MAX_GROUP || !self.peers.values().any(waits))
    }

    /// The probe that is longest overdue, if it is time for one; the next deadline is the next
    /// one's.
    fn probe(&mut self, now: Instant, out: &mut Vec<Output>) {
        if now < self.probe_slot {
            return;
        }
        let due = self.peers.iter().filter_map(|(peer, measured)| {
            let due = measured.probe_due().filter(|due| *due <= now)?;
            Some((due, *peer))
        });
        let Some((_, peer)) = due.min() else {
            return;
        };
        if let Some(measured) = self.peers.get_mut(&peer) {
            measured.on_probe(now);
            self.probe_slot = now + PROBE_SPACING;
            out.push(Output::Probe(peer));
        }
    }

    fn dial(&mut self, now: Instant, out: &mut Vec<Output>) {
        if !self.wants_members() || self.dialing.next_deadline().is_none_or(|slot| now < slot) {
            return;
        }
        let peers = &self.peers;
        let is_connected = |peer: &NodeId| peers.contains_key(peer);
        let nearest = self.dialing.take(&self.own, is_connected, now);
        out.extend(nearest.map(Output::Dial));
        self.dialing.rest(now);
    }

    fn wants_members(&self) -> bool {
        let members = self.peers.values().filter(|m| is_member(m));
        members.count() < ENOUGH_MEMBERS && self.peers.len() < MAX_MEASURED
    }
}

fn is_member(measured: &Measured) -> bool {
    measured.closeness == Closeness::Group
}

#[cfg(test)]
mod tests;
