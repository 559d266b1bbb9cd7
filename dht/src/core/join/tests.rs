//! The join against a made-up network in virtual time: addresses that work, refuse or swallow
//! everything, and inputs of any order.

use std::sync::LazyLock;

use proptest::{collection::vec, prelude::*, sample::select};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;

/// The longest cold join with one of three bootstrap nodes alive and IPv6 black-holed.
const COLD_JOIN: Duration = Duration::from_secs(15);

/// Made once: a key costs more than everything that is tested with it.
static PEERS: LazyLock<Vec<NodeId>> = LazyLock::new(|| {
    let key = |n| ed25519_dalek::SigningKey::from_bytes(&[n; 32]);
    (0..=u8::MAX).map(|n| NodeId::from(&key(n))).collect()
});

fn peer(n: u8) -> NodeId {
    PEERS[usize::from(n)]
}

/// What an address does to a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Works,
    Refuses,
    Swallows,
}

fn address(family: Family, transport: Transport, name: &str, fate: Fate) -> Address {
    Address {
        text: format!("{name}/{fate:?}"),
        family,
        transport,
    }
}

fn families() -> impl Strategy<Value = Family> {
    select(&[Family::V4, Family::V6][..])
}

fn transports() -> impl Strategy<Value = Transport> {
    select(&[Transport::Quic, Transport::Tcp][..])
}

/// A dead node's addresses: none works, IPv6 swallows.
fn dead(name: &'static str, count: usize) -> impl Strategy<Value = Vec<Address>> {
    let one = (families(), transports(), any::<bool>());
    vec(one, 0..=count).prop_map(move |kinds| {
        let with_number = kinds.into_iter().zip(0..);
        with_number
            .map(|((family, transport, refuses), n)| {
                let fate = if refuses && family == Family::V4 {
                    Fate::Refuses
                } else {
                    Fate::Swallows
                };
                address(family, transport, &format!("{name}{n}"), fate)
            })
            .collect()
    })
}

/// A living node's: up to 7 that do not work, and one of IPv4 that does, anywhere among them.
fn alive() -> impl Strategy<Value = Vec<Address>> {
    (dead("alive", 7), transports(), any::<prop::sample::Index>()).prop_map(
        |(mut addresses, transport, place)| {
            let at = place.index(addresses.len() + 1);
            let works = address(Family::V4, transport, "works", Fate::Works);
            addresses.insert(at, works);
            addresses
        },
    )
}

/// A world in virtual time around one join.
struct World {
    join: Join,
    start: Instant,
    now: Instant,
    rng: StdRng,
    /// What arrives when.
    arrivals: Vec<(Instant, Input)>,
    found: BTreeMap<Way, Vec<Candidate>>,
    in_flight: BTreeMap<DialId, (Family, NodeId)>,
    dials: usize,
    states: Vec<State>,
}

impl World {
    fn new(ways: &[Way], seed: u64) -> Self {
        let start = Instant::now();
        Self {
            join: Join::new(ways, start),
            start,
            now: start,
            rng: StdRng::seed_from_u64(seed),
            arrivals: Vec::new(),
            found: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            dials: 0,
            states: Vec::new(),
        }
    }

    fn give(&mut self, input: Input) {
        let mut out = Vec::new();
        self.join.handle(input, self.now, &mut self.rng, &mut out);
        for output in out {
            self.react(output);
        }
        assert!(self.in_flight.len() <= MAX_DIALS);
        let due = self.join.next_deadline();
        assert!(due.is_none_or(|at| at > self.now), "the timer would spin");
    }

    fn react(&mut self, output: Output) {
        match output {
            Output::Search(id, way) => {
                let later = self.now + Duration::from_millis(self.rng.random_range(0..1000));
                let found = self.found.get(&way).cloned().unwrap_or_default();
                self.arrivals.push((later, Input::Found(way, found)));
                self.arrivals.push((later, Input::SearchEnded(id, None)));
            }
            Output::Dial {
                id, peer, address, ..
            } => {
                self.dials += 1;
                assert!(self.in_flight.insert(id, (address.family, peer)).is_none());
                let later = self.now + Duration::from_millis(self.rng.random_range(1..1500));
                if address.text.ends_with("Works") {
                    self.arrivals.push((later, Input::Reached(id)));
                    self.arrivals.push((later, Input::Peers(1)));
                } else if address.text.ends_with("Refuses") {
                    self.arrivals
                        .push((later, Input::Failed(id, Cause::Refused)));
                }
            }
            Output::Abandon(id) => assert!(self.in_flight.remove(&id).is_some()),
            Output::State(state) => self.states.push(state),
        }
    }

    /// Goes to whatever happens next.
    fn step(&mut self) {
        let due = self.join.next_deadline();
        let arrival = self.arrivals.iter().map(|(at, _)| *at).min();
        let next = due
            .into_iter()
            .chain(arrival)
            .min()
            .expect("always something to do");
        self.now = self.now.max(next);
        let at = self.arrivals.iter().position(|(at, _)| *at <= self.now);
        let input = at.map_or(Input::Tick, |index| self.arrivals.remove(index).1);
        if let Input::Reached(id) | Input::Failed(id, _) = &input {
            self.in_flight.remove(id);
        }
        self.give(input);
    }

    fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        while self.now <= self.start + limit {
            if done(self) {
                return true;
            }
            self.step();
        }
        false
    }
}

fn candidates(addresses: Vec<Vec<Address>>, first: u8) -> Vec<Candidate> {
    let numbered = addresses.into_iter().zip(first..);
    numbered
        .map(|(addresses, n)| Candidate {
            peer: peer(n),
            addresses,
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_cold_join_takes_15_s_at_most(
        living in alive(),
        gone in (dead("one", 8), dead("two", 8)),
        stale in vec(dead("stale", 8), 0..30),
        fakes in vec(dead("fake", 8), 0..64),
        seed: u64,
    ) {
        let mut world = World::new(&Way::ALL, seed);
        world.found.insert(Way::Bootstrap, candidates(vec![gone.0, living, gone.1], 1));
        world.found.insert(Way::Remembered, candidates(stale, 100));
        world.found.insert(Way::Rendezvous, candidates(fakes, 130));
        world.give(Input::Tick);
        let joined = world.run_until(COLD_JOIN, |w| matches!(w.join.state(), State::Joined(_)));
        prop_assert!(joined, "not joined: {:?}", world.join.report());
        prop_assert_eq!(world.states.last(), Some(&State::Joined(1)));
    }

    #[test]
    fn a_node_alone_never_gives_up_and_never_storms(
        gone in vec(dead("gone", 8), 0..6),
        seed: u64,
    ) {
        let mut world = World::new(&[Way::Bootstrap, Way::Mdns], seed);
        let addresses: usize = gone.iter().map(Vec::len).sum();
        world.found.insert(Way::Bootstrap, candidates(gone, 1));
        world.give(Input::Tick);
        let hour = Duration::from_secs(3600);
        world.run_until(hour, |_| false);
        // Said once: no flapping between the states.
        prop_assert_eq!(&world.states, &vec![State::Alone]);
        // A round takes at most all of its dials in a row, and the longest rest after it.
        let rounds = world.join.report().ways[1].failures;
        let longest = MAX_BACKOFF.as_secs() + 5 * (addresses as u64 / SLOTS as u64 + 2) + 2;
        prop_assert!(u64::from(rounds) >= 3600 / longest);
        prop_assert!(u64::from(rounds) <= 3600 / (MAX_BACKOFF.as_secs() / 2) + 12);
        prop_assert!(world.dials <= addresses * rounds as usize + addresses);
        // It may come back at any time.
        let works = address(Family::V4, Transport::Tcp, "back", Fate::Works);
        world.found.insert(Way::Bootstrap, candidates(vec![vec![works]], 1));
        let soon = world.now - world.start + Duration::from_secs(longest + 10);
        prop_assert!(world.run_until(soon, |w| w.join.state() == State::Joined(1)));
    }

    #[test]
    fn any_inputs_keep_the_bounds(
        inputs in vec((0_u8..7, any::<u8>(), 0_u64..4000, 0_u64..60), 1..300),
        seed: u64,
    ) {
        let mut world = World::new(&Way::ALL, seed);
        for (kind, n, wait_ms, id) in inputs {
            world.now += Duration::from_millis(wait_ms);
            world.arrivals.clear();
            let way = Way::ALL[usize::from(n) % 4];
            let many = |n: u8| (0..=n % 80).map(|i| address(
                [Family::V4, Family::V6][usize::from(i % 2)],
                Transport::Quic, &format!("{n}-{i}"), Fate::Swallows,
            )).collect();
            let input = match kind {
                0 => Input::Tick,
                1 => Input::Found(way, candidates((0..n % 100).map(many).collect(), 0)),
                2 => Input::SearchEnded(SearchId(id), (n % 2 == 0).then_some(Cause::NoAddress)),
                3 => Input::Reached(DialId(id)),
                4 => Input::Failed(DialId(id), Cause::Refused),
                5 => Input::Peers(usize::from(n % 12)),
                _ => Input::NetworkChanged,
            };
            if let Input::Reached(id) | Input::Failed(id, _) = &input {
                world.in_flight.remove(id);
            }
            world.give(input);
            for way in world.join.report().ways {
                if let WayState::Trying { in_flight, queued } = way.state {
                    prop_assert!(in_flight <= 2 * SLOTS);
                    prop_assert!(queued <= MAX_CANDIDATES * MAX_ADDRESSES_PER_PEER);
                }
            }
        }
    }
}

#[test]
fn the_first_success_wins_and_the_rest_go_on_quietly() {
    let mut world = World::new(&Way::ALL, 1);
    let swallow = |n: u8| {
        vec![address(
            Family::V4,
            Transport::Quic,
            &format!("s{n}"),
            Fate::Swallows,
        )]
    };
    let works = vec![address(Family::V4, Transport::Quic, "w", Fate::Works)];
    world.found.insert(
        Way::Remembered,
        candidates((0..40).map(swallow).collect(), 1),
    );
    world.found.insert(Way::Mdns, candidates(vec![works], 100));
    world.give(Input::Tick);
    assert!(world.run_until(COLD_JOIN, |w| w.join.state() == State::Joined(1)));
    let minute = Duration::from_secs(60);
    world.run_until(minute, |w| w.in_flight.len() <= QUIET_SLOTS);
    let before = world.dials;
    world.run_until(minute, |_| false);
    assert!(world.dials > before, "the rest goes on");
    assert!(world.in_flight.len() <= QUIET_SLOTS, "but quietly");
}

#[test]
fn a_changed_network_is_tried_at_once() {
    let mut world = World::new(&[Way::Bootstrap], 2);
    world.give(Input::Tick);
    world.run_until(Duration::from_secs(600), |_| false);
    assert_eq!(world.join.state(), State::Alone);
    let works = vec![address(Family::V6, Transport::Tcp, "w", Fate::Works)];
    world
        .found
        .insert(Way::Bootstrap, candidates(vec![works], 1));
    world.arrivals.clear();
    world.give(Input::NetworkChanged);
    assert_eq!(world.join.state(), State::Joining);
    let soon = world.now - world.start + Duration::from_secs(3);
    assert!(world.run_until(soon, |w| w.join.state() == State::Joined(1)));
}

#[test]
fn a_network_that_changes_all_the_time_is_no_storm() {
    let mut world = World::new(&[Way::Bootstrap], 3);
    let gone = vec![address(Family::V4, Transport::Tcp, "g", Fate::Swallows)];
    world
        .found
        .insert(Way::Bootstrap, candidates(vec![gone], 1));
    for _ in 0..1000 {
        world.now += Duration::from_millis(10);
        world.give(Input::NetworkChanged);
    }
    // Ten seconds, one round each.
    assert!(world.arrivals.len() <= 2 * 11, "{}", world.arrivals.len());
}

#[test]
fn losing_the_last_peer_begins_anew() {
    let mut world = World::new(&[Way::Bootstrap], 4);
    let works = vec![address(Family::V4, Transport::Tcp, "w", Fate::Works)];
    world
        .found
        .insert(Way::Bootstrap, candidates(vec![works], 1));
    world.give(Input::Tick);
    assert!(world.run_until(COLD_JOIN, |w| w.join.state() == State::Joined(1)));
    world.run_until(Duration::from_secs(30), |_| false);
    world.give(Input::Peers(0));
    assert_eq!(world.join.state(), State::Joining);
    let soon = world.now - world.start + Duration::from_secs(4);
    assert!(world.run_until(soon, |w| w.join.state() == State::Joined(1)));
}

#[test]
fn the_cause_is_named() {
    let mut world = World::new(&[Way::Bootstrap, Way::Rendezvous], 5);
    let v6 = |n| {
        address(
            Family::V6,
            Transport::Quic,
            &format!("v6{n}"),
            Fate::Swallows,
        )
    };
    let v4 = address(Family::V4, Transport::Tcp, "v4", Fate::Refuses);
    world
        .found
        .insert(Way::Bootstrap, candidates(vec![vec![v4]], 1));
    world
        .found
        .insert(Way::Rendezvous, candidates(vec![vec![v6(1), v6(2)]], 2));
    world.give(Input::Tick);
    assert!(world.run_until(COLD_JOIN, |w| w.join.state() == State::Alone));
    let report = world.join.report();
    assert!(report.ipv6_black_holed);
    let causes: Vec<_> = report.ways.iter().map(|way| way.cause).collect();
    let (refused, black_hole) = (Some(Cause::Refused), Some(Cause::BlackHoledIpv6));
    assert_eq!(causes, [None, refused, None, black_hole]);
    assert_eq!(report.ways[0].state, WayState::Off);
}
