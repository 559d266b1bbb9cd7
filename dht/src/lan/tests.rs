//! What gets out, what is told, and real multicast where this machine has a network.

use std::{
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

use futures::StreamExt;
use libp2p::{
    Swarm, SwarmBuilder,
    identity::Keypair,
    multiaddr::Protocol,
    swarm::{ExpiredListenAddr, SwarmEvent},
};

use super::*;
use crate::peer;

fn peer_of(seed: u8) -> PeerId {
    let key = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
    key.public().to_peer_id()
}

fn parse(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

#[test]
fn nodes_with_addresses_of_the_network_get_out() {
    let (own, other) = (peer_of(1), peer_of(2));
    let rsa: PeerId = "QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ"
        .parse()
        .unwrap();
    let found = [
        (own, parse("/ip4/192.168.1.9/tcp/1")),
        (rsa, parse("/ip4/192.168.1.8/tcp/1")),
        (peer_of(3), parse("/ip4/127.0.0.1/tcp/1")),
        (other, parse("/dns4/victim.example/tcp/1")),
        (
            other,
            parse(&format!("/ip4/192.168.1.7/udp/9/quic-v1/p2p/{other}")),
        ),
        (other, parse("/ip4/192.168.1.7/tcp/9")),
    ];
    let candidates = candidates(&found, &own);
    assert_eq!(candidates.len(), 1);
    assert_eq!(peer::peer_id(&candidates[0].peer), other);
    let texts: Vec<_> = candidates[0].addresses.iter().map(|a| &a.text).collect();
    assert_eq!(
        texts,
        ["/ip4/192.168.1.7/udp/9/quic-v1", "/ip4/192.168.1.7/tcp/9"]
    );
}

#[test]
fn a_flood_of_peers_is_bounded() {
    let found: Vec<_> = (0..=255)
        .map(|seed| (peer_of(seed), parse("/ip4/192.168.1.7/tcp/1")))
        .collect();
    assert_eq!(candidates(&found, &PeerId::random()).len(), MAX_CANDIDATES);
}

#[tokio::test]
async fn addresses_that_go_are_told_no_more() {
    let mut lan = Lan::new(peer_of(1)).unwrap();
    let (id, address) = (ListenerId::next(), parse("/ip4/192.168.1.7/tcp/1"));
    let new = FromSwarm::NewListenAddr(NewListenAddr {
        listener_id: id,
        addr: &address,
    });
    assert!(lan.follow(&new));
    assert_eq!(lan.listening, [(id, address.clone())]);
    let old = FromSwarm::ExpiredListenAddr(ExpiredListenAddr {
        listener_id: id,
        addr: &address,
    });
    assert!(lan.follow(&old));
    assert!(lan.listening.is_empty());
}

fn node() -> Swarm<Lan> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_quic()
        .with_behaviour(|key| Lan::new(key.public().to_peer_id()).unwrap())
        .unwrap()
        .build()
}

/// For whatever must happen soon.
const SOON: Duration = Duration::from_secs(30);

/// Whether a packet to everybody comes back on this network, as it must for mDNS.
fn has_multicast(ip: Ipv4Addr) -> bool {
    let all = Ipv4Addr::new(224, 0, 0, 251);
    let try_it = || {
        let receiver = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        receiver.join_multicast_v4(&all, &ip)?;
        receiver.set_read_timeout(Some(Duration::from_secs(1)))?;
        let sender = UdpSocket::bind((ip, 0))?;
        sender.send_to(b"shoal", (all, receiver.local_addr()?.port()))?;
        receiver.recv_from(&mut [0; 8])
    };
    try_it().is_ok()
}

/// Waits until the swarm listens on the address of a network that carries multicast; `None` if
/// this machine has none.
async fn listen(swarm: &mut Swarm<Lan>) -> Option<()> {
    let any = parse("/ip4/0.0.0.0/udp/0/quic-v1");
    swarm.listen_on(any).unwrap();
    let on_network = async {
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await
                && let Some(Protocol::Ip4(ip)) = address.iter().next()
                && !ip.is_loopback()
                && has_multicast(ip)
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(2), on_network)
        .await
        .ok()
}

#[tokio::test]
async fn two_nodes_find_one_another() {
    let (mut a, mut b) = (node(), node());
    for swarm in [&mut a, &mut b] {
        if listen(swarm).await.is_none() {
            println!("skipped: this machine has no network that carries multicast");
            return;
        }
    }
    let wanted = peer::node_id(b.local_peer_id()).unwrap();
    let found = async {
        loop {
            let event = tokio::select! {
                event = a.select_next_some() => event,
                _ = b.select_next_some() => continue,
            };
            if let SwarmEvent::Behaviour(candidates) = event
                && candidates.iter().any(|candidate| candidate.peer == wanted)
            {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, found).await.unwrap();
}
