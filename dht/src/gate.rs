//! The gate of a private swarm: a behaviour that exists only on connections to admitted peers.
//!
//! To everybody else a connection speaks what is outside of the gate, and nothing more: no
//! protocol of the inner behaviour is offered, and none of its messages is sent. Who is admitted
//! is decided elsewhere.
//!
//! A peer is admitted while it is connected, but handlers are made when a connection begins: the
//! connection on which it proved its membership stays outside, and the one after it is inside.

use std::{
    collections::{BTreeMap, BTreeSet},
    task::{Context, Poll, ready},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm, behaviour::AddressChange,
        derive_prelude::Either, dummy,
    },
};

/// A behaviour behind the gate.
pub struct Gated<B> {
    inner: B,
    /// `None`: the gate is open to everybody, as in the public mesh.
    admitted: Option<BTreeSet<PeerId>>,
    /// The connections that the inner behaviour knows of.
    inside: BTreeMap<ConnectionId, PeerId>,
}

impl<B> Gated<B> {
    /// A gate that is open to everybody.
    pub fn open(inner: B) -> Self {
        Self {
            inner,
            admitted: None,
            inside: BTreeMap::new(),
        }
    }

    /// A gate that is shut to everybody who is not admitted.
    pub fn shut(inner: B) -> Self {
        Self {
            admitted: Some(BTreeSet::new()),
            ..Self::open(inner)
        }
    }

    /// Lets a peer's next connections in. Its present ones stay outside.
    pub fn admit(&mut self, peer: PeerId) {
        if let Some(admitted) = &mut self.admitted {
            admitted.insert(peer);
        }
    }

    /// Keeps a peer's next connections out. Whoever calls it closes the present ones.
    pub fn expel(&mut self, peer: &PeerId) {
        if let Some(admitted) = &mut self.admitted {
            admitted.remove(peer);
        }
    }

    /// True if a new connection of the peer would be inside.
    pub fn admits(&self, peer: &PeerId) -> bool {
        self.admitted.as_ref().is_none_or(|all| all.contains(peer))
    }

    /// True if not everybody is let in.
    pub fn is_shut(&self) -> bool {
        self.admitted.is_some()
    }

    /// True if the inner behaviour knows of this connection.
    pub fn is_inside(&self, connection: ConnectionId) -> bool {
        self.inside.contains_key(&connection)
    }

    /// The behaviour.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// The behaviour.
    pub fn inner_mut(&mut self) -> &mut B {
        &mut self.inner
    }

    /// The connection that an event of the inner behaviour goes to. "Any" is the newest inside, as
    /// an older one may be dead already: libp2p takes any of the peer's, and panics where that one
    /// has no such handler. In an open gate all have, and libp2p takes one that is ready.
    fn addressee(&self, peer: PeerId, wanted: &NotifyHandler) -> Option<NotifyHandler> {
        if !self.is_shut() {
            return Some(wanted.clone());
        }
        let mut inside = self.inside.iter().filter(|(_, p)| **p == peer);
        let found = match wanted {
            NotifyHandler::Any => inside.next_back(),
            NotifyHandler::One(id) => inside.find(|(inside, _)| *inside == id),
        };
        found.map(|(id, _)| NotifyHandler::One(*id))
    }

    /// Connections of a peer that the inner behaviour knows of, but for `except`.
    fn others(&self, peer: PeerId, except: ConnectionId) -> usize {
        let inside = self.inside.iter();
        inside
            .filter(|(id, p)| **id != except && **p == peer)
            .count()
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Gated<B> {
    type ConnectionHandler = Either<THandler<B>, dummy::ConnectionHandler>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner
            .handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if !self.admits(&peer) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        let handler = self
            .inner
            .handle_established_inbound_connection(connection, peer, local, remote)?;
        self.inside.insert(connection, peer);
        Ok(Either::Left(handler))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner
            .handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if !self.admits(&peer) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        let handler = self
            .inner
            .handle_established_outbound_connection(connection, peer, address, role, port)?;
        self.inside.insert(connection, peer);
        Ok(Either::Left(handler))
    }

    /// Counts of a peer's other connections are corrected to those inside: behaviours act on the
    /// first and the last (gossipsub sends its subscriptions with the first only).
    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(mut established) => {
                if self.is_inside(established.connection_id) {
                    established.other_established =
                        self.others(established.peer_id, established.connection_id);
                    self.inner
                        .on_swarm_event(FromSwarm::ConnectionEstablished(established));
                }
            }
            FromSwarm::ConnectionClosed(mut closed) => {
                if self.inside.remove(&closed.connection_id).is_some() {
                    closed.remaining_established =
                        self.others(closed.peer_id, closed.connection_id);
                    self.inner
                        .on_swarm_event(FromSwarm::ConnectionClosed(closed));
                }
            }
            FromSwarm::AddressChange(AddressChange { connection_id, .. })
                if !self.is_inside(connection_id) => {}
            // The connection was accepted here and denied by another behaviour.
            FromSwarm::ListenFailure(failure) => {
                self.inside.remove(&failure.connection_id);
                self.inner.on_swarm_event(FromSwarm::ListenFailure(failure));
            }
            FromSwarm::DialFailure(failure) => {
                self.inside.remove(&failure.connection_id);
                self.inner.on_swarm_event(FromSwarm::DialFailure(failure));
            }
            event => self.inner.on_swarm_event(event),
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {
            Either::Left(event) => self
                .inner
                .on_connection_handler_event(peer, connection, event),
            Either::Right(never) => match never {},
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            let event = ready!(self.inner.poll(cx)).map_in(Either::Left);
            let ToSwarm::NotifyHandler {
                peer_id,
                handler,
                event,
            } = event
            else {
                return Poll::Ready(event);
            };
            // What nobody inside could take is over.
            if let Some(handler) = self.addressee(peer_id, &handler) {
                return Poll::Ready(ToSwarm::NotifyHandler {
                    peer_id,
                    handler,
                    event,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
