//! The schedule against a clock of our own.

use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

use super::*;

/// A schedule, its time and its chance.
struct Bench {
    schedule: Schedule,
    now: Instant,
    rng: StdRng,
}

impl Bench {
    fn new(seed: u64) -> Self {
        Self {
            schedule: Schedule::default(),
            now: Instant::now(),
            rng: StdRng::seed_from_u64(seed),
        }
    }

    fn tell(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.schedule
            .handle(input, self.now, &mut self.rng, &mut out);
        out
    }

    /// Goes on to the next deadline.
    fn on(&mut self) -> Vec<Output> {
        self.now = self.schedule.next_deadline().unwrap();
        self.tell(Input::Tick)
    }

    /// Goes on to the next deadline, at which an announcement begins.
    fn next_announcement(&mut self) -> (AnnounceId, Vec<String>) {
        match &self.on()[..] {
            [Output::Announce(id, addresses)] => (*id, addresses.clone()),
            other => panic!("no announcement: {other:?}"),
        }
    }
}

fn addresses(names: &[&str]) -> Input {
    Input::Addresses(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn nothing_is_announced_without_addresses() {
    let mut bench = Bench::new(0);
    assert_eq!(bench.tell(Input::Tick), []);
    assert_eq!(bench.tell(addresses(&[])), []);
    assert_eq!(bench.schedule.next_deadline(), None);
}

#[test]
fn addresses_settle_and_are_refreshed() {
    let mut bench = Bench::new(1);
    let begun = bench.now;
    bench.tell(addresses(&["a"]));
    bench.now += SETTLE / 2;
    bench.tell(addresses(&["a", "b"]));
    let (id, announced) = bench.next_announcement();
    assert_eq!(announced, ["a", "b"]);
    assert_eq!(bench.now, begun + SETTLE);
    assert_eq!(bench.tell(Input::Ended(id, Ended::Taken)), []);
    let taken = bench.now;
    let (again, _) = bench.next_announcement();
    assert_ne!(id, again);
    let rest = bench.now - taken;
    assert!(rest >= REFRESH - REFRESH_JITTER && rest <= REFRESH + REFRESH_JITTER);
}

#[test]
fn a_change_is_announced_but_not_at_any_rate() {
    let mut bench = Bench::new(2);
    bench.tell(addresses(&["a"]));
    let (id, _) = bench.next_announcement();
    let begun = bench.now;
    bench.tell(addresses(&["b"]));
    bench.tell(Input::Ended(id, Ended::Taken));
    let (_, announced) = bench.next_announcement();
    assert_eq!(announced, ["b"]);
    assert_eq!(bench.now, begun + MIN_INTERVAL);
}

#[test]
fn failures_are_tried_again_later_and_later() {
    let mut bench = Bench::new(3);
    bench.tell(addresses(&["a"]));
    let mut rests = Vec::new();
    for _ in 0..12 {
        let (id, _) = bench.next_announcement();
        bench.tell(Input::Ended(id, Ended::Failed));
        rests.push(bench.schedule.next_deadline().unwrap() - bench.now);
        // A change does not cut the rest short.
        let before = bench.schedule.next_deadline();
        bench.tell(addresses(&["a", "b"]));
        bench.tell(addresses(&["a"]));
        assert_eq!(bench.schedule.next_deadline(), before);
    }
    assert!(rests[0] <= RETRY_BASE && rests[0] >= RETRY_BASE / 2);
    assert!(rests[11] >= MAX_RETRY / 2);
    assert_eq!(bench.schedule.failures(), 12);
}

#[test]
fn an_announcement_that_hangs_is_given_up() {
    let mut bench = Bench::new(4);
    bench.tell(addresses(&["a"]));
    let (id, _) = bench.next_announcement();
    assert_eq!(bench.on(), [Output::Abandon(id)]);
    assert_eq!(bench.tell(Input::Ended(id, Ended::Taken)), []);
    assert_eq!(bench.schedule.failures(), 1);
}

#[test]
fn a_node_without_addresses_falls_silent() {
    let mut bench = Bench::new(5);
    bench.tell(addresses(&["a"]));
    let (id, _) = bench.next_announcement();
    bench.tell(addresses(&[]));
    bench.tell(Input::Ended(id, Ended::Taken));
    assert_eq!(bench.schedule.next_deadline(), None);
}

#[test]
fn whoever_was_reached_by_nobody_announces_where_it_listens() {
    let set = |names: &[&str]| -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    };
    let listening = || {
        [(1, "home"), (2, "world"), (2, "world-6")].map(|(range, name)| (range, name.to_owned()))
    };
    assert_eq!(announced(set(&[]), listening()), set(&["world", "world-6"]));
    assert_eq!(announced(set(&["seen"]), listening()), set(&["seen"]));
    assert_eq!(announced::<u8>(set(&[]), []), set(&[]));
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Addresses(Vec<u8>),
    End(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..100_000u64).prop_map(Step::Wait),
        (0..120u64).prop_map(Step::Wait),
        proptest::collection::vec(0..12u8, 0..12).prop_map(Step::Addresses),
        any::<bool>().prop_map(Step::End),
    ]
}

proptest! {
    #[test]
    fn the_rate_is_bounded_and_addresses_are_announced(
        steps in proptest::collection::vec(step(), 0..200),
        seed: u64,
    ) {
        let mut bench = Bench::new(seed);
        let mut running: Option<AnnounceId> = None;
        let mut wanted = BTreeSet::new();
        let mut starts: Vec<Instant> = Vec::new();
        let mut seen = BTreeSet::new();
        for step in steps {
            let out = match step {
                Step::Wait(seconds) => {
                    bench.now += Duration::from_secs(seconds);
                    bench.tell(Input::Tick)
                }
                Step::Addresses(names) => {
                    wanted = names.iter().map(u8::to_string).collect();
                    bench.tell(Input::Addresses(wanted.clone()))
                }
                Step::End(taken) => match running.take() {
                    Some(id) => bench.tell(Input::Ended(
                        id,
                        if taken { Ended::Taken } else { Ended::Failed },
                    )),
                    None => vec![],
                },
            };
            for output in out {
                match output {
                    Output::Abandon(id) => prop_assert_eq!(running.take(), Some(id)),
                    Output::Announce(id, addresses) => {
                        prop_assert!(running.is_none() && seen.insert(id));
                        prop_assert!(!addresses.is_empty() && addresses.len() <= MAX_ADDRESSES);
                        prop_assert!(addresses.iter().all(|one| wanted.contains(one)));
                        running = Some(id);
                        starts.push(bench.now);
                    }
                }
            }
            // It never stops trying while there is something to announce, and never sleeps
            // without.
            match bench.schedule.next_deadline() {
                Some(at) => {
                    prop_assert!(at <= bench.now + REFRESH + REFRESH_JITTER);
                    prop_assert!(!wanted.is_empty() || running.is_some());
                }
                None => prop_assert!(wanted.is_empty() && running.is_none()),
            }
        }
        for pair in starts.windows(2) {
            prop_assert!(pair[1] - pair[0] >= RETRY_BASE / 2);
        }
    }
}
