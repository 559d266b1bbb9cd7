//! The estimate in swarms of known size, with liars and without.

use proptest::{collection::vec, prelude::*};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

fn key(rng: &mut StdRng) -> HashedKey {
    let mut key = [0; 32];
    rng.fill_bytes(&mut key);
    key
}

fn closest(target: &HashedKey, peers: &[HashedKey]) -> Vec<HashedKey> {
    let mut all = peers.to_vec();
    all.sort_by(|one, other| distance(target, one).total_cmp(&distance(target, other)));
    all.truncate(CLOSEST);
    all
}

/// A node that made eight lookups in a swarm of these peers.
fn informed(peers: &[HashedKey], rng: &mut StdRng) -> Size {
    let own = key(rng);
    let mut size = Size::new(own);
    size.on_closest(&own, &closest(&own, peers));
    for _ in 0..MAX_LOOKUPS {
        let target = key(rng);
        size.on_closest(&target, &closest(&target, peers));
    }
    size
}

fn ratio(size: Option<u32>, truth: usize) -> f64 {
    f64::from(size.unwrap()) / float(truth)
}

#[test]
fn lookups_alone_are_off_by_little() {
    let mut rng = StdRng::seed_from_u64(1);
    for truth in [100, 1000, 10_000] {
        let peers: Vec<_> = (0..truth).map(|_| key(&mut rng)).collect();
        let mut ratios: Vec<f64> = (0..20)
            .map(|_| ratio(informed(&peers, &mut rng).local(), truth))
            .collect();
        ratios.sort_by(f64::total_cmp);
        assert!(ratios[0] > 0.6 && ratios[19] < 1.6, "{truth}: {ratios:?}");
        assert!((0.85..1.15).contains(&ratios[10]), "{truth}: {ratios:?}");
    }
}

#[test]
fn a_small_swarm_is_counted() {
    let mut rng = StdRng::seed_from_u64(2);
    let mut size = Size::new(key(&mut rng));
    assert_eq!(size.local(), None);
    size.on_closest(&key(&mut rng), &[]);
    assert_eq!(size.estimate(&[50; 20]), None, "not by hearsay alone");
    let peers = [key(&mut rng), key(&mut rng)];
    size.on_closest(&key(&mut rng), &peers);
    assert_eq!(size.local(), Some(3));
}

#[test]
fn identities_made_close_to_the_own_key_do_not_count() {
    let mut rng = StdRng::seed_from_u64(3);
    let peers: Vec<_> = (0..1000).map(|_| key(&mut rng)).collect();
    let mut size = informed(&peers, &mut rng);
    let honest = size.local().unwrap();
    let own = size.own;
    let crowd: Vec<_> = (0..20_u8)
        .map(|n| {
            let mut near = own;
            near[31] ^= n + 1;
            near
        })
        .collect();
    size.on_closest(&own, &crowd);
    let pushed = f64::from(size.local().unwrap()) / f64::from(honest);
    assert!((0.8..1.3).contains(&pushed), "{pushed}");
}

#[test]
fn authors_count_for_their_shard() {
    let mut size = Size::new([0; 32]);
    size.on_authors(Some(124), 3);
    assert_eq!(size.local(), Some(1000));
    size.on_authors(None, 3);
    assert_eq!(size.local(), None);
}

#[test]
fn liars_in_the_minority_change_little_and_a_crowd_of_them_twice_at_most() {
    let mut size = Size::new([0; 32]);
    size.on_authors(Some(999), 0);
    let honest: Vec<u32> = (900..=1100).step_by(2).collect();
    assert_eq!(size.estimate(&honest), Some(1000));
    for lie in [1, u32::MAX] {
        let mut claims = honest.clone();
        claims.extend(vec![lie; honest.len() / 2]);
        let pushed = f64::from(size.estimate(&claims).unwrap()) / 1000.0;
        assert!((0.9..1.1).contains(&pushed), "{pushed}");
        claims.extend(vec![lie; 1000]);
        let pushed = f64::from(size.estimate(&claims).unwrap()) / 1000.0;
        assert!((0.5..=2.0).contains(&pushed), "{pushed}");
    }
    assert_eq!(size.estimate(&[1; MIN_CLAIMS - 1]), Some(1000));
    assert_eq!(size.local(), Some(1000), "hearsay is not passed on");
}

proptest! {
    #[test]
    fn the_estimate_stays_in_its_bounds(
        target: HashedKey,
        peers in vec(any::<HashedKey>(), 0..60),
        authors in proptest::option::of(0_usize..5000),
        bits in 0_u8..=32,
        claims in vec(any::<u32>(), 0..40),
    ) {
        let mut size = Size::new([7; 32]);
        size.on_closest(&target, &peers);
        size.on_closest(&target, &vec![target; CLOSEST]);
        size.on_authors(authors, bits);
        let (local, all) = (size.local(), size.estimate(&claims));
        prop_assert_eq!(local.is_some(), all.is_some());
        for found in local.into_iter().chain(all) {
            prop_assert!((1..=MAX_SWARM_SIZE).contains(&found));
        }
    }
}
