//! Which request killed its worker, found by running suspects alone.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use proptest::prelude::*;

fn start_all(suspects: &mut Suspects) -> Vec<u64> {
    std::iter::from_fn(|| suspects.start_next()).collect()
}

/// Retries everybody who may be retried; gives who may not.
fn die(suspects: &mut Suspects) -> Vec<(u64, Verdict)> {
    let (retry, ended): (Vec<_>, Vec<_>) = suspects
        .on_death()
        .into_iter()
        .partition(|(_, verdict)| *verdict == Verdict::Retry);
    for (id, _) in retry {
        suspects.enqueue(id);
    }
    ended
}

#[test]
fn a_request_alone_that_kills_twice_is_convicted() {
    let mut suspects = Suspects::default();
    suspects.enqueue(7);
    assert_eq!(start_all(&mut suspects), [7]);
    assert!(die(&mut suspects).is_empty());
    assert_eq!(start_all(&mut suspects), [7]);
    assert_eq!(die(&mut suspects), [(7, Verdict::Convicted { deaths: 2 })]);
    assert!(suspects.is_empty());
}

#[test]
fn a_poison_among_innocents_is_found_and_they_go_on() {
    let mut suspects = Suspects::default();
    (0..16).for_each(|id| suspects.enqueue(id));
    let mut ended = Vec::new();
    let mut deaths = 0;
    while let Some(first) = suspects.start_next() {
        let mut running = vec![first];
        running.extend(start_all(&mut suspects));
        if running.contains(&9) {
            deaths += 1;
            ended.extend(die(&mut suspects));
        } else {
            for id in running {
                suspects.on_progress(id, CLEAR_TOKENS);
            }
        }
    }
    assert_eq!(ended, [(9, Verdict::Convicted { deaths: 3 })]);
    assert_eq!((deaths, suspects.len(), suspects.waiting()), (3, 15, 0));
}

#[test]
fn nobody_is_convicted_for_deaths_from_outside() {
    let mut suspects = Suspects::default();
    suspects.enqueue(1);
    suspects.enqueue(2);
    for _ in 1..MAX_LOSSES {
        while let Some(id) = suspects.start_next() {
            suspects.on_progress(id, CLEAR_TOKENS);
        }
        assert!(die(&mut suspects).is_empty());
    }
    while let Some(id) = suspects.start_next() {
        suspects.on_progress(id, CLEAR_TOKENS);
    }
    assert_eq!(die(&mut suspects), [(1, Verdict::Lost), (2, Verdict::Lost)]);
}

#[test]
fn a_long_running_request_is_not_blamed_for_a_newcomer() {
    let mut suspects = Suspects::default();
    suspects.enqueue(1);
    start_all(&mut suspects);
    suspects.on_progress(1, CLEAR_TOKENS);
    suspects.enqueue(2);
    start_all(&mut suspects);
    assert!(die(&mut suspects).is_empty());
    assert_eq!(start_all(&mut suspects), [1, 2]);
    suspects.on_progress(1, CLEAR_TOKENS);
    assert_eq!(die(&mut suspects), [(2, Verdict::Convicted { deaths: 2 })]);
    assert_eq!(start_all(&mut suspects), [1]);
}

proptest! {
    /// With any poison requests among any others: every request is convicted, lost or cleared in
    /// the end, no innocent one is convicted, and no more than a bounded number of deaths happen.
    #[test]
    fn ends(count in 1_u64..20, poison in proptest::collection::btree_set(0_u64..20, 0..4)) {
        let mut suspects = Suspects::default();
        (0..count).for_each(|id| suspects.enqueue(id));
        let mut deaths = 0;
        loop {
            let running = start_all(&mut suspects);
            if running.is_empty() {
                break;
            }
            if running.iter().any(|id| poison.contains(id)) {
                deaths += 1;
                for (id, verdict) in die(&mut suspects) {
                    let convicted = matches!(verdict, Verdict::Convicted { .. });
                    prop_assert!(!convicted || poison.contains(&id));
                }
                continue;
            }
            for id in running {
                suspects.on_progress(id, CLEAR_TOKENS);
            }
        }
        prop_assert!(deaths <= 2 + poison.len());
        prop_assert_eq!(suspects.waiting(), 0);
        let known: Vec<u64> = suspects.requests.keys().copied().collect();
        prop_assert!(known.iter().all(|id| !poison.contains(id)));
    }
}
