//! From what a peer said to a [`Record`]: each field against its limit.

use std::{collections::BTreeSet, time::Duration};

use super::{
    error::DemandError,
    record::{Asking, Record},
    wire,
};
use crate::limits::{MAX_DEMAND_MODELS, MAX_DEMAND_RATE, MAX_DEMAND_WAIT};

impl TryFrom<&wire::Demand> for Record {
    type Error = DemandError;

    fn try_from(demand: &wire::Demand) -> Result<Self, DemandError> {
        let count = demand.models.len();
        if !(1..=MAX_DEMAND_MODELS).contains(&count) {
            return Err(DemandError::Count(count));
        }
        if !(demand.chance > 0.0 && demand.chance <= 1.0) {
            return Err(field("chance", "above 0, at most 1"));
        }
        let models = demand
            .models
            .iter()
            .map(check)
            .collect::<Result<Vec<_>, _>>()?;
        let names: BTreeSet<_> = models.iter().map(|asking| &asking.model).collect();
        if names.len() < models.len() {
            return Err(DemandError::Duplicate);
        }
        Ok(Self {
            swarm: demand.swarm.parse()?,
            chance: demand.chance,
            models,
        })
    }
}

fn check(asking: &wire::Asking) -> Result<Asking, DemandError> {
    let (arrivals, unmet) = (asking.arrivals_per_second, asking.unmet_per_second);
    // NaN lies in no range.
    if !(arrivals > 0.0 && arrivals <= MAX_DEMAND_RATE) {
        return Err(field("arrivals_per_second", "above 0, at most 10,000"));
    }
    if !(0.0..=arrivals).contains(&unmet) {
        return Err(field("unmet_per_second", "a part of the arrivals"));
    }
    let waiting = Duration::from_millis(asking.waiting_millis.into());
    if waiting > MAX_DEMAND_WAIT {
        return Err(field("waiting_millis", "at most an hour"));
    }
    Ok(Asking {
        model: asking.model.parse()?,
        arrivals_per_second: arrivals,
        unmet_per_second: unmet,
        waiting,
    })
}

fn field(field: &'static str, must: &'static str) -> DemandError {
    DemandError::Field { field, must }
}
