//! A relay that takes its time.

use futures::StreamExt;
use libp2p::{Multiaddr, StreamProtocol, identify, relay, swarm::SwarmEvent};

use super::*;
use crate::{
    core::reservations::{ASK_TIMEOUT, PATIENCE as FIRST_ASKED_AFTER},
    peer::{node_id, peer_id},
    probe::Probes,
};

/// What makes a peer a relay of the swarm.
#[derive(NetworkBehaviour)]
struct Slow {
    identify: identify::Behaviour,
    relay: relay::Behaviour,
    probes: Probes,
}

fn slow(key: &identity::Keypair) -> Slow {
    let probe = Protocol::Probe.of(&SwarmName::public());
    Slow {
        identify: identify::Behaviour::new(identify::Config::new("/x/1".into(), key.public())),
        relay: relay::Behaviour::new(key.public().to_peer_id(), relay::Config::default()),
        probes: Probes::new(StreamProtocol::try_from_owned(probe).unwrap()),
    }
}

/// A relay that listens, and where.
async fn slow_relay() -> (Swarm<Slow>, String) {
    let mut swarm = other_peer(slow);
    let any: Multiaddr = "/ip4/127.0.0.1/tcp/0".parse().unwrap();
    swarm.listen_on(any).unwrap();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            swarm.add_external_address(address.clone());
            let address = address.with_p2p(*swarm.local_peer_id()).unwrap();
            return (swarm, address.to_string());
        }
    }
}

/// libp2p's client panics where a relay agrees to what was taken back meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_agrees_too_late_harms_nobody() {
    let (mut relay, address) = slow_relay().await;
    let node = start(config(2, &[address]));
    // Answers until it is asked for a reservation, and not before the node has given that up.
    let awake = FIRST_ASKED_AFTER - Duration::from_secs(1);
    let asleep = ASK_TIMEOUT + Duration::from_secs(3);
    let answers = async { while relay.next().await.is_some() {} };
    assert!(tokio::time::timeout(awake, answers).await.is_err());
    assert_eq!(node.network.view().connected(), 1);
    tokio::time::sleep(asleep).await;
    let answering = tokio::spawn(async move { while relay.next().await.is_some() {} });
    let is_relayed = |view: &View| {
        let mut listening = view.listening.iter();
        listening.any(|address| address.contains("/p2p-circuit"))
    };
    until(&node, is_relayed).await;
    let model: ModelName = "org/model".parse().unwrap();
    assert_eq!(node.network.find(&model).await, Ok(0));
    answering.abort();
}

/// A peer that listens nowhere and can dial through relays.
#[derive(NetworkBehaviour)]
struct Hidden {
    identify: identify::Behaviour,
    relay: relay::client::Behaviour,
    probes: Probes,
}

fn hidden() -> Swarm<Hidden> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )
        .unwrap()
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|key, relay| {
            let Slow {
                identify, probes, ..
            } = slow(key);
            Hidden {
                identify,
                relay,
                probes,
            }
        })
        .unwrap()
        .build()
}

/// Hidden states are more than a relay of somebody's carries: who asks is told that it is that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_relay_carries_is_refused_by_name() {
    let (mut relay, address) = slow_relay().await;
    let node = start(config(3, std::slice::from_ref(&address)));
    let relaying = tokio::spawn(async move { while relay.next().await.is_some() {} });
    let is_reserved = |view: &View| {
        let mut listening = view.listening.iter();
        listening.any(|address| address.contains("/p2p-circuit"))
    };
    until(&node, is_reserved).await;
    let mut hidden = hidden();
    let other = node_id(hidden.local_peer_id()).unwrap();
    let own = peer_id(&node.network.own());
    let through: Multiaddr = format!("{address}/p2p-circuit/p2p/{own}").parse().unwrap();
    hidden.dial(through).unwrap();
    let dialing = tokio::spawn(async move { while hidden.next().await.is_some() {} });
    let is_relayed = |view: &View| {
        let peer = view.peers.get(&other);
        peer.is_some_and(|peer| peer.path == Some(Path::Relayed))
    };
    until(&node, is_relayed).await;
    for protocol in [Protocol::Stage, Protocol::Weights] {
        let opened = node.network.open(other, protocol).await;
        assert_eq!(opened.err(), Some(OpenError::Relayed), "{protocol:?}");
    }
    let opened = node.network.open(other, Protocol::Lease).await;
    assert_ne!(opened.err(), Some(OpenError::Relayed));
    dialing.abort();
    relaying.abort();
}
