//! Peers that do what no honest one does, against a whole node: they are cut off and stay out, and
//! whoever else is there is served meanwhile.

use std::time::Instant;

use futures::{FutureExt, StreamExt, future, stream};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    gossipsub::{self, IdentTopic, MessageAuthenticity, MessageId, PublishError, ValidationMode},
    identify,
    swarm::{ConnectionId, SwarmEvent},
};
use protocol::{
    Sequence, Signed, UnixMillis,
    advert::Advert,
    demand::{Asking, Demand as Said, Period, Record},
    generate::{Failure, GenerateEvent},
    limits::ADVERT_LIFETIME,
    names::{ShardPrefix, Topic},
};

use super::*;
use crate::{
    core::shards::CELL,
    generate::{RequestRoom, serve_generate},
    peer::node_id,
    probe::Probes,
    streams::{self, Streams},
};

/// How long an attacker bears that nothing leaves.
const STALL: Duration = Duration::from_millis(300);

/// A peer without any scruple, that looks like one of the swarm.
#[derive(NetworkBehaviour)]
struct Hostile {
    identify: identify::Behaviour,
    gossip: gossipsub::Behaviour,
    probes: Probes,
    streams: Streams,
}

struct Attacker {
    swarm: Swarm<Hostile>,
    node: NodeId,
    topic: IdentTopic,
    /// Since when nothing leaves: its stream to the victim is full.
    stalled: Option<Instant>,
    held: Vec<Stream>,
}

pub(super) fn named(protocol: Protocol) -> StreamProtocol {
    StreamProtocol::try_from_owned(protocol.of(&SwarmName::public())).unwrap()
}

impl Attacker {
    fn new() -> Self {
        let swarm = other_peer(hostile);
        let prefix = ShardPrefix::new(0, 0);
        let topic = Topic::Adverts { cell: CELL, prefix }.of(&SwarmName::public());
        let topic = IdentTopic::new(topic);
        let mut attacker = Self {
            node: node_id(swarm.local_peer_id()).unwrap(),
            swarm,
            topic,
            stalled: None,
            held: Vec::new(),
        };
        let gossip = &mut attacker.swarm.behaviour_mut().gossip;
        gossip.subscribe(&attacker.topic).unwrap();
        attacker
    }

    /// Speaks on another topic.
    fn turn_to(&mut self, topic: Topic) {
        self.topic = IdentTopic::new(topic.of(&SwarmName::public()));
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        gossip.subscribe(&self.topic).unwrap();
    }

    /// Connects, and does `harm` at each step until the victim closes the connection. Where the
    /// victim no longer reads it hangs up and comes again: a stream that stands still harms nobody.
    async fn attack(
        &mut self,
        victim: &str,
        mut harm: impl FnMut(&mut Self, PeerId, ConnectionId),
    ) -> bool {
        let address: Multiaddr = victim.parse().unwrap();
        self.swarm.dial(address.clone()).unwrap();
        let (mut connected, mut hangs_up) = (None, false);
        let mut step = tokio::time::interval(Duration::from_millis(1));
        let attacked = async {
            loop {
                let event = tokio::select! {
                    event = self.swarm.select_next_some() => event,
                    _ = step.tick() => {
                        if let Some((victim, connection)) = connected {
                            harm(self, victim, connection);
                        }
                        if self.stalled.is_some_and(|since| since.elapsed() > STALL)
                            && let Some((_, connection)) = connected.take()
                        {
                            hangs_up = self.swarm.close_connection(connection);
                        }
                        continue;
                    }
                };
                match event {
                    SwarmEvent::ConnectionEstablished {
                        peer_id,
                        connection_id,
                        ..
                    } => connected = Some((peer_id, connection_id)),
                    SwarmEvent::ConnectionClosed { .. } if hangs_up => {
                        (self.stalled, hangs_up) = (None, false);
                        self.swarm.dial(address.clone()).unwrap();
                    }
                    SwarmEvent::ConnectionClosed { .. } => return true,
                    SwarmEvent::OutgoingConnectionError { .. } => return false,
                    SwarmEvent::Behaviour(HostileEvent::Streams(streams::Event::Opened {
                        result: Ok(stream),
                        ..
                    })) => self.held.push(stream),
                    _ => {}
                }
            }
        };
        let cut = tokio::time::timeout(PATIENCE, attacked).await;
        self.held.clear();
        cut.expect("the victim lets it go on")
    }

    fn publish(&mut self, bytes: Vec<u8>) {
        // It fails until the victim has said that it listens.
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        match gossip.publish(self.topic.clone(), bytes) {
            Err(PublishError::AllQueuesFull(_)) => {
                self.stalled.get_or_insert_with(Instant::now);
            }
            Ok(_) => self.stalled = None,
            Err(_) => {}
        }
    }
}

/// Without announcements: of all that it says they would be one frame that is too large.
pub(super) fn gossip() -> gossipsub::Behaviour {
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id_prefix("/shoal/public/gossip")
        .validation_mode(ValidationMode::Anonymous)
        .message_id_fn(|message| MessageId::from(message.data.clone()))
        .gossip_lazy(0)
        .gossip_factor(0.0)
        .build();
    gossipsub::Behaviour::new(MessageAuthenticity::Anonymous, config.unwrap()).unwrap()
}

fn hostile(key: &identity::Keypair) -> Hostile {
    Hostile {
        identify: identify::Behaviour::new(identify::Config::new("/x/1".into(), key.public())),
        gossip: gossip(),
        probes: Probes::new(named(Protocol::Probe)),
        streams: Streams::new(vec![named(Protocol::Generate), named(Protocol::Embed)]),
    }
}

/// A victim, its TCP address, and somebody honest beside it.
async fn scene() -> (Node, String, Node) {
    let (victim, list) = server(1).await;
    let honest = start(config(2, &list));
    until(&honest, |view| view.connected() == 1).await;
    let tcp = list.iter().find(|address| address.contains("/tcp/"));
    (victim, tcp.unwrap().clone(), honest)
}

/// The victim still takes a stream of the honest one, and nothing of the attacker is left.
async fn is_well(victim: &mut Node, honest: &Node, attacker: &Attacker) {
    let peer = victim.network.own();
    while victim.inbound.try_recv().is_ok() {}
    let mut ours = honest.network.open(peer, Protocol::Generate).await.unwrap();
    ours.write_all(b"hello").await.unwrap();
    ours.flush().await.unwrap();
    let served = async {
        loop {
            let inbound = victim.inbound.recv().await.unwrap();
            if inbound.peer == honest.network.own() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, served).await.unwrap();
    let gone = |view: &View| {
        let peer = view.peers.get(&attacker.node);
        peer.is_none_or(|peer| peer.path.is_none())
    };
    until(victim, gone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_garbage_is_banned() {
    let (mut victim, address, honest) = scene().await;
    let mut attacker = Attacker::new();
    let mut sent = 0_u64;
    attacker
        .attack(&address, |attacker, _, _| {
            sent += 1;
            attacker.publish([b"garbage".as_slice(), &sent.to_be_bytes()].concat());
        })
        .await;
    is_well(&mut victim, &honest, &attacker).await;
    // It comes again and is refused before it can say anything.
    attacker.attack(&address, |_, _, _| {}).await;
    let shown = victim.network.view();
    assert!(
        shown
            .peers
            .get(&attacker.node)
            .is_none_or(|peer| peer.path.is_none())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_floods_with_valid_adverts_of_made_up_authors_is_cut_off() {
    let (mut victim, address, honest) = scene().await;
    let mut attacker = Attacker::new();
    let mut author = 0_u64;
    attacker
        .attack(&address, |attacker, _, _| {
            author += 4;
            (0..4).for_each(|number| attacker.publish(made_up(author + number)));
        })
        .await;
    is_well(&mut victim, &honest, &attacker).await;
    let known = victim.network.view().peers.len();
    assert!(
        known < 600,
        "{known} of {author} made-up authors are believed"
    );
}

fn author(number: u64) -> SigningKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    SigningKey::from_bytes(&seed)
}

/// An advert by an author that exists only for it.
fn made_up(number: u64) -> Vec<u8> {
    let key = author(number);
    let now = UnixMillis::from(std::time::SystemTime::now());
    let advert = Advert::fitting(&serves("org/bait"));
    let expires = now.saturating_add(ADVERT_LIFETIME);
    let signed = Signed::sign(&key, Sequence(now.0), expires, &advert);
    signed.unwrap().encode()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_passes_on_demand_of_those_who_were_not_drawn_is_banned() {
    let (mut victim, address, honest) = scene().await;
    let mut attacker = Attacker::new();
    attacker.turn_to(Topic::Demand);
    let mut number = 0_u64;
    attacker
        .attack(&address, |attacker, _, _| {
            number += 1;
            attacker.publish(not_drawn(number));
        })
        .await;
    is_well(&mut victim, &honest, &attacker).await;
    assert!(victim.network.demand().is_empty());
    assert!(honest.network.demand().is_empty());
}

/// A record that its author's coin was against.
fn not_drawn(number: u64) -> Vec<u8> {
    let key = author(number);
    let (own, swarm) = (NodeId::from(&key), SwarmName::public());
    let now = UnixMillis::from(std::time::SystemTime::now());
    let period = Period::at(&own, now).next();
    let record = Record {
        chance: period.coin(&swarm, &own).max(f64::MIN_POSITIVE),
        swarm,
        models: vec![Asking {
            model: "org/bait".parse().unwrap(),
            arrivals_per_second: 100.0,
            unmet_per_second: 100.0,
            waiting: Duration::ZERO,
        }],
    };
    let said = Said::from(&record);
    let signed = Signed::sign(&key, Sequence(now.0), period.ends(), &said);
    signed.unwrap().encode()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_opens_streams_without_end_is_cut_off() {
    let (mut victim, address, honest) = scene().await;
    let mut attacker = Attacker::new();
    // The first time it is disconnected, the second time banned.
    for _ in 0..2 {
        attacker
            .attack(&address, |attacker, peer, connection| {
                let streams = &mut attacker.swarm.behaviour_mut().streams;
                for _ in 0..8 {
                    streams.open(peer, connection, named(Protocol::Generate));
                }
            })
            .await;
    }
    is_well(&mut victim, &honest, &attacker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newcomers_from_where_many_were_cut_off_are_turned_away() {
    let (mut victim, address, honest) = scene().await;
    let mut cut_off = 0;
    let turned_away = loop {
        let mut attacker = Attacker::new();
        let is_in = attacker
            .attack(&address, |attacker, peer, connection| {
                let streams = &mut attacker.swarm.behaviour_mut().streams;
                for _ in 0..8 {
                    streams.open(peer, connection, named(Protocol::Generate));
                }
            })
            .await;
        if !is_in {
            break attacker;
        }
        // As a node does: streams that wait for it count among all that are open.
        while victim.inbound.try_recv().is_ok() {}
        cut_off += 1;
        assert!(cut_off < 12, "newcomers still get in");
    };
    assert!(cut_off > 3, "the first few are free, not {cut_off}");
    // Who is there already is not meant.
    is_well(&mut victim, &honest, &turned_away).await;
}

/// The beginning of a frame that says that it is longer than any message may be.
const HUGE: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 1];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_breaks_the_protocol_of_requests_is_banned() {
    let (mut victim, address, honest) = scene().await;
    let mut attacker = Attacker::new();
    let network = victim.network.clone();
    let room = RequestRoom::default();
    let serving = async {
        while let Some(Inbound { peer, stream, .. }) = victim.inbound.recv().await {
            let answer = |_| future::pending::<Result<stream::Empty<GenerateEvent>, Failure>>();
            let ended = serve_generate(stream, &room, answer).await;
            if ended.is_err_and(|error| error.is_violation()) {
                network.blame(peer);
            }
        }
    };
    let attacking = async {
        // The first time it is disconnected, the second time banned.
        for _ in 0..2 {
            let mut steps = 0_u32;
            attacker
                .attack(&address, |attacker, peer, connection| {
                    steps += 1;
                    if steps.is_multiple_of(50) {
                        let streams = &mut attacker.swarm.behaviour_mut().streams;
                        streams.open(peer, connection, named(Protocol::Generate));
                    }
                    for stream in &mut attacker.held {
                        // It is a few bytes; a stream that takes none is as good.
                        let _ = stream.write(&HUGE).now_or_never();
                        let _ = stream.flush().now_or_never();
                    }
                })
                .await;
        }
    };
    tokio::select! {
        () = serving => unreachable!("the victim goes on"),
        () = attacking => {}
    }
    is_well(&mut victim, &honest, &attacker).await;
}

/// Blames whoever says on a link what no peer does, as a whole node would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_breaks_the_protocol_of_stages_is_banned() {
    let (mut victim, address, honest) = scene().await;
    let mut attacker = Attacker::new();
    let (links, running) = crate::links::StageLinks::new(victim.network.clone());
    let serving = async {
        while let Some(Inbound { peer, stream, .. }) = victim.inbound.recv().await {
            links.accept(peer, stream).await;
        }
    };
    let attacking = async {
        // The first time it is disconnected, the second time banned.
        for _ in 0..2 {
            let mut steps = 0_u32;
            attacker
                .attack(&address, |attacker, peer, connection| {
                    steps += 1;
                    if steps.is_multiple_of(50) {
                        let streams = &mut attacker.swarm.behaviour_mut().streams;
                        streams.open(peer, connection, named(Protocol::Stage));
                    }
                    for stream in &mut attacker.held {
                        let _ = stream.write(&HUGE).now_or_never();
                        let _ = stream.flush().now_or_never();
                    }
                })
                .await;
        }
    };
    tokio::select! {
        () = serving => unreachable!("the victim goes on"),
        () = running => unreachable!("its links go on"),
        () = attacking => {}
    }
    is_well(&mut victim, &honest, &attacker).await;
}
