//! When a worker is started again, and when it is given up.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use super::*;
use proptest::prelude::*;

fn started() -> (Restart, Instant) {
    let now = Instant::now();
    let mut restart = Restart::new(RestartPolicy::default(), now);
    assert_eq!(restart.poll(now), Some(Action::Start));
    assert_eq!(restart.poll(now), None);
    (restart, now)
}

#[test]
fn a_clean_refusal_of_the_first_load_is_final() {
    let (mut restart, now) = started();
    restart.on_load_refused("no such tensor", now, 0.5);
    assert_eq!(*restart.phase(), Phase::Failed("no such tensor".into()));
    assert_eq!(restart.next_deadline(), None);
    restart.on_death("exit", now, 0.5);
    assert_eq!(*restart.phase(), Phase::Failed("no such tensor".into()));
}

#[test]
fn a_refusal_of_a_later_load_is_tried_again() {
    let (mut restart, now) = started();
    restart.on_ready();
    restart.on_death("killed", now, 1.0);
    let at = restart.next_deadline().unwrap();
    assert_eq!(restart.poll(at), Some(Action::Start));
    restart.on_load_refused("out of memory", at, 1.0);
    assert!(matches!(restart.phase(), Phase::Waiting { .. }));
}

#[test]
fn deaths_while_loading_are_given_up_sooner() {
    let (mut restart, mut now) = started();
    for _ in 1..RestartPolicy::default().max_load_failures {
        restart.on_death("abort", now, 0.0);
        now = restart.next_deadline().unwrap();
        assert_eq!(restart.poll(now), Some(Action::Start));
    }
    restart.on_death("abort", now, 0.0);
    assert!(matches!(restart.phase(), Phase::Failed(cause) if cause.contains("abort")));
}

#[test]
fn good_answers_and_convictions_clear_the_count() {
    let (mut restart, mut now) = started();
    for _ in 0..50 {
        restart.on_ready();
        restart.on_good_answer();
        restart.on_death("killed", now, 0.0);
        assert_eq!(restart.failures(), 1);
        now = restart.next_deadline().unwrap();
        assert_eq!(restart.poll(now), Some(Action::Start));
    }
    restart.on_death("killed", now, 0.0);
    restart.on_conviction(2);
    assert_eq!(restart.failures(), 0);
}

#[test]
fn silence_ends_a_load_and_progress_does_not() {
    let (mut restart, now) = started();
    let stall = RestartPolicy::default().load_stall;
    restart.on_progress(now + stall / 2);
    assert_eq!(restart.poll(now + stall), None);
    assert_eq!(
        restart.poll(now + stall / 2 + stall),
        Some(Action::KillStalled)
    );
    // Asked again only after another silence, should the worker not die of it.
    assert_eq!(restart.poll(now + stall / 2 + stall), None);
}

#[test]
fn a_worker_that_has_work_and_does_none_is_ended() {
    let (mut restart, now) = started();
    restart.on_ready();
    assert_eq!(restart.next_deadline(), None);
    let stall = RestartPolicy::default().run_stall;
    restart.on_work(true, now);
    restart.on_sign_of_work(now + stall / 2);
    restart.on_work(true, now + stall / 2);
    assert_eq!(restart.poll(now + stall), None);
    let later = now + stall / 2 + stall;
    assert_eq!(restart.poll(later), Some(Action::KillStalled));
    assert_eq!(restart.poll(later), None);
    restart.on_work(false, later);
    assert_eq!(restart.next_deadline(), None);
}

proptest! {
    /// Whatever happens, starts are finite without good answers, pauses stay within the cap, and
    /// a failed worker stays failed.
    #[test]
    fn always_ends(steps in proptest::collection::vec((0_u8..4, 0.0_f64..1.0), 0..200)) {
        let policy = RestartPolicy::default();
        let mut now = Instant::now();
        let mut restart = Restart::new(policy, now);
        let mut starts = 0;
        for (step, jitter) in steps {
            if let Some(at) = restart.next_deadline() {
                prop_assert!(at <= now + policy.load_stall.max(policy.backoff_cap));
                now = at;
            }
            match step {
                0 => starts += u32::from(restart.poll(now) == Some(Action::Start)),
                1 => restart.on_ready(),
                2 => restart.on_progress(now),
                _ if matches!(restart.phase(), Phase::Waiting { .. }) => {}
                _ => restart.on_death("x", now, jitter),
            }
            let was_failed = matches!(restart.phase(), Phase::Failed(_));
            restart.on_progress(now);
            prop_assert_eq!(was_failed, matches!(restart.phase(), Phase::Failed(_)));
        }
        prop_assert!(starts <= policy.max_failures);
        prop_assert_eq!(restart.restarts(), starts.saturating_sub(1));
    }
}
