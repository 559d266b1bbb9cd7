//! The receiving end over a pipe, with the clock paused: whose frames are taken in, credit, ends,
//! and peers that do what none does.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use ed25519_dalek::SigningKey;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, future};
use proptest::prelude::*;
use protocol::{
    chain::{StageFrameError, StageKind},
    limits::{MAX_STAGE_CHANNELS, MAX_STAGE_PAYLOAD_BYTES, STAGE_WINDOW_BYTES},
};
use tokio::{io::DuplexStream, task::JoinHandle};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::*;
use crate::{
    core::channels::ChannelViolation,
    links::{RegisterError, StageReceiver, registry::MAX_REGISTERED},
};

const ONE: ChannelId = ChannelId(1);
const TWO: ChannelId = ChannelId(2);

fn node(seed: u8) -> NodeId {
    NodeId::from(&SigningKey::from_bytes(&[seed; 32]))
}

/// A link of which the test is the peer, node 1.
struct Scene {
    registry: Arc<Registry>,
    offences: Arc<AtomicUsize>,
    peer: Compat<DuplexStream>,
    buffer: BytesMut,
    task: JoinHandle<LinkEnded>,
}

impl Scene {
    fn new() -> Self {
        Self::of(Arc::default())
    }

    fn of(registry: Arc<Registry>) -> Self {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let offences = Arc::<AtomicUsize>::default();
        let counted = offences.clone();
        let inlet = Inlet::new(node(1), ours.compat(), registry.clone(), move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        Self {
            registry,
            offences,
            peer: theirs.compat(),
            buffer: BytesMut::new(),
            task: tokio::spawn(inlet.run(future::pending())),
        }
    }

    fn register(&self, channel: ChannelId) -> StageReceiver {
        Registry::register(&self.registry, channel, node(1)).unwrap()
    }

    async fn say(&mut self, frame: StageFrame) {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes).unwrap();
        self.peer.write_all(&bytes).await.unwrap();
    }

    async fn send(&mut self, channel: ChannelId, payload: &[u8]) {
        self.say(StageFrame::Payload {
            channel,
            kind: StageKind::Back,
            payload: Bytes::copy_from_slice(payload),
        })
        .await;
    }

    async fn frame(&mut self) -> StageFrame {
        loop {
            if let Some(frame) = StageFrame::decode(&mut self.buffer).unwrap() {
                return frame;
            }
            let mut bytes = [0; 4096];
            let count = self.peer.read(&mut bytes).await.unwrap();
            assert!(count > 0, "the link goes on");
            self.buffer.extend_from_slice(&bytes[..count]);
        }
    }

    fn offences(&self) -> usize {
        self.offences.load(Ordering::Relaxed)
    }

    async fn ended(self) -> LinkEnded {
        self.task.await.unwrap()
    }
}

fn closed(channel: ChannelId, code: CloseCode) -> StageFrame {
    StageFrame::Closed { channel, code }
}

async fn payload(receiver: &mut StageReceiver) -> Bytes {
    let received = receiver.recv().await.unwrap();
    assert_eq!(received.kind, StageKind::Back);
    received.payload
}

#[tokio::test(start_paused = true)]
async fn payloads_come_in_order_on_their_channels() {
    let mut scene = Scene::new();
    let (mut one, mut two) = (scene.register(ONE), scene.register(TWO));
    for number in 0..100 {
        scene.send(ONE, &[number, 1]).await;
        scene.send(TWO, &[number, 2]).await;
    }
    for number in 0..100 {
        assert_eq!(payload(&mut one).await[..], [number, 1]);
        assert_eq!(payload(&mut two).await[..], [number, 2]);
    }
    assert_eq!(
        (one.received(), two.received(), scene.offences()),
        (100, 100, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_stands_still_stops_no_other() {
    let mut scene = Scene::new();
    let (one, mut two) = (scene.register(ONE), scene.register(TWO));
    let longest = vec![0; MAX_STAGE_PAYLOAD_BYTES];
    // All of the window of one channel, and several of the other's.
    scene.send(ONE, &longest).await;
    scene.send(ONE, &longest).await;
    for _ in 0..5 {
        scene.send(TWO, &longest).await;
        payload(&mut two).await;
        let credit = StageFrame::Credit {
            channel: TWO,
            bytes: STAGE_WINDOW_BYTES / 2,
        };
        assert_eq!(scene.frame().await, credit);
    }
    drop(one);
    assert_eq!(scene.frame().await, closed(ONE, CloseCode::Done));
}

#[tokio::test(start_paused = true)]
async fn foreign_channels_are_refused_and_counted() {
    let mut scene = Scene::new();
    let of_another = Registry::register(&scene.registry, TWO, node(2));
    let mut of_another = of_another.unwrap();
    for channel in [ONE, TWO] {
        scene.send(channel, b"a").await;
        assert_eq!(scene.frame().await, closed(channel, CloseCode::Unknown));
        // What is under way when it hears of that is not held against it.
        scene.send(channel, b"b").await;
    }
    let mut own = scene.register(ChannelId(3));
    scene.send(ChannelId(3), b"c").await;
    assert_eq!(&payload(&mut own).await[..], b"c");
    assert_eq!(scene.offences(), 2);
    assert!(of_another.recv().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn more_than_the_credit_ends_the_link() {
    let mut scene = Scene::new();
    let mut one = scene.register(ONE);
    let longest = vec![0; MAX_STAGE_PAYLOAD_BYTES];
    scene.send(ONE, &longest).await;
    scene.send(ONE, &longest).await;
    scene.send(ONE, b"").await;
    let violation = LinkEnded::from(ChannelViolation::OverCredit);
    assert_eq!(scene.ended().await, violation);
    // What came within the credit is there, and then the cause.
    assert_eq!(payload(&mut one).await, longest);
    assert_eq!(payload(&mut one).await, longest);
    assert_eq!(one.recv().await, Err(violation));
}

#[tokio::test(start_paused = true)]
async fn a_window_of_the_shortest_frames_fits_the_queue() {
    let mut scene = Scene::new();
    let mut one = scene.register(ONE);
    let count = STAGE_WINDOW_BYTES / stage_cost(0);
    for _ in 0..count {
        scene.send(ONE, b"").await;
    }
    for _ in 0..count {
        assert!(payload(&mut one).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_receiver_closes_its_channel() {
    let mut scene = Scene::new();
    let mut one = scene.register(ONE);
    scene.send(ONE, b"a").await;
    payload(&mut one).await;
    drop(one);
    assert_eq!(scene.frame().await, closed(ONE, CloseCode::Done));
    scene.send(ONE, b"late").await;
    let mut two = scene.register(TWO);
    scene.send(TWO, b"b").await;
    assert_eq!(&payload(&mut two).await[..], b"b");
    assert_eq!(scene.offences(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_over_is_no_offence_on_a_new_stream_once() {
    let mut scene = Scene::new();
    let mut one = scene.register(ONE);
    scene.send(ONE, b"a").await;
    payload(&mut one).await;
    let registry = scene.registry.clone();
    drop(scene);
    assert_eq!(one.recv().await, Err(LinkEnded::Cut));
    drop(one);
    for (offences, code) in [(0, CloseCode::Gone), (1, CloseCode::Unknown)] {
        let mut scene = Scene::of(registry.clone());
        scene.send(ONE, b"b").await;
        assert_eq!(scene.frame().await, closed(ONE, code));
        assert_eq!(scene.offences(), offences);
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_hears_why_nothing_more_comes() {
    let mut scene = Scene::new();
    let (mut one, mut two) = (scene.register(ONE), scene.register(TWO));
    scene.send(ONE, b"a").await;
    scene.send(TWO, b"b").await;
    scene.say(closed(ONE, CloseCode::Done)).await;
    payload(&mut one).await;
    let done = LinkEnded::Closed(CloseCode::Done);
    assert_eq!(one.recv().await, Err(done));
    assert_eq!(one.recv().await, Err(done));
    drop(scene.peer);
    payload(&mut two).await;
    assert_eq!(two.recv().await, Err(LinkEnded::Cut));
    assert_eq!(scene.task.await.unwrap(), LinkEnded::Cut);
}

#[tokio::test(start_paused = true)]
async fn nothing_comes_once_there_are_no_links() {
    let scene = Scene::new();
    let mut one = scene.register(ONE);
    scene.registry.end_all();
    assert_eq!(one.recv().await, Err(LinkEnded::Left));
}

#[tokio::test(start_paused = true)]
async fn channels_are_registered_once_and_bounded() {
    let scene = Scene::new();
    let register = |channel| Registry::register(&scene.registry, ChannelId(channel), node(1));
    let first = register(0).unwrap();
    assert_eq!(register(0).err(), Some(RegisterError::Taken));
    let held: Vec<_> = (1..MAX_REGISTERED as u64).map(register).collect();
    assert_eq!(register(1000).err(), Some(RegisterError::TooMany));
    drop(first);
    assert!(held.iter().all(Result::is_ok) && register(0).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_so_many_channels() {
    let mut scene = Scene::new();
    let most = MAX_STAGE_CHANNELS as u64;
    let mut held: Vec<_> = (0..=most).map(|id| scene.register(ChannelId(id))).collect();
    for channel in 0..=most {
        scene.send(ChannelId(channel), b"a").await;
    }
    let last = ChannelId(most);
    assert_eq!(scene.frame().await, closed(last, CloseCode::TooMany));
    let ended = held.last_mut().unwrap().recv().await;
    assert_eq!(ended, Err(LinkEnded::Closed(CloseCode::TooMany)));
    assert_eq!(scene.offences(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_no_peer_says_ends_the_link() {
    let mut scene = Scene::new();
    let mut one = scene.register(ONE);
    scene
        .say(StageFrame::Credit {
            channel: ONE,
            bytes: 1,
        })
        .await;
    let violation = LinkEnded::from(LinkViolation::Direction);
    assert_eq!(scene.ended().await, violation);
    // It had nothing on that link, and waits for another.
    assert!(one.recv().now_or_never().is_none());

    let mut scene = Scene::new();
    scene.peer.write_all(&[0xff; 4]).await.unwrap();
    let huge = StageFrameError::TooLarge(u64::from(u32::MAX) - 9);
    assert_eq!(scene.ended().await, LinkViolation::from(huge).into());
}

#[tokio::test(start_paused = true)]
async fn who_takes_no_answers_is_given_up() {
    let mut scene = Scene::new();
    for channel in (0..).map(ChannelId) {
        let mut bytes = BytesMut::new();
        let frame = StageFrame::Payload {
            channel,
            kind: StageKind::Forward,
            payload: Bytes::new(),
        };
        frame.encode(&mut bytes).unwrap();
        // Refusals fill the pipe; then no more is read.
        if scene.peer.write_all(&bytes).await.is_err() {
            break;
        }
    }
    assert_eq!(scene.ended().await, LinkEnded::Stalled);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_never_panics_and_reaches_nobody_else(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        is_ours: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut scene = Scene::new();
            let mut one = Registry::register(&scene.registry, ONE, node(2)).unwrap();
            if is_ours {
                scene.send(TWO, b"a").await;
            }
            let _ = scene.peer.write_all(&bytes).await;
            let _ = scene.peer.close().await;
            scene.task.await.unwrap();
            assert!(one.recv().now_or_never().is_none());
        });
    }
}
