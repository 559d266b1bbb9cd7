//! Steps one by one, then properties over random histories.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::core::pace::Rate;

/// No limit but the queue's.
fn open() -> Policy {
    Policy {
        own_percent: 25,
        max_waiting: 64,
        max_waiting_per_peer: 64,
        max_running: 64,
        max_running_per_peer: 64,
        rate: Rate {
            burst: 1e6,
            per_second: 1e6,
        },
    }
}

fn peer(n: u8) -> NodeId {
    NodeId::from(&ed25519_dalek::SigningKey::from_bytes(&[n; 32]))
}

fn model(name: &str) -> ModelName {
    name.parse().unwrap()
}

/// One model; all its leases are the own user's.
fn rooms(parallel: u32, leases: u32) -> Rooms {
    let room = Room {
        parallel,
        leases,
        guests: 0,
    };
    Rooms {
        models: [(model("m"), room)].into(),
        own_waits: false,
    }
}

fn own_waits(parallel: u32) -> Rooms {
    Rooms {
        own_waits: true,
        ..rooms(parallel, 0)
    }
}

/// The core with a clock and who was answered what.
struct World {
    fairness: Fairness,
    now: Instant,
    next: u64,
    peer_of: BTreeMap<Ticket, u8>,
    running: Vec<Ticket>,
    refused: Vec<(Ticket, Refusal)>,
    positions: BTreeMap<Ticket, u32>,
}

impl World {
    fn new(policy: Policy) -> Self {
        Self {
            fairness: Fairness::new(policy),
            now: Instant::now(),
            next: 0,
            peer_of: BTreeMap::new(),
            running: Vec::new(),
            refused: Vec::new(),
            positions: BTreeMap::new(),
        }
    }

    /// What was admitted by this.
    fn handle(&mut self, input: Input) -> Vec<Ticket> {
        let mut out = Vec::new();
        self.fairness.handle(input, self.now, &mut out);
        let mut admitted = Vec::new();
        for output in out {
            match output {
                Output::Admit(ticket) => {
                    self.positions.remove(&ticket);
                    admitted.push(ticket);
                }
                Output::Position { ticket, position } => {
                    self.positions.insert(ticket, position);
                }
                Output::Refuse { ticket, refusal } => {
                    self.positions.remove(&ticket);
                    self.refused.push((ticket, refusal));
                }
            }
        }
        self.running.extend(&admitted);
        admitted
    }

    fn ask_of(&mut self, by: u8, name: &str, estimate: u64) -> (Ticket, Vec<Ticket>) {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.peer_of.insert(ticket, by);
        let ask = Ask {
            ticket,
            peer: peer(by),
            model: model(name),
            estimate,
        };
        (ticket, self.handle(Input::Ask(ask)))
    }

    fn ask(&mut self, by: u8) -> Ticket {
        self.ask_of(by, "m", 1).0
    }

    fn leave(&mut self, ticket: Ticket) -> Vec<Ticket> {
        self.running.retain(|running| *running != ticket);
        self.positions.remove(&ticket);
        self.handle(Input::Leave(ticket))
    }

    /// A request that cost what it was estimated at.
    fn finish(&mut self, ticket: Ticket) -> Vec<Ticket> {
        self.handle(Input::Spend { ticket, cost: 1 });
        self.leave(ticket)
    }

    fn peers(&self, tickets: &[Ticket]) -> Vec<u8> {
        tickets.iter().map(|ticket| self.peer_of[ticket]).collect()
    }
}

#[test]
fn a_share_is_kept_for_the_own_user() {
    let mut world = World::new(open());
    world.handle(Input::Rooms(rooms(16, 0)));
    for _ in 0..20 {
        world.ask(1);
    }
    assert_eq!(world.running.len(), 12);
    assert_eq!([1, 2, 4, 16].map(|n| guest_slots(n, 25)), [1, 1, 3, 12]);
    assert_eq!([1, 2, 16].map(|n| guest_slots(n, 0)), [1, 2, 16]);
    assert_eq!([1, 16].map(|n| guest_slots(n, 100)), [1, 1]);
}

#[test]
fn peers_take_what_the_own_user_leaves() {
    let mut world = World::new(open());
    world.handle(Input::Rooms(rooms(16, 10)));
    for _ in 0..20 {
        world.ask(1);
    }
    assert_eq!(world.running.len(), 6);
    world.handle(Input::Rooms(rooms(16, 17)));
    let first = world.running[0];
    assert_eq!(world.leave(first), [], "the own user waits for a sequence");
    assert_eq!(world.handle(Input::Rooms(rooms(16, 10))).len(), 1);
}

#[test]
fn nobody_is_admitted_while_the_own_user_waits_for_a_model() {
    let mut world = World::new(open());
    world.handle(Input::Rooms(own_waits(16)));
    world.ask(1);
    world.ask_of(1, "other", 1);
    assert_eq!(world.running, []);
    assert_eq!(world.handle(Input::Rooms(rooms(16, 0))).len(), 2);
}

#[test]
fn a_model_that_is_not_loaded_takes_one() {
    let mut world = World::new(open());
    let (first, admitted) = world.ask_of(1, "m", 1);
    assert_eq!(admitted, [first]);
    assert_eq!(world.ask_of(2, "m", 1).1, []);
    assert_eq!(world.handle(Input::Rooms(rooms(4, 1))).len(), 1);
}

#[test]
fn a_peer_that_waits_for_one_model_is_served_another() {
    let mut world = World::new(open());
    let mut both = rooms(1, 1);
    both.models.insert(
        model("b"),
        Room {
            parallel: 4,
            leases: 0,
            guests: 0,
        },
    );
    world.handle(Input::Rooms(both));
    let (stuck, admitted) = world.ask_of(1, "m", 1);
    assert_eq!(admitted, []);
    let (other, admitted) = world.ask_of(1, "b", 1);
    assert_eq!(admitted, [other]);
    assert_eq!(world.positions, [(stuck, 0)].into());
}

#[test]
fn the_costly_waits_for_the_modest() {
    let mut world = World::new(open());
    world.handle(Input::Rooms(rooms(1, 0)));
    let big = world.ask(1);
    let cost = 1000;
    world.handle(Input::Spend { ticket: big, cost });
    let again = world.ask(1);
    let small: Vec<_> = (0..3).map(|_| world.ask(2)).collect();
    assert_eq!(world.positions[&again], 3);
    let mut running = big;
    for expected in small.into_iter().chain([again]) {
        assert_eq!(world.leave(running), [expected]);
        running = expected;
    }
}

#[test]
fn what_was_estimated_and_not_spent_is_given_back() {
    let mut world = World::new(open());
    world.handle(Input::Rooms(rooms(1, 0)));
    let (first, _) = world.ask_of(1, "m", 1000);
    world.ask_of(1, "m", 10);
    let (cost, ticket) = (20, first);
    world.handle(Input::Spend { ticket, cost });
    world.ask_of(2, "m", 10);
    assert_eq!(world.fairness.peers[&peer(1)].given, 1000);
    let next = world.leave(first);
    assert_eq!(world.peers(&next), [2]);
    assert_eq!(world.fairness.peers[&peer(1)].given, 20);
}

#[test]
fn nobody_saves_up_by_being_away() {
    let mut world = World::new(open());
    world.handle(Input::Rooms(rooms(1, 0)));
    for _ in 0..50 {
        let ticket = world.ask(1);
        world.finish(ticket);
    }
    world.handle(Input::Rooms(own_waits(1)));
    for _ in 0..4 {
        world.ask(1);
        world.ask(2);
    }
    let mut admitted = world.handle(Input::Rooms(rooms(1, 0)));
    for _ in 0..7 {
        let running = world.running[0];
        admitted.extend(world.finish(running));
    }
    let order = world.peers(&admitted);
    let firsts = order[..4].iter().filter(|by| **by == 2).count();
    assert!((1..=3).contains(&firsts), "{order:?}");
}

#[test]
fn a_flood_is_dropped_from_the_full_queue_and_not_the_modest() {
    let mut world = World::new(Policy {
        max_waiting: 8,
        ..open()
    });
    world.handle(Input::Rooms(own_waits(1)));
    for _ in 0..10 {
        world.ask(1);
    }
    assert_eq!(world.refused.len(), 2, "its own newest");
    let modest = world.ask(2);
    let (dropped, refusal) = world.refused[2];
    assert_eq!(world.peer_of[&dropped], 1);
    assert!(matches!(refusal, Refusal::QueueFull { .. }));
    assert!(refusal.retry_after() >= RETRY.0);
    assert!(world.positions.contains_key(&modest));
    assert_eq!(world.fairness.waiting(), 8);
}

#[test]
fn a_peer_has_its_rate_and_its_part_of_the_queue() {
    let rate = Rate {
        burst: 3.0,
        per_second: 0.5,
    };
    let mut world = World::new(Policy {
        rate,
        max_waiting_per_peer: 2,
        ..open()
    });
    world.handle(Input::Rooms(own_waits(1)));
    for _ in 0..4 {
        world.ask(1);
    }
    let refusals: Vec<_> = world.refused.iter().map(|(_, refusal)| *refusal).collect();
    let full = matches!(refusals[0], Refusal::PeerQueueFull { .. });
    let retry_after = Duration::from_secs(2);
    assert!(full && refusals[1] == Refusal::TooFast { retry_after });
    world.ask(2);
    assert_eq!(world.refused.len(), 2, "another peer has its own");
}

#[test]
fn the_table_of_peers_is_bounded_and_makes_room() {
    let mut world = World::new(open());
    world.handle(Input::Rooms(rooms(64, 0)));
    for n in 0..MAX_PEERS as u64 {
        let id = NodeId::from(&ed25519_dalek::SigningKey::from_bytes(&{
            let mut key = [7; 32];
            key[..8].copy_from_slice(&n.to_le_bytes());
            key
        }));
        let (ticket, cost) = (Ticket(n), n);
        let ask = Ask {
            ticket,
            peer: id,
            model: model("m"),
            estimate: 1,
        };
        world.handle(Input::Ask(ask));
        world.handle(Input::Spend { ticket, cost });
        world.leave(ticket);
    }
    world.next = MAX_PEERS as u64;
    assert_eq!(world.fairness.peers.len(), MAX_PEERS);
    world.now += SWEEP_EVERY;
    let ticket = world.ask(1);
    assert!(world.running.contains(&ticket), "{:?}", world.refused);
    assert!(world.fairness.peers.len() < MAX_PEERS);
}

/// A step of a history; numbers pick among what there is.
#[derive(Debug, Clone)]
enum Step {
    Ask {
        by: u8,
        other: bool,
        estimate: u64,
    },
    Leave(usize),
    GiveUp(usize),
    Spend(usize, u64),
    Rooms {
        parallel: u32,
        leases: u32,
        own: bool,
    },
    Pass(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u8..6, any::<bool>(), 0_u64..100)
            .prop_map(|(by, other, estimate)| Step::Ask { by, other, estimate }),
        2 => (0_usize..64).prop_map(Step::Leave),
        1 => (0_usize..64).prop_map(Step::GiveUp),
        2 => (0_usize..64, 0_u64..50).prop_map(|(i, cost)| Step::Spend(i, cost)),
        1 => (1_u32..8, 0_u32..10, any::<bool>())
            .prop_map(|(parallel, leases, own)| Step::Rooms { parallel, leases, own }),
        1 => (0_u64..5000).prop_map(Step::Pass),
    ]
}

const TIGHT: Policy = Policy {
    own_percent: 25,
    max_waiting: 6,
    max_waiting_per_peer: 4,
    max_running: 5,
    max_running_per_peer: 2,
    rate: Rate {
        burst: 8.0,
        per_second: 1.0,
    },
};

fn pick<T: Copy>(all: &[T], index: usize) -> Option<T> {
    (!all.is_empty()).then(|| all[index % all.len()])
}

fn apply(world: &mut World, step: &Step) {
    let waiting: Vec<Ticket> = world.fairness.waiting.keys().copied().collect();
    match *step {
        Step::Ask {
            by,
            other,
            estimate,
        } => {
            world.ask_of(by, if other { "other" } else { "m" }, estimate);
        }
        Step::Leave(i) => {
            if let Some(ticket) = pick(&world.running, i) {
                world.leave(ticket);
            }
        }
        Step::GiveUp(i) => {
            if let Some(ticket) = pick(&waiting, i) {
                world.leave(ticket);
            }
        }
        Step::Spend(i, cost) => {
            if let Some(ticket) = pick(&world.running, i) {
                world.handle(Input::Spend { ticket, cost });
            }
        }
        Step::Rooms {
            parallel,
            leases,
            own,
        } => {
            let own_waits = own;
            let rooms = Rooms {
                own_waits,
                ..rooms(parallel, leases)
            };
            let free = !own_waits && leases <= parallel;
            let admitted = world.handle(Input::Rooms(rooms));
            assert!(free || admitted.is_empty(), "own user first");
        }
        Step::Pass(millis) => world.now += Duration::from_millis(millis),
    }
}

fn check(world: &World) {
    let fairness = &world.fairness;
    assert!(fairness.waiting.len() <= TIGHT.max_waiting);
    assert!(fairness.running.len() <= TIGHT.max_running);
    let running: BTreeSet<_> = fairness.running.keys().copied().collect();
    assert_eq!(running, world.running.iter().copied().collect());
    for (id, peer) in &fairness.peers {
        let of = |ask: &Ask| ask.peer == *id;
        assert!(peer.waiting <= TIGHT.max_waiting_per_peer);
        assert!(peer.running <= TIGHT.max_running_per_peer);
        let waiting = fairness.waiting.values().filter(|w| of(&w.ask)).count();
        let running = fairness.running.values().filter(|r| of(&r.ask)).count();
        assert_eq!((peer.waiting, peer.running), (waiting, running));
    }
    // Positions are told once each, 0 to the end.
    let mut told: Vec<_> = world.positions.values().copied().collect();
    told.sort_unstable();
    let count = u32::try_from(fairness.waiting.len()).unwrap();
    assert_eq!(told, (0..count).collect::<Vec<_>>());
}

proptest! {
    /// Every bound holds, own requests go first, and all that waits is served in the end.
    #[test]
    fn any_history_is_sound(steps in proptest::collection::vec(any_step(), 0..200)) {
        let mut world = World::new(TIGHT);
        for step in &steps {
            apply(&mut world, step);
            check(&world);
        }
        world.handle(Input::Rooms(rooms(4, 0)));
        while let Some(ticket) = world.running.first().copied() {
            world.leave(ticket);
            check(&world);
        }
        prop_assert_eq!(world.fairness.waiting(), 0);
    }

    /// While peers wait, none is admitted more than one request more often than another.
    #[test]
    fn equal_requests_are_shared_out_evenly(
        peers in 2_u8..6,
        parallel in 1_u32..6,
        ends in proptest::collection::vec(0_usize..64, 1..150),
    ) {
        let mut world = World::new(Policy { own_percent: 0, ..open() });
        world.handle(Input::Rooms(own_waits(parallel)));
        // One floods; the others have no more waiting than they need.
        for by in 0..peers {
            for _ in 0..if by == 0 { 20 } else { 8 } {
                world.ask(by);
            }
        }
        world.handle(Input::Rooms(rooms(parallel, 0)));
        let mut admitted = vec![0_i32; peers.into()];
        for ticket in &world.running {
            admitted[usize::from(world.peer_of[ticket])] += 1;
        }
        for end in ends {
            let ticket = pick(&world.running, end).unwrap();
            for ticket in world.finish(ticket) {
                let by = world.peer_of[&ticket];
                admitted[usize::from(by)] += 1;
                world.ask(by);
            }
            let most = admitted.iter().max().unwrap();
            let least = admitted.iter().min().unwrap();
            prop_assert!(most - least <= 1, "{:?}", admitted);
        }
    }

    /// Requests of unequal cost: what peers were given differs by one request at most, however
    /// wrong the estimates were.
    #[test]
    fn unequal_requests_are_shared_out_by_their_cost(
        costs in proptest::collection::vec((1_u64..200, 1_u64..200), 50..200),
    ) {
        let peers = 3_u8;
        let mut world = World::new(Policy { own_percent: 0, ..open() });
        world.handle(Input::Rooms(own_waits(1)));
        let mut costs = costs.into_iter();
        let mut real = BTreeMap::new();
        for by in (0..peers).cycle().take(12) {
            let (estimate, cost) = costs.next().unwrap();
            let (ticket, _) = world.ask_of(by, "m", estimate);
            real.insert(ticket, cost);
        }
        let mut given = [0_u64; 3];
        world.handle(Input::Rooms(rooms(1, 0)));
        for (estimate, cost) in costs {
            let ticket = world.running[0];
            let by = world.peer_of[&ticket];
            let spent = real[&ticket];
            world.handle(Input::Spend { ticket, cost: spent });
            given[usize::from(by)] += spent;
            let (next, _) = world.ask_of(by, "m", estimate);
            real.insert(next, cost);
            world.leave(ticket);
            let most = given.iter().max().unwrap();
            let least = given.iter().min().unwrap();
            prop_assert!(most - least <= 200, "{:?}", given);
        }
    }
}
