//! What a node hosts for the swarm, as the API says it. Plain data.

use serde::{Deserialize, Serialize};

/// What the node takes on for the swarm, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementReport {
    /// Why it takes nothing on now; `None`: it may.
    pub closed: Option<String>,
    /// What is fetched for it now.
    pub fetching: Option<Fetching>,
    /// What it does about each model that it holds for the swarm, is about to, or that lacks servers.
    pub models: Vec<PlacedModel>,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedModel {
    /// The model.
    pub model: String,
    /// `considered`, `announced`, `loading`, `held`, `leaving`, `resting`, or `left` to others.
    pub state: String,
    /// Why, in one line.
    pub why: String,
}

/// A model that is being fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetching {
    /// The model.
    pub model: String,
    /// Bytes on the disk.
    pub done_bytes: u64,
    /// Bytes in all; 0: not known yet.
    pub total_bytes: u64,
}
