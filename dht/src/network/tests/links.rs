//! Leases and links between whole nodes, over QUIC and over TCP: neighbours of a ring, a receiver
//! that stands still, a foreign peer, a node that goes.

use bytes::Bytes;
use protocol::{
    ChannelId, LeaseId,
    chain::{CloseCode, LeaseReply, LeaseRequest, Phase, Refusal, StageKind, StageState},
    limits::{LEASE_LIFETIME, MAX_STAGE_PAYLOAD_BYTES},
};
use tokio::{task::JoinHandle, time::timeout};

use super::*;
use crate::{
    lease::LeaseError,
    links::{LinkEnded, OpenLinkError, SendError, StageLinks, StageReceiver, StageSender},
};

const CHANNEL: ChannelId = ChannelId(7);
const RENEW: LeaseRequest = LeaseRequest::Renew(LeaseId(1));

/// A node that takes part in chains: it knows one lease.
struct Stage {
    node: Node,
    links: StageLinks,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn answer(request: &LeaseRequest) -> LeaseReply {
    if request.lease() != Some(LeaseId(1)) {
        return LeaseReply::Refused(Refusal::UnknownLease.into());
    }
    LeaseReply::State(StageState {
        phase: Phase::Ready,
        progress: 1.0,
        lapses_in: LEASE_LIFETIME,
        cause: String::new(),
        decode_seconds: None,
        slowness: None,
    })
}

async fn serve(mut inbound: mpsc::Receiver<Inbound>, links: StageLinks) {
    while let Some(Inbound {
        peer,
        protocol,
        stream,
    }) = inbound.recv().await
    {
        match protocol {
            Protocol::Stage => links.accept(peer, stream).await,
            _ => drop(lease::serve(stream, async |request| answer(&request)).await),
        }
    }
}

impl Stage {
    fn of(mut node: Node) -> Self {
        let (links, running) = StageLinks::new(node.network.clone());
        let (_, none) = mpsc::channel(1);
        let inbound = std::mem::replace(&mut node.inbound, none);
        let serving = tokio::spawn(serve(inbound, links.clone()));
        Self {
            node,
            links,
            tasks: [tokio::spawn(running), serving],
        }
    }

    fn own(&self) -> NodeId {
        self.node.network.own()
    }

    async fn open(&self, to: &Self, channel: ChannelId) -> StageSender {
        self.links.open(to.own(), channel).await.unwrap()
    }
}

/// Nodes of one transport, all connected to the first.
async fn stages(transport: usize, count: u8) -> Vec<Stage> {
    let only = |config: Config| Config {
        listen: vec![config.listen[transport].clone()],
        ..config
    };
    let first = start(only(Config {
        is_server: true,
        ..config(1, &[])
    }));
    let view = until(&first, |view| !view.listening.is_empty()).await;
    let mut stages = vec![Stage::of(first)];
    for seed in 2..=count {
        let node = start(only(config(seed, &view.listening)));
        until(&node, |view| view.connected() > 0).await;
        stages.push(Stage::of(node));
    }
    for one in &stages {
        let others = stages.iter().map(Stage::own).filter(|id| *id != one.own());
        let others: Vec<_> = others.collect();
        let said = |view: &View, id: &NodeId| {
            let peer = view.peers.get(id);
            peer.is_some_and(|peer| peer.said.is_some())
        };
        until(&one.node, |view| others.iter().all(|id| said(view, id))).await;
    }
    stages
}

async fn send(sender: &StageSender, payload: impl Into<Bytes>) -> Result<(), SendError> {
    let sending = sender.send(StageKind::Forward, payload.into());
    timeout(PATIENCE, sending).await.expect("in time")
}

async fn take(receiver: &mut StageReceiver) -> Result<Bytes, LinkEnded> {
    let received = timeout(PATIENCE, receiver.recv()).await;
    received.expect("in time").map(|received| received.payload)
}

/// Sends until that is an error.
async fn end(sender: &StageSender) -> LinkEnded {
    let ended = async {
        loop {
            match send(sender, &b"x"[..]).await {
                Err(SendError::Ended(ended)) => return ended,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    timeout(PATIENCE, ended).await.expect("in time")
}

#[tokio::test]
async fn a_token_goes_around_a_ring_in_as_many_messages_as_hops() {
    for transport in [0, 1] {
        let stages = stages(transport, 3).await;
        let mut receivers = Vec::new();
        let mut senders = Vec::new();
        for at in 0..3 {
            let (previous, own) = (&stages[(at + 2) % 3], &stages[at]);
            let channel = ChannelId(at as u64);
            receivers.push(own.links.register(channel, previous.own()).unwrap());
            senders.push(previous.open(own, channel).await);
        }
        for token in 0..100_u8 {
            // From the head to the first stage, to the last, and back.
            for hop in [1, 2, 0] {
                send(&senders[hop], vec![token; 4096]).await.unwrap();
                let taken = take(&mut receivers[hop]).await.unwrap();
                assert_eq!(taken, vec![token; 4096]);
            }
        }
        let sent: u64 = senders.iter().map(StageSender::sent).sum();
        let received: u64 = receivers.iter().map(StageReceiver::received).sum();
        assert_eq!((sent, received), (300, 300));
    }
}

#[tokio::test]
async fn long_and_short_payloads_pass_one_that_stands_still() {
    for transport in [0, 1] {
        let stages = stages(transport, 2).await;
        let (from, to) = (&stages[1], &stages[0]);
        let stalled = to.links.register(CHANNEL, from.own()).unwrap();
        let mut going = to.links.register(ChannelId(8), from.own()).unwrap();
        let one = from.open(to, CHANNEL).await;
        let two = from.open(to, ChannelId(8)).await;
        let longest = Bytes::from(vec![7; MAX_STAGE_PAYLOAD_BYTES]);
        let standing = tokio::spawn({
            let longest = longest.clone();
            async move {
                let mut sent = 0;
                while one.send(StageKind::Forward, longest.clone()).await.is_ok() {
                    sent += 1;
                }
                (sent, one.ended())
            }
        });
        let lengths = [0, 1, 1 << 20, 40_000, MAX_STAGE_PAYLOAD_BYTES, 3];
        let sent = longest.clone();
        let sending = tokio::spawn(async move {
            for length in lengths {
                send(&two, sent.slice(..length)).await.unwrap();
            }
            two
        });
        for length in lengths {
            assert_eq!(take(&mut going).await.unwrap(), longest[..length]);
        }
        sending.await.unwrap();
        // Its window was sent, and the rest waits until its receiver has gone.
        assert!(!standing.is_finished());
        drop(stalled);
        let (sent, ended) = standing.await.unwrap();
        let done = LinkEnded::Closed(CloseCode::Done);
        assert_eq!((sent, ended), (2, Some(done)));
    }
}

#[tokio::test]
async fn a_foreign_peer_has_no_part_in_a_channel() {
    let stages = stages(0, 3).await;
    let [to, own, foreign] = &stages[..] else {
        panic!("three nodes");
    };
    let mut receiver = to.links.register(CHANNEL, own.own()).unwrap();
    let intruder = foreign.open(to, CHANNEL).await;
    assert_eq!(end(&intruder).await, LinkEnded::Closed(CloseCode::Unknown));
    let sender = own.open(to, CHANNEL).await;
    send(&sender, &b"mine"[..]).await.unwrap();
    assert_eq!(take(&mut receiver).await.unwrap(), &b"mine"[..]);
    // Again and again: it is disconnected.
    let others = |view: &View| {
        view.peers
            .get(&foreign.own())
            .is_none_or(|p| p.path.is_none())
    };
    let intruding = async {
        for channel in 100.. {
            if let Ok(sender) = foreign.links.open(to.own(), ChannelId(channel)).await {
                end(&sender).await;
            }
        }
    };
    tokio::select! {
        () = intruding => unreachable!("it goes on"),
        _ = until(&to.node, others) => {}
    }
    send(&sender, &b"still"[..]).await.unwrap();
    assert_eq!(take(&mut receiver).await.unwrap(), &b"still"[..]);
}

#[tokio::test]
async fn who_goes_is_told_at_both_ends_and_the_link_is_opened_again() {
    for transport in [0, 1] {
        let mut stages = stages(transport, 3).await;
        let gone = stages.pop().unwrap();
        let [near, other] = &stages[..] else {
            panic!("two nodes");
        };
        let mut heard = near.links.register(CHANNEL, gone.own()).unwrap();
        let theirs = gone.open(near, CHANNEL).await;
        send(&theirs, &b"a"[..]).await.unwrap();
        assert_eq!(take(&mut heard).await.unwrap(), &b"a"[..]);
        let _listening = gone.links.register(CHANNEL, near.own()).unwrap();
        let ours = near.open(&gone, CHANNEL).await;
        send(&ours, &b"b"[..]).await.unwrap();
        drop(gone);
        assert_eq!(take(&mut heard).await, Err(LinkEnded::Cut));
        let ended = end(&ours).await;
        assert!(
            matches!(ended, LinkEnded::Cut | LinkEnded::Stalled),
            "{ended}"
        );
        assert_eq!(end(&theirs).await, LinkEnded::Cut);

        // A link whose channels have all gone serves the next one, or another does.
        for channel in [20, 21].map(ChannelId) {
            let mut heard = near.links.register(channel, other.own()).unwrap();
            let sender = other.open(near, channel).await;
            send(&sender, &b"c"[..]).await.unwrap();
            assert_eq!(take(&mut heard).await.unwrap(), &b"c"[..]);
        }
    }
}

#[tokio::test]
async fn nobody_is_linked_to_who_is_out_of_reach() {
    let stage = Stage::of(start(config(1, &[])));
    let stranger = NodeId::from(&SigningKey::from_bytes(&[9; 32]));
    let opened = stage.links.open(stranger, CHANNEL).await;
    let error = OpenLinkError::Open(OpenError::Unreachable);
    assert_eq!(opened.err(), Some(error));
    let asked = stage.node.network.lease(stranger, &RENEW).await;
    assert!(matches!(
        asked,
        Err(LeaseError::Open(OpenError::Unreachable))
    ));
}

#[tokio::test]
async fn leases_are_asked_for_given_and_refused() {
    for transport in [0, 1] {
        let stages = stages(transport, 2).await;
        let (head, stage) = (&stages[0].node.network, &stages[1]);
        let asked = head.lease(stage.own(), &RENEW).await.unwrap();
        assert_eq!(asked, answer(&RENEW));
        let unknown = LeaseRequest::Release(LeaseId(2));
        let refused = LeaseReply::Refused(Refusal::UnknownLease.into());
        assert_eq!(head.lease(stage.own(), &unknown).await.unwrap(), refused);
        // A node that serves nobody drops the stream.
        stage.tasks[1].abort();
        let cut = head.lease(stage.own(), &RENEW).await;
        assert!(matches!(cut, Err(LeaseError::Cut)), "{cut:?}");
    }
}
