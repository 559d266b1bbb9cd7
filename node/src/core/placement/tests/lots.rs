//! That a few of many act, soon, whatever their number.

use super::*;

/// How many of `peers` act before the first one is heard of, and when that one acts, in seconds.
fn round(peers: u32, believed: u32, rng: &mut StdRng) -> (usize, f64) {
    let lots = (0..peers).map(|_| lot::to_take(believed, 1, rng).as_secs_f64());
    let lots: Vec<f64> = lots.collect();
    let first = lots.iter().copied().fold(f64::INFINITY, f64::min);
    let heard = first + 1.5;
    (lots.iter().filter(|at| **at <= heard).count(), first)
}

fn mean(peers: u32, believed: u32) -> (f64, f64) {
    let mut rng = StdRng::seed_from_u64(u64::from(peers) << 32 | u64::from(believed));
    let rounds = 300;
    let (mut acted, mut latest) = (0, 0.0f64);
    for _ in 0..rounds {
        let (count, first) = round(peers, believed, &mut rng);
        acted += count;
        latest = latest.max(first);
    }
    (acted as f64 / f64::from(rounds), latest)
}

#[test]
fn few_of_any_number_act_and_soon() {
    for peers in [1_u32, 4, 30, 1000, 5000] {
        for believed in [peers.div_ceil(4), peers, peers * 4] {
            let (acted, latest) = mean(peers, believed);
            assert!(
                acted < 4.5,
                "{acted} of {peers} when {believed} were believed"
            );
            assert!(
                latest < 8.0,
                "{latest} s of {peers} when {believed} were believed"
            );
        }
    }
}

#[test]
fn more_act_where_more_are_lacking() {
    let mut rng = StdRng::seed_from_u64(3);
    let count = |servers: u32, rng: &mut StdRng| {
        let lots = (0..20_000).map(|_| lot::to_take(1000, servers, rng));
        lots.filter(|at| *at <= 4 * SECOND).count()
    };
    let (one, eight) = (count(1, &mut rng), count(8, &mut rng));
    assert!(eight > 4 * one, "{one} and {eight}");
}

#[test]
fn about_one_leaves_in_a_minute() {
    let mut rng = StdRng::seed_from_u64(4);
    let leave = (0..10_000).map(|_| lot::to_leave(10, 1, &mut rng).as_secs_f64());
    let mean = leave.sum::<f64>() / 10_000.0;
    assert!((500.0..700.0).contains(&mean), "{mean}");
}

#[test]
fn ranks_differ_by_model_and_peer() {
    let (one, other) = (name("one"), name("other"));
    let order = |model: &ModelName| {
        let mut peers: Vec<u8> = (0..20).collect();
        peers.sort_by_key(|n| lot::rank(model, &node(*n)));
        peers
    };
    assert_ne!(order(&one), order(&other));
    assert_eq!(order(&one), order(&one));
}
