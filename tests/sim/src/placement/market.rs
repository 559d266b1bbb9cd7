//! What is asked for: true rates, what of them is met, and what peers are told of it.

use std::collections::VecDeque;

use node::core::placement::{Asked, Policy, Rate};
use protocol::NodeId;
use rand::{RngExt, rngs::StdRng};

use super::Config;

/// Sequences of a server.
pub(super) const SEQUENCES: u32 = 4;

/// The relative standard error of the estimates.
const ERROR: f64 = 0.2;

/// Seconds for which an estimate stands before there is another.
const STANDS: usize = 5;

/// Steps by which what is heard is late.
const LATE: usize = 2;

/// Below it nothing is said any more.
const LEAST: f64 = 1e-4;

/// What servers did in one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Load {
    /// Servers that there are.
    pub(super) servers: usize,
    /// Servers that the true rate needs.
    pub(super) needed: usize,
    /// Requests a second.
    pub(super) rate: f64,
    /// Of these, not met.
    pub(super) unmet: f64,
}

#[derive(Debug, Clone, Default)]
struct Model {
    arrivals: f64,
    unmet: f64,
    busy: f64,
    /// The factors of the estimates now, and for how many steps more.
    noise: (f64, f64, usize),
    /// What was said, the newest last.
    said: VecDeque<Asked>,
}

/// The demand.
pub(super) struct Market {
    pub(super) rates: Vec<f64>,
    /// Peers that have room.
    pub(super) rivals: usize,
    /// The peers' ids by their numbers.
    pub(super) ids: Vec<NodeId>,
    forged: Vec<f64>,
    models: Vec<Model>,
    policy: Policy,
}

impl Market {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            rates: config.rates.clone(),
            rivals: 1,
            ids: Vec::new(),
            forged: config.forged.clone(),
            models: vec![Model::default(); config.rates.len()],
            policy: Policy::default(),
        }
    }

    /// What is heard of a model, if anything.
    pub(super) fn asked(&self, model: usize) -> Option<Asked> {
        let asked = self.models[model].said.front().copied()?;
        (asked.arrivals.per_second > 0.0).then_some(asked)
    }

    /// The share of its sequences that are busy.
    pub(super) fn busy(&self, model: usize) -> f64 {
        self.models[model].busy
    }

    /// A second passes.
    pub(super) fn step(&mut self, model: usize, servers: usize) -> Load {
        let rate = self.rates[model];
        let each = f64::from(SEQUENCES) / self.policy.request_seconds;
        let capacity = servers as f64 * each;
        let unmet = (rate - capacity).max(0.0);
        let decay = 1.0 - (-1.0_f64 / self.policy.half_life.as_secs_f64()).exp2();
        let forged = self.forged.get(model).copied().unwrap_or_default();
        let known = &mut self.models[model];
        known.arrivals += decay * (rate + forged - known.arrivals);
        known.unmet += decay * (unmet + forged - known.unmet);
        known.busy = match servers {
            // What those who are gone said last.
            0 => known.busy,
            _ => (rate / capacity).min(1.0),
        };
        #[expect(clippy::cast_possible_truncation, reason = "a few dozen")]
        let needed = (rate / each).ceil() as usize;
        Load {
            servers,
            needed,
            rate,
            unmet,
        }
    }

    /// What is said of each model in this step.
    pub(super) fn publish(&mut self, rng: &mut StdRng) {
        for model in &mut self.models {
            model.publish(rng);
        }
    }
}

impl Model {
    fn publish(&mut self, rng: &mut StdRng) {
        if self.noise.2 == 0 {
            self.noise = (noise(rng), noise(rng), STANDS);
        }
        self.noise.2 -= 1;
        let estimate = |rate: f64, noise: f64| match rate < LEAST {
            true => Rate::default(),
            false => Rate::new(rate * noise, rate * noise * ERROR),
        };
        self.said.push_back(Asked {
            arrivals: estimate(self.arrivals, self.noise.0),
            unmet: estimate(self.unmet, self.noise.1),
            waiting: std::time::Duration::from_secs(1),
            authors: 10,
        });
        while self.said.len() > LATE {
            self.said.pop_front();
        }
    }
}

/// A factor with mean 1: the sum of uniform numbers is near enough to normal.
fn noise(rng: &mut StdRng) -> f64 {
    let sum: f64 = (0..12).map(|_| rng.random_range(0.0..1.0)).sum();
    (1.0 + ERROR * (sum - 6.0)).max(0.1)
}
