//! What the owner sets about hosting models for the swarm.

use protocol::ModelName;

use crate::core::placement::hours::Hours;

/// What may be hosted for the swarm, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementConfig {
    /// Whether anything is. Default: yes; a node joins the mesh to be of use, within the memory and the
    /// disk that its owner gives it.
    pub enabled: bool,
    /// Models that may be taken on; `None`: those on the disk and those of the catalog.
    pub models: Option<Vec<ModelName>>,
    /// Models that are never taken on.
    pub never: Vec<ModelName>,
    /// When; `None`: at any time.
    pub hours: Option<Hours>,
}

impl Default for PlacementConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            models: None,
            never: Vec::new(),
            hours: None,
        }
    }
}

impl PlacementConfig {
    /// Whether the owner lets the node take this model on for the swarm.
    pub fn allows(&self, model: &ModelName) -> bool {
        let named = self.models.as_ref();
        !self.never.contains(model) && named.is_none_or(|models| models.contains(model))
    }

    /// Why nothing is taken on at this moment, seconds since the Unix epoch; `None`: it may be.
    pub fn closed(&self, unix_seconds: u64) -> Option<&'static str> {
        let within = self.hours.as_ref();
        let within = within.is_none_or(|hours| hours.contains(unix_seconds));
        match (self.enabled, within) {
            (false, _) => Some("its owner wants nothing taken on (placement = false)"),
            (true, false) => Some("it is outside the hours that its owner set (placement_hours)"),
            (true, true) => None,
        }
    }
}
