//! Two peers over loopback QUIC.

use std::time::Instant;

use futures::StreamExt;
use libp2p::{Swarm, SwarmBuilder, swarm::SwarmEvent};

use super::*;

const PROTOCOL: StreamProtocol = StreamProtocol::new("/shoal/test/probe/1");

fn peer(protocol: StreamProtocol) -> Swarm<Probes> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_quic()
        .with_behaviour(|_| Probes::new(protocol))
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build()
}

/// Two connected peers; the first dialed.
async fn pair(protocol: StreamProtocol) -> (Swarm<Probes>, Swarm<Probes>, ConnectionId) {
    let (mut dialer, mut listener) = (peer(PROTOCOL), peer(protocol));
    listener
        .listen_on("/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap())
        .unwrap();
    loop {
        tokio::select! {
            event = listener.select_next_some() => {
                if let SwarmEvent::NewListenAddr { address, .. } = event {
                    dialer.dial(address).unwrap();
                }
            }
            event = dialer.select_next_some() => {
                if let SwarmEvent::ConnectionEstablished { connection_id, .. } = event {
                    return (dialer, listener, connection_id);
                }
            }
        }
    }
}

async fn outcome(dialer: &mut Swarm<Probes>, listener: &mut Swarm<Probes>) -> Probed {
    loop {
        tokio::select! {
            _ = listener.select_next_some() => {}
            event = dialer.select_next_some() => {
                if let SwarmEvent::Behaviour(probed) = event {
                    return probed;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_connection_is_measured_again_and_again() {
    let (mut dialer, mut listener, connection) = pair(PROTOCOL).await;
    let peer = *listener.local_peer_id();
    // More than one burst: the peer's pause delays an answer and loses none.
    for _ in 0..20 {
        let begun = Instant::now();
        dialer.behaviour_mut().probe(peer, connection);
        let probed = outcome(&mut dialer, &mut listener).await;
        assert_eq!((probed.peer, probed.connection), (peer, connection));
        let round_trip = probed.round_trip.unwrap();
        assert!(round_trip > Duration::ZERO && round_trip <= begun.elapsed());
    }
}

#[tokio::test]
async fn a_peer_that_does_not_speak_it_is_told_apart() {
    let (mut dialer, mut listener, connection) = pair(StreamProtocol::new("/other/1")).await;
    let peer = *listener.local_peer_id();
    dialer.behaviour_mut().probe(peer, connection);
    let probed = outcome(&mut dialer, &mut listener).await;
    assert_eq!(probed.round_trip, Err(ProbeError::Unsupported));
}
