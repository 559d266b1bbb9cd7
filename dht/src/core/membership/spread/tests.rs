//! A list reaches everybody over whatever connections there are, and nothing goes on for ever.

use proptest::prelude::*;
use protocol::{Signed, membership::LIST_DIGEST_BYTES};

use super::*;
use crate::core::membership::{
    Roster,
    fixture::{NOW, delegation, list, list_by, node, swarm},
};

/// Nodes by number, each with its roster; messages are carried at once or lost.
struct Net {
    nodes: Vec<(Spread<usize>, Roster)>,
    requests: usize,
    now: Instant,
}

impl Net {
    fn new(count: usize) -> Self {
        let now = Instant::now();
        let node = || (Spread::new(now), Roster::new(swarm()));
        Self {
            nodes: std::iter::repeat_with(node).take(count).collect(),
            requests: 0,
            now,
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        self.nodes[a].0.on_connected(b);
        self.nodes[b].0.on_connected(a);
    }

    fn learn(&mut self, at: usize, list: List) {
        let (spread, roster) = &mut self.nodes[at];
        // A list that is not believed or is old changes nothing.
        let _ = roster.handle_revocations(list, NOW);
        spread.update(roster.lists());
    }

    /// Until nobody has anything to say. Each `lost`th request fails.
    fn run(&mut self, lost: usize) {
        let mut is_moving = true;
        while is_moving {
            is_moving = false;
            for at in 0..self.nodes.len() {
                while let Some(output) = self.nodes[at].0.next_output() {
                    is_moving = true;
                    self.carry(at, output, lost);
                }
            }
        }
    }

    fn carry(&mut self, at: usize, output: SpreadOutput<usize>, lost: usize) {
        match output {
            SpreadOutput::Ask { peer, request } => {
                self.requests += 1;
                assert!(self.requests < 100_000, "it goes on for ever");
                let is_lost = lost > 0 && self.requests.is_multiple_of(lost);
                let now = self.now;
                let reply = self.nodes[peer].0.on_request(at, &request, now);
                match reply.filter(|_| !is_lost) {
                    Some(reply) => self.nodes[at].0.on_reply(peer, reply),
                    None => self.nodes[at].0.on_failed(peer, now),
                }
            }
            SpreadOutput::List { list, .. } => self.learn(at, *list),
        }
    }

    fn sequences(&self) -> Vec<Vec<(NodeId, u64)>> {
        let of = |roster: &Roster| {
            roster
                .lists()
                .map(|(author, seq, _)| (author, seq.0))
                .collect()
        };
        self.nodes.iter().map(|(_, roster)| of(roster)).collect()
    }
}

#[test]
fn a_list_goes_from_one_to_the_next() {
    let mut net = Net::new(4);
    (0..3).for_each(|at| net.connect(at, at + 1));
    net.run(0);
    net.learn(0, list(3, &[5]));
    net.run(0);
    assert_eq!(net.sequences(), vec![vec![(node(1), 3)]; 4]);
    // Nothing is new: nobody says anything.
    let before = net.requests;
    net.learn(3, list(3, &[5]));
    net.run(0);
    assert_eq!(net.requests, before);
}

#[test]
fn who_comes_late_is_told() {
    let mut net = Net::new(2);
    net.learn(0, list(3, &[5]));
    net.run(0);
    net.connect(1, 0);
    net.run(0);
    assert_eq!(net.sequences()[1], [(node(1), 3)]);
}

#[test]
fn of_two_lists_with_one_sequence_everybody_ends_with_the_same() {
    let mut net = Net::new(2);
    net.learn(0, list(3, &[5]));
    net.learn(1, list(3, &[5, 6]));
    net.connect(0, 1);
    net.run(0);
    let lengths = net.nodes.iter().map(|(spread, _)| spread.heads[&node(1)]);
    let heads: Vec<_> = lengths.collect();
    assert_eq!(heads[0], heads[1]);
}

#[test]
fn lists_of_many_authors_travel_together() {
    let mut net = Net::new(2);
    net.connect(0, 1);
    net.learn(0, list(1, &[9]));
    for delegate in 2..8 {
        let delegation: Signed<_> = delegation(delegate, true);
        net.learn(0, list_by(delegate, Some(delegation), 1, &[20]));
    }
    net.run(0);
    assert_eq!(net.sequences()[1].len(), 7);
}

#[test]
fn who_does_not_answer_is_asked_again_later() {
    let now = Instant::now();
    let mut spread = Spread::new(now);
    spread.on_connected(1);
    assert!(matches!(
        spread.next_output(),
        Some(SpreadOutput::Ask { peer: 1, .. })
    ));
    spread.on_failed(1, now);
    assert_eq!(spread.next_output(), None);
    let at = spread.next_deadline().unwrap();
    spread.on_tick(at);
    assert!(matches!(
        spread.next_output(),
        Some(SpreadOutput::Ask { peer: 1, .. })
    ));
    spread.on_disconnected(1);
    assert_eq!(spread.next_deadline(), None);
}

#[test]
fn few_are_asked_at_one_time_and_few_requests_are_answered() {
    let now = Instant::now();
    let mut spread = Spread::new(now);
    (0..100).for_each(|peer| spread.on_connected(peer));
    let mut asked = Vec::new();
    while let Some(SpreadOutput::Ask { peer, .. }) = spread.next_output() {
        asked.push(peer);
    }
    assert_eq!(asked.len(), MAX_ASKS);
    spread.on_reply(asked[0], RevocationsReply::default());
    assert!(spread.next_output().is_some() && spread.next_output().is_none());
    let request = RevocationsRequest::default();
    let answered = (0..100).filter(|_| spread.on_request(500, &request, now).is_some());
    assert_eq!(answered.count(), 16);
}

#[test]
fn a_liar_is_asked_once_for_each_lie() {
    let now = Instant::now();
    let mut spread = Spread::new(now);
    spread.on_connected(1);
    let _ = spread.next_output();
    spread.on_reply(1, RevocationsReply::default());
    let head = ListHead {
        sequence: Sequence(u64::MAX),
        digest: [0; LIST_DIGEST_BYTES],
    };
    let request = RevocationsRequest {
        heads: Heads::from([(node(9), head)]),
    };
    assert!(spread.on_request(1, &request, now).is_some());
    assert!(spread.next_output().is_some());
    spread.on_reply(1, RevocationsReply::default());
    assert_eq!(spread.next_output(), None);
}

proptest! {
    /// Any connected graph, several lists, requests lost: in the end all have the newest.
    #[test]
    fn everybody_ends_with_the_newest(
        links in prop::collection::vec((0usize..8, 0usize..8), 0..12),
        lists in prop::collection::vec((0usize..8, 1u64..6), 1..5),
        lost in 0usize..5,
    ) {
        let mut net = Net::new(8);
        (0..7).for_each(|at| net.connect(at, at + 1));
        for (a, b) in links {
            if a != b {
                net.connect(a, b);
            }
        }
        let newest = lists.iter().map(|(_, sequence)| *sequence).max().unwrap();
        for (at, sequence) in lists {
            net.learn(at, list(sequence, &[u8::try_from(sequence).unwrap() + 10]));
            net.run(if lost == 1 { 2 } else { lost });
        }
        for _ in 0..20 {
            net.now += RETRY_AFTER;
            let now = net.now;
            net.nodes.iter_mut().for_each(|(spread, _)| spread.on_tick(now));
            net.run(0);
        }
        prop_assert_eq!(net.sequences(), vec![vec![(node(1), newest)]; 8]);
    }
}
