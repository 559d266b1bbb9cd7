//! Windows of a head that sends and a verifier that answers, step by step.

use super::*;

const LOOKED_UP: Option<Source> = Some(Source::NGram { agreeing: 4 });

fn step(keep_n: usize, n: usize, drafted: usize) -> Step {
    Step {
        keep_n,
        n,
        wants_sample: true,
        drafted,
    }
}

fn sent(windows: &mut Windows, step: Step, drafts: &[u32]) -> WindowId {
    windows.on_sent(step, drafts, LOOKED_UP).unwrap()
}

fn trial(ahead: usize, drafted: usize, tried: usize, accepted: usize) -> Trial {
    Trial {
        source: LOOKED_UP,
        ahead,
        drafted,
        tried,
        accepted,
    }
}

#[test]
fn a_window_without_drafts_gives_its_token() {
    let mut windows = Windows::default();
    let id = windows.on_sent(step(9, 1, 0), &[], None).unwrap();
    let judged = windows.on_result(id, &[5]).unwrap();
    let trial = Trial {
        source: None,
        ..trial(0, 0, 0, 0)
    };
    let live = Judged::Live {
        trial,
        keep_n: 10,
        voided: 0,
    };
    assert_eq!(judged, live);
    assert!(windows.is_empty());
}

#[test]
fn accepted_windows_lead_into_those_that_assumed_it() {
    let mut windows = Windows::default();
    let a = sent(&mut windows, step(9, 3, 2), &[1, 2]);
    let b = sent(&mut windows, step(12, 2, 2), &[3, 4]);
    assert_eq!((windows.len(), windows.live(), windows.ahead()), (2, 2, 4));
    let first = Judged::Live {
        trial: trial(0, 2, 2, 2),
        keep_n: 14,
        voided: 0,
    };
    assert_eq!(windows.on_result(a, &[1, 2, 3]), Ok(first));
    let second = Judged::Live {
        trial: trial(2, 2, 2, 1),
        keep_n: 13,
        voided: 0,
    };
    assert_eq!(windows.on_result(b, &[7]), Ok(second));
}

#[test]
fn a_rejection_makes_later_windows_void() {
    for (tokens, keep_n, tried) in [(&[1, 9][..], 11, 0), (&[1, 2, 9], 12, 1)] {
        let mut windows = Windows::default();
        let a = sent(&mut windows, step(9, 3, 2), &[1, 2]);
        let b = sent(&mut windows, step(12, 2, 2), &[3, 4]);
        let c = sent(&mut windows, step(14, 1, 1), &[5]);
        let Ok(Judged::Live {
            keep_n: kept,
            voided,
            ..
        }) = windows.on_result(a, tokens)
        else {
            panic!("not live");
        };
        assert_eq!((kept, voided, windows.live()), (keep_n, 2, 0));
        // What is certain is sent behind them, and nothing further before that.
        assert_eq!(windows.on_sent(step(14, 1, 1), &[6], LOOKED_UP), None);
        let d = sent(&mut windows, step(keep_n, 2, 1), &[7]);
        let void = trial(2, 2, tried, 0);
        assert_eq!(
            windows.on_result(b, &[3, 4]),
            Ok(Judged::Void { trial: void })
        );
        let void = trial(4, 1, 0, 0);
        assert_eq!(windows.on_result(c, &[]), Ok(Judged::Void { trial: void }));
        assert!(matches!(
            windows.on_result(d, &[7, 1]),
            Ok(Judged::Live { .. })
        ));
    }
}

#[test]
fn results_that_cannot_be_are_refused_and_late_ones_passed_over() {
    let mut windows = Windows::default();
    let a = sent(&mut windows, step(9, 3, 2), &[1, 2]);
    let b = sent(&mut windows, step(12, 1, 1), &[3]);
    assert_eq!(windows.on_result(b, &[4]), Err(ResultError::OutOfOrder));
    assert_eq!(
        windows.on_result(WindowId(9), &[4]),
        Err(ResultError::OutOfOrder)
    );
    for tokens in [&[2, 2][..], &[1, 2, 3, 4], &[1, 1, 3]] {
        assert_eq!(windows.on_result(a, tokens), Err(ResultError::Impossible));
    }
    windows.clear();
    assert_eq!(windows.on_result(a, &[1, 2, 3]), Ok(Judged::Late));
    let c = sent(&mut windows, step(9, 1, 0), &[]);
    assert_eq!(windows.on_result(b, &[9]), Ok(Judged::Late));
    assert!(windows.on_result(c, &[1]).is_ok());
}

#[test]
fn there_are_only_so_many() {
    let mut windows = Windows::default();
    sent(&mut windows, step(9, 1, 0), &[]);
    for i in 1..MAX_WINDOWS {
        sent(&mut windows, step(9 + i, 1, 1), &[0]);
    }
    let full = windows.on_sent(step(9 + MAX_WINDOWS, 1, 1), &[0], LOOKED_UP);
    assert_eq!(full, None);
}
