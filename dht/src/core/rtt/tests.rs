//! The bounds of a group: who joins, who leaves, who stays, whatever the probes do.

use proptest::prelude::*;

use super::*;

/// One peer's probes, a second apart.
struct Probes {
    estimator: RttEstimator,
    now: Instant,
}

impl Probes {
    fn new() -> Self {
        Self {
            estimator: RttEstimator::default(),
            now: Instant::now(),
        }
    }

    fn probe(&mut self, millis: Option<u64>) -> Proximity {
        self.now += Duration::from_secs(1);
        match millis {
            Some(millis) => self
                .estimator
                .on_reply(Duration::from_millis(millis), self.now),
            None => self.estimator.on_loss(self.now),
        }
        self.estimator.proximity()
    }

    fn probe_all(&mut self, millis: &[u64]) -> Proximity {
        for &millis in millis {
            self.probe(Some(millis));
        }
        self.estimator.proximity()
    }

    fn rtt_millis(&self) -> Option<u128> {
        self.estimator.estimate().map(|e| e.rtt.as_millis())
    }
}

#[test]
fn nothing_is_said_of_fewer_than_five_replies() {
    let mut probes = Probes::new();
    assert_eq!(probes.probe_all(&[10, 10, 10, 10]), Proximity::Unknown);
    assert_eq!(probes.probe(None), Proximity::Unknown);
    assert_eq!(probes.rtt_millis(), None);
    assert_eq!(probes.probe(Some(10)), Proximity::Near);
    assert_eq!(probes.rtt_millis(), Some(10));
}

#[test]
fn the_estimate_is_the_twentieth_percentile_of_the_last_sixteen() {
    let mut probes = Probes::new();
    probes.probe_all(&[50, 40, 30, 20, 90]);
    assert_eq!(probes.rtt_millis(), Some(20));
    let times: Vec<u64> = (1..=16).rev().collect();
    probes.probe_all(&times);
    assert_eq!(probes.rtt_millis(), Some(4));
}

#[test]
fn the_bound_to_join_is_eighty() {
    assert_eq!(Probes::new().probe_all(&[80; 5]), Proximity::Near);
    assert_eq!(Probes::new().probe_all(&[81; 5]), Proximity::Far);
}

#[test]
fn a_far_peer_that_comes_nearer_joins() {
    let mut probes = Probes::new();
    assert_eq!(probes.probe_all(&[90; 16]), Proximity::Far);
    assert_eq!(probes.probe_all(&[70; 3]), Proximity::Far);
    assert_eq!(probes.probe(Some(70)), Proximity::Near);
}

#[test]
fn between_the_bounds_a_peer_stays_what_it_is() {
    let mut near = Probes::new();
    near.probe_all(&[80; 16]);
    assert_eq!(near.probe_all(&[95; 100]), Proximity::Near);
    let mut far = Probes::new();
    assert_eq!(far.probe_all(&[90; 100]), Proximity::Far);
}

#[test]
fn a_burst_is_no_reason_to_leave() {
    let mut probes = Probes::new();
    probes.probe_all(&[20; 16]);
    assert_eq!(probes.probe_all(&[500; 12]), Proximity::Near);
    assert_eq!(probes.rtt_millis(), Some(20));
}

#[test]
fn a_near_peer_leaves_after_a_sustained_time_beyond() {
    let mut probes = Probes::new();
    probes.probe_all(&[80; 16]);
    // The 13th probe moves the percentile; 20 s later it is sustained.
    assert_eq!(probes.probe_all(&[96; 13 + 19]), Proximity::Near);
    assert_eq!(probes.probe(Some(96)), Proximity::Far);
}

#[test]
fn a_peer_that_comes_back_in_between_has_its_time_again() {
    let mut probes = Probes::new();
    probes.probe_all(&[80; 16]);
    probes.probe_all(&[96; 13 + 10]);
    assert_eq!(probes.probe_all(&[80; 4]), Proximity::Near);
    assert_eq!(probes.probe_all(&[96; 13 + 19]), Proximity::Near);
    assert_eq!(probes.probe(Some(96)), Proximity::Far);
}

#[test]
fn a_near_peer_without_replies_leaves() {
    let mut probes = Probes::new();
    probes.probe_all(&[20; 16]);
    let left = (0..60).find(|_| probes.probe(None) == Proximity::Far);
    assert_eq!(left, Some(31), "12 losses leave 4 replies, and 20 s pass");
}

#[test]
fn jitter_and_loss_are_told() {
    let mut probes = Probes::new();
    probes.probe_all(&[10, 20, 10, 20, 10, 20]);
    probes.probe(None);
    probes.probe(None);
    let estimate = probes.estimator.estimate().unwrap();
    assert_eq!(estimate.jitter, Duration::from_millis(10));
    assert!((estimate.loss - 0.25).abs() < 1e-6);
}

#[test]
fn a_late_reply_is_a_loss() {
    let mut probes = Probes::new();
    probes.probe_all(&[10, 10, 10, 10, 10, 2001]);
    let estimate = probes.estimator.estimate().unwrap();
    assert!((estimate.loss - 1.0 / 6.0).abs() < 1e-6);
    assert_eq!(estimate.jitter, Duration::ZERO);
}

proptest! {
    #[test]
    fn bounded_whatever_comes(
        probes in prop::collection::vec(prop::option::of(0..4000_u64), 0..200),
    ) {
        let mut peer = Probes::new();
        for probe in probes {
            let before = peer.estimator.proximity();
            let after = peer.probe(probe);
            prop_assert!(peer.estimator.probes.len() <= WINDOW);
            prop_assert!(after != Proximity::Unknown || before == Proximity::Unknown);
            if let Some(estimate) = peer.estimator.estimate() {
                prop_assert!(estimate.rtt <= PROBE_TIMEOUT && estimate.jitter <= PROBE_TIMEOUT);
                prop_assert!((0.0..=1.0).contains(&estimate.loss));
                let joined = after == Proximity::Near && before != Proximity::Near;
                prop_assert!(!joined || estimate.rtt <= JOIN_MAX);
            } else {
                prop_assert!(before == Proximity::Near || after != Proximity::Near);
            }
        }
    }

    #[test]
    fn the_order_of_the_window_does_not_move_the_estimate(
        mut times in prop::collection::vec(0..2000_u64, 5..=WINDOW),
    ) {
        let mut one = Probes::new();
        one.probe_all(&times);
        times.sort_unstable();
        let mut other = Probes::new();
        other.probe_all(&times);
        prop_assert_eq!(one.rtt_millis(), other.rtt_millis());
    }
}
