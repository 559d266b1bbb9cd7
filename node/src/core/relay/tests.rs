//! The relay against heads that fail at any point, held against the undisturbed answer.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use protocol::NodeId;
use protocol::generate::{Delta, Finished, Queued, Started, ToolCallDelta};

use super::*;

const SEED: u64 = 11;

fn peer(n: u8) -> Target {
    Target::Peer(NodeId::from(&SigningKey::from_bytes(&[n; 32])))
}

fn choice(target: Target) -> Choice {
    Choice {
        target,
        first_token: Duration::from_millis(300),
        context_tokens: Some(4096),
    }
}

fn asking() -> GenerateRequest {
    GenerateRequest {
        request_id: "r".into(),
        model: "org/m".into(),
        prompt: Some(wire::generate_request::Prompt::Text("x".into())),
        ..GenerateRequest::default()
    }
}

/// A token of the deterministic engine: the same for a seed and a position wherever it runs.
fn token(seed: u64, position: usize) -> u32 {
    let mixed = (seed ^ (position as u64 + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u32::try_from(mixed >> 40).unwrap()
}

fn text(token: u32) -> &'static str {
    ["a", "bc", "é", " the", "🦀", "def g", "\n", "ħx"][(token % 8) as usize]
}

/// What a head that never fails says of an answer of `length` tokens, a part of it already sent.
/// Every third token's text comes in two deltas, the first of them without the token.
fn recital(request: &GenerateRequest, length: usize) -> Vec<Event> {
    let seed = request.sampling.as_ref().unwrap().seed.unwrap();
    let resume = request.resume.clone().unwrap_or_default();
    let expected: Vec<u32> = (0..resume.tokens.len()).map(|i| token(seed, i)).collect();
    assert_eq!(resume.tokens, expected, "resumed with another's tokens");
    let mut skip = usize::try_from(resume.sent_text_bytes).unwrap();
    let mut unsent = |piece: &str| {
        let skipped = skip.min(piece.len());
        skip -= skipped;
        piece[skipped..].to_owned()
    };
    let mut events = vec![Event::Started(Started {
        model: "org/m".into(),
        served_by: "somebody else".into(),
        seed: 99,
        prompt_tokens: 3,
        ..Started::default()
    })];
    for position in 0..length {
        let token = token(seed, position);
        let is_new = position >= resume.tokens.len();
        let whole = text(token);
        let cut = if position % 3 == 0 {
            whole.chars().next().unwrap().len_utf8()
        } else {
            0
        };
        let tokens = if is_new { vec![token] } else { Vec::new() };
        for (piece, tokens) in [(&whole[..cut], Vec::new()), (&whole[cut..], tokens)] {
            let delta = Delta {
                text: unsent(piece),
                tokens,
                ..Delta::default()
            };
            if delta != Delta::default() {
                events.push(Event::Delta(delta));
            }
        }
    }
    events.push(Event::Finished(Finished {
        completion_tokens: u32::try_from(length).unwrap(),
        ..Finished::default()
    }));
    events
}

fn whole_text(length: usize) -> String {
    (0..length).map(|i| text(token(SEED, i))).collect()
}

/// How one request to a head goes wrong, if it does.
#[derive(Debug, Clone)]
enum Fate {
    Good,
    /// After this many events.
    Lost(usize, Loss),
    Silent(usize),
    /// Events that no head may send, after this many.
    Garbage(usize, u8),
}

fn any_fate() -> impl Strategy<Value = Fate> {
    let codes = prop_oneof![
        Just(ErrorCode::Overloaded),
        Just(ErrorCode::ShuttingDown),
        Just(ErrorCode::WorkerLost),
        Just(ErrorCode::Loading),
        Just(ErrorCode::ModelNotFound),
        Just(ErrorCode::Internal),
        Just(ErrorCode::InvalidRequest),
        Just(ErrorCode::ContextLengthExceeded),
    ];
    let loss = prop_oneof![
        Just(Loss::Cut),
        Just(Loss::Unreachable),
        codes.prop_map(|code| Loss::Refused(Failure::new(code, "no"))),
    ];
    prop_oneof![
        1 => Just(Fate::Good),
        3 => (0..40_usize, loss).prop_map(|(at, loss)| Fate::Lost(at, loss)),
        1 => (0..40_usize).prop_map(Fate::Silent),
        1 => (0..40_usize, 0..5_u8).prop_map(|(at, kind)| Fate::Garbage(at, kind)),
    ]
}

fn garbage(kind: u8) -> Event {
    match kind {
        0 => Event::Started(Started::default()),
        1 => Event::Delta(Delta {
            text: "x".repeat(10_000_000),
            ..Delta::default()
        }),
        2 => Event::Delta(Delta {
            tokens: vec![1; 2_000_000],
            ..Delta::default()
        }),
        3 => Event::Queued(Queued { position: 9 }),
        _ => Event::Delta(Delta::default()),
    }
}

/// Plays heads by their fates and gathers what the client sees.
struct Stage {
    relay: Relay,
    heads: Vec<Choice>,
    fates: VecDeque<Fate>,
    length: usize,
    now: Instant,
    playing: BTreeMap<AttemptId, (VecDeque<Event>, Fate)>,
    opened: u32,
    hedges: u32,
    allow_hedges: bool,
    shown: Vec<Event>,
    blamed: Vec<Target>,
    ended: bool,
}

impl Stage {
    fn new(heads: Vec<Choice>, fates: Vec<Fate>, length: usize) -> Self {
        Self {
            relay: Relay::new(asking(), SEED),
            heads,
            fates: fates.into(),
            length,
            now: Instant::now(),
            playing: BTreeMap::new(),
            opened: 0,
            hedges: 0,
            allow_hedges: true,
            shown: Vec::new(),
            blamed: Vec::new(),
            ended: false,
        }
    }

    fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut outputs = Vec::new();
            self.relay.handle(input, self.now, &mut outputs);
            for output in outputs {
                assert!(!self.ended, "something after the end: {output:?}");
                inputs.extend(self.perform(output));
            }
        }
    }

    fn perform(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Rank { is_hedge } => {
                self.hedges += u32::from(is_hedge);
                let denied = is_hedge && !self.allow_hedges;
                let heads = if denied {
                    Vec::new()
                } else {
                    self.heads.clone()
                };
                return Some(Input::Ranked(heads));
            }
            Output::Open {
                attempt, request, ..
            } => {
                request.validate().unwrap();
                self.opened += 1;
                let fate = self.fates.pop_front().unwrap_or(Fate::Good);
                let events = recital(&request, self.length).into();
                self.playing.insert(attempt, (events, fate));
                assert!(self.playing.len() <= 2, "three heads at once");
            }
            Output::Close(attempt) => drop(self.playing.remove(&attempt)),
            Output::Show(event) => self.shown.push(event),
            Output::Blame(target) => self.blamed.push(target),
            Output::Praise(_) => {}
            Output::End => self.ended = true,
        }
        None
    }

    /// One step of the `nth` head that has something to say; else time passes.
    fn step(&mut self, nth: usize) {
        let talking = self
            .playing
            .iter()
            .filter(|(_, (_, fate))| !matches!(fate, Fate::Silent(0)));
        let talking: Vec<_> = talking.map(|(attempt, _)| *attempt).collect();
        let Some(attempt) = talking.get(nth % talking.len().max(1)).copied() else {
            self.now = self
                .relay
                .next_deadline()
                .expect("a silent head has a deadline");
            return self.feed(Input::Tick);
        };
        let (events, fate) = self.playing.get_mut(&attempt).unwrap();
        match fate {
            Fate::Lost(0, loss) => {
                let loss = loss.clone();
                return self.feed(Input::Lost { attempt, loss });
            }
            Fate::Garbage(0, kind) => {
                let event = garbage(*kind);
                *fate = Fate::Lost(0, Loss::Cut);
                return self.feed(Input::Event { attempt, event });
            }
            Fate::Lost(left, _) | Fate::Silent(left) | Fate::Garbage(left, _) => *left -= 1,
            Fate::Good => {}
        }
        let event = events.pop_front().expect("it ended before");
        self.feed(Input::Event { attempt, event });
    }

    fn play(&mut self, order: &[usize]) {
        self.feed(Input::Ranked(self.heads.clone()));
        for step in 0..5000_usize {
            if self.ended {
                return;
            }
            self.step(order.get(step).copied().unwrap_or(step));
        }
        panic!("it does not end");
    }

    fn text(&self) -> String {
        let deltas = self.deltas();
        deltas.map(|delta| delta.text.as_str()).collect()
    }

    fn deltas(&self) -> impl Iterator<Item = &Delta> {
        self.shown.iter().filter_map(|event| match event {
            Event::Delta(delta) => Some(delta),
            _ => None,
        })
    }

    /// What holds of every answer that the client sees.
    fn check(&self) {
        let text = self.text();
        let tokens: Vec<u32> = self.deltas().flat_map(|d| d.tokens.clone()).collect();
        let expected: Vec<u32> = (0..tokens.len()).map(|i| token(SEED, i)).collect();
        assert_eq!(tokens, expected, "tokens lost or doubled");
        let started = self
            .shown
            .iter()
            .filter(|e| matches!(e, Event::Started(_)))
            .count();
        let (last, before) = self.shown.split_last().unwrap();
        let ends = |event: &Event| matches!(event, Event::Finished(_) | Event::Failed(_));
        assert!(!before.iter().any(ends), "an end before the end");
        match last {
            Event::Finished(finished) => {
                assert_eq!(text, whole_text(self.length));
                assert_eq!(tokens.len(), self.length);
                assert_eq!(started, 1);
                assert!(!finished.served_by.is_empty());
                assert!(
                    finished
                        .served_by
                        .iter()
                        .all(|by| by.parse::<NodeId>().is_ok())
                );
            }
            Event::Failed(failure) => {
                assert!(
                    whole_text(self.length).starts_with(&text),
                    "text lost or doubled"
                );
                assert!(started <= 1);
                assert!(!failure.message.is_empty());
            }
            other => panic!("ended with {other:?}"),
        }
        assert!(self.opened <= MAX_ATTEMPTS && self.hedges <= 1);
        assert!(self.playing.is_empty(), "a head was not let go of");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn whatever_fails_the_text_is_whole_or_ends_in_a_named_failure(
        heads in 1..5_u8,
        fates in proptest::collection::vec(any_fate(), 0..8),
        length in 0..24_usize,
        allow_hedges in any::<bool>(),
        order in proptest::collection::vec(0..2_usize, 0..200),
    ) {
        let heads = (1..=heads).map(|n| choice(peer(n))).collect();
        let mut stage = Stage::new(heads, fates, length);
        stage.allow_hedges = allow_hedges;
        stage.play(&order);
        stage.check();
    }
}

#[test]
fn a_head_lost_at_every_position_is_replaced_without_a_seam() {
    let length = 20;
    let all = recital(
        &GenerateRequest {
            sampling: Some(wire::Sampling {
                seed: Some(SEED),
                ..Default::default()
            }),
            ..asking()
        },
        length,
    );
    for at in 0..all.len() {
        for loss in [
            Loss::Cut,
            Loss::Refused(Failure::new(ErrorCode::ShuttingDown, "bye")),
        ] {
            let heads = vec![choice(peer(1)), choice(peer(2))];
            let mut stage = Stage::new(heads, vec![Fate::Lost(at, loss)], length);
            stage.play(&[]);
            stage.check();
            assert_eq!(stage.text(), whole_text(length), "lost at {at}");
            assert_eq!(stage.blamed, [peer(1)]);
            let Some(Event::Finished(finished)) = stage.shown.last() else {
                panic!()
            };
            let two = at > 1;
            assert_eq!(finished.served_by.len(), if two { 2 } else { 1 });
        }
    }
}

#[test]
fn who_answers_and_the_seed_are_ours_to_say() {
    let mut stage = Stage::new(vec![choice(peer(1))], vec![], 3);
    stage.play(&[]);
    let Some(Event::Started(started)) = stage.shown.first() else {
        panic!()
    };
    let Target::Peer(node) = peer(1) else {
        panic!()
    };
    assert_eq!(
        (started.served_by.clone(), started.seed),
        (node.to_string(), SEED)
    );
}

#[test]
fn an_answer_by_this_node_alone_names_nobody() {
    let mut stage = Stage::new(vec![choice(Target::Own)], vec![], 3);
    stage.play(&[]);
    let Some(Event::Finished(finished)) = stage.shown.last() else {
        panic!()
    };
    assert!(finished.served_by.is_empty());
    assert_eq!(stage.relay.next_deadline(), None);
}

#[test]
fn a_late_first_token_is_hedged_and_the_first_to_speak_wins() {
    let heads = vec![choice(peer(1)), choice(peer(2))];
    let mut stage = Stage::new(heads, vec![Fate::Silent(1)], 5);
    let begin = stage.now;
    stage.feed(Input::Ranked(stage.heads.clone()));
    let first = *stage.playing.keys().next().unwrap();
    stage.step(0);
    assert_eq!(stage.relay.next_deadline(), Some(begin + HEDGE_FLOOR));
    stage.now = begin + HEDGE_FLOOR;
    stage.feed(Input::Tick);
    assert_eq!((stage.playing.len(), stage.hedges), (2, 1));
    // Not shown before a token decides whose beginning it is.
    assert!(stage.shown.is_empty());
    stage.step(0);
    stage.step(0);
    assert!(
        !stage.playing.contains_key(&first),
        "the loser is let go of"
    );
    while !stage.ended {
        stage.step(0);
    }
    stage.check();
    assert!(stage.blamed.is_empty());
}

#[test]
fn a_denied_hedge_waits_for_the_first_head() {
    let heads = vec![choice(peer(1)), choice(peer(2))];
    let mut stage = Stage::new(heads, vec![Fate::Silent(0)], 5);
    stage.allow_hedges = false;
    stage.play(&[]);
    stage.check();
    assert_eq!((stage.hedges, stage.opened), (1, 2));
    assert_eq!(stage.blamed, [peer(1)]);
}

#[test]
fn silence_between_tokens_ends_a_peer_but_not_a_slow_client() {
    let heads = vec![choice(peer(1)), choice(peer(2))];
    let mut stage = Stage::new(heads, vec![Fate::Silent(4)], 9);
    let begin = stage.now;
    stage.feed(Input::Ranked(stage.heads.clone()));
    (0..4).for_each(|_| stage.step(0));
    assert_eq!(stage.relay.next_deadline(), Some(begin + STALL));
    stage.now = begin + STALL * 2;
    stage.feed(Input::Held);
    stage.feed(Input::Tick);
    assert!(stage.blamed.is_empty());
    stage.step(0);
    assert_eq!(stage.blamed, [peer(1)]);
    while !stage.ended {
        stage.step(0);
    }
    stage.check();
    assert_eq!(stage.text(), whole_text(9));
}

#[test]
fn a_wrong_request_needs_two_witnesses_or_the_own_word() {
    let wrong = || {
        Fate::Lost(
            0,
            Loss::Refused(Failure::new(ErrorCode::InvalidRequest, "bad\u{1b}[2J")),
        )
    };
    let heads: Vec<_> = (1..5).map(|n| choice(peer(n))).collect();
    let mut stage = Stage::new(heads.clone(), vec![wrong()], 3);
    stage.play(&[]);
    assert_eq!(stage.text(), whole_text(3));
    let mut stage = Stage::new(heads, vec![wrong(), wrong()], 3);
    stage.play(&[]);
    assert_eq!(stage.opened, 2);
    let Some(Event::Failed(failure)) = stage.shown.last() else {
        panic!()
    };
    assert_eq!(failure.code(), ErrorCode::InvalidRequest);
    assert!(!failure.message.contains('\u{1b}'));
    assert!(stage.blamed.is_empty());
    let mut stage = Stage::new(vec![choice(Target::Own), choice(peer(1))], vec![wrong()], 3);
    stage.play(&[]);
    assert_eq!(stage.opened, 1);
}

#[test]
fn a_context_that_is_too_small_goes_to_a_larger_one_only() {
    let sized = |n, context| Choice {
        context_tokens: Some(context),
        ..choice(peer(n))
    };
    let long = || {
        Fate::Lost(
            0,
            Loss::Refused(Failure::new(ErrorCode::ContextLengthExceeded, "long")),
        )
    };
    let heads = vec![sized(1, 1000), sized(2, 800), sized(3, 2000)];
    let mut stage = Stage::new(heads, vec![long()], 3);
    stage.play(&[]);
    let Some(Event::Finished(finished)) = stage.shown.last() else {
        panic!()
    };
    let Target::Peer(third) = peer(3) else {
        panic!()
    };
    assert_eq!(finished.served_by, [third.to_string()]);
    let mut stage = Stage::new(vec![sized(1, 1000), sized(2, 800)], vec![long()], 3);
    stage.play(&[]);
    let Some(Event::Failed(failure)) = stage.shown.last() else {
        panic!()
    };
    assert_eq!(failure.code(), ErrorCode::ContextLengthExceeded);
}

#[test]
fn calls_and_reasoning_count_as_what_the_client_has() {
    let mut relay = Relay::new(asking(), SEED);
    let (now, mut out) = (Instant::now(), Vec::new());
    relay.handle(
        Input::Ranked(vec![choice(peer(1)), choice(peer(2))]),
        now,
        &mut out,
    );
    let attempt = AttemptId(1);
    let call = ToolCallDelta {
        index: 0,
        id: "call_1".into(),
        name: "get".into(),
        arguments: "{\"".into(),
    };
    let delta = Delta {
        reasoning: "hm".into(),
        text: "é".into(),
        tool_calls: vec![call],
        tokens: vec![1, 2],
        ..Delta::default()
    };
    for event in [Event::Started(Started::default()), Event::Delta(delta)] {
        relay.handle(Input::Event { attempt, event }, now, &mut out);
    }
    relay.handle(
        Input::Lost {
            attempt,
            loss: Loss::Cut,
        },
        now,
        &mut out,
    );
    out.clear();
    relay.handle(Input::Ranked(vec![choice(peer(2))]), now, &mut out);
    let [Output::Open { request, .. }] = &out[..] else {
        panic!("{out:?}")
    };
    let resume = request.resume.clone().unwrap();
    assert_eq!(
        (resume.tokens, resume.sent_text_bytes),
        (vec![1, 2], 2 + 2 + 6 + 3 + 2)
    );
}
