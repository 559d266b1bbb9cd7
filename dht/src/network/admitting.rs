//! A private swarm's door, as the task sees it: the gate is opened and shut as admission says,
//! what led to a closed door is told to whoever dialed, and what is to be kept is shown.
//!
//! A connection on which a peer proves itself is outside of the gate and is no link; the next one
//! is inside ([`crate::gate`]). A dial has reached its peer when there is a link.

use std::collections::BTreeMap;

use libp2p::swarm::ConnectionId;
use protocol::{
    NodeId,
    membership::{Chain, Role, wire},
};
use tokio::sync::watch;
use tracing::{info, warn};

use super::actor::Actor;
use crate::{
    admission::{self, Redeemer},
    core::{
        join::Input,
        membership::{Credential, ListError, Roster},
        score::Offence,
    },
    peer::{node_id, peer_id},
    revocations::{self, Abuse},
};

/// What makes a swarm a private one, and this node a member of it.
#[derive(Debug, Clone)]
pub struct Private {
    /// The swarm, with the lists of revocations that were kept.
    pub roster: Roster,
    /// What this node has to show.
    pub credential: Credential,
    /// Its right to redeem invites, if it has one.
    pub redeemer: Option<Redeemer>,
}

/// What a private swarm brought, and what is to outlive the run.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// The certificate that this node's invite was redeemed for.
    pub certificate: Option<Chain<wire::MembershipCertificate>>,
    /// The newest list of revocations of each issuer; empty until one is newer than what the
    /// node began with.
    pub lists: Vec<(NodeId, Chain<wire::Revocations>)>,
}

/// Connections at the door, and what is to be kept.
pub(super) struct Admitting {
    outside: BTreeMap<ConnectionId, NodeId>,
    kept: watch::Sender<Kept>,
}

impl Admitting {
    /// Nobody is at the door.
    pub(super) fn new() -> (Self, watch::Receiver<Kept>) {
        let (kept, receiver) = watch::channel(Kept::default());
        let admitting = Self {
            outside: BTreeMap::new(),
            kept,
        };
        (admitting, receiver)
    }
}

impl Actor {
    /// A connection on which a peer is still to prove itself.
    pub(super) fn on_outside(&mut self, node: NodeId, connection: ConnectionId) {
        self.admitting.outside.insert(connection, node);
    }

    /// A peer has a link inside: whoever dialed it at the door has reached it.
    pub(super) fn on_let_in(&mut self, node: NodeId) {
        let outside = self.admitting.outside.iter();
        let of_node = outside.filter(|(_, other)| **other == node);
        for (connection, _) in of_node {
            if let Some(id) = self.joining.take_dial(*connection) {
                self.joining.push(Input::Reached(id));
            }
        }
    }

    /// A connection at the door is gone.
    pub(super) fn on_outside_closed(&mut self, connection: ConnectionId) {
        self.admitting.outside.remove(&connection);
    }

    pub(super) fn on_admission(&mut self, event: admission::Event) {
        use admission::Event as E;
        let gate = &mut self.swarm.behaviour_mut().inside;
        match event {
            E::Admitted { peer, .. } => gate.admit(peer),
            E::Left { peer } => gate.expel(&peer),
            E::Expelled { peer, cause } => {
                gate.expel(&peer);
                info!(%peer, ?cause, "a peer is no member any more");
                if let Some(node) = node_id(&peer) {
                    self.forget(node);
                }
            }
            E::Granted(certificate) => {
                info!("this node is a member now");
                let kept = &self.admitting.kept;
                kept.send_modify(|kept| kept.certificate = Some(*certificate));
            }
            E::Refused {
                peer,
                connection,
                cause,
            } => {
                info!(%peer, %cause, "admission failed");
                self.on_led_nowhere(connection, cause.join_cause());
            }
            E::RosterChanged => self.on_roster_changed(),
            E::NotKept(error) => warn!(%error, "an invite was not redeemed"),
            E::Withdrawn { .. } => {}
        }
    }

    pub(super) fn on_revocations(&mut self, event: revocations::Event) {
        match event {
            revocations::Event::List { peer, list } => {
                // What is older than what is known here is no fault of the peer's.
                if let Err(ListError::NotBelieved(_)) = self.revoke(*list) {
                    self.on_offence(&peer, Offence::InvalidMessage);
                }
            }
            revocations::Event::Abuse { peer, abuse } => {
                let offence = match abuse {
                    Abuse::Garbage => Offence::ProtocolViolation,
                    Abuse::Flood => Offence::RateExcess,
                };
                self.on_offence(&peer, offence);
            }
        }
    }

    /// What a connected peer proved to be.
    pub(super) fn membership(&self, node: NodeId) -> Option<Role> {
        let admission = self.swarm.behaviour().admission.as_ref()?;
        Some(admission.roster().admitted(node)?.role)
    }

    /// Takes a list of revocations, from the owner or from a member; whether it is news.
    pub(super) fn revoke(&mut self, list: Chain<wire::Revocations>) -> Result<bool, ListError> {
        match self.swarm.behaviour_mut().admission.as_mut() {
            Some(admission) => Ok(admission.revoke(list)?.is_news),
            None => Ok(false),
        }
    }

    /// What this node shows on its next connections.
    pub(super) fn show(&mut self, credential: Credential) {
        if let Some(admission) = self.swarm.behaviour_mut().admission.as_mut() {
            admission.set_credential(credential);
        }
    }

    fn on_roster_changed(&mut self) {
        let behaviour = self.swarm.behaviour_mut();
        let Some(admission) = behaviour.admission.as_ref() else {
            return;
        };
        let roster = admission.roster();
        let lists = roster.lists();
        let lists = lists.map(|(issuer, _, list)| (issuer, list.clone()));
        let lists: Vec<_> = lists.collect();
        let put_out = roster.put_out();
        if let Some(revocations) = behaviour.inside.inner_mut().revocations.as_mut() {
            revocations.update(roster);
        }
        self.admitting.kept.send_modify(|kept| kept.lists = lists);
        for node in put_out {
            self.forget(node);
        }
    }

    /// What was known of a peer that was put out is of no use any more.
    fn forget(&mut self, node: NodeId) {
        let inside = self.swarm.behaviour_mut().inside.inner_mut();
        inside.kad.remove_peer(&peer_id(&node));
        self.telling.adverts.forget(node);
        self.demanding.listener.forget(&node);
        self.on_silent(node);
        self.viewing.on_change();
    }
}
