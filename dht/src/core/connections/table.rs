//! The connections that are open and were not told to close, and orders on them: which of one peer's is the best, which of
//! all is the first to go. It closes nothing itself.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use protocol::NodeId;

use super::{ConnectionId, Dialer, Opened, PeerFacts, Via};

/// A connection with traffic of ours within this time is in use.
const RECENT: Duration = Duration::from_secs(60);

/// One open connection.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) opened: Opened,
    pub(super) at: Instant,
    pub(super) last_used: Instant,
    pub(super) rtt: Option<Duration>,
    /// Streams of ours in flight.
    pub(super) streams: u32,
}

impl Connection {
    pub(super) fn new(opened: Opened, now: Instant) -> Self {
        Self {
            opened,
            at: now,
            last_used: now,
            rtt: None,
            streams: 0,
        }
    }

    pub(super) fn is_direct(&self) -> bool {
        self.opened.via != Via::Relay
    }

    pub(super) fn is_inbound(&self) -> bool {
        self.opened.dialer == Dialer::Peer
    }

    /// Less is better: direct, then what the larger of the two dialed (that one stays when
    /// duplicates go), then the shorter way, then the older.
    fn rank(&self, own: NodeId) -> impl Ord + use<> {
        let larger_is_us = own > self.opened.peer;
        let by_larger = (self.opened.dialer == Dialer::Us) == larger_is_us;
        let rtt = self.rtt.unwrap_or(Duration::MAX);
        (!self.is_direct(), !by_larger, rtt, self.at, self.opened.id)
    }

    /// Less goes first: unused, far, without what we need; of equals the younger, so that whoever
    /// has stayed long stays.
    pub(super) fn worth(&self, facts: PeerFacts, now: Instant) -> impl Ord + use<> {
        let recent = self.streams > 0 || now.saturating_duration_since(self.last_used) < RECENT;
        let value = (recent, facts.is_near, facts.serves_us);
        (value, Reverse(self.at), Reverse(self.opened.id))
    }
}

/// All open connections.
#[derive(Debug, Clone, Default)]
pub(super) struct Table(pub(super) BTreeMap<ConnectionId, Connection>);

impl Table {
    /// Each of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Connection> {
        self.0.values()
    }

    /// One peer's, the best first.
    pub(super) fn of_peer(&self, own: NodeId, peer: NodeId) -> Vec<&Connection> {
        let mut found: Vec<_> = self.all().filter(|c| c.opened.peer == peer).collect();
        found.sort_by_cached_key(|connection| connection.rank(own));
        found
    }
}
