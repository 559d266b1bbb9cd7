//! What the swarm asks for, as `GET /api/demand` shows it.

use serde::{Deserialize, Serialize};

/// What the swarm asks for, this node's own users included.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DemandReport {
    /// The time in which a request's weight in the rates halves, seconds.
    pub half_life_seconds: u64,
    /// What is missed most first, then what is asked for most.
    pub models: Vec<ModelDemand>,
}

/// What is asked for of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelDemand {
    /// The name that requests use.
    pub model: String,
    /// Requests a second, over the whole swarm: an estimate.
    pub arrivals_per_second: f64,
    /// Its standard error; 0 where everybody who asks was heard.
    pub arrivals_error: f64,
    /// Of the requests those that nobody answered, a second.
    pub unmet_per_second: f64,
    /// Its standard error.
    pub unmet_error: f64,
    /// Until the first token, in the mean over those that were answered, milliseconds; 0: none was.
    pub waiting_ms: f64,
    /// Nodes whose users ask for it, estimated.
    pub authors: u32,
    /// Heads that say that they serve it, this node included.
    pub heads: usize,
}
