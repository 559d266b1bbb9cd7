//! Whom to dial because its coordinate promises that it is near; at first, while nobody's coordinate
//! says much, whoever is known.
//!
//! A coordinate is a claim, and a guess is not a measurement: each dial counts as a failure until
//! the peer turns out to be near, and a peer that failed is left alone for a time that doubles.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use protocol::NodeId;

use crate::core::{adverts::MAX_AUTHORS, coordinates::Coordinate, rtt::JOIN_MAX};

/// Peers whose coordinates are kept: everybody in the view of adverts.
pub const MAX_PLACES: usize = MAX_AUTHORS;

/// Dials that are remembered: three hours at the fastest pace.
pub const MAX_ATTEMPTS: usize = 1024;

/// The least time between two dials: six a minute. A crowd that claims to be where we are costs no
/// more than this.
pub const DIAL_SPACING: Duration = Duration::from_secs(10);

/// The first dials of all are not held back like that, and need no promise: machines that were started
/// together have no coordinates yet, and are to find their chain within seconds. As many as a chain
/// needs, with some in vain.
pub const FIRST_DIALS: u32 = 8;

/// The least time between two of these.
pub const FIRST_SPACING: Duration = Duration::from_secs(1);

/// How long a peer is left alone after a first dial; doubled at each further one.
pub const RETRY_AFTER: Duration = Duration::from_secs(600);

/// The longest time that a peer is left alone: networks change within a day.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(4 * 3600);

/// The relative error above which a coordinate, the own one or another's, promises nothing.
pub const MAX_GUESS_ERROR: f64 = 0.5;

#[derive(Debug, Clone, Copy)]
struct Known {
    place: Option<Coordinate>,
    is_dialable: bool,
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    count: u32,
    until: Instant,
}

/// Coordinates of peers, connected or not, and the dials that they led to.
#[derive(Debug, Clone)]
pub(super) struct Dialing {
    places: BTreeMap<NodeId, Known>,
    attempts: BTreeMap<NodeId, Attempt>,
    /// When the next dial may be.
    slot: Instant,
    /// So many of the first dials are left.
    first_left: u32,
}

impl Dialing {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            places: BTreeMap::new(),
            attempts: BTreeMap::new(),
            slot: now,
            first_left: FIRST_DIALS,
        }
    }

    pub(super) fn place(&self, peer: &NodeId) -> Option<Coordinate> {
        self.places.get(peer).and_then(|known| known.place)
    }

    /// Takes note of a claim; in a full table the farthest makes room for whoever is nearer.
    pub(super) fn on_said(
        &mut self,
        peer: NodeId,
        place: Option<Coordinate>,
        is_dialable: bool,
        own: &Coordinate,
    ) {
        let known = Known { place, is_dialable };
        if self.places.len() >= MAX_PLACES && !self.places.contains_key(&peer) {
            let distance = |known: &Known| known.place.map_or(Duration::MAX, |p| own.distance(&p));
            let farthest = self.places.iter().max_by_key(|(_, k)| distance(k));
            match farthest.map(|(peer, k)| (*peer, distance(k))) {
                Some((peer, far)) if distance(&known) < far => self.places.remove(&peer),
                _ => return,
            };
        }
        self.places.insert(peer, known);
    }

    pub(super) fn on_silent(&mut self, peer: &NodeId) {
        self.places.remove(peer);
    }

    /// The peer is near: its dials were no failures.
    pub(super) fn on_near(&mut self, peer: &NodeId) {
        self.attempts.remove(peer);
    }

    /// The nearest that promises to be near, is not connected, and is not left alone; among the first
    /// dials those without a promise come last.
    pub(super) fn take(
        &mut self,
        own: &Coordinate,
        is_connected: impl Fn(&NodeId) -> bool,
        now: Instant,
    ) -> Option<NodeId> {
        if now < self.slot {
            return None;
        }
        let any = (self.first_left > 0).then_some(Duration::MAX);
        let dialable = self.places.iter().filter(|(_, known)| known.is_dialable);
        let wanted = dialable.filter_map(|(peer, known)| {
            let distance = promise(own, known.place.as_ref()).or(any)?;
            (!self.is_left_alone(peer, now)).then_some((distance, *peer))
        });
        let nearest = wanted.filter(|(_, peer)| !is_connected(peer)).min();
        let (_, peer) = nearest?;
        self.on_dial(peer, now);
        self.first_left = self.first_left.saturating_sub(1);
        Some(peer)
    }

    /// When [`Self::take`] is to be called again; it has nothing to wait for without places.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        (!self.places.is_empty()).then_some(self.slot)
    }

    /// Looks again after a while: places, errors and pauses change without a deadline of theirs.
    pub(super) fn rest(&mut self, now: Instant) {
        let spacing = match self.first_left {
            0 => DIAL_SPACING,
            _ => FIRST_SPACING,
        };
        self.slot = self.slot.max(now + spacing);
    }

    fn is_left_alone(&self, peer: &NodeId, now: Instant) -> bool {
        self.attempts.get(peer).is_some_and(|a| now < a.until)
    }

    fn on_dial(&mut self, peer: NodeId, now: Instant) {
        if self.attempts.len() >= MAX_ATTEMPTS && !self.attempts.contains_key(&peer) {
            let first = self.attempts.iter().min_by_key(|(_, a)| a.until);
            if let Some(peer) = first.map(|(peer, _)| *peer) {
                self.attempts.remove(&peer);
            }
        }
        let count = self.attempts.get(&peer).map_or(0, |a| a.count);
        let pause = RETRY_AFTER.saturating_mul(1 << count.min(8));
        self.attempts.insert(
            peer,
            Attempt {
                count: count.saturating_add(1),
                until: now + pause.min(MAX_RETRY_AFTER),
            },
        );
    }
}

/// How far away a place is that promises to be near, by coordinates that are worth something.
fn promise(own: &Coordinate, place: Option<&Coordinate>) -> Option<Duration> {
    let place = place.filter(|place| own.error().max(place.error()) <= MAX_GUESS_ERROR)?;
    Some(own.distance(place)).filter(|distance| *distance <= JOIN_MAX)
}
