//! A record of demand whose every field was checked.
//!
//! Made by `TryFrom<&Demand>` from what a peer said, or by hand from what this node counted. What a
//! peer says may still be a lie: only its form is sure.

use std::time::Duration;

use super::wire;
use crate::{ids::ModelName, names::SwarmName};

/// What one API node is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The swarm that it speaks to.
    pub swarm: SwarmName,
    /// With what chance it tells anything in its period: above 0, at most 1.
    pub chance: f64,
    /// At least one and at most [`MAX_DEMAND_MODELS`](crate::limits::MAX_DEMAND_MODELS); no model
    /// twice.
    pub models: Vec<Asking>,
}

/// What it is asked for of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct Asking {
    /// Which.
    pub model: ModelName,
    /// Decayed rate of the requests, above 0.
    pub arrivals_per_second: f64,
    /// Of those the ones that nobody answered.
    pub unmet_per_second: f64,
    /// Until the first token, in the mean over those that were answered.
    pub waiting: Duration,
}

impl Record {
    /// Whether somebody asked in vain.
    pub fn is_unmet(&self) -> bool {
        self.models
            .iter()
            .any(|asking| asking.unmet_per_second > 0.0)
    }
}

impl From<&Record> for wire::Demand {
    fn from(record: &Record) -> Self {
        Self {
            swarm: record.swarm.to_string(),
            chance: record.chance,
            models: record.models.iter().map(write).collect(),
        }
    }
}

fn write(asking: &Asking) -> wire::Asking {
    wire::Asking {
        model: asking.model.to_string(),
        arrivals_per_second: asking.arrivals_per_second,
        unmet_per_second: asking.unmet_per_second,
        waiting_millis: u32::try_from(asking.waiting.as_millis()).unwrap_or(u32::MAX),
    }
}
