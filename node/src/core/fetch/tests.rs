//! Single decisions, and whole fetches in a simulator with honest, hostile, slow and breaking sources.

mod sim;

use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use protocol::NodeId;

use self::sim::{Kind, Sim};
use super::*;

const MIB: u64 = 1 << 20;

fn peer(number: u8) -> Source {
    Source::Peer(NodeId::from(&SigningKey::from_bytes(&[number; 32])))
}

/// 100 MiB in chunks of 32 KiB, as a small model has.
fn layout() -> Layout {
    Layout::new(&[60 * MIB, 40 * MIB]).unwrap()
}

fn range(file: u32, offset: u64, length: u64) -> Span {
    Span {
        file,
        offset,
        length,
    }
}

/// A slice: some layers, and two small pieces.
fn slice() -> Vec<Span> {
    vec![
        range(0, 10 * MIB + 77, 50 * MIB - 77),
        range(1, 0, 5 * MIB + 1),
        range(1, 39 * MIB + 5000, 3000),
    ]
}

fn fetch(wanted: &ChunkSet) -> Fetch {
    let none = ChunkSet::none(wanted.universe());
    Fetch::new(
        layout(),
        wanted.clone(),
        &none,
        Policy::default(),
        Instant::now(),
    )
}

fn whole() -> Offer {
    Offer {
        held: ChunkSet::all(layout().chunk_count()),
        bytes_per_second: None,
    }
}

fn asks(out: &[Output]) -> Vec<(AskId, Source, Range<u32>)> {
    let ask = |output: &Output| match output {
        Output::Ask {
            ask,
            source,
            chunks,
        } => Some((*ask, *source, chunks.clone())),
        _ => None,
    };
    out.iter().filter_map(ask).collect()
}

#[test]
fn a_slice_is_rounded_to_chunks_by_less_than_a_hundredth() {
    let layout = layout();
    assert_eq!(layout.chunk_bytes(), 32 << 10);
    let chunks = chunks_of(&layout, &slice()).unwrap();
    let bytes: u64 = chunks
        .runs()
        .flatten()
        .map(|chunk| layout.span(chunk).unwrap().length)
        .sum();
    let slice: u64 = slice().iter().map(|range| range.length).sum();
    assert!(
        bytes >= slice && bytes * 100 <= slice * 101,
        "{bytes} for {slice}"
    );
    let beyond = range(1, 40 * MIB, 1);
    assert_eq!(chunks_of(&layout, &[beyond]), Err(NoSuchRange(beyond)));
    assert!(chunks_of(&layout, &[range(0, 0, 0)]).unwrap().is_empty());
}

#[test]
fn nothing_missing_is_finished_at_once() {
    let wanted = chunks_of(&layout(), &slice()).unwrap();
    let now = Instant::now();
    let mut fetch = Fetch::new(layout(), wanted.clone(), &wanted, Policy::default(), now);
    let mut out = Vec::new();
    fetch.handle(Input::Tick, now, &mut out);
    assert_eq!(out, [Output::Finished]);
    assert_eq!(fetch.next_deadline(), None);
}

#[test]
fn what_only_one_source_has_is_asked_of_it_first() {
    let count = layout().chunk_count();
    let mut fetch = fetch(&ChunkSet::of_runs(count, std::iter::once(0..400)));
    let now = Instant::now();
    let mut out = Vec::new();
    let half = Offer {
        held: ChunkSet::of_runs(count, std::iter::once(0..200)),
        bytes_per_second: None,
    };
    let (all, part) = (peer(1), peer(2));
    // Both are there before either is asked: neither holds anything that is wanted yet.
    for source in [all, part] {
        let offer = Offer {
            held: ChunkSet::none(count),
            bytes_per_second: None,
        };
        fetch.handle(Input::Found { source, offer }, now, &mut out);
    }
    fetch.handle(
        Input::Found {
            source: part,
            offer: half,
        },
        now,
        &mut out,
    );
    fetch.handle(
        Input::Found {
            source: all,
            offer: whole(),
        },
        now,
        &mut out,
    );
    for (_, source, chunks) in asks(&out) {
        assert_eq!(source == all, chunks.start >= 200, "{source:?} {chunks:?}");
    }
}

#[test]
fn wrong_bytes_end_a_source_for_good_and_are_told() {
    let mut fetch = fetch(&chunks_of(&layout(), &slice()).unwrap());
    let now = Instant::now();
    let mut out = Vec::new();
    let source = peer(1);
    let found = Input::Found {
        source,
        offer: whole(),
    };
    fetch.handle(found.clone(), now, &mut out);
    let (ask, _, chunks) = asks(&out)[0].clone();
    out.clear();
    let chunk = chunks.start;
    fetch.handle(Input::Corrupt { ask, chunk }, now, &mut out);
    assert!(out.contains(&Output::Distrust(source)));
    assert_eq!(
        out.iter()
            .filter(|o| matches!(o, Output::Cancel(_)))
            .count(),
        2
    );
    out.clear();
    fetch.handle(found, now, &mut out);
    assert_eq!(out, []);
    assert_eq!(fetch.wasted_bytes(), 32 << 10);
    // Nobody else comes.
    let over = fetch.next_deadline().unwrap();
    assert!(over <= now + Policy::default().patience && over > now);
    fetch.handle(Input::Tick, over, &mut out);
    assert_eq!(out, [Output::Failed(Failure::NoSource)]);
}

#[test]
fn a_busy_source_rests_and_a_refusing_one_is_dropped() {
    let mut fetch = fetch(&chunks_of(&layout(), &slice()).unwrap());
    let now = Instant::now();
    let mut out = Vec::new();
    let found = Input::Found {
        source: peer(1),
        offer: whole(),
    };
    fetch.handle(found, now, &mut out);
    let asked = asks(&out);
    let wish = Duration::from_secs(7);
    for (ask, ..) in &asked {
        let end = End::Busy(Some(wish));
        fetch.handle(Input::Ended { ask: *ask, end }, now, &mut out);
    }
    out.clear();
    assert_eq!(fetch.next_deadline(), Some(now + wish));
    fetch.handle(Input::Tick, now + wish, &mut out);
    let (ask, ..) = asks(&out)[0];
    out.clear();
    let end = End::Refused;
    fetch.handle(Input::Ended { ask, end }, now + wish, &mut out);
    assert_eq!(asks(&out), []);
    assert!(matches!(out[..], [Output::Cancel(_)]));
}

#[test]
fn an_idle_source_takes_the_end_of_a_long_ask() {
    let count = layout().chunk_count();
    let mut fetch = fetch(&ChunkSet::of_runs(count, std::iter::once(0..1000)));
    let now = Instant::now();
    let mut out = Vec::new();
    let slow = Offer {
        bytes_per_second: Some(50_000.0),
        ..whole()
    };
    fetch.handle(
        Input::Found {
            source: peer(1),
            offer: slow,
        },
        now,
        &mut out,
    );
    // The slow one alone has all that is free in few asks; the fast one ends what is left of it.
    let fast = Offer {
        bytes_per_second: Some(5e6),
        ..whole()
    };
    fetch.handle(
        Input::Found {
            source: peer(2),
            offer: fast,
        },
        now,
        &mut out,
    );
    let mut time = now;
    for _ in 0..2000 {
        let mut own = asks(&out).into_iter();
        let own = own.rfind(|(_, source, _)| *source == peer(2)).unwrap();
        let (ask, _, chunks) = own;
        if out
            .iter()
            .any(|output| matches!(output, Output::Shorten { .. }))
        {
            return;
        }
        for chunk in chunks {
            time += Duration::from_millis(6);
            fetch.handle(Input::Verified { ask, chunk }, time, &mut out);
        }
        fetch.handle(
            Input::Ended {
                ask,
                end: End::Whole,
            },
            time,
            &mut out,
        );
    }
    panic!("nothing was taken over");
}

#[test]
fn two_sources_share_the_work_by_their_speed() {
    let mut sim = Sim::new(layout(), &slice(), 1);
    sim.add(peer(1), Kind::Honest, 4e6);
    sim.add(peer(2), Kind::Honest, 2e6);
    let ended = sim.run();
    assert_eq!(ended, Some(Output::Finished));
    let (fast, slow) = (sim.given(peer(1)), sim.given(peer(2)));
    let whole = fast + slow;
    assert_eq!(whole, sim.wanted_bytes());
    assert!(
        fast * 100 > whole * 55 && slow * 100 > whole * 20,
        "{fast} and {slow}"
    );
    // No longer than a tenth beyond what both together need.
    let least = sim::seconds(whole) / 6e6;
    assert!(
        sim.elapsed().as_secs_f64() < 1.15 * least + 1.0,
        "{:?}",
        sim.elapsed()
    );
}

#[test]
fn one_hostile_source_of_three_costs_one_chunk() {
    for seed in 0..20 {
        let mut sim = Sim::new(layout(), &slice(), seed);
        sim.add(peer(1), Kind::Honest, 4e6);
        sim.add(
            peer(2),
            Kind::Hostile {
                honest_chunks: u32::try_from(seed).unwrap(),
            },
            8e6,
        );
        sim.add(peer(3), Kind::Honest, 2e6);
        assert_eq!(sim.run(), Some(Output::Finished));
        assert_eq!(sim.distrusted, [peer(2)]);
        let limit = sim.wanted_bytes() * 101 / 100;
        assert!(sim.came <= limit, "{} of {limit}", sim.came);
    }
}

#[test]
fn a_source_that_hangs_is_relieved_by_an_idle_one() {
    let mut sim = Sim::new(layout(), &slice(), 1);
    sim.add(peer(1), Kind::Honest, 8e6);
    sim.add(peer(2), Kind::Hangs { after: 20 }, 8e6);
    assert_eq!(sim.run(), Some(Output::Finished));
    assert!(
        sim.elapsed() < Duration::from_secs(25),
        "{:?}",
        sim.elapsed()
    );
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => Just(Kind::Honest),
        1 => (0_u32..50).prop_map(|honest_chunks| Kind::Hostile { honest_chunks }),
        1 => (0_u32..50).prop_map(|after| Kind::Hangs { after }),
        2 => (1_u32..40).prop_map(|every| Kind::Breaks { every }),
        1 => Just(Kind::Busy),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The simulator checks each output: bounds, borders, who holds what, no chunk at two sources.
    #[test]
    fn every_fetch_ends_and_an_honest_source_is_enough(
        sources in prop::collection::vec((kinds(), 1e5_f64..2e7, any::<u64>()), 1..6),
        seed: u64,
    ) {
        let mut sim = Sim::new(layout(), &slice(), seed);
        let mut is_enough = false;
        for (number, (kind, rate, holes)) in sources.into_iter().enumerate() {
            let source = peer(u8::try_from(number).unwrap() + 1);
            is_enough |= kind == Kind::Honest && holes % 3 != 0;
            sim.add(source, kind, rate);
            if holes % 3 == 0 {
                sim.holds_only_every(source, 2 + holes % 5);
            }
        }
        let ended = sim.run();
        prop_assert!(ended.is_some());
        if is_enough {
            prop_assert_eq!(ended, Some(Output::Finished));
        }
        if matches!(sim.ended, Some(Output::Finished)) {
            prop_assert!(sim.is_whole());
        }
    }

    #[test]
    fn a_fetch_that_was_cut_anywhere_goes_on_with_what_is_there(cuts in prop::collection::vec(1_usize..700, 1..4), seed: u64) {
        let mut sim = Sim::new(layout(), &slice(), seed);
        sim.add(peer(1), Kind::Honest, 4e6);
        sim.add(peer(2), Kind::Breaks { every: 300 }, 4e6);
        for events in cuts {
            sim.run_for(events);
            sim.restart();
        }
        prop_assert_eq!(sim.run(), Some(Output::Finished));
        prop_assert!(sim.is_whole());
        // Each cut loses no more than the chunks that were on their way.
        prop_assert!(sim.came <= sim.wanted_bytes() + sim.wanted_bytes() / 100, "{}", sim.came);
    }
}
