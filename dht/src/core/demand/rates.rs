//! What this node's own users ask for: decayed counts. It does not know who is told.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use protocol::{
    ModelName,
    demand::Asking,
    limits::{MAX_DEMAND_MODELS, MAX_DEMAND_RATE, MAX_DEMAND_WAIT},
};

use super::HALF_LIFE;
use crate::demand::Asked;

/// Models that are counted; beyond it the one that is asked for least goes. Names come from
/// clients, so there are more than models.
pub const MAX_MODELS: usize = 64;

/// A rate below this is none: a request an hour. One request is forgotten after nine minutes.
pub const NEGLIGIBLE: f64 = 1.0 / 3600.0;

/// Requests by model.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    tallies: BTreeMap<ModelName, Tally>,
}

/// What became of the requests for one model, each with the weight that it still has at `at`.
#[derive(Debug, Clone, Copy)]
struct Tally {
    arrived: f64,
    unmet: f64,
    /// Of those that were served, seconds until their first token, together.
    waited: f64,
    at: Instant,
}

impl Rates {
    /// Takes what became of one request.
    pub fn on_asked(&mut self, model: &ModelName, asked: Asked, now: Instant) {
        if !self.tallies.contains_key(model) {
            self.make_room(now);
            self.tallies.insert(model.clone(), Tally::new(now));
        }
        if let Some(tally) = self.tallies.get_mut(model) {
            tally.add(asked, now);
        }
    }

    /// What is asked for now: what is missed most first, then what is asked for most.
    pub fn asking(&self, now: Instant) -> Vec<Asking> {
        let all = self.tallies.iter();
        let all = all.filter_map(|(model, tally)| tally.asking(model, now));
        let mut all: Vec<Asking> = all.collect();
        let rates = |asking: &Asking| (asking.unmet_per_second, asking.arrivals_per_second);
        all.sort_by(|one, other| {
            let ((unmet, arrived), (than, those)) = (rates(one), rates(other));
            than.total_cmp(&unmet).then(those.total_cmp(&arrived))
        });
        all.truncate(MAX_DEMAND_MODELS);
        all
    }

    fn make_room(&mut self, now: Instant) {
        if self.tallies.len() < MAX_MODELS {
            return;
        }
        let arrived = |tally: &Tally| tally.decayed(now).arrived;
        let least = (self.tallies.iter())
            .min_by(|(_, one), (_, other)| arrived(one).total_cmp(&arrived(other)));
        if let Some(model) = least.map(|(model, _)| model.clone()) {
            self.tallies.remove(&model);
        }
    }
}

impl Tally {
    fn new(now: Instant) -> Self {
        Self {
            arrived: 0.0,
            unmet: 0.0,
            waited: 0.0,
            at: now,
        }
    }

    fn add(&mut self, asked: Asked, now: Instant) {
        *self = self.decayed(now);
        self.arrived += 1.0;
        match asked {
            Asked::Unmet => self.unmet += 1.0,
            Asked::Served { waited } => self.waited += waited.min(MAX_DEMAND_WAIT).as_secs_f64(),
        }
    }

    fn decayed(self, now: Instant) -> Self {
        let passed = now.saturating_duration_since(self.at);
        let left = (-passed.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2();
        Self {
            arrived: self.arrived * left,
            unmet: self.unmet * left,
            waited: self.waited * left,
            at: self.at.max(now),
        }
    }

    fn asking(&self, model: &ModelName, now: Instant) -> Option<Asking> {
        let tally = self.decayed(now);
        let per_second = |count: f64| {
            let rate = count * std::f64::consts::LN_2 / HALF_LIFE.as_secs_f64();
            rate.min(MAX_DEMAND_RATE)
        };
        let (arrivals, unmet) = (per_second(tally.arrived), per_second(tally.unmet));
        let served = tally.arrived - tally.unmet;
        let mean = if served > 0.0 {
            tally.waited / served
        } else {
            0.0
        };
        let mean = mean.min(MAX_DEMAND_WAIT.as_secs_f64());
        (arrivals >= NEGLIGIBLE).then(|| Asking {
            model: model.clone(),
            arrivals_per_second: arrivals,
            unmet_per_second: if unmet < NEGLIGIBLE {
                0.0
            } else {
                unmet.min(arrivals)
            },
            waiting: Duration::try_from_secs_f64(mean).unwrap_or_default(),
        })
    }
}
