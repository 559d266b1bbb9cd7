//! What peers' offences lead to: they are counted, and whoever has too many is disconnected and
//! kept out. What an offence weighs is the core's.

use std::time::Instant;

use libp2p::PeerId;
use protocol::NodeId;

use super::actor::Actor;
use crate::{
    core::score::{Offence, Standing},
    peer::node_id,
};

impl Actor {
    /// Takes an offence of a peer, and does what follows.
    pub(super) fn on_offence(&mut self, peer: &PeerId, offence: Offence) {
        let Some(node) = node_id(peer) else {
            return;
        };
        let standing = self
            .telling
            .scores
            .on_offence(node, offence, Instant::now());
        if matches!(standing, Standing::Disconnect | Standing::Banned(_)) {
            self.disconnect(node);
        }
    }

    pub(super) fn is_banned(&self, node: NodeId) -> bool {
        let standing = self.telling.scores.standing(node, Instant::now());
        matches!(standing, Standing::Banned(_))
    }
}
