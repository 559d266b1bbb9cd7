//! The picture of the swarm that others look at: redrawn when something happened, and not more
//! often than anybody can use it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::{
    NodeId,
    advert::{Nat, NodeRole},
};
use tokio::sync::watch;

use super::actor::Actor;
use crate::{
    core::{adverts::Closeness, groups::Role, join::Report},
    view::{Peer, View},
};

/// The least time between two pictures: drawing one costs microseconds for each peer.
const MIN_GAP: Duration = Duration::from_millis(100);

/// The picture, and when it is redrawn.
pub(super) struct Viewing {
    view: watch::Sender<Arc<View>>,
    shown: Instant,
    is_stale: bool,
}

impl Viewing {
    /// A picture without anybody.
    pub(super) fn new(join: Report, now: Instant) -> (Self, watch::Receiver<Arc<View>>) {
        let (view, receiver) = watch::channel(Arc::new(View {
            join,
            nat: Nat::Unspecified,
            role: NodeRole::ApiClient,
            standing: Role::Undecided,
            size: None,
            clock: None,
            listening: Vec::new(),
            external: Vec::new(),
            peers: BTreeMap::new(),
            sequence: None,
        }));
        let viewing = Self {
            view,
            shown: now,
            is_stale: true,
        };
        (viewing, receiver)
    }

    pub(super) fn on_change(&mut self) {
        self.is_stale = true;
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.is_stale.then(|| self.shown + MIN_GAP)
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next_deadline().is_some_and(|due| due <= now)
    }

    pub(super) fn show(&mut self, view: View, now: Instant) {
        (self.is_stale, self.shown) = (false, now);
        self.view.send_replace(Arc::new(view));
    }
}

impl Actor {
    /// Draws it.
    pub(super) fn view(&self, now: Instant) -> View {
        let mut peers: BTreeMap<NodeId, Peer> = BTreeMap::new();
        for (node, known) in self.telling.adverts.iter(now) {
            let peer = Peer {
                path: None,
                rtt: None,
                closeness: known.closeness,
                membership: None,
                said: Some(Arc::clone(&known.profile)),
            };
            peers.insert(node, peer);
        }
        for (node, path) in self.linking.paths() {
            let peer = peers.entry(node).or_insert(Peer {
                path: None,
                rtt: None,
                closeness: Closeness::Stranger,
                membership: None,
                said: None,
            });
            peer.path = Some(path);
            peer.rtt = self.grouping.groups.estimate(&node);
            peer.closeness = self.grouping.groups.closeness(&node);
            peer.membership = self.membership(node);
        }
        View {
            join: self.joining.report(),
            nat: self.listening.nat(),
            role: self.profile.borrow().role,
            standing: self.grouping.groups.role(),
            size: self.sharding.local_size(),
            clock: self.telling.clock_gap(),
            listening: self.listening.listening(&self.swarm),
            external: self.listening.external(&self.swarm),
            peers,
            sequence: self.telling.sequence(),
        }
    }
}
