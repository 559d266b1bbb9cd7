//! A deployment step by step, and against peers that answer anything.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

use super::world::{LAYERS, node};
use super::*;
use protocol::{
    DeploymentId, LeaseId, ManifestId,
    chain::{Link, ModelRef, Phase, Precision},
};

fn place(n: u8, first_layer: u32, last_layer: u32) -> Place {
    Place {
        peer: node(n),
        first_layer,
        last_layer,
    }
}

/// Two stages, and spares for the first.
fn plan(first: u8, second: u8, spares: &[u8]) -> Plan {
    let stages = vec![place(first, 0, 6), place(second, 6, 12)];
    let spares = spares.iter().map(|n| place(*n, 0, 6)).collect();
    Plan::new(stages, spares, LAYERS).unwrap()
}

/// A deployment with a clock, whose calls wait for their answers.
struct Bench {
    deployment: Deployment<StdRng>,
    now: Instant,
    calls: Vec<(CallId, NodeId, LeaseRequest, Instant)>,
    done: Vec<Output>,
    /// How often spares were wanted.
    wanted_spares: usize,
    is_ready: bool,
    has_ended: bool,
    released: BTreeSet<LeaseId>,
}

impl Bench {
    fn new() -> Self {
        let work = Work {
            deployment: DeploymentId([1; 16]),
            model: ModelRef {
                name: "tiny".parse().unwrap(),
                manifest: ManifestId::new([7; 32]),
                layers: LAYERS,
            },
            cells: 1024,
            sequences: 4,
            batch_tokens: 64,
            precision: Precision::F32,
        };
        Self {
            deployment: Deployment::new(node(100), work, StdRng::seed_from_u64(1)),
            now: Instant::now(),
            calls: Vec::new(),
            done: Vec::new(),
            wanted_spares: 0,
            is_ready: false,
            has_ended: false,
            released: BTreeSet::new(),
        }
    }

    fn put(&mut self, input: Input) {
        self.deployment.handle(input, self.now);
        let mut count = 0;
        while let Some(output) = self.deployment.next_output() {
            count += 1;
            assert!(count < 300, "no end of outputs");
            assert!(!self.has_ended, "{output:?} after the end");
            match output {
                Output::Call {
                    call,
                    peer,
                    request,
                } => {
                    if let LeaseRequest::Release(lease) = request {
                        self.released.insert(lease);
                    }
                    self.calls.push((call, peer, request, self.now));
                    continue;
                }
                Output::WantSpares { .. } => {
                    self.wanted_spares += 1;
                    continue;
                }
                Output::RingReady(_) => assert!(!std::mem::replace(&mut self.is_ready, true)),
                Output::RingLost { .. } => assert!(std::mem::replace(&mut self.is_ready, false)),
                Output::Ended => self.has_ended = true,
                _ => {}
            }
            self.done.push(output);
        }
        let timer = self.deployment.next_deadline();
        assert!(
            timer.is_none_or(|at| at > self.now),
            "a timer that does not move"
        );
    }

    /// Lets the time pass, with every timer in it.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.deployment.next_deadline().filter(|at| *at <= end) {
            self.now = at;
            self.put(Input::Tick);
        }
        self.now = end;
        self.put(Input::Tick);
    }

    /// Lets the time pass while every call is answered as the stages of a ring do.
    fn live(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while let Some((_, _, request, _)) = self.calls.first() {
                let answer = match request {
                    LeaseRequest::Renew(_) => Ok(state(Phase::Linked)),
                    other => reply(other, 9, 1),
                };
                self.answer(answer);
            }
            if self.now >= end {
                return;
            }
            self.wait(POLL_EVERY.min(end - self.now));
        }
    }

    fn answer(&mut self, result: Result<LeaseReply, CallError>) -> (NodeId, LeaseRequest) {
        let (call, peer, request, _) = self.calls.remove(0);
        self.put(Input::Answered { call, result });
        (peer, request)
    }

    fn grant(&mut self, lease: u64) -> NodeId {
        let (peer, request) = self.answer(Ok(granted(lease)));
        assert!(matches!(request, LeaseRequest::Reserve(_)), "{request:?}");
        peer
    }

    fn report(&mut self, phase: Phase) -> LeaseRequest {
        self.answer(Ok(state(phase))).1
    }

    /// Every call that waits is answered with this phase.
    fn report_all(&mut self, phase: Phase) {
        for _ in 0..self.calls.len() {
            self.report(phase);
        }
    }

    fn done(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.done)
    }

    /// The ring that is to be probed.
    fn probe(&mut self) -> Ring {
        let done = self.done();
        let probe = |output: Output| match output {
            Output::Probe(ring) => Some(ring),
            _ => None,
        };
        done.into_iter().find_map(probe).expect("a probe")
    }

    fn pass(&mut self, ring: &Ring) {
        let generation = ring.generation;
        let result = Ok(());
        self.put(Input::Probed { generation, result });
    }

    /// In service with this plan, leases 1 and 2 in the order of peers, 3.. for its spares.
    fn serving(plan: Plan) -> (Self, Ring) {
        let mut bench = Self::new();
        let spares = plan.spares.len();
        bench.put(Input::Plan(plan));
        bench.grant(1);
        bench.grant(2);
        bench.report_all(Phase::Ready);
        bench.report_all(Phase::Linked);
        let ring = bench.probe();
        bench.pass(&ring);
        for lease in 0..spares {
            bench.grant(3 + u64::try_from(lease).unwrap());
            bench.report(Phase::Ready);
        }
        (bench, ring)
    }
}

fn granted(lease: u64) -> LeaseReply {
    LeaseReply::Granted(Granted {
        lease: LeaseId(lease),
        channel: ChannelId(lease + 1000),
        lapses_in: LEASE_LIFETIME,
        memory_bytes: 1,
    })
}

fn state(phase: Phase) -> LeaseReply {
    LeaseReply::State(StageState {
        phase,
        progress: 0.5,
        lapses_in: LEASE_LIFETIME,
        cause: String::new(),
        decode_seconds: None,
        slowness: None,
    })
}

/// A stage of a ring that is so many times slower than at its best.
fn at_pace(slowness: f32) -> LeaseReply {
    LeaseReply::State(StageState {
        phase: Phase::Linked,
        progress: 1.0,
        lapses_in: LEASE_LIFETIME,
        cause: String::new(),
        decode_seconds: None,
        slowness: Some(slowness),
    })
}

fn in_order(a: u8, b: u8) -> (u8, u8) {
    if node(a) < node(b) { (a, b) } else { (b, a) }
}

#[test]
fn each_step_waits_for_all_of_the_one_before() {
    let (low, high) = in_order(1, 2);
    let mut bench = Bench::new();
    // The ring's order is not the order of reserving.
    bench.put(Input::Plan(plan(high, low, &[])));
    assert_eq!(bench.calls.len(), 1, "one at a time");
    assert_eq!(bench.grant(1), node(low));
    assert_eq!(bench.calls.len(), 1, "nobody loads yet");
    assert_eq!(bench.grant(2), node(high));
    let renewed: Vec<_> = bench.calls.iter().map(|call| call.2.clone()).collect();
    let renew = |lease| LeaseRequest::Renew(LeaseId(lease));
    assert_eq!(renewed, [renew(1), renew(2)]);
    bench.report(Phase::Ready);
    bench.report(Phase::Loading);
    assert_eq!(bench.calls, []);
    bench.wait(POLL_EVERY);
    bench.report(Phase::Ready);
    let links: Vec<_> = bench.calls.iter().map(|call| call.2.clone()).collect();
    let head = node(100);
    let first = Link {
        lease: LeaseId(2),
        previous: head,
        next: node(low),
        next_channel: ChannelId(1001).in_ring(1),
        generation: 1,
    };
    assert!(
        links.contains(&LeaseRequest::Link(first)),
        "together: {links:?}"
    );
    assert_eq!(links.len(), 2);
    bench.report(Phase::Linked);
    assert_eq!(bench.done(), []);
    bench.report(Phase::Linked);
    let ring = bench.probe();
    assert_eq!(
        (ring.first.peer, ring.first.channel),
        (node(high), ChannelId(1002).in_ring(1))
    );
    assert!(bench.deployment.may_receive(ring.back, node(low)));
    assert!(!bench.deployment.may_receive(ring.back, node(high)));
    bench.pass(&ring);
    assert_eq!(bench.done(), [Output::RingReady(ring), Output::Publish]);
}

#[test]
fn a_refusal_gives_everything_back_and_leaves_the_peer_out() {
    let (low, high) = in_order(1, 2);
    let mut bench = Bench::new();
    bench.put(Input::Plan(plan(low, high, &[])));
    bench.grant(1);
    let refused = Refused {
        retry_after: Some(15 * SECOND),
        ..Refusal::NoRoom.into()
    };
    bench.answer(Ok(LeaseReply::Refused(refused)));
    assert_eq!(bench.released, BTreeSet::from([LeaseId(1)]));
    assert_eq!(bench.done(), [], "it rests first");
    bench.wait(REST_BASE);
    let [
        Output::WantPlan {
            reason,
            excluding,
            held,
            ..
        },
    ] = &bench.done()[..]
    else {
        panic!("no plan is wanted");
    };
    assert_eq!((*reason, &held[..]), (PlanReason::NotUp, &[][..]));
    let why = Loss::Refused(Refusal::NoRoom);
    assert_eq!((excluding[0].peer, excluding[0].why), (node(high), why));
    // A plan with that peer is none; later it is one.
    bench.put(Input::Plan(plan(low, high, &[])));
    assert_eq!(bench.deployment.status().doing, Doing::Resting);
    bench.wait(3 * SECOND);
    bench.put(Input::NoPlan);
    bench.wait(20 * SECOND);
    while bench.deployment.status().doing == Doing::Resting {
        bench.wait(SECOND);
    }
    bench.put(Input::Plan(plan(low, high, &[])));
    assert_eq!(bench.deployment.status().doing, Doing::Reserving);
}

#[test]
fn a_lease_that_comes_too_late_is_given_back() {
    let mut bench = Bench::new();
    bench.put(Input::Plan(plan(1, 2, &[])));
    let late = bench.calls[0].0;
    bench.wait(2 * CALL_PATIENCE);
    assert_eq!(bench.deployment.status().doing, Doing::Resting);
    let result = Ok(granted(9));
    bench.put(Input::Answered { call: late, result });
    assert!(bench.released.contains(&LeaseId(9)));
}

#[test]
fn a_lease_that_comes_late_but_is_still_wanted_is_taken() {
    let mut bench = Bench::new();
    bench.put(Input::Plan(plan(1, 2, &[])));
    bench.wait(CALL_PATIENCE);
    let first = bench.calls.remove(0).0;
    let again = bench.calls.remove(0).0;
    for call in [first, again] {
        let result = Ok(granted(9));
        bench.put(Input::Answered { call, result });
    }
    assert_eq!(bench.released, BTreeSet::new());
    assert_eq!(bench.grant(2), node(in_order(1, 2).1));
}

#[test]
fn a_better_plan_is_prepared_beside_the_ring() {
    let (mut bench, ring) = Bench::serving(plan(1, 2, &[]));
    bench.done();
    bench.put(Input::Plan(plan(1, 3, &[])));
    bench.grant(7);
    bench.report_all(Phase::Loading);
    assert_eq!(bench.done(), [], "the ring serves on");
    bench.wait(POLL_EVERY);
    bench.report_all(Phase::Ready);
    let (generation, end) = (ring.generation, RingEnd::Switched);
    assert_eq!(bench.done(), [Output::RingLost { generation, end }]);
    bench.report_all(Phase::Linked);
    let next = bench.probe();
    assert!(next.generation > ring.generation && next.back != ring.back);
    assert!(!bench.deployment.may_receive(ring.back, node(2)));
    bench.pass(&next);
    assert_eq!(
        bench.done(),
        [Output::RingReady(next)],
        "it was published all the time"
    );
    let old = if node(1) < node(2) { 2 } else { 1 };
    assert_eq!(bench.released, BTreeSet::from([LeaseId(old)]));
}

#[test]
fn a_better_plan_that_is_refused_costs_the_ring_nothing() {
    let (mut bench, _) = Bench::serving(plan(1, 2, &[]));
    bench.done();
    bench.put(Input::Plan(plan(1, 3, &[])));
    bench.answer(Ok(LeaseReply::Refused(Refusal::NoRoom.into())));
    bench.wait(REST_BASE);
    assert!(bench.is_ready && bench.released.is_empty());
    bench.put(Input::NoPlan);
    bench.put(Input::Plan(plan(1, 2, &[])));
    assert!(bench.is_ready);
}

#[test]
fn the_same_ring_with_other_spares_changes_the_spares_only() {
    let (mut bench, _) = Bench::serving(plan(1, 2, &[3]));
    bench.done();
    bench.put(Input::Plan(plan(1, 2, &[4])));
    assert_eq!(bench.released, BTreeSet::from([LeaseId(3)]));
    bench
        .calls
        .retain(|call| matches!(call.2, LeaseRequest::Reserve(_)));
    assert_eq!(bench.grant(4), node(4));
    assert!(bench.is_ready && bench.done().is_empty());
}

#[test]
fn a_used_spare_is_replaced_while_the_ring_works() {
    let (mut bench, ring) = Bench::serving(plan(1, 2, &[3]));
    bench.done();
    let (generation, peer) = (ring.generation, Some(node(1)));
    bench.put(Input::RingFailed { generation, peer });
    bench
        .calls
        .retain(|call| matches!(call.2, LeaseRequest::Link(_)));
    bench.report_all(Phase::Linked);
    let next = bench.probe();
    assert_eq!(next.first.peer, node(3));
    let before = bench.wanted_spares;
    bench.pass(&next);
    assert_eq!(bench.wanted_spares, before + 1);
    bench.calls.clear();
    // One that is of no use, and one beside which there is no other.
    bench.put(Input::Spares(vec![
        place(4, 0, 5),
        place(4, 0, 6),
        place(5, 0, 6),
        place(2, 0, 6),
    ]));
    let [(_, peer, LeaseRequest::Reserve(reserve), _)] = &bench.calls[..] else {
        panic!("{:?}", bench.calls);
    };
    assert!(*peer == node(4) && reserve.is_spare);
    bench.answer(Ok(LeaseReply::Refused(Refusal::NoRoom.into())));
    assert_eq!(bench.deployment.status().doing, Doing::Serving);
    bench.live(SPARES_REST);
    assert_eq!(bench.wanted_spares, before + 2, "it is looked for again");
}

#[test]
fn a_ring_that_breaks_again_and_again_with_nobody_to_blame_is_given_up() {
    let (mut bench, mut ring) = Bench::serving(plan(1, 2, &[]));
    bench.calls.clear();
    for _ in 0..MAX_TRIES {
        let (generation, peer) = (ring.generation, None);
        bench.put(Input::RingFailed { generation, peer });
        // What was rested for, planned and reserved anew, where it was not linked at once.
        for _ in 0..4 {
            if bench.deployment.status().doing == Doing::Resting {
                bench.calls.clear();
                bench.wait(MAX_REST);
                bench.put(Input::Plan(plan(1, 2, &[])));
            }
            while let Some((_, _, request, _)) = bench.calls.first() {
                let answer = reply(request, 9, 50 + ring.generation.number());
                bench.answer(answer);
            }
            bench.wait(POLL_EVERY);
        }
        if bench.deployment.status().doing != Doing::Probing {
            break;
        }
        ring = bench.probe();
        bench.pass(&ring);
        bench.wait(SECOND);
    }
    assert!(
        bench
            .done
            .iter()
            .any(|output| matches!(output, Output::Failed(_)))
    );
}

#[test]
fn a_ring_that_was_steady_before_it_broke_is_linked_anew_at_once() {
    let (mut bench, mut ring) = Bench::serving(plan(1, 2, &[]));
    for _ in 0..3 * MAX_TRIES {
        bench.live(STEADY_AFTER);
        bench.done();
        let (generation, peer) = (ring.generation, None);
        bench.put(Input::RingFailed { generation, peer });
        bench.report_all(Phase::Linked);
        ring = bench.probe();
        bench.pass(&ring);
    }
    assert!(bench.is_ready);
}

#[test]
fn a_ring_that_ends_while_it_is_probed_is_not_waited_for() {
    let (mut bench, ring) = Bench::serving(plan(1, 2, &[]));
    let (generation, peer) = (ring.generation, None);
    bench.put(Input::RingFailed { generation, peer });
    bench.report_all(Phase::Linked);
    let probed = bench.probe();
    let (generation, peer) = (probed.generation, None);
    bench.put(Input::RingFailed { generation, peer });
    let links = bench.calls.iter().filter_map(|call| match call.2 {
        LeaseRequest::Link(link) => Some(link.generation),
        _ => None,
    });
    let links: Vec<_> = links.collect();
    assert_eq!(links, [probed.generation.number() + 1; 2]);
}

#[test]
fn a_ring_that_fails_without_a_culprit_is_probed_again() {
    let (mut bench, ring) = Bench::serving(plan(1, 2, &[]));
    let (generation, peer) = (ring.generation, None);
    bench.put(Input::RingFailed { generation, peer });
    let is_link = |request: &LeaseRequest| matches!(request, LeaseRequest::Link(_));
    let links = bench.calls.iter().filter(|call| is_link(&call.2));
    assert_eq!(links.count(), 2, "even where the neighbours stay the same");
    bench.report_all(Phase::Linked);
    let next = bench.probe();
    let (generation, result) = (next.generation, Err(Some(node(2))));
    bench.put(Input::Probed { generation, result });
    assert_eq!(bench.released.len(), 1, "the other keeps its lease");
    assert_eq!(bench.deployment.status().doing, Doing::Planning);
}

#[test]
fn a_link_under_way_does_not_hold_up_the_next_rings() {
    let (mut bench, ring) = Bench::serving(plan(1, 2, &[3]));
    let (generation, peer) = (ring.generation, None);
    bench.put(Input::RingFailed { generation, peer });
    bench.calls.clear();
    bench.put(Input::PeerGone(node(1)));
    let links = bench.calls.iter().filter_map(|call| match call.2 {
        LeaseRequest::Link(link) => Some((call.1, link.previous)),
        _ => None,
    });
    let links: BTreeSet<_> = links.collect();
    let expected = [(node(3), node(100)), (node(2), node(3))];
    assert_eq!(links, BTreeSet::from(expected));
}

#[test]
fn a_model_without_a_ring_is_withdrawn_after_a_while() {
    let (mut bench, ring) = Bench::serving(plan(1, 2, &[]));
    bench.done();
    let (generation, peer) = (ring.generation, Some(node(2)));
    bench.put(Input::RingFailed { generation, peer });
    bench.wait(WITHDRAW_AFTER - SECOND);
    assert!(!bench.done().contains(&Output::Withdraw));
    bench.wait(SECOND);
    assert!(bench.done().contains(&Output::Withdraw));
}

#[test]
fn a_load_that_stands_still_is_given_up() {
    let mut bench = Bench::new();
    bench.put(Input::Plan(plan(1, 2, &[])));
    bench.grant(1);
    bench.grant(2);
    let mut waited = Duration::ZERO;
    while bench.deployment.status().doing == Doing::Loading {
        bench.report_all(Phase::Loading);
        bench.wait(POLL_EVERY);
        waited += POLL_EVERY;
    }
    assert!(
        waited >= STUCK_AFTER && waited < STUCK_AFTER + SECOND,
        "{waited:?}"
    );
    let done = bench.done();
    let is_stuck = |excluded: &Excluded| excluded.why == Loss::Stuck;
    let told = |output: &Output| match output {
        Output::WantPlan { excluding, .. } => excluding.iter().any(is_stuck),
        _ => false,
    };
    assert!(done.iter().any(told), "{done:?}");
}

#[test]
fn what_was_not_told_to_load_is_given_back_when_a_stage_is_lost() {
    let (low, high) = in_order(1, 2);
    let mut bench = Bench::new();
    let stages = vec![place(low, 0, 4), place(high, 4, 8), place(3, 8, 12)];
    let plan = Plan::new(stages.clone(), Vec::new(), LAYERS).unwrap();
    bench.put(Input::Plan(plan));
    bench.grant(1);
    let gone = bench.grant(2);
    bench.put(Input::PeerGone(gone));
    assert_eq!(bench.released, BTreeSet::from([LeaseId(1), LeaseId(2)]));
}

#[test]
fn a_spare_replaces_a_stage_that_leaves_while_the_ring_works() {
    let (mut bench, ring) = Bench::serving(plan(1, 2, &[3]));
    bench.done();
    bench.wait(LEASE_RENEWAL);
    let at = bench
        .calls
        .iter()
        .position(|call| call.1 == node(1))
        .unwrap();
    let call = bench.calls.remove(at).0;
    let result = Ok(state(Phase::Draining));
    bench.put(Input::Answered { call, result });
    let (generation, end) = (ring.generation, RingEnd::Switched);
    assert_eq!(bench.done(), [Output::RingLost { generation, end }]);
    bench
        .calls
        .retain(|call| matches!(call.2, LeaseRequest::Link(_)));
    bench.report_all(Phase::Linked);
    assert_eq!(bench.probe().first.peer, node(3));
}

#[test]
fn plans_are_checked() {
    let stage = |n, first, last| place(n, first, last);
    let check = |stages: &[Place], spares: &[Place]| {
        Plan::new(stages.to_vec(), spares.to_vec(), LAYERS).map(drop)
    };
    let whole = [stage(1, 0, 12)];
    assert_eq!(check(&whole, &[]), Ok(()));
    assert_eq!(check(&[], &[]), Err(PlanError::Count));
    let layers = Err(PlanError::Layers(LAYERS));
    assert_eq!(check(&[stage(1, 0, 6)], &[]), layers);
    assert_eq!(check(&[stage(1, 0, 6), stage(2, 7, 12)], &[]), layers);
    assert_eq!(check(&[stage(1, 0, 0), stage(2, 0, 12)], &[]), layers);
    assert_eq!(check(&whole, &[stage(2, 0, 6)]), layers);
    let twice = Err(PlanError::Twice);
    assert_eq!(check(&[stage(1, 0, 6), stage(1, 6, 12)], &[]), twice);
    assert_eq!(check(&whole, &whole), twice);
}

/// What peers, planner and sessions may say.
#[derive(Debug, Clone)]
enum Said {
    Plan(u8, u8, Vec<u8>),
    NoPlan,
    Answer(usize, u8, u64),
    Probed(u64, u8),
    Failed(u64, u8),
    Overdue(u64),
    Spares(Vec<u8>),
    Gone(u8),
    Wait(u64),
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        3 => (1u8..6, 6u8..9, prop::collection::vec(9u8..12, 0..2))
            .prop_map(|(first, second, spares)| Said::Plan(first, second, spares)),
        1 => Just(Said::NoPlan),
        12 => (0usize..4, 0u8..24, 1u64..9).prop_map(|(at, kind, n)| Said::Answer(at, kind, n)),
        3 => (0u64..2, 0u8..16).prop_map(|(age, peer)| Said::Probed(age, peer)),
        1 => (0u64..2, 0u8..12).prop_map(|(age, peer)| Said::Failed(age, peer)),
        1 => (0u64..2).prop_map(Said::Overdue),
        1 => prop::collection::vec(1u8..12, 0..3).prop_map(Said::Spares),
        1 => (1u8..12).prop_map(Said::Gone),
        4 => (0u64..12_000).prop_map(Said::Wait),
    ]
}

/// An answer that fits the question more often than not.
fn reply(request: &LeaseRequest, kind: u8, lease: u64) -> Result<LeaseReply, CallError> {
    let fitting = match request {
        LeaseRequest::Reserve(_) => granted(lease),
        LeaseRequest::Link(_) => state(Phase::Linked),
        LeaseRequest::Renew(_) => state(Phase::Ready),
        LeaseRequest::Release(_) => LeaseReply::Released,
    };
    match kind {
        0 => Err(CallError::Unreachable),
        1 => Err(CallError::Broken),
        2 => Ok(LeaseReply::Refused(Refusal::NoRoom.into())),
        3 => Ok(LeaseReply::Refused(Refusal::UnknownLease.into())),
        4 => Ok(state(Phase::Failed)),
        5 => Ok(state(Phase::Draining)),
        6 => Ok(state(Phase::Loading)),
        7 => Ok(granted(lease)),
        8 => Ok(LeaseReply::Released),
        9 => Ok(at_pace(8.0)),
        10 => Ok(at_pace(1.0)),
        _ => Ok(fitting),
    }
}

proptest! {
    /// Whatever is said: no panic, at most one ring, timers that move, tables that are bounded,
    /// an end when it is stopped, and no lease forgotten that was granted.
    #[test]
    fn whatever_is_said_it_ends_and_gives_back(
        history in prop::collection::vec(said(), 1..150),
    ) {
        let mut bench = Bench::new();
        let mut known = BTreeMap::new();
        let mut count = 100;
        for said in history {
            let generation = |age: u64, bench: &Bench| {
                Generation(bench.deployment.generation.saturating_sub(age))
            };
            let blamed = |n: u8| (n > 0).then(|| node(n));
            match said {
                Said::Plan(first, second, spares) => {
                    bench.put(Input::Plan(plan(first, second, &spares)));
                }
                Said::NoPlan => bench.put(Input::NoPlan),
                Said::Answer(at, kind, n) if at < bench.calls.len() => {
                    let (call, peer, request, sent_at) = bench.calls.remove(at);
                    // Mostly new ids; sometimes one that another peer's lease has, or had.
                    count += 1;
                    let lease = if n == 1 { n } else { count };
                    let result = reply(&request, kind, lease);
                    let is_reserve = matches!(request, LeaseRequest::Reserve(_));
                    // A later one lapsed on its way, and after the end nobody listens.
                    let is_live = bench.now < sent_at + LEASE_LIFETIME && !bench.has_ended;
                    if is_reserve && is_live && matches!(result, Ok(LeaseReply::Granted(_))) {
                        known.insert(LeaseId(lease), peer);
                    }
                    bench.put(Input::Answered { call, result });
                }
                Said::Answer(..) => {}
                Said::Probed(age, n) => {
                    let generation = generation(age, &bench);
                    let result = if n > 11 { Ok(()) } else { Err(blamed(n)) };
                    bench.put(Input::Probed { generation, result });
                }
                Said::Failed(age, n) => {
                    let (generation, peer) = (generation(age, &bench), blamed(n));
                    bench.put(Input::RingFailed { generation, peer });
                }
                Said::Overdue(age) => {
                    let generation = generation(age, &bench);
                    bench.put(Input::Overdue(generation));
                }
                Said::Spares(peers) => {
                    let places = peers.into_iter().map(|n| place(n, 0, 6));
                    bench.put(Input::Spares(places.collect()));
                }
                Said::Gone(n) => bench.put(Input::PeerGone(node(n))),
                Said::Wait(millis) => bench.wait(Duration::from_millis(millis)),
            }
            prop_assert!(bench.deployment.slots.len() <= 2 * MAX_STAGES + MAX_SPARES);
            prop_assert!(bench.deployment.tries <= MAX_TRIES);
        }
        bench.put(Input::Stop);
        bench.wait(RELEASE_PATIENCE);
        prop_assert!(bench.has_ended);
        prop_assert_eq!(bench.deployment.next_deadline(), None);
        let forgotten: Vec<_> = known.keys().filter(|id| !bench.released.contains(id)).collect();
        prop_assert!(forgotten.is_empty(), "{:?}", forgotten);
    }
}
