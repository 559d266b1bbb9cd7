//! Coordinates converge on a network made up from a seed, and liars move them little.

use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

use super::*;

const PEERS: usize = 60;
const ROUNDS: usize = 400;
/// Whom a peer measures: as many as a node has connections to spare for it.
const NEIGHBOURS: usize = 16;

/// A network of three towns, 20 to 120 ms apart, each peer with an access link of 1 to 15 ms.
struct Network {
    places: Vec<(f64, f64, f64)>,
    coordinates: Vec<Coordinate>,
    rng: StdRng,
}

impl Network {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let towns = [(0.0, 0.0), (60.0, 20.0), (-30.0, 110.0)];
        let places = (0..PEERS)
            .map(|peer| {
                let (x, y) = towns[peer % towns.len()];
                let mut near = || rng.random_range(-8.0..8.0);
                let place = (x + near(), y + near());
                (place.0, place.1, rng.random_range(1.0..15.0))
            })
            .collect();
        Self {
            places,
            coordinates: vec![Coordinate::default(); PEERS],
            rng,
        }
    }

    fn true_ms(&self, a: usize, b: usize) -> f64 {
        let (one, other) = (self.places[a], self.places[b]);
        (one.0 - other.0).hypot(one.1 - other.1) + one.2 + other.2
    }

    /// Each peer measures one of its neighbours, with up to 10 % of noise; the first `liars`
    /// peers claim whatever they like.
    fn round(&mut self, liars: usize) {
        for peer in liars..PEERS {
            let neighbour = (peer + 1 + 7 * self.rng.random_range(0..NEIGHBOURS)) % PEERS;
            let noise = self.rng.random_range(1.0..1.1);
            let rtt = Duration::from_secs_f64(self.true_ms(peer, neighbour) * noise / 1000.0);
            let claimed = if neighbour < liars {
                self.lie()
            } else {
                self.coordinates[neighbour]
            };
            self.coordinates[peer].observe(&claimed, rtt, &mut self.rng);
        }
    }

    fn lie(&mut self) -> Coordinate {
        let mut anywhere = || self.rng.random_range(-MAX_EXTENT_MS..MAX_EXTENT_MS);
        Coordinate::try_from(Claim {
            x_ms: anywhere(),
            y_ms: anywhere(),
            height_ms: 0.0,
            error: 0.0,
        })
        .unwrap()
    }

    /// The median relative error over all honest pairs.
    fn median_error(&self, liars: usize) -> f64 {
        let mut errors = Vec::new();
        for a in liars..PEERS {
            for b in liars..a {
                let guess = self.coordinates[a].distance_ms(&self.coordinates[b]);
                let truth = self.true_ms(a, b);
                errors.push((guess - truth).abs() / truth);
            }
        }
        errors.sort_by(f64::total_cmp);
        errors[errors.len() / 2]
    }
}

#[test]
fn coordinates_converge() {
    for seed in 0..5 {
        let mut network = Network::new(seed);
        let before = network.median_error(0);
        (0..ROUNDS).for_each(|_| network.round(0));
        let after = network.median_error(0);
        assert!(
            before > 0.8 && after < 0.1,
            "seed {seed}: {before} to {after}"
        );
    }
}

#[test]
fn a_converged_network_tells_near_from_far() {
    // Pairs that a guess 20 % off would misjudge are left out: the probe decides those.
    let clear = |truth: f64| !(64.0..=100.0).contains(&truth);
    let mut network = Network::new(7);
    (0..ROUNDS).for_each(|_| network.round(0));
    let (mut right, mut all) = (0, 0);
    for a in 0..PEERS {
        for b in 0..a {
            let truth = network.true_ms(a, b);
            if clear(truth) {
                let guess = network.coordinates[a].distance_ms(&network.coordinates[b]);
                right += u32::from((guess <= 80.0) == (truth <= 80.0));
                all += 1;
            }
        }
    }
    assert!(all > 1000 && right * 100 >= all * 99, "{right} of {all}");
}

#[test]
fn liars_move_little() {
    for seed in 0..5 {
        let mut network = Network::new(seed);
        (0..ROUNDS).for_each(|_| network.round(0));
        (0..ROUNDS).for_each(|_| network.round(PEERS / 20));
        let error = network.median_error(PEERS / 20);
        assert!(error < 0.3, "seed {seed}: {error}");
    }
}

#[test]
fn impossible_claims_are_refused() {
    let good = Claim::from(Coordinate::default());
    assert!(Coordinate::try_from(good).is_ok());
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 2000.1, -2000.1] {
        let claims = [
            (Claim { x_ms: bad, ..good }, CoordinateError::Place),
            (Claim { y_ms: bad, ..good }, CoordinateError::Place),
            (
                Claim {
                    height_ms: bad,
                    ..good
                },
                CoordinateError::Height,
            ),
            (Claim { error: bad, ..good }, CoordinateError::Error),
        ];
        for (claim, error) in claims {
            assert_eq!(Coordinate::try_from(claim), Err(error));
        }
    }
    let negative = Claim {
        height_ms: -0.1,
        ..good
    };
    assert_eq!(Coordinate::try_from(negative), Err(CoordinateError::Height));
}

#[test]
fn nobody_is_quite_sure() {
    let claim = Claim {
        error: 0.0,
        ..Claim::from(Coordinate::default())
    };
    let sure = Coordinate::try_from(claim).unwrap();
    assert!((sure.error() - MIN_ERROR).abs() < f64::EPSILON);
}

#[test]
fn two_at_one_place_part() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut coordinate = Coordinate::default();
    coordinate.observe(&Coordinate::default(), Duration::from_millis(50), &mut rng);
    let parted = coordinate.distance(&Coordinate::default());
    assert!(parted > Duration::from_millis(5), "{parted:?}");
}

proptest! {
    #[test]
    fn bounded_whatever_is_claimed(
        seed: u64,
        samples in prop::collection::vec(
            (-2000.0..2000.0, -2000.0..2000.0, 0.0..2000.0, 0.0..1.0, any::<u64>()), 1..60),
    ) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut own = Coordinate::default();
        for (x_ms, y_ms, height_ms, error, nanos) in samples {
            let claim = Claim { x_ms, y_ms, height_ms, error };
            let other = Coordinate::try_from(claim).unwrap();
            let before = own;
            own.observe(&other, Duration::from_nanos(nanos), &mut rng);
            prop_assert!(Coordinate::try_from(Claim::from(own)).is_ok());
            let moved = (own.x_ms - before.x_ms).hypot(own.y_ms - before.y_ms);
            prop_assert!(moved <= MAX_STEP_MS + 1e-9);
            prop_assert!((own.height_ms - before.height_ms).abs() <= MAX_STEP_MS + 1e-9);
        }
    }

    #[test]
    fn distance_is_symmetric_and_positive(
        a in (-2000.0..2000.0, -2000.0..2000.0, 0.0..2000.0),
        b in (-2000.0..2000.0, -2000.0..2000.0, 0.0..2000.0),
    ) {
        let place = |(x_ms, y_ms, height_ms)| {
            Coordinate::try_from(Claim { x_ms, y_ms, height_ms, error: 0.5 }).unwrap()
        };
        let (a, b) = (place(a), place(b));
        prop_assert_eq!(a.distance(&b), b.distance(&a));
        prop_assert!(a.distance(&b) > Duration::ZERO);
    }
}

proptest! {
    #[test]
    fn an_advert_holds_a_coordinate(x in -2000.0..2000.0, height in 0.0..2000.0, error in 0.0..1.0) {
        let claim = Claim { x_ms: x, y_ms: -x, height_ms: height, error };
        let coordinate = Coordinate::try_from(claim).unwrap();
        let back = Coordinate::try_from(Place::from(coordinate)).unwrap();
        let (before, after) = (Claim::from(coordinate), Claim::from(back));
        prop_assert!((before.x_ms - after.x_ms).abs() < 1e-3);
        prop_assert!((before.height_ms - after.height_ms).abs() < 1e-3);
        prop_assert!((before.error - after.error).abs() < 1e-6);
    }
}
