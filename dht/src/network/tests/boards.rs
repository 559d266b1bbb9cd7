//! Boards between whole nodes over loopback: notes are heard, made up for after an absence and
//! after a partition, and a hostile peer is cut off and believed in nothing.

use std::collections::BTreeSet;

use futures::StreamExt;
use libp2p::{
    Multiaddr,
    gossipsub::{self, IdentTopic},
    identify,
    swarm::SwarmEvent,
};
use protocol::{
    board::{NoteId, topic},
    frame::encode_data,
    reconcile::BoardsReply,
};

use super::{
    attack::{gossip, named},
    *,
};
use crate::{
    board::{
        Ledger,
        fixture::{Shelf, board, note, notes},
    },
    probe::Probes,
    streams::{self, Streams},
};

/// A node that follows the board.
async fn follower(seed: u8, list: &[String], shelf: &Arc<Shelf>) -> Node {
    let node = start(Config {
        ledger: Some(Arc::clone(shelf) as Arc<dyn Ledger>),
        ..config(seed, list)
    });
    node.network.follow(board()).await.unwrap();
    node
}

/// Writes a note at a node, as its owner does.
async fn write(node: &Node, shelf: &Shelf, seed: u8, body: &str) -> NoteId {
    let entry = note(seed, body, 0);
    shelf.put(entry.clone());
    node.network.publish(&entry).await.unwrap();
    entry.id
}

async fn connected(node: &Node, count: usize) {
    until(node, |view| view.connected() >= count).await;
}

#[tokio::test]
async fn what_is_written_at_one_is_heard_by_the_others() {
    let (_server, list) = server(1).await;
    let shelves = [2, 3, 4].map(|_| Shelf::new());
    let mut nodes = Vec::new();
    for (seed, shelf) in (2..).zip(&shelves) {
        nodes.push(follower(seed, &list, shelf).await);
    }
    for node in &nodes {
        connected(node, 2).await;
    }
    let mut written = BTreeSet::new();
    for (at, (node, shelf)) in nodes.iter().zip(&shelves).enumerate() {
        let seed = u8::try_from(at).unwrap() + 2;
        written.insert(write(node, shelf, seed, "hello").await);
    }
    for shelf in &shelves {
        shelf.until(3).await;
        assert_eq!(shelf.ids(), written);
    }
}

#[tokio::test]
async fn who_was_away_has_all_after_it_returns() {
    let (_server, list) = server(1).await;
    let (here, away) = (Shelf::new(), Shelf::new());
    let node = follower(2, &list, &here).await;
    let gone = follower(3, &list, &away).await;
    write(&node, &here, 2, "before").await;
    away.until(1).await;
    drop(gone);
    for entry in notes(7, 300) {
        here.put(entry.clone());
        node.network.publish(&entry).await.unwrap();
    }
    // And it has something of its own to tell.
    away.put(note(3, "written offline", 0));
    let _back = follower(3, &list, &away).await;
    away.until(302).await;
    here.until(302).await;
    assert_eq!(here.ids(), away.ids());
}

#[tokio::test]
async fn a_partition_heals_through_one_who_joins_both_sides() {
    let (_one, one) = server(1).await;
    let (_other, other) = server(2).await;
    let shelves: Vec<_> = (0..4).map(|_| Shelf::new()).collect();
    let mut nodes = Vec::new();
    for (at, shelf) in shelves.iter().enumerate() {
        let list = if at < 2 { &one } else { &other };
        let seed = u8::try_from(at).unwrap() + 3;
        nodes.push(follower(seed, list, shelf).await);
    }
    for (at, entry) in notes(7, 120).into_iter().enumerate() {
        let side = if at < 40 { 0 } else { 2 };
        shelves[side].put(entry.clone());
        nodes[side].network.publish(&entry).await.unwrap();
    }
    shelves[1].until(40).await;
    shelves[3].until(80).await;
    let between = Shelf::new();
    let lists = [one, other].concat();
    let _joins = follower(9, &lists, &between).await;
    for shelf in shelves.iter().chain([&between]) {
        shelf.until(120).await;
        assert_eq!(shelf.len(), 120);
    }
}

#[tokio::test]
async fn a_board_that_is_left_is_no_longer_heard() {
    let (_server, list) = server(1).await;
    let (here, there) = (Shelf::new(), Shelf::new());
    let node = follower(2, &list, &here).await;
    let other = follower(3, &list, &there).await;
    write(&node, &here, 2, "heard").await;
    there.until(1).await;
    other.network.unfollow(board()).await.unwrap();
    // The next board is heard, so the first would have been.
    let entry = note(2, "unheard", 0);
    here.put(entry.clone());
    node.network.publish(&entry).await.unwrap();
    other.network.follow(board()).await.unwrap();
    there.until(2).await;
    let unkept = start(config(4, &list));
    let followed = unkept.network.follow(board()).await;
    assert_eq!(followed, Err(FollowError::Unkept));
    for number in 1..crate::core::board::meetings::MOST_BOARDS {
        let name = format!("board-{number}").parse().unwrap();
        node.network.follow(name).await.unwrap();
    }
    let one_more = node.network.follow("more".parse().unwrap()).await;
    assert_eq!(one_more, Err(FollowError::TooMany));
}

#[tokio::test]
async fn an_attachment_is_fetched_from_whoever_has_it() {
    let (_server, list) = server(1).await;
    let (here, there) = (Shelf::new(), Shelf::new());
    let node = follower(2, &list, &here).await;
    let other = follower(3, &list, &there).await;
    write(&other, &there, 3, "see the attachment").await;
    here.until(1).await;
    let bytes = vec![5; 256 << 10];
    let digest = there.attach(&bytes);
    let length = u32::try_from(bytes.len()).unwrap();
    let (board, network) = (board(), &node.network);
    let fetched = network.fetch_attachment(&board, digest, length).await;
    assert_eq!(fetched.unwrap(), bytes);
    let none = network.fetch_attachment(&board, [1; 32], 5).await;
    assert_eq!(none, Err(FetchError::NotHeld));
}

/// A peer that follows the board and answers whatever it is asked with what it was told to.
#[derive(NetworkBehaviour)]
struct Poisoner {
    identify: identify::Behaviour,
    gossip: gossipsub::Behaviour,
    probes: Probes,
    streams: Streams,
}

fn poisoner(key: &identity::Keypair) -> Poisoner {
    Poisoner {
        identify: identify::Behaviour::new(identify::Config::new("/x/1".into(), key.public())),
        gossip: gossip(),
        probes: Probes::new(named(Protocol::Probe)),
        streams: Streams::new(vec![named(Protocol::Boards)]),
    }
}

/// Follows the board beside a victim; says what it says on gossip, and answers requests, until the
/// victim closes the connection. `false`: it never let it in.
async fn poison(victim: &str, replies: &[Vec<u8>], mut says: impl FnMut() -> Vec<u8>) -> bool {
    let mut swarm = other_peer(poisoner);
    let topic = IdentTopic::new(topic(&SwarmName::public(), &board()));
    swarm.behaviour_mut().gossip.subscribe(&topic).unwrap();
    let address: Multiaddr = victim.parse().unwrap();
    swarm.dial(address).unwrap();
    let mut step = tokio::time::interval(Duration::from_millis(20));
    let (mut held, mut is_in) = (tokio::task::JoinSet::new(), false);
    let poisoning = async {
        loop {
            let event = tokio::select! {
                event = swarm.select_next_some() => event,
                _ = step.tick() => {
                    let message = says();
                    if !message.is_empty() {
                        let gossip = &mut swarm.behaviour_mut().gossip;
                        let _ = gossip.publish(topic.clone(), message);
                    }
                    continue;
                }
            };
            match event {
                SwarmEvent::ConnectionEstablished { .. } => is_in = true,
                SwarmEvent::ConnectionClosed { .. }
                | SwarmEvent::OutgoingConnectionError { .. } => return is_in,
                SwarmEvent::Behaviour(PoisonerEvent::Streams(streams::Event::Inbound {
                    stream,
                    ..
                })) => {
                    held.spawn(reply(stream, replies.to_vec()));
                }
                _ => {}
            }
        }
    };
    let cut = tokio::time::timeout(PATIENCE, poisoning).await;
    cut.expect("the victim lets it go on")
}

async fn reply(mut stream: Stream, replies: Vec<Vec<u8>>) {
    for reply in replies {
        let mut length = [0; 4];
        if stream.read_exact(&mut length).await.is_err() {
            return;
        }
        let mut request = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        if stream.read_exact(&mut request).await.is_err() {
            return;
        }
        let mut frame = bytes::BytesMut::new();
        encode_data(&reply, 1 << 20, &mut frame).unwrap();
        let _ = stream.write_all(&frame).await;
        let _ = stream.flush().await;
    }
    futures::future::pending().await
}

/// A victim that follows the board, its TCP address, and somebody honest who does.
async fn scene(shelves: &[Arc<Shelf>; 2]) -> (Node, String, Node) {
    let victim = start(Config {
        is_server: true,
        ledger: Some(Arc::clone(&shelves[0]) as Arc<dyn Ledger>),
        ..config(1, &[])
    });
    victim.network.follow(board()).await.unwrap();
    let view = until(&victim, |view| view.listening.len() == 2).await;
    let list = view.listening.clone();
    let honest = follower(2, &list, &shelves[1]).await;
    connected(&honest, 1).await;
    let tcp = list.iter().find(|address| address.contains("/tcp/"));
    (victim, tcp.unwrap().clone(), honest)
}

/// Forged: an honest author's note with a bit changed.
fn forged(number: u64) -> Vec<u8> {
    let mut bytes = note(7, &format!("never said {number}"), 1).bytes.to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    bytes
}

async fn honest_notes_still_come(honest: &Node, shelves: &[Arc<Shelf>; 2], written: usize) {
    for number in 0..3 {
        write(honest, &shelves[1], 2, &format!("note {number}")).await;
    }
    shelves[0].until(written + 3).await;
    assert_eq!(shelves[0].len(), written + 3, "forged notes are kept");
    assert_eq!(shelves[0].ids(), shelves[1].ids());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_answers_with_garbage_is_cut_off_and_nothing_forged_is_taken() {
    let shelves = [Shelf::with(&notes(8, 50)), Shelf::new()];
    let (victim, address, honest) = scene(&shelves).await;
    shelves[1].until(50).await;
    let opened = BoardsReply::Opened(protocol::UnixMillis(0)).encode();
    let garbage = BoardsReply::Round(bytes::Bytes::from_static(b"garbage")).encode();
    assert!(poison(&address, &[opened.clone(), garbage], Vec::new).await);
    // It says that it has one more note, and gives one that nobody signed.
    let lists = [&[0x61, 0, 0, 2, 1][..], &[9; 32]].concat();
    let lists = BoardsReply::Round(lists.into()).encode();
    let gives = BoardsReply::Entries {
        answered: 1,
        entries: vec![forged(1).into()],
    };
    assert!(poison(&address, &[opened, lists, gives.encode()], Vec::new).await);
    assert_eq!(shelves[0].forgers().len(), 1);
    honest_notes_still_come(&honest, &shelves, 50).await;
    drop(victim);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_forges_notes_on_gossip_is_cut_off() {
    let shelves = [Shelf::new(), Shelf::new()];
    let (victim, address, honest) = scene(&shelves).await;
    let mut number = 0;
    let says = || {
        number += 1;
        forged(number)
    };
    assert!(poison(&address, &[], says).await);
    assert_eq!(shelves[0].forgers().len(), 1);
    assert!(shelves[1].forgers().is_empty(), "it was passed on");
    honest_notes_still_come(&honest, &shelves, 0).await;
    drop(victim);
}
