//! Addresses at which a peer saw us, as candidates for being dialed.
//!
//! `identify` rewrites the observed port to the one that we listen on, which is wrong behind a
//! NAT that changes ports but keeps its mapping: DCUtR then offers an address that leads
//! nowhere. This behaviour hands the observed address on as it is.

use std::{
    collections::{BTreeSet, VecDeque},
    convert::Infallible,
    task::{Context, Poll, Waker},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, dummy,
    },
};

/// Candidates that are remembered: a node has few addresses, and whoever names more lies.
const MOST_CANDIDATES: usize = 16;

/// The behaviour: no protocol, no handler.
#[derive(Default)]
pub struct Candidates {
    known: BTreeSet<Multiaddr>,
    waiting: VecDeque<Multiaddr>,
    waker: Option<Waker>,
}

impl Candidates {
    /// A peer saw us at `address` over a direct connection. Only QUIC: a TCP connection leaves
    /// from a port of its own.
    pub fn on_observed(&mut self, address: Multiaddr) {
        if !is_direct_quic(&address) || self.known.len() >= MOST_CANDIDATES {
            return;
        }
        if self.known.insert(address.clone()) {
            self.waiting.push_back(address);
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }

    /// The network changed: what was seen before says nothing now.
    pub fn forget(&mut self) {
        self.known.clear();
        self.waiting.clear();
    }
}

fn is_direct_quic(address: &Multiaddr) -> bool {
    let has = |wanted: fn(&Protocol<'_>) -> bool| address.iter().any(|part| wanted(&part));
    has(|p| matches!(p, Protocol::QuicV1)) && !has(|p| matches!(p, Protocol::P2pCircuit))
}

impl NetworkBehaviour for Candidates {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

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

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        never: THandlerOutEvent<Self>,
    ) {
        match never {}
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(address) = self.waiting.pop_front() {
            return Poll::Ready(ToSwarm::NewExternalAddrCandidate(address));
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures::task::noop_waker;

    use super::*;

    #[test]
    fn an_observed_address_comes_out_as_it_was_once() {
        let mut candidates = Candidates::default();
        let seen: Multiaddr = "/ip4/203.0.113.9/udp/61234/quic-v1".parse().unwrap();
        let relayed: Multiaddr = "/ip4/203.0.113.9/udp/1/quic-v1/p2p-circuit"
            .parse()
            .unwrap();
        let tcp: Multiaddr = "/ip4/203.0.113.9/tcp/61234".parse().unwrap();
        for address in [&seen, &seen, &relayed, &tcp] {
            candidates.on_observed(address.clone());
        }
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        assert!(matches!(
            candidates.poll(&mut cx),
            Poll::Ready(ToSwarm::NewExternalAddrCandidate(address)) if address == seen
        ));
        assert!(candidates.poll(&mut cx).is_pending());
        candidates.forget();
        candidates.on_observed(seen);
        assert!(candidates.poll(&mut cx).is_ready());
    }

    #[test]
    fn liars_are_bounded() {
        let mut candidates = Candidates::default();
        for port in 1..1000 {
            candidates.on_observed(
                format!("/ip4/203.0.113.9/udp/{port}/quic-v1")
                    .parse()
                    .unwrap(),
            );
        }
        assert_eq!(candidates.waiting.len(), MOST_CANDIDATES);
    }
}
