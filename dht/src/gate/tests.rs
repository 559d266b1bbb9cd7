//! Real connections over loopback QUIC, through an open and a shut gate.

use std::{convert::Infallible, time::Duration};

use futures::StreamExt;
use libp2p::{
    StreamProtocol, Swarm, SwarmBuilder,
    swarm::{SwarmEvent, dial_opts::DialOpts},
};

use super::*;
use crate::probe::{ProbeError, Probed, Probes};

fn peer<B: NetworkBehaviour>(behaviour: B) -> Swarm<B> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_quic()
        .with_behaviour(|_| behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build()
}

fn probes() -> Probes {
    Probes::new(StreamProtocol::new("/shoal/test/probe/1"))
}

async fn listen<B: NetworkBehaviour>(swarm: &mut Swarm<B>) -> Multiaddr {
    let any = "/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap();
    swarm.listen_on(any).unwrap();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return address;
        }
    }
}

/// Drives both until `found` finds something in the second one's events.
async fn until<A: NetworkBehaviour, B: NetworkBehaviour, T>(
    other: &mut Swarm<A>,
    swarm: &mut Swarm<B>,
    mut found: impl FnMut(SwarmEvent<B::ToSwarm>) -> Option<T>,
) -> T {
    loop {
        tokio::select! {
            _ = other.select_next_some() => {}
            event = swarm.select_next_some() => {
                if let Some(value) = found(event) {
                    return value;
                }
            }
        }
    }
}

/// A new connection from the dialer, although there may be one.
async fn connect<A: NetworkBehaviour, B: NetworkBehaviour>(
    listener: &mut Swarm<A>,
    dialer: &mut Swarm<B>,
    address: &Multiaddr,
) -> ConnectionId {
    let options = DialOpts::unknown_peer_id().address(address.clone()).build();
    let id = options.connection_id();
    dialer.dial(options).unwrap();
    until(listener, dialer, |event| {
        matches!(event, SwarmEvent::ConnectionEstablished { connection_id, .. } if connection_id == id)
            .then_some(())
    })
    .await;
    id
}

#[tokio::test]
async fn a_stranger_is_offered_nothing() {
    let mut listener = peer(Gated::shut(probes()));
    let mut dialer = peer(Gated::open(probes()));
    let address = listen(&mut listener).await;
    let (member, stranger) = (*listener.local_peer_id(), *dialer.local_peer_id());
    let mut attempts = Vec::new();
    for admitted in [false, true, false] {
        if admitted {
            listener.behaviour_mut().admit(stranger);
        } else {
            listener.behaviour_mut().expel(&stranger);
        }
        let connection = connect(&mut listener, &mut dialer, &address).await;
        dialer.behaviour_mut().inner_mut().probe(member, connection);
        let probed: Probed = until(&mut listener, &mut dialer, |event| match event {
            SwarmEvent::Behaviour(probed) => Some(probed),
            _ => None,
        })
        .await;
        attempts.push(probed.round_trip.map(|_| ()));
    }
    let refused = Err(ProbeError::Unsupported);
    assert_eq!(attempts, [refused, Ok(()), refused]);
}

/// Notes how many other connections it is told of.
#[derive(Default)]
struct Counting {
    opened: Vec<usize>,
    closed: Vec<usize>,
}

impl NetworkBehaviour for Counting {
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

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(e) => self.opened.push(e.other_established),
            FromSwarm::ConnectionClosed(e) => self.closed.push(e.remaining_established),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, never: Infallible) {
        match never {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, Infallible>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn in_an_open_gate_libp2p_chooses_among_a_peers_connections() {
    let mut listener = peer(Gated::open(Counting::default()));
    let mut dialer = peer(Gated::open(Counting::default()));
    let address = listen(&mut listener).await;
    let other = *listener.local_peer_id();
    let older = connect(&mut listener, &mut dialer, &address).await;
    connect(&mut listener, &mut dialer, &address).await;
    let to = |wanted| dialer.behaviour().addressee(other, &wanted);
    assert!(matches!(to(NotifyHandler::Any), Some(NotifyHandler::Any)));
    let named = to(NotifyHandler::One(older));
    assert!(matches!(named, Some(NotifyHandler::One(id)) if id == older));
}

#[tokio::test]
async fn connections_are_counted_from_the_first_inside() {
    let mut listener = peer(Gated::open(Counting::default()));
    let mut dialer = peer(Gated::shut(Counting::default()));
    let address = listen(&mut listener).await;
    let member = *listener.local_peer_id();
    let outside = connect(&mut listener, &mut dialer, &address).await;
    let any = |dialer: &Swarm<Gated<Counting>>| {
        let found = dialer.behaviour().addressee(member, &NotifyHandler::Any);
        let Some(NotifyHandler::One(id)) = found else {
            return None;
        };
        Some(id)
    };
    assert_eq!(any(&dialer), None);
    dialer.behaviour_mut().admit(member);
    let first = connect(&mut listener, &mut dialer, &address).await;
    let second = connect(&mut listener, &mut dialer, &address).await;
    assert!(!dialer.behaviour().is_inside(outside));
    assert!(dialer.behaviour().is_inside(first) && dialer.behaviour().is_inside(second));
    assert_eq!(dialer.behaviour().inner().opened, [0, 1]);
    assert_eq!(any(&dialer), Some(second));
    let named = dialer
        .behaviour()
        .addressee(member, &NotifyHandler::One(outside));
    assert!(named.is_none());
    // Where everybody is inside, libp2p chooses one that is ready.
    let dialing = *dialer.local_peer_id();
    let open = listener.behaviour().addressee(dialing, &NotifyHandler::Any);
    assert!(matches!(open, Some(NotifyHandler::Any)));
    for connection in [first, outside, second] {
        dialer.close_connection(connection);
        until(&mut listener, &mut dialer, |event| {
            matches!(event, SwarmEvent::ConnectionClosed { connection_id, .. } if connection_id == connection)
                .then_some(())
        })
        .await;
    }
    assert_eq!(dialer.behaviour().inner().closed, [1, 0]);
}
