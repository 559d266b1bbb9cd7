//! From what a sample asks for to what the swarm does.

use std::{collections::BTreeMap, time::Duration};

use protocol::{
    ModelName,
    demand::{Asking, Record},
    limits::MAX_DEMAND_WAIT,
};

use super::sample::Samples;
use crate::demand::{Demand, Estimate};

/// How many times as much as half of all authors one is believed to be asked for: an API node with
/// eight users beside nodes with one. Whoever has more counts for as much.
pub const CAP_SPAN: f64 = 8.0;

/// Requests a second that one author is believed whatever the others ask for: one busy person.
pub const CAP_FLOOR: f64 = 0.1;

/// Authors below which nobody is capped: with fewer nobody can have a fifth of the identities.
const FEW: f64 = 5.0;

/// Models that are listed; what is missed most, then what is asked for most. Each is a name of up to
/// 256 bytes that anybody can make up.
pub const MAX_LISTED: usize = 256;

/// What the swarm asks for: what this node's own users do, and what was heard of others, each with
/// its author's coin. What is missed most comes first, then what is asked for most.
pub fn estimate<'a>(
    own: &'a [Asking],
    heard: impl IntoIterator<Item = (f64, &'a Record)>,
) -> Vec<Demand> {
    let samples = Samples::of(heard);
    let cap = cap(&samples);
    let mut sums: BTreeMap<&ModelName, Sum> = BTreeMap::new();
    for asking in own {
        let sum = sums.entry(&asking.model).or_default();
        sum.add(asking, 1.0, 1.0);
    }
    for (record, probability) in samples.counted() {
        let share = (cap / total(record)).min(1.0);
        for asking in &record.models {
            let sum = sums.entry(&asking.model).or_default();
            sum.add(asking, share, probability);
        }
    }
    let mut all: Vec<Demand> = sums
        .into_iter()
        .map(|(model, sum)| sum.demand(model))
        .collect();
    all.sort_by(|one, other| {
        let rates = |demand: &Demand| (demand.unmet.per_second, demand.arrivals.per_second);
        let ((unmet, arrived), (than, those)) = (rates(one), rates(other));
        than.total_cmp(&unmet).then(those.total_cmp(&arrived))
    });
    all.truncate(MAX_LISTED);
    all
}

/// What one author is believed to be asked for at most, over all its models. Half of all authors
/// are honest, so their middle is none of the forgers' making.
fn cap(samples: &Samples<'_>) -> f64 {
    let mut totals: Vec<(f64, f64)> = samples
        .counted()
        .map(|(record, probability)| (total(record), 1.0 / probability))
        .collect();
    let authors: f64 = totals.iter().map(|(_, weight)| weight).sum();
    if authors < FEW {
        return f64::INFINITY;
    }
    totals.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let mut below = 0.0;
    let middle = totals.iter().find(|(_, weight)| {
        below += weight;
        below >= authors / 2.0
    });
    middle.map_or(CAP_FLOOR, |(total, _)| (total * CAP_SPAN).max(CAP_FLOOR))
}

/// Requests a second of one author, above zero.
fn total(record: &Record) -> f64 {
    let arrivals = record
        .models
        .iter()
        .map(|asking| asking.arrivals_per_second);
    arrivals.sum()
}

/// What is asked for of one model.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    arrivals: Total,
    unmet: Total,
    served: f64,
    /// Seconds of waiting, a second.
    waited: f64,
    authors: f64,
}

impl Sum {
    /// Adds an author of whom `share` is believed, and who is here with this probability.
    fn add(&mut self, asking: &Asking, share: f64, probability: f64) {
        let (arrivals, unmet) = (asking.arrivals_per_second, asking.unmet_per_second);
        self.arrivals.add(arrivals * share, probability);
        self.unmet.add(unmet * share, probability);
        let served = (arrivals - unmet) * share / probability;
        self.served += served;
        self.waited += served * asking.waiting.as_secs_f64();
        self.authors += 1.0 / probability;
    }

    fn demand(&self, model: &ModelName) -> Demand {
        let mean = if self.served > 0.0 {
            self.waited / self.served
        } else {
            0.0
        };
        let mean = mean.min(MAX_DEMAND_WAIT.as_secs_f64());
        Demand {
            model: model.clone(),
            arrivals: self.arrivals.estimate(),
            unmet: self.unmet.estimate(),
            waiting: Duration::try_from_secs_f64(mean).unwrap_or_default(),
            authors: whole(self.authors),
        }
    }
}

/// A total over all authors, out of those that are here (Horvitz and Thompson), and its variance.
#[derive(Debug, Clone, Copy, Default)]
struct Total {
    sum: f64,
    variance: f64,
}

impl Total {
    fn add(&mut self, rate: f64, probability: f64) {
        let one = rate / probability;
        self.sum += one;
        self.variance += (1.0 - probability) * one * one;
    }

    fn estimate(self) -> Estimate {
        Estimate {
            per_second: self.sum,
            error: self.variance.sqrt(),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 1..=2^32-1 before"
)]
fn whole(count: f64) -> u32 {
    count.round().clamp(1.0, f64::from(u32::MAX)) as u32
}
