//! Servers of `/ipfs/kad/1.0.0` on loopback stand in for the public DHT.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

use futures::StreamExt;
use libp2p::{
    PeerId, StreamProtocol, Swarm, SwarmBuilder, identity,
    kad::{
        self, Mode, ProviderRecord,
        store::{MemoryStore, MemoryStoreConfig, RecordStore},
    },
    noise,
    swarm::SwarmEvent,
    tcp, yamux,
};
use tokio::{sync::watch, task::JoinHandle};

use super::*;
use crate::core::join::SEARCH_TIMEOUT;

/// For whatever must happen soon.
const SOON: Duration = Duration::from_secs(30);

/// What the node under test says of itself; nothing is there.
const HERE: &str = "/ip4/127.0.0.1/udp/9/quic-v1";

type Server = Swarm<kad::Behaviour<MemoryStore>>;

/// A running server.
struct Running {
    /// With the peer's id.
    address: String,
    connected: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server that keeps thousands of providers and tells them all.
fn server() -> Server {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )
        .unwrap()
        .with_quic()
        .with_behaviour(|key| {
            let local = key.public().to_peer_id();
            let store = MemoryStoreConfig {
                max_providers_per_key: 5000,
                ..MemoryStoreConfig::default()
            };
            let mut config = kad::Config::new(StreamProtocol::new("/ipfs/kad/1.0.0"));
            config.set_replication_factor(20.try_into().unwrap());
            config.set_max_packet_size(1 << 20);
            config.set_periodic_bootstrap_interval(None);
            let store = MemoryStore::with_config(local, store);
            let mut kad = kad::Behaviour::with_config(local, store, config);
            kad.set_mode(Some(Mode::Server));
            kad
        })
        .unwrap()
        .build()
}

async fn listen(server: &mut Server, on: &str) -> Multiaddr {
    server.listen_on(on.parse().unwrap()).unwrap();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = server.select_next_some().await {
            return address.with(libp2p::multiaddr::Protocol::P2p(*server.local_peer_id()));
        }
    }
}

/// Runs a server until it is dropped.
fn run(mut server: Server, address: &Multiaddr) -> Running {
    let (count, connected) = watch::channel(0);
    let task = tokio::spawn(async move {
        loop {
            server.select_next_some().await;
            count.send_replace(server.network_info().num_peers());
        }
    });
    Running {
        address: address.to_string(),
        connected,
        task,
    }
}

/// A network of servers that know one another; half of them over QUIC, half over TCP.
async fn network(count: usize) -> Vec<Running> {
    let mut servers = Vec::new();
    for index in 0..count {
        let mut server = server();
        let on = if index % 2 == 0 {
            "/ip4/127.0.0.1/udp/0/quic-v1"
        } else {
            "/ip4/127.0.0.1/tcp/0"
        };
        let address = listen(&mut server, on).await;
        servers.push((server, address));
    }
    let known: Vec<_> = servers
        .iter()
        .map(|(server, address)| (*server.local_peer_id(), address.clone()))
        .collect();
    for (server, _) in &mut servers {
        for (peer, address) in &known {
            server.behaviour_mut().add_address(peer, address.clone());
        }
    }
    let servers = servers.into_iter();
    servers
        .map(|(server, address)| run(server, &address))
        .collect()
}

/// One server alone, with what it says of the rendezvous.
async fn liar(claims: Vec<(PeerId, Vec<Multiaddr>)>) -> Running {
    let mut server = server();
    let key = KadKey::new(&RecordKey::rendezvous().to_multihash());
    for (provider, addresses) in claims {
        let record = ProviderRecord::new(key.clone(), provider, addresses);
        let store = server.behaviour_mut().store_mut();
        store.add_provider(record).unwrap();
    }
    let address = listen(&mut server, "/ip4/127.0.0.1/tcp/0").await;
    run(server, &address)
}

fn keypair(seed: u8) -> identity::Keypair {
    identity::Keypair::ed25519_from_bytes([seed; 32]).unwrap()
}

fn peer_of(seed: u8) -> PeerId {
    keypair(seed).public().to_peer_id()
}

fn rendezvous(seed: u8, servers: &[String], reach: Reach) -> Rendezvous {
    Rendezvous::new(Config {
        keypair: keypair(seed),
        servers: servers.to_vec(),
        reach,
    })
}

/// Runs a search to its end.
async fn search(rendezvous: &Rendezvous) -> (Result<usize, Cause>, Vec<Candidate>) {
    let (found, mut finds) = mpsc::channel(MAX_FOUND);
    let all = async {
        let mut all = Vec::new();
        while let Some(candidate) = finds.recv().await {
            all.push(candidate);
        }
        all
    };
    let both = async { tokio::join!(rendezvous.find(found), all) };
    timeout(SEARCH_TIMEOUT, both).await.unwrap()
}

/// Waits until none of the servers has a connection that is not one between servers.
async fn all_gone(servers: &mut [Running]) {
    for server in servers {
        let gone = server.connected.wait_for(|&count| count == 0);
        timeout(SOON, gone).await.unwrap().unwrap();
    }
}

fn addresses(running: &[Running]) -> Vec<String> {
    running
        .iter()
        .map(|server| server.address.clone())
        .collect()
}

#[tokio::test]
async fn one_node_announces_itself_and_another_finds_it() {
    let servers = network(8).await;
    // One living server is enough to enter; the others are learnt from it.
    let entry = &addresses(&servers)[..1];
    let announcer = rendezvous(1, entry, Reach::Any);
    let searcher = rendezvous(2, entry, Reach::Any);
    assert_eq!(search(&searcher).await, (Ok(0), vec![]));
    let junk = "/dns4/example.org/tcp/1".to_owned();
    let taken = announcer.announce(&[junk, HERE.to_owned()]).await;
    assert_eq!(taken, Ok(servers.len()));
    let (ended, found) = search(&searcher).await;
    assert_eq!(ended, Ok(1));
    assert_eq!(found[0].peer, peer::node_id(&peer_of(1)).unwrap());
    let texts: Vec<_> = found[0].addresses.iter().map(|a| a.text.as_str()).collect();
    assert_eq!(texts, [HERE]);
    // The node does not find itself.
    assert_eq!(search(&announcer).await, (Ok(0), vec![]));
}

#[tokio::test]
async fn nothing_stays_connected() {
    // Servers that do not know one another have no connections of their own.
    let mut servers = vec![liar(vec![]).await, liar(vec![]).await];
    let rendezvous = rendezvous(1, &addresses(&servers), Reach::Any);
    assert_eq!(rendezvous.announce(&[HERE.to_owned()]).await, Ok(2));
    all_gone(&mut servers).await;
    assert_eq!(search(&rendezvous).await.0, Ok(0));
    all_gone(&mut servers).await;
}

/// A UDP socket at which nobody answers, and its address under some peer's id.
fn silence(ip: impl Into<std::net::IpAddr>, peer: PeerId) -> Option<(UdpSocket, String)> {
    let socket = UdpSocket::bind((ip.into(), 0)).ok()?;
    let address = socket.local_addr().unwrap();
    let multiaddr = Multiaddr::from(address.ip());
    let text = format!("{multiaddr}/udp/{}/quic-v1/p2p/{peer}", address.port());
    Some((socket, text))
}

#[tokio::test]
async fn dropping_the_search_stops_it_at_once() {
    let mut servers = vec![liar(vec![]).await];
    let mut entries = addresses(&servers);
    // The search goes on while these dials hang.
    let silent: Vec<_> = (10..14)
        .filter_map(|seed| silence(Ipv4Addr::LOCALHOST, peer_of(seed)))
        .collect();
    entries.extend(silent.iter().map(|(_, text)| text.clone()));
    let rendezvous = rendezvous(1, &entries, Reach::Any);
    let (found, _finds) = mpsc::channel(1);
    let connected = servers[0].connected.wait_for(|&count| count > 0);
    tokio::select! {
        ended = rendezvous.find(found) => panic!("ended before its time: {ended:?}"),
        seen = timeout(SOON, connected) => { seen.unwrap().unwrap(); }
    }
    all_gone(&mut servers).await;
}

#[tokio::test]
async fn a_search_that_nobody_listens_to_ends() {
    let here = vec![HERE.parse().unwrap()];
    let mut servers = vec![liar(vec![(peer_of(7), here)]).await];
    let rendezvous = rendezvous(1, &addresses(&servers), Reach::Any);
    let (found, finds) = mpsc::channel(1);
    drop(finds);
    let ended = timeout(SOON, rendezvous.find(found)).await.unwrap();
    assert_eq!(ended, Ok(1));
    all_gone(&mut servers).await;
}

#[tokio::test]
async fn what_is_in_the_way_is_named() {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let (peer, other) = (peer_of(10), peer_of(11));
    let (_socket, silent) = silence(Ipv4Addr::LOCALHOST, peer).unwrap();
    let server = liar(vec![]).await;
    let (impostor, _) = server.address.rsplit_once("/p2p/").unwrap();
    let cases = [
        (vec![], Cause::NoAddress),
        (vec!["nonsense".to_owned()], Cause::NoAddress),
        (
            vec![format!("/dns/shoal.invalid/tcp/1/p2p/{peer}")],
            Cause::NoAddress,
        ),
        (
            vec![format!("/ip4/127.0.0.1/tcp/{port}/p2p/{peer}")],
            Cause::Refused,
        ),
        (vec![silent.clone()], Cause::TimedOut),
        (
            vec![format!("{impostor}/p2p/{peer}")],
            Cause::HandshakeRefused,
        ),
        (
            vec![silent, format!("/ip4/127.0.0.1/tcp/{port}/p2p/{other}")],
            Cause::Refused,
        ),
    ];
    for (servers, cause) in cases {
        let rendezvous = rendezvous(1, &servers, Reach::Any);
        let (ended, found) = search(&rendezvous).await;
        assert_eq!((ended, found), (Err(cause), vec![]), "{servers:?}");
    }
}

#[tokio::test]
async fn announcing_needs_an_address_and_a_server() {
    let server = liar(vec![]).await;
    let entries = [server.address.clone()];
    // This machine's own address is nobody else's business on the public Internet.
    let public = rendezvous(1, &entries, Reach::Public);
    let here = [HERE.to_owned()];
    assert_eq!(public.announce(&here).await, Err(AnnounceError::NoAddress));
    assert_eq!(public.announce(&[]).await, Err(AnnounceError::NoAddress));
    let nowhere = rendezvous(1, &[], Reach::Any);
    let nobody = AnnounceError::NoServer(Cause::NoAddress);
    assert_eq!(nowhere.announce(&here).await, Err(nobody));
}

#[tokio::test]
async fn a_black_hole_costs_no_search() {
    let server = liar(vec![(peer_of(7), vec![HERE.parse().unwrap()])]).await;
    let peer: PeerId = server.address.rsplit_once('/').unwrap().1.parse().unwrap();
    // IPv6 goes first, and is never answered; another server is silent altogether.
    let Some((_v6, hole)) = silence(Ipv6Addr::LOCALHOST, peer) else {
        println!("skipped: this machine has no IPv6");
        return;
    };
    let (_v4, gone) = silence(Ipv4Addr::LOCALHOST, peer_of(10)).unwrap();
    let entries = [hole, gone, server.address.clone()];
    let (ended, found) = search(&rendezvous(1, &entries, Reach::Any)).await;
    assert_eq!(ended, Ok(1));
    assert_eq!(found[0].peer, peer::node_id(&peer_of(7)).unwrap());
}

#[tokio::test]
async fn lies_are_filtered() {
    let relay = peer_of(99);
    let parse = |text: &str| -> Multiaddr { text.parse().unwrap() };
    let private = vec![
        parse("/ip4/192.168.0.1/tcp/22"),
        parse("/ip4/127.0.0.1/tcp/5432"),
        parse("/dns4/victim.example/tcp/80"),
        parse("/ip6/fe80::1/udp/53/quic-v1"),
    ];
    let mut mixed: Vec<_> = (1..60)
        .map(|port| parse(&format!("/ip4/8.8.8.8/tcp/{port}")))
        .collect();
    mixed.push(private[0].clone());
    let circuit = parse(&format!("/ip4/1.1.1.1/tcp/1/p2p/{relay}/p2p-circuit"));
    let claims = vec![
        (peer_of(1), vec![parse("/ip4/8.8.8.8/tcp/1")]),
        (peer_of(2), private),
        (peer_of(3), mixed),
        (peer_of(4), vec![circuit.clone()]),
        (peer_of(5), vec![]),
    ];
    let server = liar(claims).await;
    let entries = [server.address.clone()];
    let (ended, found) = search(&rendezvous(1, &entries, Reach::Public)).await;
    assert_eq!(ended, Ok(2));
    for candidate in &found {
        assert!(candidate.addresses.len() <= MAX_KEPT);
        let public = |address: &crate::core::join::Address| {
            address.text.starts_with("/ip4/8.8.8.8/") || address.text == circuit.to_string()
        };
        assert!(candidate.addresses.iter().all(public));
    }
}

#[tokio::test]
async fn a_crowd_is_bounded() {
    let crowd = (0..200u8).map(|seed| (peer_of(seed), vec![HERE.parse().unwrap()]));
    let server = liar(crowd.collect()).await;
    let entries = [server.address.clone()];
    let (ended, found) = search(&rendezvous(250, &entries, Reach::Any)).await;
    assert_eq!(ended, Ok(MAX_PER_ANSWER));
    assert_eq!(found.len(), MAX_PER_ANSWER);
}

#[tokio::test]
async fn strangers_servers_are_dialed_within_reach_only() {
    // Two servers that know one another, on this machine: the second is only hearsay.
    let servers = network(2).await;
    let public = rendezvous(1, &addresses(&servers)[..1], Reach::Public);
    for (reach, answering) in [(Reach::Public, 1), (Reach::Any, 2)] {
        let entry = public.servers(&SystemLookup).await.unwrap();
        let mut session = Session::open(&keypair(3), &entry, reach);
        session.look_for_servers(&public.key);
        assert_eq!(session.ended().await, answering);
        session.close().await;
    }
}

#[test]
fn news_are_bounded_and_told_once() {
    let rendezvous = rendezvous(250, &[], Reach::Any);
    let mut met = Met::default();
    let address = |port: u32| -> Multiaddr { format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap() };
    let claim = |seed: u8, port| (peer_of(seed), vec![address(port)]);
    assert_eq!(rendezvous.news(&[claim(1, 1)], &mut met).len(), 1);
    assert_eq!(rendezvous.news(&[claim(1, 1)], &mut met), []);
    // Who lies about a peer first does not hide it from whoever tells the truth later.
    assert_eq!(rendezvous.news(&[claim(1, 2)], &mut met).len(), 1);
    for port in 1..1000 {
        rendezvous.news(&[claim(1, port)], &mut met);
    }
    assert_eq!(met.peers.len(), 1);
    assert!(met.peers.values().all(|known| known.len() == MAX_KEPT));
    for _ in 0..2 * MAX_FOUND {
        let peer = identity::Keypair::generate_ed25519().public().to_peer_id();
        rendezvous.news(&[(peer, vec![address(1)])], &mut met);
    }
    assert_eq!(met.peers.len(), MAX_FOUND);
}

#[tokio::test]
async fn the_public_servers_addresses_can_be_dialed() {
    /// Knows every name.
    struct Everywhere;

    impl Lookup for Everywhere {
        async fn lookup(&self, _: &str) -> std::io::Result<Vec<std::net::IpAddr>> {
            Ok(vec![[192, 0, 2, 1].into()])
        }
    }

    let rendezvous = Rendezvous::new(Config::amino(keypair(1)));
    let resolved = rendezvous.servers(&Everywhere).await.unwrap();
    assert!(resolved.problems.is_empty());
    assert_eq!(resolved.peers().len(), 5);
    let addresses: usize = resolved.peers().iter().map(|(_, all)| all.len()).sum();
    assert_eq!(addresses, AMINO.len());
    // They have RSA keys: this function is there only while such keys can be read.
    assert!(identity::Keypair::rsa_from_pkcs8(&mut []).is_err());
}
