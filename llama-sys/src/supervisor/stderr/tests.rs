//! What is kept of a worker's standard error.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

#[test]
fn lines_are_cut_bounded_and_clean() {
    let mut splitter = Splitter::default();
    assert_eq!(splitter.push(b"one\r\n\ntw"), ["one"]);
    assert_eq!(splitter.push(b"o\x1b[31m \xff\n"), ["two[31m \u{fffd}"]);
    assert!(splitter.push(&vec![b'x'; 1 << 20]).is_empty());
    let long = splitter.push(b"\nnext\n");
    assert_eq!((long[0].len(), long[1].as_str()), (LINE_BYTES, "next"));
}

#[test]
fn a_flood_is_counted_instead_of_logged() {
    let now = Instant::now();
    let mut budget = Budget::new(now);
    let logged = (0..10_000)
        .filter(|_| budget.take(now) == Take::Log)
        .count();
    assert_eq!(logged, LINES_PER_SECOND as usize);
    let later = now + Duration::from_secs(1);
    assert_eq!(budget.take(later), Take::LogAfter(9_500));
    assert_eq!(budget.take(later), Take::Log);
}

#[tokio::test]
async fn the_telling_line_is_the_cause() {
    let last = LastLines::default();
    assert_eq!(last.cause(), None);
    let text = "loading\nx.cpp:1: GGML_ASSERT(n > 0) failed\nbye";
    run("m".into(), text.as_bytes(), last.clone()).await;
    assert_eq!(
        last.cause().as_deref(),
        Some("x.cpp:1: GGML_ASSERT(n > 0) failed")
    );
    for _ in 0..KEPT_LINES {
        last.push(&"ä".repeat(CAUSE_BYTES));
    }
    assert_eq!(last.cause().unwrap().len(), CAUSE_BYTES);
}
