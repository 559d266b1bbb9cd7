//! What a deployment is to be: which peers hold which layers, in which order. Who chose them, and
//! why, is not known here.

use std::collections::BTreeSet;

use protocol::{
    DeploymentId, NodeId,
    chain::{ModelRef, Precision, Reserve},
};

/// Stages of a ring at most: each costs a hop for each token, so more are never worth it.
pub const MAX_STAGES: usize = 32;

/// Spares at most: they hold memory for nothing most of the time.
pub const MAX_SPARES: usize = 8;

/// What every stage of one deployment has in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The deployment's id, random.
    pub deployment: DeploymentId,
    /// The model.
    pub model: ModelRef,
    /// Cells of the cache of each stage.
    pub cells: u32,
    /// Sequences at once.
    pub sequences: u32,
    /// Tokens of a batch at most.
    pub batch_tokens: u32,
    /// How hidden states travel.
    pub precision: Precision,
}

impl Work {
    /// The reservation of one place.
    pub(super) fn reserve(&self, place: Place, is_spare: bool) -> Reserve {
        Reserve {
            deployment: self.deployment,
            model: self.model.clone(),
            first_layer: place.first_layer,
            last_layer: place.last_layer,
            cells: self.cells,
            sequences: self.sequences,
            batch_tokens: self.batch_tokens,
            precision: self.precision,
            is_spare,
        }
    }
}

/// Layers on a peer. The order is the peers': see [`super`] for what rests on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Who holds them.
    pub peer: NodeId,
    /// The first layer.
    pub first_layer: u32,
    /// The layer after the last.
    pub last_layer: u32,
}

impl Place {
    /// Whether the other has the same layers.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.first_layer, self.last_layer) == (other.first_layer, other.last_layer)
    }
}

/// A ring's stages in the order of their layers, and spares that are loaded beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub(super) stages: Vec<Place>,
    pub(super) spares: Vec<Place>,
}

/// Why stages make no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// No stage, or over [`MAX_STAGES`] or [`MAX_SPARES`].
    #[error("a plan has 1 to {MAX_STAGES} stages and up to {MAX_SPARES} spares")]
    Count,
    /// A stage does not begin where the one before it ends, or the last one ends too early or late.
    #[error("the stages are not the model's {0} layers, each once")]
    Layers(u32),
    /// One peer has two stages of the ring, or one place is named twice.
    #[error("a peer or a place is named twice")]
    Twice,
}

impl Plan {
    /// Checks the plan of a model of so many layers.
    ///
    /// # Errors
    /// Every [`PlanError`].
    pub fn new(stages: Vec<Place>, spares: Vec<Place>, layers: u32) -> Result<Self, PlanError> {
        if stages.is_empty() || stages.len() > MAX_STAGES || spares.len() > MAX_SPARES {
            return Err(PlanError::Count);
        }
        let mut end = 0;
        for stage in &stages {
            if stage.first_layer != end || stage.last_layer <= end {
                return Err(PlanError::Layers(layers));
            }
            end = stage.last_layer;
        }
        let is_spare_like_a_stage = |spare: &Place| stages.iter().any(|s| s.is_like(spare));
        if end != layers || !spares.iter().all(is_spare_like_a_stage) {
            return Err(PlanError::Layers(layers));
        }
        let peers: BTreeSet<_> = stages.iter().map(|stage| stage.peer).collect();
        let places: BTreeSet<_> = stages.iter().chain(&spares).collect();
        if peers.len() < stages.len() || places.len() < stages.len() + spares.len() {
            return Err(PlanError::Twice);
        }
        Ok(Self { stages, spares })
    }

    /// The ring's stages, in order.
    pub fn stages(&self) -> &[Place] {
        &self.stages
    }

    /// The spares.
    pub fn spares(&self) -> &[Place] {
        &self.spares
    }
}
