//! Who is near, as [`Groups`] measures it: the probes that it wants, the dials to those who promise
//! to be near, and what follows for connections and for what this node says of itself.

use std::time::Instant;

use libp2p::Multiaddr;
use protocol::{NodeId, advert::Profile};

use super::actor::Actor;
use crate::{
    core::{
        adverts::Closeness,
        connections::Protection,
        coordinates::Coordinate,
        groups::{Groups, Input, Output, Path},
    },
    peer::peer_id,
    probe::{ProbeError, Probed},
    view,
};

/// The core, and what it is to be told.
pub(super) struct Grouping {
    pub(super) groups: Groups,
    waiting: Vec<Input>,
}

impl Grouping {
    /// Nobody is measured yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            groups: Groups::new(Coordinate::default(), now),
            waiting: Vec::new(),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.groups.next_deadline()
    }

    /// Where this node is and who is nearest, for its advert in a shard of so many.
    pub(super) fn describe(&self, profile: &mut Profile, shard_peers: usize) {
        profile.neighbours = self.groups.neighbours(shard_peers);
        let has_measured = !profile.neighbours.is_empty();
        profile.place = has_measured.then(|| self.groups.coordinate().into());
    }
}

impl Actor {
    /// A peer's connections came, went or changed.
    pub(super) fn on_path(&mut self, node: NodeId) {
        let path = self.linking.path(node).map(|path| match path {
            view::Path::Direct => Path::Direct,
            view::Path::Relayed => Path::Relayed,
        });
        self.grouping.waiting.push(Input::Path(node, path));
    }

    pub(super) fn on_probed(&mut self, probed: &Probed) {
        let Some(link) = self.linking.link(probed.connection).copied() else {
            return;
        };
        let input = match probed.round_trip {
            Ok(rtt) => {
                self.linking.on_rtt(&link, rtt);
                Input::Reply(link.node, rtt)
            }
            // It counts as lost when its time is over; a peer that never answers is asked seldom.
            Err(ProbeError::Unsupported) => return,
            Err(_) => Input::Lost(link.node),
        };
        self.viewing.on_change();
        self.grouping.waiting.push(input);
    }

    /// A peer says something new of itself.
    pub(super) fn on_said(&mut self, node: NodeId) {
        let Some(known) = self.telling.adverts.known(&node, Instant::now()) else {
            return;
        };
        let place = known.profile.place.map(Coordinate::try_from);
        let input = Input::Said {
            peer: node,
            place: place.and_then(Result::ok),
            is_dialable: self.addresses_of(node).iter().any(is_direct),
        };
        self.grouping.waiting.push(input);
    }

    /// Nothing is known any more of what a peer said.
    pub(super) fn on_silent(&mut self, node: NodeId) {
        self.grouping.waiting.push(Input::Silent(node));
    }

    pub(super) fn drive_grouping(&mut self, now: Instant) {
        let mut inputs = std::mem::take(&mut self.grouping.waiting);
        if self.grouping.next_deadline().is_some_and(|due| due <= now) {
            inputs.push(Input::Tick);
        }
        let mut outputs = Vec::new();
        for input in inputs {
            let groups = &mut self.grouping.groups;
            groups.handle(input, now, &mut self.rng, &mut outputs);
        }
        for output in outputs {
            match output {
                Output::Probe(node) => self.probe(node),
                Output::Dial(node) => {
                    self.dial_peer(node);
                }
                Output::Closeness(node, closeness) => self.on_closeness(node, closeness),
                Output::Role(_) => self.viewing.on_change(),
            }
        }
    }

    fn probe(&mut self, node: NodeId) {
        match self.linking.direct_connection(node) {
            Some(connection) => {
                let probes = &mut self.swarm.behaviour_mut().inside.inner_mut().probes;
                probes.probe(peer_id(&node), connection);
            }
            None => self.grouping.waiting.push(Input::Lost(node)),
        }
    }

    fn on_closeness(&mut self, node: NodeId, closeness: Closeness) {
        self.telling.adverts.set_closeness(&node, closeness);
        self.linking.set_near(node, closeness >= Closeness::Near);
        if closeness == Closeness::Group {
            self.linking.protect(node, Protection::Group);
        } else {
            self.linking.unprotect(node, Protection::Group);
        }
        self.viewing.on_change();
    }
}

fn is_direct(address: &Multiaddr) -> bool {
    !crate::address::is_circuit(address)
}
