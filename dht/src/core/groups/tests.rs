//! One node's group in a network of fixed round-trip times.

use ed25519_dalek::SigningKey;
use proptest::{collection::vec, prelude::*};
use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::core::{
    coordinates::Claim,
    rtt::{LEAVE_AFTER, MIN_REPLIES},
};

/// Peers by number, each with a round-trip time; `None`: it answers no probe.
struct World {
    groups: Groups,
    rng: StdRng,
    now: Instant,
    rtts: BTreeMap<NodeId, Option<Duration>>,
    probes: Vec<(Instant, NodeId)>,
    dials: Vec<(Instant, NodeId)>,
    roles: Vec<Role>,
    closeness: BTreeMap<NodeId, Closeness>,
}

fn id(peer: u16) -> NodeId {
    let mut secret = [0; 32];
    secret[..2].copy_from_slice(&peer.to_be_bytes());
    NodeId::from(&SigningKey::from_bytes(&secret))
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn at(x_ms: f64, error: f64) -> Coordinate {
    let claim = Claim {
        x_ms,
        y_ms: 0.0,
        height_ms: 1.0,
        error,
    };
    Coordinate::try_from(claim).unwrap()
}

impl World {
    fn new(own: Coordinate) -> Self {
        let now = Instant::now();
        Self {
            groups: Groups::new(own, now),
            rng: StdRng::seed_from_u64(3),
            now,
            rtts: BTreeMap::new(),
            probes: Vec::new(),
            dials: Vec::new(),
            roles: Vec::new(),
            closeness: BTreeMap::new(),
        }
    }

    fn handle(&mut self, input: Input) {
        let mut out = Vec::new();
        self.groups.handle(input, self.now, &mut self.rng, &mut out);
        let mut answers = Vec::new();
        for output in out {
            match output {
                Output::Probe(peer) => {
                    self.probes.push((self.now, peer));
                    answers.extend(self.rtts[&peer].map(|rtt| Input::Reply(peer, rtt)));
                }
                Output::Dial(peer) => self.dials.push((self.now, peer)),
                Output::Closeness(peer, closeness) => {
                    self.closeness.insert(peer, closeness);
                }
                Output::Role(role) => self.roles.push(role),
            }
        }
        // The answer is handled at once: its time is what it says, not when it is handled.
        for answer in answers {
            self.handle(answer);
        }
    }

    fn connect(&mut self, peer: u16, rtt: Option<Duration>) {
        self.rtts.insert(id(peer), rtt);
        self.handle(Input::Path(id(peer), Some(Path::Direct)));
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.groups.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.handle(Input::Tick);
            let next = self.groups.next_deadline();
            assert!(next.is_none_or(|next| next > self.now), "a deadline stays");
        }
        self.now = end;
    }

    /// The dials that need no promise are spent, on peers that are gone.
    fn spend_first_dials(&mut self) {
        let peers = || (900..).take(FIRST_DIALS as usize).map(id);
        for peer in peers() {
            self.handle(Input::Said {
                peer,
                place: None,
                is_dialable: true,
            });
        }
        self.run(FIRST_SPACING * FIRST_DIALS);
        peers().for_each(|peer| self.handle(Input::Silent(peer)));
        assert_eq!(self.dials.len(), FIRST_DIALS as usize);
        self.dials.clear();
        self.run(DIAL_SPACING);
    }

    fn say(&mut self, peer: u16, place: Coordinate) {
        self.handle(Input::Said {
            peer: id(peer),
            place: Some(place),
            is_dialable: true,
        });
    }
}

#[test]
fn the_near_become_the_group_and_the_rest_does_not() {
    let mut world = World::new(Coordinate::default());
    for (peer, rtt) in [(1, 20), (2, 79), (3, 81), (4, 150)] {
        world.connect(peer, Some(ms(rtt)));
    }
    world.connect(5, None);
    world.run(ms(10_000));
    let mut group: Vec<_> = world.groups.group().collect();
    let mut near = vec![id(1), id(2)];
    group.sort_unstable();
    near.sort_unstable();
    assert_eq!(group, near);
    assert_eq!(world.roles, [Role::Member]);
    assert_eq!(world.closeness.len(), 2, "nothing is said of the others");
    let neighbours = world.groups.neighbours(FULL_LISTS);
    let times: Vec<_> = neighbours.iter().map(|n| n.rtt).collect();
    assert_eq!(times, [20, 79, 81, 150].map(ms));
    let probes = |peer| world.probes.iter().filter(|(_, p)| *p == id(peer)).count();
    assert_eq!(probes(4), MIN_REPLIES, "quickly until there is an estimate");
}

#[test]
fn more_adverts_name_fewer_neighbours_each() {
    let mut world = World::new(Coordinate::default());
    for peer in 1..=20 {
        world.connect(peer, Some(ms(10)));
    }
    world.run(ms(60_000));
    let named = |shard| world.groups.neighbours(shard).len();
    assert_eq!([0, 100, 125, 160].map(named), [16, 16, 12, 10]);
}

#[test]
fn a_relayed_path_is_not_measured() {
    let mut world = World::new(Coordinate::default());
    world.rtts.insert(id(1), Some(ms(10)));
    world.handle(Input::Path(id(1), Some(Path::Relayed)));
    world.run(ms(60_000));
    assert!(world.probes.is_empty());
    world.handle(Input::Path(id(1), Some(Path::Direct)));
    world.run(ms(10_000));
    assert_eq!(world.groups.closeness(&id(1)), Closeness::Group);
}

#[test]
fn a_member_leaves_past_the_hysteresis_only() {
    let mut world = World::new(Coordinate::default());
    world.connect(1, Some(ms(60)));
    world.run(ms(60_000));
    world.rtts.insert(id(1), Some(ms(90)));
    world.run(ms(600_000));
    assert_eq!(world.groups.group().count(), 1, "between the bounds");
    world.rtts.insert(id(1), Some(ms(120)));
    let moved = world.now;
    while world.groups.group().count() == 1 {
        world.run(ms(1000));
        assert!(world.now < moved + ms(120_000), "it never left");
    }
    assert!(world.now >= moved + LEAVE_AFTER);
    world.rtts.insert(id(1), Some(ms(60)));
    world.run(16 * SELDOM_EVERY);
    assert_eq!(world.groups.group().count(), 1, "and back");
}

#[test]
fn a_lost_connection_is_given_the_same_time() {
    let mut world = World::new(Coordinate::default());
    world.connect(1, Some(ms(60)));
    world.run(ms(10_000));
    world.handle(Input::Path(id(1), None));
    world.run(LEAVE_AFTER - ms(1));
    assert_eq!(world.groups.group().count(), 1);
    world.connect(1, Some(ms(60)));
    world.run(ms(60_000));
    assert_eq!(world.groups.group().count(), 1, "it came back in time");
    world.handle(Input::Path(id(1), None));
    world.run(LEAVE_AFTER);
    assert!(world.groups.is_empty());
    assert_eq!(world.closeness[&id(1)], Closeness::Stranger);
}

#[test]
fn who_is_near_to_nobody_says_so_and_takes_it_back() {
    let mut world = World::new(Coordinate::default());
    world.run(2 * ALONE_AFTER);
    assert!(world.roles.is_empty(), "without peers there was no chance");
    world.connect(1, Some(ms(200)));
    world.run(ALONE_AFTER - ms(1));
    assert!(world.roles.is_empty());
    world.run(ms(1));
    assert_eq!(world.roles, [Role::ApiClient]);
    world.connect(2, Some(ms(30)));
    world.run(BACK_AFTER);
    assert_eq!(world.roles, [Role::ApiClient], "not at once");
    world.run(ms(10_000));
    assert_eq!(world.roles, [Role::ApiClient, Role::Member]);
    world.handle(Input::Path(id(2), None));
    world.run(LEAVE_AFTER + ALONE_AFTER);
    let last = world.roles.last();
    assert_eq!(last, Some(&Role::ApiClient));
}

#[test]
fn a_full_group_keeps_its_members_and_takes_the_nearest_after() {
    let mut world = World::new(Coordinate::default());
    let most = u16::try_from(MAX_GROUP).unwrap();
    for peer in 0..most {
        world.connect(peer, Some(ms(70)));
    }
    world.run(ms(60_000));
    world.connect(100, Some(ms(10)));
    world.connect(101, Some(ms(5)));
    world.run(ms(60_000));
    assert_eq!(world.groups.group().count(), MAX_GROUP);
    assert_eq!(world.groups.closeness(&id(101)), Closeness::Near);
    world.handle(Input::Path(id(3), None));
    world.run(LEAVE_AFTER);
    assert_eq!(world.groups.closeness(&id(101)), Closeness::Group);
    assert_eq!(world.groups.closeness(&id(100)), Closeness::Near);
}

#[test]
fn the_promising_are_dialled_nearest_first_and_failures_are_remembered() {
    let mut world = World::new(at(0.0, 0.1));
    world.spend_first_dials();
    world.say(2, at(30.0, 0.1));
    world.say(1, at(60.0, 0.1));
    world.say(3, at(200.0, 0.1));
    world.say(4, at(1.0, 0.9));
    world.handle(Input::Said {
        peer: id(5),
        place: Some(at(1.0, 0.1)),
        is_dialable: false,
    });
    world.run(ms(30_000));
    let dialled: Vec<_> = world.dials.iter().map(|(_, peer)| *peer).collect();
    assert_eq!(
        dialled,
        [id(2), id(1)],
        "a far one and an unsure one are not"
    );
    world.run(4 * RETRY_AFTER);
    let second = world.dials.iter().filter(|(_, peer)| *peer == id(2));
    let times: Vec<_> = second.map(|(at, _)| *at).collect();
    assert_eq!(times.len(), 3);
    assert!(times[1] - times[0] >= RETRY_AFTER);
    assert!(times[2] - times[1] >= 2 * RETRY_AFTER);
    world.handle(Input::Silent(id(2)));
    world.handle(Input::Silent(id(1)));
    world.dials.clear();
    world.run(2 * MAX_RETRY_AFTER);
    assert!(world.dials.is_empty());
}

#[test]
fn the_first_dials_need_no_promise_and_are_a_second_apart() {
    let mut world = World::new(Coordinate::default());
    world.say(2, at(500.0, 0.9));
    world.say(1, at(1.0, 0.1));
    for peer in [3, 4] {
        world.handle(Input::Said {
            peer: id(peer),
            place: None,
            is_dialable: peer == 3,
        });
    }
    world.run(FIRST_SPACING * 4);
    let mut dialled: Vec<_> = world.dials.iter().map(|(_, peer)| *peer).collect();
    dialled.sort_unstable();
    let mut wanted = [id(1), id(2), id(3)];
    wanted.sort_unstable();
    assert_eq!(dialled, wanted, "who cannot be dialled is not");
}

#[test]
fn an_unsure_node_and_one_with_company_dial_nobody() {
    let mut world = World::new(Coordinate::default());
    world.spend_first_dials();
    world.say(1, at(1.0, 0.1));
    world.run(ms(60_000));
    assert!(world.dials.is_empty(), "its own coordinate says nothing");
    let mut world = World::new(at(0.0, 0.1));
    for peer in 0..u16::try_from(ENOUGH_MEMBERS).unwrap() {
        world.connect(peer, Some(ms(20)));
    }
    world.run(ms(60_000));
    world.say(100, at(1.0, 0.1));
    world.run(ms(60_000));
    assert!(world.dials.is_empty());
}

#[test]
fn a_crowd_that_claims_to_be_near_costs_six_dials_a_minute() {
    let mut world = World::new(at(0.0, 0.1));
    world.spend_first_dials();
    for peer in 0..1200 {
        world.say(peer, at(2.0, 0.05));
    }
    world.run(ms(600_000));
    assert!((55..=61).contains(&world.dials.len()));
    let mut peers: Vec<_> = world.dials.iter().map(|(_, peer)| *peer).collect();
    peers.sort_unstable();
    peers.dedup();
    assert_eq!(peers.len(), world.dials.len(), "nobody twice");
}

#[test]
fn the_own_coordinate_follows_the_measurements() {
    let mut world = World::new(Coordinate::default());
    for peer in 0..4_u8 {
        world.say(peer.into(), at(100.0 * f64::from(peer), 0.05));
        let rtt = 10.0 + (100.0 * f64::from(peer) - 50.0).abs();
        world.connect(peer.into(), Some(Duration::from_secs_f64(rtt / 1000.0)));
    }
    world.run(ms(1_200_000));
    let own = world.groups.coordinate();
    assert!(own.error() < 0.3, "{own:?}");
    let guess = own.distance(&at(250.0, 0.05));
    assert!((150..=280).contains(&guess.as_millis()), "{guess:?}");
}

#[derive(Debug, Clone)]
enum Step {
    Connect(u16, Option<u64>),
    Relay(u16),
    Close(u16),
    Change(u16, Option<u64>),
    Say(u16, f64),
    Unasked(u16, u64),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let rtt = || proptest::option::weighted(0.9, 1..400_u64);
    prop_oneof![
        (0..60_u16, rtt()).prop_map(|(peer, rtt)| Step::Connect(peer, rtt)),
        (0..60_u16).prop_map(Step::Relay),
        (0..60_u16).prop_map(Step::Close),
        (0..60_u16, rtt()).prop_map(|(peer, rtt)| Step::Change(peer, rtt)),
        (0..90_u16, -200.0..200.0).prop_map(|(peer, x)| Step::Say(peer, x)),
        (0..60_u16, 0..400_u64).prop_map(|(peer, rtt)| Step::Unasked(peer, rtt)),
        (1..60_000_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn budgets_and_bounds_hold_whatever_happens(steps in vec(step(), 1..80)) {
        let mut world = World::new(at(0.0, 0.2));
        let mut direct = std::collections::BTreeSet::new();
        for step in steps {
            let before = world.probes.len();
            match step {
                Step::Connect(peer, rtt) => {
                    direct.insert(id(peer));
                    world.connect(peer, rtt.map(ms));
                }
                Step::Relay(peer) => {
                    direct.remove(&id(peer));
                    world.handle(Input::Path(id(peer), Some(Path::Relayed)));
                }
                Step::Close(peer) => {
                    direct.remove(&id(peer));
                    world.handle(Input::Path(id(peer), None));
                }
                Step::Change(peer, rtt) => {
                    world.rtts.insert(id(peer), rtt.map(ms));
                }
                Step::Say(peer, x) => world.say(peer, at(x, 0.2)),
                Step::Unasked(peer, rtt) => world.handle(Input::Reply(id(peer), ms(rtt))),
                Step::Wait(time) => world.run(ms(time)),
            }
            for (_, peer) in &world.probes[before..] {
                prop_assert!(direct.contains(peer), "a probe without a direct path");
            }
            prop_assert!(world.groups.group().count() <= MAX_GROUP);
            prop_assert!(world.groups.len() <= MAX_MEASURED);
        }
        let spaced = |times: &[(Instant, NodeId)], least: Duration| {
            times.windows(2).all(|pair| pair[1].0 - pair[0].0 >= least)
        };
        prop_assert!(spaced(&world.probes, PROBE_SPACING));
        let first = world.dials.len().min(FIRST_DIALS as usize);
        prop_assert!(spaced(&world.dials[..first], FIRST_SPACING));
        prop_assert!(spaced(&world.dials[first..], DIAL_SPACING));
    }
}
