//! A behaviour whose streams wait until the peer has agreed to the protocol.
//!
//! All others are negotiated lazily (`Version::V1Lazy`): the first message leaves together with the
//! protocol's name, and a question is answered after one round trip in place of two. That loses what
//! is said without listening to an answer: the sender closes and drops its stream, the peer's
//! agreement finds nobody who would take it, and over QUIC the message goes with it. libp2p has no
//! choice by stream, but what multistream-select takes for granted is only the last name that it is
//! given, so here the last name is given twice.

use std::{
    ops::{Deref, DerefMut},
    task::{Context, Poll},
    vec,
};

use libp2p::{
    Multiaddr, OutboundUpgrade, PeerId, Stream,
    core::{Endpoint, UpgradeInfo, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{
            ConnectionEvent, DialUpgradeError, FullyNegotiatedOutbound, OutboundUpgradeSend,
            UpgradeInfoSend,
        },
    },
};

/// The behaviour.
pub struct Eager<B>(B);

impl<B> Eager<B> {
    /// Makes a behaviour wait for agreement.
    pub fn new(inner: B) -> Self {
        Self(inner)
    }
}

impl<B> Deref for Eager<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.0
    }
}

impl<B> DerefMut for Eager<B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.0
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Eager<B> {
    type ConnectionHandler = Handler<THandler<B>>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.0
            .handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.0
            .handle_established_inbound_connection(connection, peer, local, remote)
            .map(Handler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.0
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
        self.0
            .handle_established_outbound_connection(connection, peer, address, role, port)
            .map(Handler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.0.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.0.on_connection_handler_event(peer, connection, event);
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.0.poll(cx)
    }
}

/// Its part in one connection.
pub struct Handler<H>(H);

impl<H: ConnectionHandler> ConnectionHandler for Handler<H> {
    type FromBehaviour = H::FromBehaviour;
    type ToBehaviour = H::ToBehaviour;
    type InboundProtocol = H::InboundProtocol;
    type OutboundProtocol = Twice<H::OutboundProtocol>;
    type InboundOpenInfo = H::InboundOpenInfo;
    type OutboundOpenInfo = H::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        self.0.listen_protocol()
    }

    fn connection_keep_alive(&self) -> bool {
        self.0.connection_keep_alive()
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        self.0.on_behaviour_event(event);
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<
        ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>,
    > {
        self.0.poll(cx).map(|event| event.map_protocol(Twice))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        self.0.poll_close(cx)
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            '_,
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        use ConnectionEvent as E;
        let event = match event {
            E::FullyNegotiatedInbound(event) => E::FullyNegotiatedInbound(event),
            E::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                E::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info })
            }
            E::AddressChange(event) => E::AddressChange(event),
            E::DialUpgradeError(DialUpgradeError { info, error }) => {
                E::DialUpgradeError(DialUpgradeError { info, error })
            }
            E::ListenUpgradeError(event) => E::ListenUpgradeError(event),
            E::LocalProtocolsChange(event) => E::LocalProtocolsChange(event),
            E::RemoteProtocolsChange(event) => E::RemoteProtocolsChange(event),
            // Of this version of libp2p these are all.
            _ => return,
        };
        self.0.on_connection_event(event);
    }
}

/// An upgrade that offers its last name twice.
pub struct Twice<U>(U);

impl<U: UpgradeInfoSend> UpgradeInfo for Twice<U> {
    type Info = U::Info;
    type InfoIter = vec::IntoIter<U::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        let mut names: Vec<U::Info> = self.0.protocol_info().collect();
        names.extend(names.last().cloned());
        names.into_iter()
    }
}

impl<U: OutboundUpgradeSend> OutboundUpgrade<Stream> for Twice<U> {
    type Output = U::Output;
    type Error = U::Error;
    type Future = U::Future;

    fn upgrade_outbound(self, stream: Stream, name: U::Info) -> Self::Future {
        self.0.upgrade_outbound(stream, name)
    }
}

#[cfg(test)]
mod tests;
