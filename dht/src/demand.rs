//! What the swarm asks for, as others of the node see it. Plain data: how it is estimated is in
//! [`crate::core::demand`].

use std::time::Duration;

use protocol::ModelName;

/// What the swarm asks for of one model, this node's own users included.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// Which.
    pub model: ModelName,
    /// Requests that came to the API nodes.
    pub arrivals: Estimate,
    /// Those of them that nobody answered.
    pub unmet: Estimate,
    /// Until the first token, in the mean over those that were answered; zero if none was.
    pub waiting: Duration,
    /// API nodes that ask for it, estimated; at least one.
    pub authors: u32,
}

/// A rate out of a sample of those who ask.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Estimate {
    /// Requests a second, decayed with the half-life that all authors use.
    pub per_second: f64,
    /// The standard error that comes of the sampling, requests a second; zero where everybody
    /// who asks was heard.
    pub error: f64,
}

/// What became of one request for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Somebody answered it.
    Served {
        /// Until the first token.
        waited: Duration,
    },
    /// Nobody did: nobody serves the model, or all who do were too busy or failed.
    Unmet,
}
