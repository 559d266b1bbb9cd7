//! Places from which peers were cut off: identities are free, addresses are not. After a few such
//! peers within minutes newcomers from there are let in one at a time, and more seldom with each
//! that is cut off again. Nobody is kept out for good, for honest peers may share the address; and
//! connections that are there are left alone.
//!
//! A place is an IPv4 address, or the /64 of an IPv6 one, which is what one customer is given. It
//! does not know connections or what peers did.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

/// Cut-offs that slow nobody down yet: a few owners of one office may run something broken.
pub const FREE_CUT_OFFS: f64 = 3.0;

/// The time in which a place's cut-offs halve, as a peer's penalty does.
pub const HALF_LIFE: Duration = Duration::from_secs(300);

/// Between two newcomers after the first cut-off that counts; doubled by each further one.
pub const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Between two newcomers at most: an honest peer that tries again still gets in.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Places that are remembered; the least guilty goes first.
pub const MAX_PLACES: usize = 4096;

/// Fewer cut-offs than this are none.
const NOTHING: f64 = 0.5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    V4(Ipv4Addr),
    V6(u64),
}

impl Place {
    fn of(ip: IpAddr) -> Self {
        let network = |ip: Ipv6Addr| Self::V6((ip.to_bits() >> 64) as u64);
        match ip {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or_else(|| network(ip), Self::V4),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Record {
    cut_offs: f64,
    at: Instant,
    /// When the last newcomer was let in.
    last: Option<Instant>,
}

impl Record {
    fn cut_offs(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at);
        self.cut_offs * (-passed.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2()
    }

    /// Between two newcomers now.
    fn pause(&self, now: Instant) -> Duration {
        let beyond = self.cut_offs(now) - FREE_CUT_OFFS;
        if beyond <= 0.0 {
            return Duration::ZERO;
        }
        // Beyond six doublings it is the longest anyway.
        FIRST_PAUSE
            .mul_f64((beyond - 1.0).clamp(0.0, 6.0).exp2())
            .min(LONGEST_PAUSE)
    }
}

/// All places.
#[derive(Debug, Clone, Default)]
pub struct Places {
    places: BTreeMap<Place, Record>,
}

impl Places {
    /// A peer that had come from there was cut off.
    pub fn on_cut_off(&mut self, ip: IpAddr, now: Instant) {
        let place = Place::of(ip);
        if !self.places.contains_key(&place) && self.places.len() >= MAX_PLACES {
            self.make_room(now);
        }
        let record = self.places.entry(place).or_insert(Record {
            cut_offs: 0.0,
            at: now,
            last: None,
        });
        record.cut_offs = record.cut_offs(now) + 1.0;
        record.at = record.at.max(now);
    }

    /// Whether a newcomer from there is let in now; whoever is, keeps the next one waiting.
    pub fn lets_in(&mut self, ip: IpAddr, now: Instant) -> bool {
        let Some(record) = self.places.get_mut(&Place::of(ip)) else {
            return true;
        };
        let pause = record.pause(now);
        if record.last.is_some_and(|last| now < last + pause) {
            return false;
        }
        record.last = Some(now);
        true
    }

    /// Places that are remembered.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Forgets what is long ago, or else the least guilty.
    fn make_room(&mut self, now: Instant) {
        self.places
            .retain(|_, record| record.cut_offs(now) >= NOTHING);
        if self.places.len() < MAX_PLACES {
            return;
        }
        let guilt = self
            .places
            .iter()
            .map(|(place, record)| (*place, record.cut_offs(now)));
        let least = guilt.min_by(|(_, one), (_, other)| one.total_cmp(other));
        if let Some((least, _)) = least {
            self.places.remove(&least);
        }
    }
}

#[cfg(test)]
mod tests;
