//! One peer: its cores, its connections, and the notes that it has.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::{Duration, Instant},
};

use dht::core::{
    board::{Guests, Item, Meetings, Toll},
    rate::{Buckets, Quota},
    score::Scores,
};
use ed25519_dalek::SigningKey;
use protocol::{
    NodeId,
    board::{Entry, NoteId},
    limits::{NOTE_BURST, NOTE_INTERVAL},
};
use rand::rngs::StdRng;

use crate::terrain::Spot;

/// Notes of one author that a peer keeps: an author's share of a board.
const SHARE: usize = 40;

/// Authors whose rate is held.
const AUTHORS: usize = 4096;

/// What an adversary does, beside passing nothing on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trick {
    /// Notes of honest authors that they never signed.
    Forges,
    /// More notes of its own than anybody may write.
    Floods,
    /// Notes from the future.
    Ahead,
    /// Old notes of others, time and again.
    Repeats,
    /// Entries over the limit.
    Swells,
    /// Garbage, and notes that are not there, where lists are reconciled.
    Poisons,
}

impl Trick {
    /// Each of them.
    pub const ALL: [Self; 6] = [
        Self::Forges,
        Self::Floods,
        Self::Ahead,
        Self::Repeats,
        Self::Swells,
        Self::Poisons,
    ];
}

/// A peer.
pub(super) struct Member {
    pub(super) key: SigningKey,
    pub(super) node: NodeId,
    pub(super) spot: Spot,
    pub(super) trick: Option<Trick>,
    pub(super) is_online: bool,
    /// Since when.
    pub(super) online_since: Duration,
    /// Since when it has a place in the mesh.
    pub(super) meshed_since: Option<Duration>,
    pub(super) links: BTreeSet<usize>,
    pub(super) mesh: BTreeSet<usize>,
    /// Messages of the last heartbeats, which are announced.
    pub(super) recent: Vec<(Duration, usize)>,
    pub(super) meetings: Meetings,
    pub(super) polls_at: Option<Duration>,
    pub(super) toll: Toll,
    pub(super) guests: Guests,
    pub(super) scores: Scores,
    pub(super) authors: Buckets<NodeId>,
    pub(super) kept: BTreeSet<Item>,
    entries: BTreeMap<NoteId, Rc<Entry>>,
    shares: BTreeMap<NodeId, usize>,
}

impl Member {
    pub(super) fn new(
        key: SigningKey,
        trick: Option<Trick>,
        now: Instant,
        rng: &mut StdRng,
    ) -> Self {
        let node = NodeId::from(&key);
        Self {
            key,
            node,
            spot: Spot::new(rng),
            trick,
            is_online: true,
            online_since: Duration::ZERO,
            meshed_since: None,
            links: BTreeSet::new(),
            mesh: BTreeSet::new(),
            recent: Vec::new(),
            meetings: Meetings::new(node),
            polls_at: None,
            toll: Toll::new(now),
            guests: Guests::default(),
            scores: Scores::default(),
            authors: authors(now),
            kept: BTreeSet::new(),
            entries: BTreeMap::new(),
            shares: BTreeMap::new(),
        }
    }

    /// Its process begins anew: what it has of notes it has still.
    pub(super) fn restart(&mut self, now: Instant, since: Duration) {
        self.is_online = true;
        self.online_since = since;
        self.meshed_since = None;
        self.meetings = Meetings::new(self.node);
        self.toll = Toll::new(now);
        self.guests = Guests::default();
        self.scores = Scores::default();
        self.authors = authors(now);
        self.recent.clear();
    }

    pub(super) fn is_honest(&self) -> bool {
        self.trick.is_none()
    }

    pub(super) fn has(&self, id: &NoteId) -> bool {
        self.entries.contains_key(id)
    }

    pub(super) fn entry(&self, id: &NoteId) -> Option<Rc<Entry>> {
        self.entries.get(id).cloned()
    }

    /// Keeps an entry, unless its author's share is taken.
    pub(super) fn keep(&mut self, entry: &Rc<Entry>) -> bool {
        let share = self.shares.entry(entry.author).or_default();
        if *share >= SHARE {
            return false;
        }
        *share += 1;
        let (written, id) = (entry.written, entry.id);
        self.kept.insert(Item { written, id });
        self.entries.insert(id, Rc::clone(entry));
        true
    }

    /// Whether it would keep one more of an author.
    pub(super) fn has_room_for(&self, author: &NodeId) -> bool {
        self.shares.get(author).is_none_or(|share| *share < SHARE)
    }

    pub(super) fn items(&self) -> Vec<Item> {
        self.kept.iter().copied().collect()
    }
}

/// An author's rate, as every peer that passes notes on holds it; one more at once, for a slow path
/// may hold some back.
fn authors(now: Instant) -> Buckets<NodeId> {
    let quota = Quota {
        burst: NOTE_BURST + 1,
        per_second: 1.0 / NOTE_INTERVAL.as_secs_f64(),
    };
    Buckets::new(quota, AUTHORS, now)
}
