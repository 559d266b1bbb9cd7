//! How fast something computes now, against how fast it did at its best. Payloads go in, what comes
//! of them comes out in the same order; of a payload nothing is known but its length. Payloads of
//! like length are like batches, so each is measured against the best of its own kind.
//!
//! The best is a median, so that no lucky batch sets it; what is measured against it is the sum of
//! all time, so that a process that stands still now and then is as slow as it is for whoever waits.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Batches of one kind whose median may be the best.
const SAMPLE: usize = 8;

/// Time is summed up over spans of this length.
const SPAN: Duration = Duration::from_secs(5);

/// Spans that count: a figure is of the last ten to fifteen seconds.
const SPANS: usize = 3;

/// Fewer batches say nothing.
const ENOUGH: u32 = 3;

/// Payloads remembered at most, many times what is under way at once: beyond it their order is lost,
/// and nothing is measured until it is known again.
const MOST_UNDER_WAY: usize = 256;

/// One worker's course.
#[derive(Debug, Default)]
pub struct Tempo {
    under_way: VecDeque<Entered>,
    /// Nothing was computed between the last outcome and this.
    free_at: Option<Instant>,
    kinds: BTreeMap<u32, Kind>,
    spans: VecDeque<Span>,
}

#[derive(Debug, Clone, Copy)]
struct Entered {
    at: Instant,
    kind: u32,
}

#[derive(Debug, Default)]
struct Kind {
    sample: Vec<Duration>,
    best: Option<Duration>,
}

#[derive(Debug)]
struct Span {
    begun: Instant,
    spent: Duration,
    /// What the same batches took at their best.
    expected: Duration,
    batches: u32,
}

impl Tempo {
    /// A payload of so many bytes goes in.
    pub fn on_in(&mut self, bytes: usize, now: Instant) {
        if self.under_way.len() >= MOST_UNDER_WAY {
            self.under_way.clear();
        }
        let kind = kind_of(bytes);
        self.under_way.push_back(Entered { at: now, kind });
    }

    /// Something comes of the oldest that is under way; whether it was computed.
    pub fn on_out(&mut self, is_computed: bool, now: Instant) {
        let begun = self.free_at.replace(now);
        let Some(entered) = self.under_way.pop_front().filter(|_| is_computed) else {
            return;
        };
        let begun = begun.map_or(entered.at, |free| free.max(entered.at));
        let took = now.saturating_duration_since(begun);
        let kind = self.kinds.entry(entered.kind).or_default();
        kind.learn(took);
        if let Some(best) = kind.best {
            self.count(took, best, now);
        }
    }

    /// What came out last was taken only now: nothing had to be computed meanwhile.
    pub fn on_taken(&mut self, now: Instant) {
        self.free_at = Some(now);
    }

    /// How many times as long as at their best the batches of late took; `None`: there were hardly
    /// any.
    pub fn slowness(&self, now: Instant) -> Option<f32> {
        let is_young = |span: &&Span| now.saturating_duration_since(span.begun) < lifetime();
        let young = self.spans.iter().filter(is_young);
        let (mut spent, mut expected, mut batches) = (Duration::ZERO, Duration::ZERO, 0);
        for span in young {
            spent += span.spent;
            expected += span.expected;
            batches += span.batches;
        }
        let is_known = batches >= ENOUGH && !expected.is_zero();
        is_known.then(|| spent.div_duration_f32(expected).max(1.0))
    }

    fn count(&mut self, took: Duration, best: Duration, now: Instant) {
        let is_over = |span: &Span| now.saturating_duration_since(span.begun) >= SPAN;
        if self.spans.back().is_none_or(is_over) {
            self.spans.push_back(Span {
                begun: now,
                spent: Duration::ZERO,
                expected: Duration::ZERO,
                batches: 0,
            });
        }
        if self.spans.len() > SPANS {
            self.spans.pop_front();
        }
        if let Some(span) = self.spans.back_mut() {
            span.spent += took;
            span.expected += best;
            span.batches += 1;
        }
    }
}

impl Kind {
    fn learn(&mut self, took: Duration) {
        self.sample.push(took);
        if self.sample.len() < SAMPLE {
            return;
        }
        self.sample.sort_unstable();
        let median = self.sample[SAMPLE / 2];
        self.best = Some(self.best.map_or(median, |best| best.min(median)));
        self.sample.clear();
    }
}

/// Lengths of one kind are within half as much again of one another.
fn kind_of(bytes: usize) -> u32 {
    let bytes = bytes.max(2);
    let bits = bytes.ilog2();
    let is_upper = (bytes >> (bits - 1)) & 1 == 1;
    2 * bits + u32::from(is_upper)
}

/// A span that began longer ago does not count.
fn lifetime() -> Duration {
    SPAN * u32::try_from(SPANS).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// Batches one after the other; the time after them.
    fn run(
        tempo: &mut Tempo,
        mut now: Instant,
        count: u32,
        bytes: usize,
        took: Duration,
    ) -> Instant {
        for _ in 0..count {
            tempo.on_in(bytes, now);
            now += took;
            tempo.on_out(true, now);
            tempo.on_taken(now);
        }
        now
    }

    #[test]
    fn a_steady_pace_is_no_slowness_whatever_the_batches() {
        let (mut tempo, mut now) = (Tempo::default(), Instant::now());
        assert_eq!(tempo.slowness(now), None);
        for _ in 0..20 {
            now = run(&mut tempo, now, 10, 1000, 2 * MILLI);
            now = run(&mut tempo, now, 2, 400_000, 300 * MILLI);
        }
        assert_eq!(tempo.slowness(now), Some(1.0));
    }

    #[test]
    fn a_slower_pace_shows_within_seconds_and_is_forgotten_when_nothing_runs() {
        let (mut tempo, now) = (Tempo::default(), Instant::now());
        let now = run(&mut tempo, now, 100, 1000, 2 * MILLI);
        let now = run(&mut tempo, now, 2000, 1000, 10 * MILLI);
        let slowness = tempo.slowness(now).unwrap();
        assert!((slowness - 5.0).abs() < 0.1, "{slowness}");
        assert_eq!(tempo.slowness(now + lifetime()), None);
        let now = run(&mut tempo, now + lifetime(), 1000, 1000, 2 * MILLI);
        assert_eq!(tempo.slowness(now), Some(1.0));
    }

    #[test]
    fn standing_still_now_and_then_counts_though_most_batches_are_fast() {
        let (mut tempo, now) = (Tempo::default(), Instant::now());
        let mut now = run(&mut tempo, now, 100, 1000, MILLI);
        for _ in 0..150 {
            now = run(&mut tempo, now, 10, 1000, MILLI);
            now = run(&mut tempo, now, 1, 1000, 90 * MILLI);
        }
        assert!(tempo.slowness(now).unwrap() > 5.0);
    }

    #[test]
    fn what_waits_behind_another_counts_from_when_its_turn_came() {
        let (mut tempo, mut now) = (Tempo::default(), Instant::now());
        for _ in 0..20 {
            let entered = now;
            for _ in 0..8 {
                tempo.on_in(1000, entered);
            }
            for _ in 0..8 {
                now += 2 * MILLI;
                tempo.on_out(true, now);
            }
        }
        assert_eq!(tempo.slowness(now), Some(1.0));
        // What a slow neighbour takes late is not this one's.
        for _ in 0..20 {
            tempo.on_in(1000, now);
            now += 2 * MILLI;
            tempo.on_out(true, now);
            now += 50 * MILLI;
            tempo.on_taken(now);
        }
        assert_eq!(tempo.slowness(now), Some(1.0));
    }

    #[test]
    fn what_was_not_computed_is_no_measure() {
        let (mut tempo, mut now) = (Tempo::default(), Instant::now());
        for _ in 0..100 {
            tempo.on_in(0, now);
            tempo.on_in(1000, now);
            tempo.on_out(false, now);
            tempo.on_out(false, now);
        }
        assert_eq!(tempo.slowness(now), None);
        now = run(&mut tempo, now, 20, 1000, 2 * MILLI);
        assert_eq!(tempo.slowness(now), Some(1.0));
        // An outcome of nothing changes nothing.
        tempo.on_out(true, now);
        for _ in 0..2 * MOST_UNDER_WAY {
            tempo.on_in(1000, now);
        }
        assert!(tempo.under_way.len() <= MOST_UNDER_WAY);
    }
}
