//! Wakes connections on which gossip would sleep for ever.
//!
//! The connections of one peer share one queue of gossip, and libp2p-gossipsub 0.50 registers a
//! waker with it only once a handler has its stream. When the connection that had it closes (a
//! duplicate, a relayed one after a hole punch), the one that stays is never woken for what is
//! queued. A connection's handlers are all polled whenever one of them wakes, so a timer in a
//! handler of our own is enough, on those connections that were not the first to their peer.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse, upgrade::DeniedUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::ConnectionEvent,
    },
};
use tokio::time::{Instant, Sleep, sleep};

/// Gossip's own heartbeat: nothing it sends is more urgent than the next one.
const PULSE: Duration = Duration::from_secs(1);

/// The behaviour: no protocol, and no event.
#[derive(Debug, Default)]
pub struct Pulses {
    connections: BTreeMap<ConnectionId, PeerId>,
}

impl Pulses {
    fn handler(&mut self, connection: ConnectionId, peer: PeerId) -> Handler {
        let is_first = !self.connections.values().any(|other| *other == peer);
        self.connections.insert(connection, peer);
        Handler {
            timer: (!is_first).then(|| Box::pin(sleep(PULSE))),
        }
    }
}

impl NetworkBehaviour for Pulses {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(connection, peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(connection, peer))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => {
                self.connections.remove(&closed.connection_id);
            }
            // Accepted here and denied by another behaviour.
            FromSwarm::DialFailure(failure) => {
                self.connections.remove(&failure.connection_id);
            }
            FromSwarm::ListenFailure(failure) => {
                self.connections.remove(&failure.connection_id);
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

/// A timer, if the connection needs one.
pub struct Handler {
    timer: Option<Pin<Box<Sleep>>>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = DeniedUpgrade;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<DeniedUpgrade, ()> {
        SubstreamProtocol::new(DeniedUpgrade, ())
    }

    fn on_behaviour_event(&mut self, never: Infallible) {
        match never {}
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<DeniedUpgrade, (), Infallible>> {
        if let Some(timer) = &mut self.timer {
            while timer.as_mut().poll(cx).is_ready() {
                timer.as_mut().reset(Instant::now() + PULSE);
            }
        }
        Poll::Pending
    }

    fn on_connection_event(&mut self, _: ConnectionEvent<'_, DeniedUpgrade, DeniedUpgrade>) {}
}
