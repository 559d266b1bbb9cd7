//! Kademlia with a bound on where it goes: servers are told of by servers, who may lie.
//!
//! libp2p's behaviour dials every address that an answer names, as often as answers name new
//! peers. Here it dials configured servers, and others only within reach, and so many in all.
//! What it asks and learns is not looked at.

use std::{
    collections::BTreeMap,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    kad::{self, store::MemoryStore},
    multiaddr::Protocol,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
};

use crate::{
    core::join::MAX_ADDRESSES_PER_PEER,
    reach::{self, Reach},
};

/// Servers that one session dials. A lookup in the public DHT asks about a hundred, and as many
/// again are gone; each is asked once for each lookup, so this bounds its answers too.
pub(super) const MAX_DIALS: usize = 320;

type Kad = kad::Behaviour<MemoryStore>;

/// The session has dialed [`MAX_DIALS`] servers.
#[derive(Debug, thiserror::Error)]
#[error("a session dials {MAX_DIALS} servers at most")]
struct TooManyDials;

/// The behaviour.
pub(super) struct Guarded {
    kad: Kad,
    reach: Reach,
    /// The configured servers and their addresses, which may lie anywhere.
    servers: BTreeMap<PeerId, Vec<Multiaddr>>,
    dials: usize,
}

impl Guarded {
    /// Servers beyond `servers` are dialed within `reach`.
    pub(super) fn new(kad: Kad, servers: &[(PeerId, Vec<Multiaddr>)], reach: Reach) -> Self {
        Self {
            kad,
            reach,
            servers: servers.iter().cloned().collect(),
            dials: 0,
        }
    }

    /// The behaviour itself.
    pub(super) fn kad(&mut self) -> &mut Kad {
        &mut self.kad
    }

    /// Where a peer is, in the words of the last server that named it. Only while a lookup runs.
    pub(super) fn addresses_of(&mut self, peer: PeerId) -> Vec<Multiaddr> {
        // The behaviour has no other way to ask for them; the connection's id is not looked at.
        let nobody = ConnectionId::new_unchecked(0);
        self.kad
            .handle_pending_outbound_connection(nobody, Some(peer), &[], Endpoint::Dialer)
            .unwrap_or_default()
    }

    fn may_dial(&self, peer: &PeerId, address: &Multiaddr) -> bool {
        let is_configured = self.servers.get(peer).is_some_and(|addresses| {
            let own =
                |known: &Multiaddr| known.clone().with_p2p(*peer).is_ok_and(|a| a == *address);
            addresses.iter().any(own)
        });
        let is_circuit = address.iter().any(|part| part == Protocol::P2pCircuit);
        is_configured || (!is_circuit && reach::address(address, peer, self.reach).is_some())
    }
}

impl NetworkBehaviour for Guarded {
    type ConnectionHandler = THandler<Kad>;
    type ToSwarm = kad::Event;

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let Some(peer) = peer.filter(|_| self.dials < MAX_DIALS) else {
            return Err(ConnectionDenied::new(TooManyDials));
        };
        self.dials += 1;
        let mut addresses = self.addresses_of(peer);
        addresses.retain(|address| self.may_dial(&peer, address));
        addresses.truncate(2 * MAX_ADDRESSES_PER_PEER);
        Ok(addresses)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.kad
            .handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.kad
            .handle_established_outbound_connection(connection, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.kad.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.kad
            .on_connection_handler_event(peer, connection, event);
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.kad.poll(cx)
    }
}
