//! The connections that the door knows: how far each is, and how many may be on their way in.

use std::{collections::BTreeMap, time::Instant};

use protocol::NodeId;

use super::{super::admission::Admission, Denied};

/// Handshakes at one time, each way: a node that many peers join at once lets in 25 a second
/// although each takes its [`super::ADMISSION_TIMEOUT`]. 256 hold 2 MB.
pub const MAX_HANDSHAKES: usize = 256;

/// Handshakes with one peer at one time: both may dial at once, over IPv4 and IPv6.
pub const MAX_HANDSHAKES_PER_PEER: usize = 4;

/// How far a connection is. Handshake → admitted or closing; closing → gone; any → gone.
#[derive(Debug)]
pub(super) enum Stage {
    /// It is being found out.
    Handshake {
        admission: Box<Admission>,
        deadline: Instant,
        /// The peer has shown that it knows the swarm.
        is_known: bool,
    },
    /// The peer proved its membership here.
    Admitted,
    /// It reads why it is refused, until then.
    Closing(Instant),
    /// It is being closed.
    Gone,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) peer: NodeId,
    pub(super) is_dialer: bool,
    /// The gate was open to the peer when it began.
    pub(super) is_inside: bool,
    /// A connection inside was asked for in its place.
    pub(super) is_redialed: bool,
    pub(super) stage: Stage,
}

impl Entry {
    pub(super) fn is_admitted(&self) -> bool {
        matches!(self.stage, Stage::Admitted)
    }

    /// It takes one of the places for those on their way in.
    fn is_busy(&self) -> bool {
        matches!(self.stage, Stage::Handshake { .. } | Stage::Closing(_))
    }

    /// When it is closed if nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Handshake { deadline, .. } | Stage::Closing(deadline) => Some(deadline),
            Stage::Admitted | Stage::Gone => None,
        }
    }

    /// It may lose its place to a newcomer.
    fn is_stranger(&self) -> bool {
        let is_known = matches!(self.stage, Stage::Handshake { is_known: true, .. });
        self.is_busy() && !is_known
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Table<C> {
    entries: BTreeMap<C, Entry>,
}

impl<C: Copy + Ord> Table<C> {
    pub(super) fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
        }
    }

    /// Whether there is a place for one more; `Some` is the connection that must lose its own
    /// for it. A flood of strangers so shortens the time that each has for its first message,
    /// and shuts nobody out that answers at once.
    pub(super) fn room(&self, peer: NodeId, is_dialer: bool) -> Result<Option<C>, Denied> {
        let busy = || self.entries.iter().filter(|(_, entry)| entry.is_busy());
        if busy().filter(|(_, entry)| entry.peer == peer).count() >= MAX_HANDSHAKES_PER_PEER {
            return Err(Denied::CrowdedByPeer);
        }
        let same_way = || busy().filter(|(_, entry)| entry.is_dialer == is_dialer);
        if same_way().count() < MAX_HANDSHAKES {
            return Ok(None);
        }
        let strangers = same_way().filter(|(_, entry)| !is_dialer && entry.is_stranger());
        let oldest = strangers.min_by_key(|(id, entry)| (entry.deadline(), **id));
        oldest.map(|(id, _)| Some(*id)).ok_or(Denied::Crowded)
    }

    pub(super) fn insert(&mut self, id: C, entry: Entry) {
        self.entries.insert(id, entry);
    }

    pub(super) fn remove(&mut self, id: C) -> Option<Entry> {
        self.entries.remove(&id)
    }

    pub(super) fn entry_mut(&mut self, id: C) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    pub(super) fn entry(&self, id: C) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// A peer's connections.
    pub(super) fn of(&self, peer: NodeId) -> impl Iterator<Item = (C, &Entry)> {
        let of_peer = self
            .entries
            .iter()
            .filter(move |(_, entry)| entry.peer == peer);
        of_peer.map(|(id, entry)| (*id, entry))
    }

    /// Connections whose deadline came.
    pub(super) fn due(&self, now: Instant) -> Vec<C> {
        let is_due = |entry: &Entry| entry.deadline().is_some_and(|at| at <= now);
        let due = self.entries.iter().filter(|(_, entry)| is_due(entry));
        due.map(|(id, _)| *id).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.entries.values().filter_map(Entry::deadline).min()
    }
}
