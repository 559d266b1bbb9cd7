//! Turns connections away before their handshake where too many peers of the same address were
//! cut off ([`crate::core::places`]). Connections over a relay have no address and pass.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::IpAddr,
    task::{Context, Poll},
    time::Instant,
};

use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, dummy,
    },
};

use crate::{address::Direct, core::places::Places};

/// The behaviour: no protocol, no handler.
#[derive(Default)]
pub struct Turnstile {
    places: Places,
    /// Who came from where, of those who are connected and came by themselves.
    came: BTreeMap<ConnectionId, (PeerId, IpAddr)>,
}

/// Too many peers from there were cut off.
#[derive(Debug, thiserror::Error)]
#[error("too many peers from there were cut off lately")]
struct TurnedAway;

impl Turnstile {
    /// A peer is cut off for what it did: the places that it came from are remembered, each of its
    /// connections once.
    pub fn on_cut_off(&mut self, peer: &PeerId, now: Instant) {
        let places = &mut self.places;
        self.came.retain(|_, (other, ip)| {
            let stays = other != peer;
            if !stays {
                places.on_cut_off(*ip, now);
            }
            stays
        });
    }
}

impl NetworkBehaviour for Turnstile {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let lets_in = Direct::parse(remote)
            .is_none_or(|remote| self.places.lets_in(remote.ip, Instant::now()));
        match lets_in {
            true => Ok(()),
            false => Err(ConnectionDenied::new(TurnedAway)),
        }
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(opened) => {
                let ConnectedPoint::Listener { send_back_addr, .. } = opened.endpoint else {
                    return;
                };
                if let Some(remote) = Direct::parse(send_back_addr) {
                    let came = (opened.peer_id, remote.ip);
                    self.came.insert(opened.connection_id, came);
                }
            }
            FromSwarm::ConnectionClosed(closed) => {
                self.came.remove(&closed.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        never: THandlerOutEvent<Self>,
    ) {
        match never {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}
