//! One board that is followed: who else follows it, whose turn it is, and when. What became of a
//! reconciliation it is told.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use protocol::NodeId;
use rand::{Rng, RngExt, seq::IteratorRandom};

use super::{FANOUT, FEW, GATHER, MOST_SEEK, MOST_TRIES, PERIOD, RETRY, SEEK_FIRST};

#[derive(Debug)]
pub(super) struct Board {
    pub(super) peers: BTreeMap<NodeId, Peer>,
    /// Not reconciled with anybody before then.
    pub(super) turn: Instant,
    /// Reconciled with anybody then.
    regular: Instant,
    pub(super) is_running: bool,
    /// When others are sought, if they are few; and how long after that again.
    seek: Instant,
    seek_again: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Peer {
    /// When to reconcile with it; `None`: there is no reason to.
    wanted: Option<Instant>,
    tries: u32,
}

impl Board {
    /// Followed from now on; it may be that a reconciliation of it is under way still.
    pub(super) fn new<R: Rng>(is_running: bool, now: Instant, rng: &mut R) -> Self {
        Self {
            peers: BTreeMap::new(),
            turn: now,
            regular: now + period(rng),
            is_running,
            seek: now + SEEK_FIRST,
            seek_again: SEEK_FIRST,
        }
    }

    /// A peer follows it: it is reconciled with from then on, unless it is known.
    pub(super) fn meet(&mut self, peer: NodeId, at: Instant) {
        let wanted = Some(at);
        let peer = self.peers.entry(peer);
        peer.or_insert(Peer { wanted, tries: 0 });
    }

    /// When it is to be reconciled next; `None` while it is, or with nobody there.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        if self.is_running || self.peers.is_empty() {
            return None;
        }
        let wanted = self.peers.values().filter_map(|peer| peer.wanted).min();
        let due = wanted.map_or(self.regular, |wanted| wanted.min(self.regular));
        // What waits for its turn is as old as it is: boards go by that.
        let is_turn = self.turn <= now;
        Some(if is_turn { due } else { due.max(self.turn) })
    }

    /// Chooses a peer: whoever was to be asked first, else anybody.
    pub(super) fn begin<R: Rng>(&mut self, now: Instant, rng: &mut R) -> Option<NodeId> {
        let wanted = self.peers.iter().filter_map(|(node, peer)| {
            let wanted = peer.wanted.filter(|wanted| *wanted <= now)?;
            Some((wanted, *node))
        });
        let peer = match wanted.min() {
            Some((_, peer)) => peer,
            None => *self.peers.keys().choose(rng)?,
        };
        self.is_running = true;
        self.regular = now + period(rng);
        Some(peer)
    }

    pub(super) fn next_seek(&self) -> Option<Instant> {
        (self.peers.len() < FEW).then_some(self.seek)
    }

    /// Whether others are to be sought now.
    pub(super) fn seeks(&mut self, now: Instant) -> bool {
        let seeks = self.next_seek().is_some_and(|due| due <= now);
        if seeks {
            self.seek_again = (self.seek_again * 2).min(MOST_SEEK);
            self.seek = now + self.seek_again;
        }
        seeks
    }

    pub(super) fn want(&mut self, peer: NodeId, at: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.wanted = Some(peer.wanted.map_or(at, |wanted| wanted.min(at)));
        }
    }

    pub(super) fn on_reconciled<R: Rng>(&mut self, peer: NodeId, now: Instant, rng: &mut R) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            *peer = Peer::default();
        }
        self.regular = now + period(rng);
    }

    pub(super) fn on_failed(&mut self, peer: NodeId, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.wanted = (peer.tries < MOST_TRIES).then(|| now + RETRY * (1 << peer.tries));
            peer.tries = peer.tries.saturating_add(1).min(MOST_TRIES);
        }
    }

    pub(super) fn on_news<R: Rng>(&mut self, news: bool, from: NodeId, now: Instant, rng: &mut R) {
        if !news {
            return;
        }
        let others = self.peers.keys().copied().filter(|peer| *peer != from);
        for peer in others.sample(rng, FANOUT) {
            self.want(
                peer,
                now + GATHER + GATHER.mul_f64(rng.random_range(0.0..1.0)),
            );
        }
    }
}

fn period<R: Rng>(rng: &mut R) -> Duration {
    PERIOD.mul_f64(rng.random_range(0.75..1.25))
}
