//! How long an engine's steps take by their rows, and how long drafting takes: measured, smoothed,
//! and filled up where nothing was measured yet. It knows no clock.

use std::time::Duration;

use super::Source;

/// Numbers of rows that are told apart: all that one session's windows have, then fewer and fewer.
const ROWS: [usize; 24] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 20, 24, 32, 48, 64, 96, 128,
];

/// What of a new measurement counts, and how far one may lie above what is known: a step that the
/// machine was kept from says little.
const NEW_PART: f64 = 0.2;
const FARTHEST: f64 = 2.0;

/// What a row more costs, in parts of a step of one row, until it is measured: between a graphics
/// card's 0.02 and two cores' 0.4.
const PRIOR_ROW: f64 = 0.15;

/// What a drafted token of a model costs, in parts of a step of one row, until it is measured.
const PRIOR_DRAFT: f64 = 0.1;

/// The step of one row, in seconds, until any is measured; only its proportion to the ring counts.
const PRIOR_STEP: f64 = 0.02;

/// The estimates of one engine.
#[derive(Debug, Clone, Default)]
pub struct Costs {
    /// Seconds, by [`ROWS`].
    steps: [Option<f64>; ROWS.len()],
    draft: Option<f64>,
}

/// How steps are thought to grow with their rows where that was not measured.
fn prior(rows: usize) -> f64 {
    1.0 + PRIOR_ROW * rows.saturating_sub(1) as f64
}

fn smooth(known: &mut Option<f64>, new: f64) {
    *known = Some(match *known {
        Some(old) => old + NEW_PART * (new.min(old * FARTHEST) - old),
        None => new,
    });
}

impl Costs {
    /// A step of `rows` decoded or drafted rows took so long. Steps with prompts are not told.
    pub fn on_step(&mut self, rows: usize, took: Duration) {
        let nearest = ROWS.iter().position(|r| *r >= rows);
        let i = nearest.unwrap_or(ROWS.len() - 1);
        let scale = prior(ROWS[i]) / prior(rows);
        smooth(&mut self.steps[i], took.as_secs_f64() * scale);
    }

    /// Drafting so many tokens with the draft model took so long.
    pub fn on_draft(&mut self, tokens: usize, took: Duration) {
        if tokens > 0 {
            smooth(&mut self.draft, took.as_secs_f64() / tokens as f64);
        }
    }

    /// Seconds of a step of `rows`.
    #[must_use]
    pub fn step(&self, rows: usize) -> f64 {
        let known = || {
            ROWS.iter()
                .zip(&self.steps)
                .filter_map(|(r, t)| Some((*r, (*t)?)))
        };
        let below = known().rfind(|(r, _)| *r <= rows);
        let above = known().find(|(r, _)| *r >= rows);
        let scaled = |(r, seconds): (usize, f64)| seconds * prior(rows) / prior(r);
        match (below, above) {
            (Some(below), Some(above)) => between(below, above, rows),
            (Some(one), None) | (None, Some(one)) => scaled(one),
            (None, None) => scaled((1, PRIOR_STEP)),
        }
    }

    /// Seconds of drafting one token.
    #[must_use]
    pub fn draft(&self, source: Source) -> f64 {
        match source {
            Source::NGram { .. } => 0.0,
            Source::Model => self.draft.unwrap_or_else(|| self.step(1) * PRIOR_DRAFT),
        }
    }
}

fn between(below: (usize, f64), above: (usize, f64), rows: usize) -> f64 {
    if below.0 == above.0 {
        return below.1;
    }
    let part = (rows - below.0) as f64 / (above.0 - below.0) as f64;
    below.1 + part * (above.1 - below.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn what_is_not_measured_lies_between_or_follows_the_prior() {
        let mut costs = Costs::default();
        assert!(near(costs.step(3) / costs.step(1), prior(3)));
        costs.on_step(1, 10 * MS);
        assert!(near(costs.step(3), 0.01 * prior(3)));
        costs.on_step(5, 20 * MS);
        assert!(near(costs.step(3), 0.015));
        assert!(near(costs.step(9), 0.02 * prior(9) / prior(5)));
        // Rows that are not told apart.
        costs.on_step(18, 50 * MS);
        assert!(near(costs.step(20), 0.05 * prior(20) / prior(18)));
        costs.on_step(1000, 90 * MS);
        assert!(near(costs.step(1000), 0.09));
    }

    #[test]
    fn a_hiccup_counts_little_and_a_change_is_learnt() {
        let mut costs = Costs::default();
        costs.on_step(1, 10 * MS);
        costs.on_step(1, 10_000 * MS);
        assert!(costs.step(1) < 0.0121);
        for _ in 0..30 {
            costs.on_step(1, 40 * MS);
        }
        assert!((costs.step(1) - 0.04).abs() < 0.001);
    }

    #[test]
    fn only_models_cost_time_to_draft() {
        let mut costs = Costs::default();
        costs.on_step(1, 10 * MS);
        assert!(near(costs.draft(Source::NGram { agreeing: 4 }), 0.0));
        assert!(near(costs.draft(Source::Model), 0.001));
        costs.on_draft(4, 8 * MS);
        costs.on_draft(0, MS);
        assert!(near(costs.draft(Source::Model), 0.002));
    }
}
