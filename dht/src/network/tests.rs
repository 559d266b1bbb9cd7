//! Whole nodes over real loopback connections: they join, hear of one another, find and forget.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use ed25519_dalek::SigningKey;
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{Swarm, SwarmBuilder, identity, noise, swarm::NetworkBehaviour, tcp, yamux};
use protocol::{
    advert::{Abilities, Deployed, NodeRole},
    names::SwarmName,
};

use super::*;
use crate::{core::join::State, view::Path};

mod attack;
mod boards;
mod demand;
mod links;
mod private;
mod relay;

/// Far beyond what anything here takes; what waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

struct Node {
    network: Network,
    inbound: mpsc::Receiver<Inbound>,
    stop: CancellationToken,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn config(seed: u8, bootstrap: &[String]) -> Config {
    Config {
        listen: both_transports(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).into(),
        bootstrap: bootstrap.to_vec(),
        mdns: false,
        upnp: false,
        ..Config::new(SigningKey::from_bytes(&[seed; 32]), SwarmName::public())
    }
}

fn start(config: Config) -> Node {
    let stop = CancellationToken::new();
    let (network, inbound, _) = Network::start(config, stop.clone()).unwrap();
    Node {
        network,
        inbound,
        stop,
    }
}

/// A peer over TCP that is no node of ours.
fn other_peer<B: NetworkBehaviour>(behaviour: fn(&identity::Keypair) -> B) -> Swarm<B> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )
        .unwrap()
        .with_behaviour(behaviour)
        .unwrap()
        .build()
}

/// Waits for a view that shows what is wanted.
async fn until(node: &Node, mut shows: impl FnMut(&View) -> bool) -> Arc<View> {
    let mut views = node.network.watch();
    let wanted = views.wait_for(|view| shows(view));
    let view = tokio::time::timeout(PATIENCE, wanted).await;
    match view {
        Ok(view) => Arc::clone(&view.unwrap()),
        Err(_) => panic!("not shown in time; at last: {:#?}", node.network.view()),
    }
}

async fn server(seed: u8) -> (Node, Vec<String>) {
    let node = start(Config {
        is_server: true,
        ..config(seed, &[])
    });
    let view = until(&node, |view| view.listening.len() == 2).await;
    let addresses = view.listening.clone();
    (node, addresses)
}

fn serves(model: &str) -> Profile {
    let mut profile = Profile::new(SwarmName::public(), NodeRole::Server);
    profile.version = "1.2.3".into();
    profile.deployments.push(Deployed {
        model: model.parse().unwrap(),
        context_tokens: 4096,
        parallel: 2,
        running: 0,
        queued: 0,
        prefill_tokens_per_second: None,
        decode_tokens_per_second: Some(50.0),
        abilities: Abilities::default(),
    });
    profile
}

#[tokio::test]
async fn two_who_know_one_bootstrap_node_hear_of_each_other() {
    let (_server, list) = server(1).await;
    let serving = start(config(2, &list));
    serving.network.set_profile(serves("org/model"));
    let asking = start(config(3, &list));
    let model: ModelName = "org/model".parse().unwrap();
    let view = until(&asking, |view| view.heads(&model).next().is_some()).await;
    let head = view.heads(&model).next().unwrap();
    assert_eq!(head.node, serving.network.own());
    assert_eq!(head.deployed.decode_tokens_per_second, Some(50.0));
    assert!(!head.peer.said.as_ref().unwrap().addresses.is_empty());
    assert!(matches!(view.join.state, State::Joined(_)));
    // What it no longer serves is no longer shown.
    serving
        .network
        .set_profile(Profile::new(SwarmName::public(), NodeRole::Server));
    until(&asking, |view| view.heads(&model).next().is_none()).await;
}

#[tokio::test]
async fn peers_are_measured() {
    let (server, list) = server(1).await;
    let node = start(config(2, &list));
    let other = server.network.own();
    let measured = |view: &View| {
        let peer = view.peers.get(&other);
        peer.is_some_and(|peer| peer.rtt.is_some())
    };
    let view = until(&node, measured).await;
    assert_eq!(view.peers[&other].path, Some(Path::Direct));
}

#[tokio::test]
async fn providers_are_found_in_the_dht() {
    let (_server, list) = server(1).await;
    let serving = start(config(2, &list));
    serving.network.set_profile(serves("org/rare"));
    until(&serving, |view| view.connected() > 0).await;
    let asking = start(config(3, &list));
    until(&asking, |view| view.connected() > 0).await;
    let model: ModelName = "org/rare".parse().unwrap();
    let found = async { while asking.network.find(&model).await.unwrap() == 0 {} };
    tokio::time::timeout(PATIENCE, found).await.unwrap();
    let nobody: ModelName = "org/nobody".parse().unwrap();
    assert_eq!(asking.network.find(&nobody).await, Ok(0));
}

#[tokio::test]
async fn the_last_peer_gone_is_noticed_and_another_is_joined() {
    let (first, mut list) = server(1).await;
    let (second, more) = server(2).await;
    list.extend(more);
    let node = start(config(3, &list));
    until(&node, |view| view.connected() == 2).await;
    let gone = first.network.own();
    drop(first);
    until(&node, |view| {
        view.peers.get(&gone).is_none_or(|peer| peer.path.is_none())
    })
    .await;
    assert_eq!(node.network.view().connected(), 1);
    drop(second);
    until(&node, |view| view.connected() == 0).await;
}

#[tokio::test]
async fn nobody_in_reach_has_a_named_cause() {
    let peer = crate::peer::peer_id(&NodeId::from(&SigningKey::from_bytes(&[9; 32])));
    let port = {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        held.local_addr().unwrap().port()
    };
    let list = [format!("/ip4/127.0.0.1/tcp/{port}/p2p/{peer}")];
    let node = start(config(2, &list));
    let view = until(&node, |view| view.join.state == State::Alone).await;
    let way = view.join.ways.iter().find_map(|way| way.cause);
    assert_eq!(way, Some(crate::core::join::Cause::Refused));
}

#[tokio::test]
async fn a_taken_port_is_replaced_only_if_that_is_allowed() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let strict = Config {
        listen: both_transports(address).into(),
        any_port: false,
        ..config(1, &[])
    };
    let error = Network::start(strict, CancellationToken::new())
        .err()
        .unwrap();
    let error = error.to_string();
    assert!(error.contains(&address.port().to_string()), "{error}");
    assert!(error.contains("in use"), "{error}");
    let lenient = start(Config {
        listen: both_transports(address).into(),
        ..config(1, &[])
    });
    until(&lenient, |view| view.listening.len() == 2).await;
}

#[tokio::test]
async fn the_handle_outlives_the_task_without_hanging() {
    let node = start(config(1, &[]));
    node.stop.cancel();
    let model: ModelName = "org/model".parse().unwrap();
    let asked = async { while node.network.find(&model).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, asked).await.unwrap();
}

#[tokio::test]
async fn a_stream_reaches_a_peer_that_was_not_connected() {
    let (_server, list) = server(1).await;
    let mut serving = start(config(2, &list));
    serving.network.set_profile(serves("org/model"));
    let asking = start(config(3, &list));
    let peer = serving.network.own();
    let said = |view: &View| {
        view.peers
            .get(&peer)
            .is_some_and(|peer| peer.said.is_some())
    };
    until(&asking, said).await;
    let mut ours = asking.network.open(peer, Protocol::Generate).await.unwrap();
    ours.write_all(b"hello").await.unwrap();
    ours.flush().await.unwrap();
    let inbound = tokio::time::timeout(PATIENCE, serving.inbound.recv()).await;
    let mut inbound = inbound.unwrap().unwrap();
    assert_eq!(
        (inbound.peer, inbound.protocol),
        (asking.network.own(), Protocol::Generate)
    );
    let mut bytes = [0; 5];
    inbound.stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");
}

#[tokio::test]
async fn a_peer_of_whom_nothing_is_known_is_out_of_reach() {
    let node = start(config(1, &[]));
    let stranger = NodeId::from(&SigningKey::from_bytes(&[9; 32]));
    let opened = node.network.open(stranger, Protocol::Generate).await;
    assert_eq!(opened.err(), Some(OpenError::Unreachable));
}
