//! The sending end over a pipe, with the clock paused: order, credit, ends, and peers that do what
//! none does.

use bytes::BytesMut;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use protocol::{
    chain::StageFrameError,
    limits::{MAX_STAGE_CHANNELS, MAX_STAGE_PAYLOAD_BYTES},
};
use tokio::{io::DuplexStream, task::JoinHandle};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::*;
use crate::{
    core::channels::{ChannelError, ChannelViolation},
    links::{MAX_STALL, StageSender, open_on},
};

const ONE: ChannelId = ChannelId(1);
const TWO: ChannelId = ChannelId(2);

/// A link of which the test is the peer.
struct Scene {
    orders: mpsc::Sender<Order>,
    peer: Compat<DuplexStream>,
    buffer: BytesMut,
    task: JoinHandle<LinkEnded>,
}

impl Scene {
    fn new(bytes: usize) -> Self {
        let (ours, theirs) = tokio::io::duplex(bytes);
        let (orders, inbox) = mpsc::channel(256);
        let outlet = Outlet::new(ours.compat());
        Self {
            orders,
            peer: theirs.compat(),
            buffer: BytesMut::new(),
            task: tokio::spawn(outlet.run(inbox)),
        }
    }

    async fn open(&self, channel: ChannelId) -> StageSender {
        let opened = open_on(self.orders.clone(), channel).await;
        opened.unwrap().unwrap()
    }

    async fn frame(&mut self) -> StageFrame {
        loop {
            if let Some(frame) = StageFrame::decode(&mut self.buffer).unwrap() {
                return frame;
            }
            let mut bytes = vec![0; 64 << 10];
            let count = self.peer.read(&mut bytes).await.unwrap();
            assert!(count > 0, "the link goes on");
            self.buffer.extend_from_slice(&bytes[..count]);
        }
    }

    async fn say(&mut self, frame: StageFrame) {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes).unwrap();
        self.peer.write_all(&bytes).await.unwrap();
    }

    async fn ended(self) -> LinkEnded {
        self.task.await.unwrap()
    }
}

fn forward(channel: ChannelId, payload: &[u8]) -> StageFrame {
    StageFrame::Payload {
        channel,
        kind: StageKind::Forward,
        payload: Bytes::copy_from_slice(payload),
    }
}

async fn send(sender: &StageSender, payload: &[u8]) -> Result<(), SendError> {
    let payload = Bytes::copy_from_slice(payload);
    sender.send(StageKind::Forward, payload).await
}

#[tokio::test(start_paused = true)]
async fn payloads_of_every_length_arrive_in_order() {
    let lengths = [0, 1, 32 << 10, (32 << 10) + 1, 3, 1 << 20, 5];
    for bytes in [7, 64 << 10] {
        let mut scene = Scene::new(bytes);
        let sender = scene.open(ONE).await;
        let payloads = lengths.map(|length| vec![u8::try_from(length % 251).unwrap(); length]);
        let sent = payloads.clone();
        let sending = tokio::spawn(async move {
            for payload in sent {
                send(&sender, &payload).await.unwrap();
            }
            sender
        });
        for payload in payloads {
            assert_eq!(scene.frame().await, forward(ONE, &payload));
        }
        assert_eq!(sending.await.unwrap().sent(), lengths.len() as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn without_credit_one_channel_waits_and_the_other_goes_on() {
    let mut scene = Scene::new(1 << 20);
    let (one, two) = (scene.open(ONE).await, scene.open(TWO).await);
    let longest = vec![7; MAX_STAGE_PAYLOAD_BYTES];
    let stalled = tokio::spawn(async move {
        for _ in 0..3 {
            send(&one, &longest).await.unwrap();
        }
    });
    let going = tokio::spawn(async move {
        for number in 0..100 {
            send(&two, &[number]).await.unwrap();
        }
    });
    let mut of_two = 0;
    while of_two < 100 {
        if let StageFrame::Payload { channel: TWO, .. } = scene.frame().await {
            of_two += 1;
        }
    }
    going.await.unwrap();
    tokio::time::sleep(MAX_STALL).await;
    assert!(!stalled.is_finished());
    let bytes = stage_cost(MAX_STAGE_PAYLOAD_BYTES);
    scene
        .say(StageFrame::Credit {
            channel: ONE,
            bytes,
        })
        .await;
    while !stalled.is_finished() {
        scene.frame().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_the_peer_closes_is_over_and_no_other() {
    let mut scene = Scene::new(4096);
    let (one, two) = (scene.open(ONE).await, scene.open(TWO).await);
    send(&one, b"a").await.unwrap();
    scene.frame().await;
    let code = CloseCode::Unknown;
    scene.say(StageFrame::Closed { channel: ONE, code }).await;
    let over = Err(SendError::Ended(LinkEnded::Closed(code)));
    while one.ended().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(send(&one, b"b").await, over);
    assert_eq!(send(&one, b"c").await, over);
    send(&two, b"d").await.unwrap();
    assert_eq!(scene.frame().await, forward(TWO, b"d"));
    // Its sender has nothing to say to the peer any more.
    drop(one);
    send(&two, b"e").await.unwrap();
    assert_eq!(scene.frame().await, forward(TWO, b"e"));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_sender_closes_its_channel_and_the_last_one_the_link() {
    let mut scene = Scene::new(4096);
    let one = scene.open(ONE).await;
    send(&one, b"a").await.unwrap();
    drop(one);
    assert_eq!(scene.frame().await, forward(ONE, b"a"));
    let closed = StageFrame::Closed {
        channel: ONE,
        code: CloseCode::Done,
    };
    assert_eq!(scene.frame().await, closed);
    // The same channel may be opened again, and keeps the link.
    let again = scene.open(ONE).await;
    tokio::time::sleep(2 * LINGER).await;
    send(&again, b"b").await.unwrap();
    drop(again);
    assert_eq!(scene.ended().await, LinkEnded::Closed(CloseCode::Done));
}

#[tokio::test(start_paused = true)]
async fn channels_are_opened_once_and_bounded() {
    let scene = Scene::new(4096);
    let one = scene.open(ONE).await;
    let taken = open_on(scene.orders.clone(), ONE).await.unwrap();
    let error = OpenLinkError::Channel(ChannelError::Taken);
    assert_eq!(taken.err(), Some(error));
    // Its end is not the end of the other's.
    send(&one, b"a").await.unwrap();
    let mut held = Vec::new();
    for channel in 2..=MAX_STAGE_CHANNELS as u64 {
        held.push(scene.open(ChannelId(channel)).await);
    }
    let more = open_on(scene.orders.clone(), ChannelId(1000)).await;
    let error = OpenLinkError::Channel(ChannelError::TooMany);
    assert_eq!(more.unwrap().err(), Some(error));
}

#[tokio::test(start_paused = true)]
async fn a_cut_is_told_to_all() {
    let scene = Scene::new(64);
    let (one, two) = (scene.open(ONE).await, scene.open(TWO).await);
    let Scene { peer, task, .. } = scene;
    let waiting = tokio::spawn(async move {
        let first = send(&one, &[0; 100_000]).await;
        (first, send(&one, b"b").await, one)
    });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    drop(peer);
    let (first, second, one) = waiting.await.unwrap();
    let cut = Err(SendError::Ended(LinkEnded::Cut));
    assert!(first.is_ok() && second == cut);
    assert_eq!(task.await.unwrap(), LinkEnded::Cut);
    assert_eq!(send(&two, b"c").await, cut);
    assert_eq!((one.ended(), one.sent()), (Some(LinkEnded::Cut), 1));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_is_given_up() {
    let scene = Scene::new(64);
    let one = scene.open(ONE).await;
    send(&one, &[0; 1000]).await.unwrap();
    let stalled = Err(SendError::Ended(LinkEnded::Stalled));
    assert_eq!(send(&one, b"b").await, stalled);
    assert_eq!(scene.ended().await, LinkEnded::Stalled);
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_no_frame_carries_is_refused_here() {
    let scene = Scene::new(4096);
    let one = scene.open(ONE).await;
    let bytes = MAX_STAGE_PAYLOAD_BYTES + 1;
    let error = StageFrameError::TooLarge(bytes as u64);
    let sent = send(&one, &vec![0; bytes]).await;
    assert_eq!(sent, Err(SendError::Frame(error)));
    send(&one, b"a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_no_peer_says_ends_the_link() {
    let credit = StageFrame::Credit {
        channel: ONE,
        bytes: 5000,
    };
    let mut over = BytesMut::new();
    credit.encode(&mut over).unwrap();
    let mut payload = BytesMut::new();
    forward(ONE, b"a").encode(&mut payload).unwrap();
    let cases: [(&[u8], LinkViolation); 3] = [
        (&over, ChannelViolation::OverWindow.into()),
        (&payload, LinkViolation::Direction),
        (
            &[0xff; 4],
            StageFrameError::TooLarge(u64::from(u32::MAX) - 9).into(),
        ),
    ];
    for (bytes, violation) in cases {
        let mut scene = Scene::new(4096);
        let one = scene.open(ONE).await;
        send(&one, b"a").await.unwrap();
        scene.peer.write_all(bytes).await.unwrap();
        let ended = LinkEnded::Violation(violation);
        assert_eq!(scene.ended().await, ended);
        assert!(ended.is_violation());
        assert_eq!(send(&one, b"b").await, Err(SendError::Ended(ended)));
    }
}

#[tokio::test(start_paused = true)]
async fn more_than_may_wait_is_refused() {
    let scene = Scene::new(64);
    let one = scene.open(ONE).await;
    let all = (0..200).map(|_| send(&one, &[0; 40_000]));
    let mut waiting = Box::pin(futures::future::join_all(all));
    for _ in 0..1000 {
        assert!(waiting.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    drop(scene.peer);
    let sent = waiting.await;
    let busy = sent.iter().filter(|sent| **sent == Err(SendError::Busy));
    assert!(busy.count() > 100, "{sent:?}");
}
