//! Channels: windows that are never exceeded, turns that starve nobody, two sides that never stand
//! still, and peers that do what none does.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use protocol::{
    ChannelId,
    chain::stage_cost,
    limits::{MAX_STAGE_CHANNELS, MAX_STAGE_PAYLOAD_BYTES, STAGE_WINDOW_BYTES},
};

use super::*;

const ONE: ChannelId = ChannelId(1);
const TWO: ChannelId = ChannelId(2);
const LONGEST: usize = MAX_STAGE_PAYLOAD_BYTES;

fn open<T>(channels: u64) -> (Sending<T>, Receiving) {
    let (mut sending, mut receiving) = (Sending::default(), Receiving::default());
    for channel in (1..=channels).map(ChannelId) {
        sending.open(channel).unwrap();
        receiving.open(channel).unwrap();
    }
    (sending, receiving)
}

fn push(sending: &mut Sending<u32>, channel: ChannelId, cost: u32) {
    sending.push(channel, cost, cost).unwrap();
}

#[test]
fn channels_are_bounded_and_opened_once() {
    let (mut sending, mut receiving) = open::<()>(MAX_STAGE_CHANNELS as u64);
    assert_eq!(sending.open(ONE), Err(ChannelError::Taken));
    assert_eq!(receiving.open(ONE), Err(ChannelError::Taken));
    let more = ChannelId(1000);
    assert_eq!(sending.open(more), Err(ChannelError::TooMany));
    assert_eq!(receiving.open(more), Err(ChannelError::TooMany));
    assert_eq!(sending.close(ONE), Some(Vec::new()));
    assert_eq!(sending.close(ONE), None);
    assert!(receiving.close(ONE) && !receiving.close(ONE));
    assert_eq!((sending.open(more), receiving.open(more)), (Ok(()), Ok(())));
}

#[test]
fn queues_are_bounded_and_given_back() {
    let (mut sending, _) = open(1);
    for _ in 0..MAX_QUEUED_FRAMES {
        push(&mut sending, ONE, 1);
    }
    assert_eq!(sending.push(ONE, 1, 7), Err((PushError::Full, 7)));
    assert_eq!(sending.push(TWO, 1, 7), Err((PushError::NotOpen, 7)));
    assert_eq!(sending.close(ONE).map(|left| left.len()), Some(64));
    assert!(sending.is_empty() && sending.pop().is_none());
}

#[test]
fn without_credit_one_waits_and_the_other_goes_on() {
    let (mut sending, mut receiving) = open(2);
    let cost = stage_cost(LONGEST);
    for _ in 0..4 {
        push(&mut sending, ONE, cost);
        push(&mut sending, TWO, 4096);
    }
    assert!(!sending.may_send(ONE, 1) && sending.may_send(TWO, cost));
    let left: Vec<_> = std::iter::from_fn(|| sending.pop()).collect();
    assert_eq!(left.iter().filter(|(id, _)| *id == ONE).count(), 2);
    assert_eq!(left.iter().filter(|(id, _)| *id == TWO).count(), 4);
    for (channel, cost) in left {
        assert_eq!(receiving.on_frame(channel, cost), Ok(Arrival::Expected));
    }
    let credit = receiving.on_taken(ONE, cost).expect("half a window");
    sending.on_credit(ONE, credit).unwrap();
    assert_eq!(sending.pop(), Some((ONE, cost)));
    assert_eq!(sending.pop(), None);
}

#[test]
fn a_silent_channel_saves_no_turns_up() {
    let (mut sending, _) = open(2);
    for _ in 0..32 {
        push(&mut sending, ONE, 10_000);
    }
    for _ in 0..16 {
        sending.pop().unwrap();
    }
    for _ in 0..16 {
        push(&mut sending, TWO, 10_000);
    }
    let order: Vec<_> = std::iter::from_fn(|| sending.pop().map(|(id, _)| id)).collect();
    let first = &order[..16];
    let of_two = first.iter().filter(|id| **id == TWO).count();
    assert!((7..=9).contains(&of_two), "{order:?}");
}

#[test]
fn more_than_the_credit_is_a_violation() {
    let (_, mut receiving) = open::<()>(1);
    let over = Err(ChannelViolation::OverCredit);
    assert_eq!(receiving.on_frame(ONE, STAGE_WINDOW_BYTES + 1), over);
    assert_eq!(
        receiving.on_frame(ONE, STAGE_WINDOW_BYTES),
        Ok(Arrival::Expected)
    );
    assert_eq!(receiving.on_frame(ONE, 1), over);
    // What was taken twice is given back once.
    let credit = receiving.on_taken(ONE, u32::MAX);
    assert_eq!(credit, Some(STAGE_WINDOW_BYTES));
    assert_eq!(receiving.on_taken(ONE, u32::MAX), None);
}

#[test]
fn more_credit_than_was_used_is_a_violation() {
    let (mut sending, _) = open(1);
    let over = Err(ChannelViolation::OverWindow);
    assert_eq!(sending.on_credit(ONE, 1), over);
    push(&mut sending, ONE, 4096);
    sending.pop().unwrap();
    assert_eq!(sending.on_credit(ONE, 4097), over);
    // It may come after the channel has gone, and once.
    sending.close(ONE);
    assert_eq!(sending.on_credit(ONE, 4096), Ok(()));
    assert_eq!(sending.on_credit(ONE, 1), over);
    assert_eq!(sending.on_credit(TWO, 1), over);
}

#[test]
fn what_is_late_is_passed_over_within_its_credit() {
    let (_, mut receiving) = open::<()>(1);
    receiving.on_frame(ONE, 4096).unwrap();
    receiving.close(ONE);
    assert_eq!(receiving.on_taken(ONE, 4096), None);
    let rest = STAGE_WINDOW_BYTES - 4096;
    assert_eq!(receiving.on_frame(ONE, rest), Ok(Arrival::Late));
    let over = Err(ChannelViolation::OverCredit);
    assert_eq!(receiving.on_frame(ONE, 4096), over);

    assert_eq!(receiving.on_frame(TWO, 4096), Ok(Arrival::Unknown));
    receiving.refuse(TWO);
    assert_eq!(receiving.on_frame(TWO, 4096), Ok(Arrival::Late));
    assert!(!receiving.on_closed(TWO));
    assert_eq!(receiving.on_frame(TWO, 4096), Ok(Arrival::Unknown));
}

/// Two sides with a stream of frames and one of credits between them.
struct Pair {
    sending: Sending<(u32, u64)>,
    receiving: Receiving,
    frames: VecDeque<(ChannelId, u32, u64)>,
    credits: VecDeque<(ChannelId, u32)>,
    /// Held by the receiver and not taken.
    held: BTreeMap<ChannelId, VecDeque<u32>>,
    arrived: BTreeMap<ChannelId, Vec<u64>>,
}

impl Pair {
    fn new(channels: u64) -> Self {
        let (sending, receiving) = open(channels);
        Self {
            sending,
            receiving,
            frames: VecDeque::new(),
            credits: VecDeque::new(),
            held: BTreeMap::new(),
            arrived: BTreeMap::new(),
        }
    }

    fn send(&mut self) -> bool {
        let Some((channel, (cost, number))) = self.sending.pop() else {
            return false;
        };
        self.frames.push_back((channel, cost, number));
        true
    }

    fn arrive(&mut self) -> bool {
        let Some((channel, cost, number)) = self.frames.pop_front() else {
            return false;
        };
        assert_eq!(
            self.receiving.on_frame(channel, cost),
            Ok(Arrival::Expected)
        );
        let held = self.held.entry(channel).or_default();
        held.push_back(cost);
        assert!(held.iter().sum::<u32>() <= STAGE_WINDOW_BYTES);
        self.arrived.entry(channel).or_default().push(number);
        true
    }

    fn take(&mut self, channel: ChannelId) -> bool {
        let held = self.held.get_mut(&channel);
        let Some(cost) = held.and_then(VecDeque::pop_front) else {
            return false;
        };
        let credit = self.receiving.on_taken(channel, cost);
        self.credits.extend(credit.map(|bytes| (channel, bytes)));
        true
    }

    fn credit(&mut self) -> bool {
        let Some((channel, bytes)) = self.credits.pop_front() else {
            return false;
        };
        self.sending.on_credit(channel, bytes).unwrap();
        true
    }

    /// Everything that can happen does, but nothing is taken from one channel.
    fn settle(&mut self, stalled: Option<ChannelId>) {
        let channels: Vec<_> = self.receiving.channels().collect();
        loop {
            let mut moved = self.send() | self.arrive() | self.credit();
            for channel in &channels {
                moved |= Some(*channel) != stalled && self.take(*channel);
            }
            if !moved {
                return;
            }
        }
    }
}

fn any_cost() -> impl Strategy<Value = u32> {
    prop_oneof![
        3 => (0..100_000_usize).prop_map(stage_cost),
        1 => (LONGEST / 2..=LONGEST).prop_map(stage_cost),
        1 => Just(stage_cost(LONGEST)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn two_sides_never_exceed_a_window_nor_stand_still(
        frames in prop::collection::vec((1..=4_u64, any_cost()), 1..150),
        steps in prop::collection::vec((0..4_u8, 1..=4_u64), 0..400),
    ) {
        let mut pair = Pair::new(4);
        let mut sent: BTreeMap<ChannelId, Vec<u64>> = BTreeMap::new();
        let mut steps = steps.into_iter();
        for (number, (channel, cost)) in (0..).zip(frames) {
            let channel = ChannelId(channel);
            let mut frame = (cost, number);
            while let Err((PushError::Full, back)) = pair.sending.push(channel, cost, frame) {
                frame = back;
                pair.settle(None);
            }
            sent.entry(channel).or_default().push(number);
            for (what, channel) in steps.by_ref().take(3) {
                match what {
                    0 => pair.send(),
                    1 => pair.arrive(),
                    2 => pair.credit(),
                    _ => pair.take(ChannelId(channel)),
                };
            }
        }
        pair.settle(None);
        prop_assert_eq!(pair.arrived, sent);
    }

    #[test]
    fn a_stalled_channel_stops_no_other(
        frames in prop::collection::vec((1..=3_u64, any_cost()), 1..60),
    ) {
        let mut pair = Pair::new(3);
        let mut expected = BTreeMap::new();
        for (number, (channel, cost)) in (0..).zip(frames) {
            let channel = ChannelId(channel);
            if pair.sending.push(channel, cost, (cost, number)).is_ok() {
                *expected.entry(channel).or_insert(0) += 1;
            }
        }
        pair.settle(Some(ONE));
        for (channel, count) in expected {
            let arrived = pair.arrived.get(&channel).map_or(0, Vec::len);
            prop_assert!(channel == ONE || arrived == count);
        }
    }

    #[test]
    fn turns_are_shared_by_bytes(
        small in 4096..20_000_u32,
        large in 4096..200_000_u32,
    ) {
        let mut sending = Sending::default();
        for channel in [ONE, TWO] {
            sending.open(channel).unwrap();
        }
        let mut bytes = BTreeMap::from([(ONE, 0_u64), (TWO, 0)]);
        for _ in 0..60 {
            for (channel, cost) in [(ONE, small), (TWO, large)] {
                let _ = sending.push(channel, cost, cost);
            }
            let (channel, cost) = sending.pop().unwrap();
            *bytes.get_mut(&channel).unwrap() += u64::from(cost);
            let apart = bytes[&ONE].abs_diff(bytes[&TWO]);
            prop_assert!(apart <= u64::from(small.max(large)));
        }
    }

    #[test]
    fn whatever_a_peer_does_ends_in_a_violation_or_nothing(
        steps in prop::collection::vec((0..6_u8, 0..5_u64, any::<u32>()), 0..200),
    ) {
        let (mut sending, mut receiving) = open::<u32>(2);
        for (what, channel, number) in steps {
            let channel = ChannelId(channel);
            let _ = match what {
                0 => sending.on_credit(channel, number).is_ok(),
                1 => receiving.on_frame(channel, number).is_ok(),
                2 => receiving.on_frame(channel, number % 100_000).is_ok(),
                3 => receiving.on_taken(channel, number).is_some(),
                4 => receiving.on_closed(channel) | receiving.open(channel).is_ok(),
                _ => sending.close(channel).is_some() | sending.open(channel).is_ok(),
            };
            if sending.push(channel, number % 100_000, number).is_ok() {
                let _ = sending.pop();
            }
        }
    }
}
