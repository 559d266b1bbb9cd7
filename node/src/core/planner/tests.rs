//! The planner against brute force, its rules, and its verdicts. It knows no network.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use proptest::prelude::*;

use super::shape::Weights;
use super::*;

const GB: u64 = 1_000_000_000;

fn node(number: u8) -> NodeId {
    NodeId::from(&SigningKey::from_bytes(&[number + 1; 32]))
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn weights(bytes: u64) -> Weights {
    Weights {
        bytes,
        read_bytes: bytes,
        parameters: bytes,
    }
}

/// Layers of a gigabyte each, and nothing else but a hidden state of 4 kB.
fn shape(layers: usize) -> Shape {
    let layer = Layer {
        weights: weights(GB),
        cache_bytes: 0,
    };
    Shape {
        layers: vec![layer; layers],
        output: Weights::default(),
        output_buffer_bytes: 0,
        stage_bytes: 0,
        head_bytes: 0,
        whole_bytes: layers as u64 * GB,
        hidden_bytes: 4000,
    }
}

fn peer(number: u8, free_gb: u64, bandwidth: f64) -> Peer {
    Peer {
        node: node(number),
        is_allowed: true,
        free_bytes: free_gb * GB,
        bandwidth: Some(bandwidth),
        flops: None,
        uplink: None,
        held: Vec::new(),
        slowdown: 1.0,
    }
}

/// Everybody this far from everybody else.
fn apart(peers: &[Peer], rtt: Duration) -> Distances {
    let mut distances = Distances::default();
    for a in peers {
        for b in peers.iter().filter(|b| b.node != a.node) {
            distances.note(a.node, b.node, rtt);
        }
    }
    distances
}

fn ask<'a>(shape: &'a Shape, peers: &'a [Peer], distances: &'a Distances) -> Question<'a> {
    Question {
        shape,
        peers,
        distances,
        head: peers[0].node,
        may_cut: &|_| true,
        streams: 8,
    }
}

fn slices(plan: &Plan) -> Vec<(NodeId, Range<u32>)> {
    let stages = plan.stages.iter();
    stages
        .map(|stage| (stage.peer, stage.layers.clone()))
        .collect()
}

fn verdict_on(out: &[(NodeId, Verdict)], number: u8) -> Verdict {
    let found = out.iter().find(|(other, _)| *other == node(number));
    found.unwrap().1
}

#[test]
fn the_times_are_those_of_the_formula() {
    let shape = shape(4);
    let peers = [peer(0, 2, 1e11), peer(1, 2, 5e10)];
    let peers = peers.map(|peer| Peer {
        uplink: Some(4_000_000),
        ..peer
    });
    let distances = apart(&peers, ms(20));
    let plan = plan(&ask(&shape, &peers, &distances)).unwrap();
    assert_eq!(slices(&plan), [(node(0), 0..2), (node(1), 2..4)]);
    // 2 GB at 100 GB/s and at 50 GB/s, twice the overhead.
    let compute = ms(20) + ms(40) + 2 * STAGE_OVERHEAD;
    // There and back, 10 ms each; a hidden state of 4 kB takes 1 ms to send, the token nothing.
    let network = ms(21);
    let prediction = plan.prediction;
    assert_eq!(prediction.compute, compute);
    assert_eq!(prediction.network, network);
    assert_eq!(prediction.token, compute + network);
    assert!((prediction.tokens_per_second() - 12.28).abs() < 0.01);
    assert_eq!(prediction.prefill, None);
    assert!(!prediction.is_assumed);
}

#[test]
fn what_fits_on_one_machine_runs_on_the_fastest_that_holds_it() {
    let shape = shape(4);
    let peers = [peer(0, 4, 1e10), peer(1, 4, 1e11), peer(2, 3, 1e12)];
    let distances = apart(&peers, ms(2));
    let plan = plan(&ask(&shape, &peers, &distances)).unwrap();
    assert!(plan.is_whole());
    assert_eq!(slices(&plan), [(node(1), 0..4)]);
    let by = ms(400) - ms(40) - ms(2);
    assert_eq!(verdict_on(&plan.out, 0), Verdict::SlowsDown { by });
    // A chain with it would be faster; the rule is one machine.
    assert_eq!(verdict_on(&plan.out, 2), Verdict::NotNeeded);
}

#[test]
fn the_fastest_are_filled_first_and_who_only_slows_is_left_out() {
    let shape = shape(10);
    let peers = [
        peer(0, 1, 1e10),
        peer(1, 6, 1e11),
        peer(2, 5, 5e10),
        peer(3, 9, 1e9),
    ];
    let distances = apart(&peers, ms(10));
    let plan = plan(&ask(&shape, &peers, &distances)).unwrap();
    let mut held: Vec<_> = slices(&plan);
    held.sort_by_key(|(_, layers)| layers.len());
    let sizes: Vec<_> = held.iter().map(|(node, l)| (*node, l.len())).collect();
    assert_eq!(sizes, [(node(2), 4), (node(1), 6)]);
    assert!(matches!(
        verdict_on(&plan.out, 0),
        Verdict::SlowsDown { .. }
    ));
    assert!(matches!(
        verdict_on(&plan.out, 3),
        Verdict::SlowsDown { .. }
    ));
}

#[test]
fn everybody_who_is_out_has_a_reason() {
    let shape = shape(4);
    let mut peers = vec![
        peer(0, 2, 1e10),
        peer(1, 2, 1e10),
        peer(2, 8, 1e10),
        peer(3, 8, 1e10),
        peer(4, 8, 1e10),
        peer(5, 0, 1e10),
        peer(6, 3, 1e12),
    ];
    peers[2].is_allowed = false;
    let mut distances = apart(&peers[..2], ms(10));
    distances.note(node(0), node(2), ms(1));
    distances.note(node(0), node(3), ms(81));
    distances.note(node(0), node(5), ms(1));
    distances.note(node(0), node(6), ms(1));
    let Plan { out, stages, .. } = plan(&ask(&shape, &peers, &distances)).unwrap();
    assert_eq!(stages.len(), 2);
    assert_eq!(verdict_on(&out, 2), Verdict::NotAllowed);
    assert_eq!(verdict_on(&out, 3), Verdict::TooFar { rtt: ms(81) });
    assert_eq!(verdict_on(&out, 4), Verdict::Unmeasured);
    let none = Verdict::NoMemory {
        needed: GB,
        free: 0,
    };
    assert_eq!(verdict_on(&out, 5), none);
    // The fast one is in, and its partner is the head: peer 1 is near the head only.
    let from_fast = Verdict::Apart {
        from: node(6),
        rtt: None,
    };
    assert!(stages.iter().any(|stage| stage.peer == node(6)));
    let on_other = verdict_on(&out, 1);
    assert!(matches!(on_other, Verdict::SlowsDown { .. }) || on_other == from_fast);
}

#[test]
fn two_far_peers_are_in_no_ring_together() {
    let shape = shape(4);
    let peers = [peer(0, 0, 1e10), peer(1, 2, 1e10), peer(2, 2, 1e10)];
    let mut distances = Distances::default();
    distances.note(node(0), node(1), ms(40));
    distances.note(node(0), node(2), ms(40));
    let without = plan(&ask(&shape, &peers, &distances)).unwrap_err();
    let obstacle = Obstacle::Memory {
        needed: 4 * GB,
        usable: 2 * GB,
    };
    assert_eq!(without.obstacle, obstacle);
    assert_eq!(without.missing_bytes(), 2 * GB);
    let room = 2 * GB;
    assert_eq!(verdict_on(&without.out, 1), Verdict::NotEnough { room });
    distances.note(node(1), node(2), ms(80));
    let plan = plan(&ask(&shape, &peers, &distances)).unwrap();
    assert_eq!(plan.stages.len(), 2);
}

#[test]
fn the_head_needs_its_table_and_pieces_must_fit() {
    let mut shape = shape(4);
    shape.head_bytes = GB;
    let peers = [peer(0, 0, 1e10), peer(1, 8, 1e10)];
    let distances = apart(&peers, ms(1));
    let question = ask(&shape, &peers, &distances);
    let head = Obstacle::Head {
        needed: GB,
        free: 0,
    };
    assert_eq!(plan(&question).unwrap_err().obstacle, head);
    let peers = [peer(0, 3, 1e10), peer(1, 3, 1e10)];
    let question = Question {
        may_cut: &|_| false,
        peers: &peers,
        ..question
    };
    let none = plan(&question).unwrap_err();
    assert_eq!(none.obstacle, Obstacle::Pieces);
    assert_eq!(none.missing_bytes(), 0);
    // The head's own machine does not hold the table twice.
    let alone = [peer(0, 4, 1e10)];
    let question = Question {
        peers: &alone,
        ..question
    };
    assert!(plan(&question).unwrap().is_whole());
}

#[test]
fn of_equal_peers_the_one_with_the_layers_is_taken() {
    let shape = shape(4);
    let mut peers = vec![peer(0, 0, 1e10)];
    peers.extend((1..6).map(|number| peer(number, 2, 1e10)));
    peers[2].held.push(2..4);
    peers[4].held.push(0..2);
    let distances = apart(&peers, ms(10));
    let plan = plan(&ask(&shape, &peers, &distances)).unwrap();
    assert_eq!(slices(&plan), [(node(4), 0..2), (node(2), 2..4)]);
    assert!(plan.stages.iter().all(|stage| stage.fetch_bytes == 0));
    assert_eq!(verdict_on(&plan.out, 1), Verdict::NotNeeded);
}

#[test]
fn prefill_and_many_streams_are_bound_by_the_slowest_stage() {
    let shape = shape(4);
    let peers = [peer(0, 2, 1e11), peer(1, 2, 1e11)].map(|peer| Peer {
        flops: Some(8e12),
        ..peer
    });
    let distances = apart(&peers, ms(40));
    let question = ask(&shape, &peers, &distances);
    let prediction = plan(&question).unwrap().prediction;
    // 2e9 parameters, two operations each.
    assert_eq!(prediction.prefill, Some(2000.0));
    // Reading (20 ms) takes longer than computing for eight: all go around in one batch.
    let alone = prediction.tokens_per_second();
    assert!((prediction.together - 8.0 * alone).abs() < 0.01);
    let many = Question {
        streams: 1000,
        ..question
    };
    // Beyond that the stages compute all the time, 0.5 ms a token.
    let together = plan(&many).unwrap().prediction.together;
    assert!((1800.0..=2000.0).contains(&together), "{together}");
}

#[test]
fn a_large_group_is_cut_to_a_shortlist() {
    let shape = shape(20);
    let mut peers: Vec<_> = (0..30)
        .map(|number| peer(number, 2, 1e10 + f64::from(number) * 1e8))
        .collect();
    peers[0].free_bytes = 0;
    let distances = apart(&peers, ms(10));
    let found = plan(&ask(&shape, &peers, &distances)).unwrap();
    assert_eq!(found.stages.len(), 10);
    assert!(found.stages.iter().all(|stage| stage.peer != node(5)));
    assert_eq!(verdict_on(&found.out, 5), Verdict::Outranked);
    // The fast are too small together; the large are found.
    for (number, peer) in peers.iter_mut().enumerate().skip(1) {
        peer.free_bytes = if number < 14 { 2 * GB } else { GB };
    }
    let found = plan(&ask(&shape, &peers, &distances)).unwrap();
    assert_eq!(found.stages.len(), 10);
}

#[test]
fn twelve_peers_and_eighty_layers_are_searched_quickly() {
    let shape = shape(80);
    let peers: Vec<_> = (0..12)
        .map(|number| peer(number, 10, 1e10 + f64::from(number) * 1e9))
        .collect();
    let distances = apart(&peers, ms(15));
    let question = ask(&shape, &peers, &distances);
    let began = Instant::now();
    let found = plan(&question).unwrap();
    let took = began.elapsed();
    assert_eq!(found.stages.len(), 8);
    println!("12 peers, 80 layers: {took:?}");
    // Milliseconds by itself; the bound allows for a machine that does ten other things.
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// A question with its parts.
#[derive(Debug, Clone)]
struct Case {
    shape: Shape,
    peers: Vec<Peer>,
    distances: Distances,
    cuts: Vec<bool>,
    head: usize,
}

impl Case {
    fn plan(&self) -> Result<Plan, NoPlan> {
        self.ask(plan)
    }

    fn ask<T>(&self, answer: impl FnOnce(&Question<'_>) -> T) -> T {
        let may_cut = |layer: u32| self.cuts[layer as usize];
        answer(&Question {
            shape: &self.shape,
            peers: &self.peers,
            distances: &self.distances,
            head: self.peers[self.head].node,
            may_cut: &may_cut,
            streams: 4,
        })
    }

    /// The least time of a token over one machine that holds all, and over any ring.
    fn brute(&self) -> (Option<Duration>, Option<Duration>) {
        self.ask(|question| {
            let count = self.shape.count();
            let mut alone: Option<Duration> = None;
            let mut any = None;
            let mut way = Vec::new();
            every_way(question, &mut way, 0, &mut any);
            for peer in &self.peers {
                let is_head = peer.node == question.head;
                let fits = match is_head {
                    true => self.shape.whole_bytes <= peer.free_bytes,
                    false => {
                        head_fits(question) && self.shape.slice_bytes(0..count) <= peer.free_bytes
                    }
                };
                let near = self.distances.are_near(peer.node, question.head);
                if fits && near && peer.is_allowed {
                    let token = Ring::of(question, &[(peer.node, 0..count)]).token();
                    alone = Some(alone.map_or(token, |best| best.min(token)));
                }
            }
            (alone, any)
        })
    }
}

fn head_fits(question: &Question<'_>) -> bool {
    question.head_peer().unwrap().free_bytes >= question.shape.head_bytes
}

/// Goes on from a layer with every peer and every slice that it can hold.
fn every_way(
    question: &Question<'_>,
    way: &mut Vec<(NodeId, Range<u32>)>,
    from: u32,
    best: &mut Option<Duration>,
) {
    let count = question.shape.count();
    if from == count {
        let token = Ring::of(question, way).token();
        if head_fits(question) {
            *best = Some(best.map_or(token, |best| best.min(token)));
        }
        return;
    }
    for peer in question.peers.iter().filter(|peer| peer.is_allowed) {
        let near = |other: NodeId| question.distances.are_near(peer.node, other);
        let is_new = way
            .iter()
            .all(|(other, _)| *other != peer.node && near(*other));
        if !is_new || !near(question.head) {
            continue;
        }
        for end in from + 1..=count {
            let may_end = end == count || (question.may_cut)(end);
            let bytes = question.shape.slice_bytes(from..end);
            if may_end && bytes <= question.slice_room(peer) {
                way.push((peer.node, from..end));
                every_way(question, way, end, best);
                way.pop();
            }
        }
    }
}

fn any_shape(most: usize) -> impl Strategy<Value = Shape> {
    let layer = (1..2000_u64, 1..100_u64, 0..500_u64).prop_map(|(bytes, share, cache)| Layer {
        weights: Weights {
            bytes: bytes << 20,
            read_bytes: (bytes << 20) * share / 100,
            parameters: bytes << 20,
        },
        cache_bytes: cache << 20,
    });
    let own = (0..1000_u64, 0..300_u64, 0..300_u64, 0..1000_u64);
    let layers = proptest::collection::vec(layer, 1..=most);
    (layers, own, any::<bool>()).prop_map(|(layers, own, is_even)| {
        let layers = match is_even {
            true => vec![layers[0]; layers.len()],
            false => layers,
        };
        let mut shape = Shape {
            layers,
            output: weights(own.0 << 20),
            output_buffer_bytes: own.1 << 20,
            stage_bytes: own.2 << 20,
            head_bytes: own.3 << 20,
            whole_bytes: 0,
            hidden_bytes: 16_384,
        };
        shape.whole_bytes = shape.slice_bytes(0..shape.count());
        shape
    })
}

fn any_peer(number: u8) -> impl Strategy<Value = Peer> {
    let uplink = proptest::option::of(100_000..10_000_000_u64);
    let bandwidth = proptest::option::weighted(0.9, 1e8..1e12_f64);
    let slowdown = prop_oneof![3 => Just(1.0), 1 => 1.0..20.0_f64];
    (0..5000_u64, bandwidth, uplink, 0..10_u8, 0..6_u32, slowdown).prop_map(
        move |(free, bandwidth, uplink, luck, held, slowdown)| Peer {
            node: node(number),
            is_allowed: luck > 0,
            free_bytes: free << 20,
            bandwidth,
            flops: None,
            uplink,
            held: std::iter::once(held..held + 2).collect(),
            slowdown,
        },
    )
}

/// At most this many peers and layers, some of them far or not measured.
fn any_case(peers: usize, layers: usize) -> impl Strategy<Value = Case> {
    let all: Vec<_> = (0..peers)
        .map(|n| any_peer(u8::try_from(n).unwrap()))
        .collect();
    let rtts = proptest::collection::vec(proptest::option::weighted(0.95, 0..95_000_u64), 36);
    let cuts = proptest::collection::vec(proptest::bool::weighted(0.8), layers + 1);
    let few = (1..=peers, any::<proptest::sample::Index>());
    (any_shape(layers), all, rtts, cuts, few).prop_map(
        |(shape, mut peers, rtts, cuts, (count, head))| {
            peers.truncate(count);
            let mut distances = Distances::default();
            let pairs = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
            for ((a, b), rtt) in pairs.zip(rtts) {
                if let Some(micros) = rtt {
                    let rtt = Duration::from_micros(micros);
                    distances.note(peers[a].node, peers[b].node, rtt);
                }
            }
            let head = head.index(count);
            Case {
                shape,
                peers,
                distances,
                cuts,
                head,
            }
        },
    )
}

/// Makes one peer better in one way.
fn better(case: &Case, which: usize, how: u8, by: u64) -> Case {
    let mut better = case.clone();
    let count = case.peers.len();
    let peer = &mut better.peers[which % count];
    match how % 5 {
        0 => peer.free_bytes += by << 20,
        1 => {
            peer.bandwidth = peer
                .bandwidth
                .map(|bandwidth| bandwidth * (1.0 + by as f64 / 100.0))
        }
        2 => peer.uplink = peer.uplink.map(|uplink| uplink + by * 1000),
        3 => peer.is_allowed = true,
        _ => {
            let node = peer.node;
            let mut nearer = Distances::default();
            for (at, a) in case.peers.iter().enumerate() {
                for b in &case.peers[at + 1..] {
                    let ours = a.node == node || b.node == node;
                    let less = Duration::from_micros(if ours { by * 20 } else { 0 });
                    if let Some(rtt) = case.distances.between(a.node, b.node) {
                        nearer.note(a.node, b.node, rtt.saturating_sub(less));
                    }
                }
            }
            better.distances = nearer;
        }
    }
    better
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// The rules, with every order, subset and split tried: one machine if one can, else the best
    /// ring there is.
    #[test]
    fn no_plan_is_better_than_the_plan(case in any_case(6, 6)) {
        let (alone, any) = case.brute();
        let found = case.plan();
        let token = found.as_ref().ok().map(|plan| plan.prediction.token);
        prop_assert_eq!(token, alone.or(any));
        if let Ok(plan) = found {
            prop_assert_eq!(plan.is_whole(), alone.is_some());
            // Never distributed where one machine would be faster.
            let is_slower = alone.is_some_and(|alone| plan.prediction.token > alone);
            prop_assert!(!is_slower);
        }
    }

    /// Every layer once, in order, within everybody's memory and cut where it may be; nobody
    /// twice; and a word on everybody else.
    #[test]
    fn plans_are_sound(case in any_case(8, 24)) {
        let everybody: Vec<_> = {
            let mut nodes: Vec<_> = case.peers.iter().map(|peer| peer.node).collect();
            nodes.sort();
            nodes
        };
        let Ok(plan) = case.plan() else {
            let none = case.plan().unwrap_err();
            let out: Vec<_> = none.out.iter().map(|(node, _)| *node).collect();
            prop_assert_eq!(out, everybody);
            return Ok(());
        };
        let mut next = 0;
        for stage in &plan.stages {
            prop_assert_eq!(stage.layers.start, next);
            prop_assert!(stage.layers.end > next);
            next = stage.layers.end;
            prop_assert!(next == case.shape.count() || case.cuts[next as usize]);
            let peer = case.peers.iter().find(|peer| peer.node == stage.peer).unwrap();
            let room = case.ask(|question| question.slice_room(peer));
            prop_assert!(stage.bytes <= room || plan.is_whole() && stage.bytes <= peer.free_bytes);
            prop_assert!(peer.is_allowed);
            for other in &plan.stages {
                prop_assert!(case.distances.are_near(stage.peer, other.peer));
            }
            prop_assert!(case.distances.are_near(stage.peer, plan.head));
        }
        prop_assert_eq!(next, case.shape.count());
        let mut named: Vec<_> = plan.stages.iter().map(|stage| stage.peer).collect();
        named.extend(plan.out.iter().map(|(node, _)| *node));
        named.sort();
        prop_assert_eq!(named, everybody);
        let sum = plan.prediction.compute + plan.prediction.network;
        prop_assert_eq!(plan.prediction.token, sum);
    }

    /// The order in which peers are handed in says nothing.
    #[test]
    fn the_same_question_has_the_same_answer(case in any_case(8, 12)) {
        let mut turned = case.clone();
        let head = turned.peers[turned.head].node;
        turned.peers.reverse();
        turned.head = turned.peers.iter().position(|peer| peer.node == head).unwrap();
        prop_assert_eq!(case.plan(), turned.plan());
    }

    /// More memory, bandwidth or uplink, a shorter round trip, one more peer that may: never
    /// slower, but where one machine comes to hold it all.
    #[test]
    fn a_better_peer_never_makes_the_plan_worse(
        case in any_case(7, 12),
        which in 0..8_usize,
        how: u8,
        by in 1..4000_u64,
    ) {
        let Ok(before) = case.plan() else { return Ok(()); };
        let after = better(&case, which, how, by).plan().unwrap();
        let took_over = after.is_whole() && !before.is_whole();
        prop_assert!(took_over || after.prediction.token <= before.prediction.token);
    }

    /// Without any one peer of the chain there is no faster one; what a verdict says that a peer
    /// costs is what it costs.
    #[test]
    fn a_peer_that_slows_down_is_left_out(case in any_case(6, 6), which in 0..6_usize) {
        let Ok(plan) = case.plan() else { return Ok(()); };
        prop_assume!(!plan.is_whole());
        let fewer = |node: NodeId| {
            let mut fewer = case.clone();
            for peer in fewer.peers.iter_mut().filter(|peer| peer.node == node) {
                peer.is_allowed = false;
            }
            fewer.plan()
        };
        let stage = &plan.stages[which % plan.stages.len()];
        if let Ok(without) = fewer(stage.peer) {
            prop_assert!(without.prediction.token >= plan.prediction.token);
        }
        for (node, verdict) in &plan.out {
            prop_assert_eq!(fewer(*node).unwrap().prediction.token, plan.prediction.token);
            if let Verdict::SlowsDown { by } = verdict {
                prop_assert!(*by > Duration::ZERO);
            }
        }
    }
}

#[test]
fn spares_are_the_fastest_with_room_and_nobody_of_the_ring() {
    let shape = shape(6);
    let peers = [
        peer(0, 9, 1e12),
        peer(1, 9, 1e12),
        peer(2, 4, 1e10),
        peer(3, 3, 1e11),
        peer(4, 9, 1e9),
    ];
    let distances = apart(&peers, ms(5));
    let question = ask(&shape, &peers, &distances);
    let vacancy = Vacancy {
        ring: vec![(node(0), 0..2), (node(1), 2..6)],
        layers: vec![0..2, 2..5, 5..6],
        is_for_ring: false,
    };
    // The largest first; one peer holds several as far as it has room.
    let expected = [(node(3), 2..5), (node(2), 0..2), (node(2), 5..6)];
    assert_eq!(stand_ins(&question, &vacancy), expected);
    let vacancy = Vacancy {
        is_for_ring: true,
        ..vacancy
    };
    let expected = [(node(3), 2..5), (node(2), 0..2), (node(4), 5..6)];
    assert_eq!(stand_ins(&question, &vacancy), expected);
}

#[test]
fn nobody_stands_in_who_is_far_from_the_ring_or_not_allowed() {
    let shape = shape(2);
    let mut peers = [peer(0, 9, 1e12), peer(1, 9, 1e12), peer(2, 9, 1e12)];
    let vacancy = Vacancy {
        ring: vec![(node(0), 0..1)],
        layers: std::iter::once(1..2).collect(),
        is_for_ring: true,
    };
    let mut distances = Distances::default();
    distances.note(node(0), node(1), ms(81));
    peers[2].is_allowed = false;
    distances.note(node(0), node(2), ms(1));
    let question = ask(&shape, &peers, &distances);
    assert_eq!(stand_ins(&question, &vacancy), []);
}

#[test]
fn whose_place_is_taken_need_not_be_near() {
    let shape = shape(4);
    let peers = [peer(0, 9, 1e12), peer(1, 9, 1e12), peer(2, 9, 1e12)];
    let mut distances = Distances::default();
    distances.note(node(0), node(1), ms(1));
    distances.note(node(0), node(2), ms(1));
    let question = ask(&shape, &peers, &distances);
    let vacancy = Vacancy {
        ring: vec![(node(0), 0..2), (node(1), 2..4)],
        layers: vec![0..2, 2..4],
        is_for_ring: false,
    };
    assert_eq!(stand_ins(&question, &vacancy), [(node(2), 2..4)]);
}

#[test]
fn a_ring_with_a_slow_stage_is_changed_for_one_without_and_back_for_nothing() {
    let shape = shape(4);
    let mut peers = [peer(0, 2, 1e11), peer(1, 9, 1e11), peer(2, 9, 1e11)];
    let distances = apart(&peers, ms(2));
    let with = |other: u8| vec![(node(0), 0..2), (node(other), 2..4)];
    let others = || [with(1), with(2)];
    let best = |peers: &[Peer], ring: u8, replayed| {
        change(
            &ask(&shape, peers, &distances),
            &with(ring),
            others(),
            replayed,
        )
    };
    assert_eq!(best(&peers, 1, 0), None);
    peers[1].slowdown = 4.0;
    assert_eq!(best(&peers, 1, 0), Some(with(2)));
    assert_eq!(best(&peers, 1, 1_000_000), None, "too much to replay");
    assert_eq!(best(&peers, 2, 0), None);
    // Equally slow, neither is better.
    peers[2].slowdown = 4.0;
    assert_eq!(best(&peers, 1, 0), None);
    assert_eq!(best(&peers, 2, 0), None);
    // Nobody is better of whom nothing is known.
    let unknown = vec![(node(0), 0..2), (node(9), 2..4)];
    let question = ask(&shape, &peers, &distances);
    assert_eq!(change(&question, &with(1), [unknown], 0), None);
}
