//! Stages in an order, and what a token costs on its way around them.

use std::ops::Range;
use std::time::Duration;

use protocol::NodeId;

use super::costs::Carries;
use super::{Question, Stage};

/// A ring, with its times.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ring {
    /// In the order of layers.
    pub(super) stages: Vec<Stage>,
    /// The stages' part of a token's time.
    pub(super) compute: Duration,
    /// The hops' part.
    pub(super) network: Duration,
}

impl Ring {
    /// The ring of these slices. Peers that the question does not know hold nothing.
    pub(super) fn of(question: &Question<'_>, slices: &[(NodeId, Range<u32>)]) -> Self {
        let stages: Vec<Stage> = slices
            .iter()
            .filter_map(|(node, layers)| stage(question, *node, layers.clone()))
            .collect();
        let mut network = 0;
        let mut at = question.head;
        for stage in &stages {
            network += question.hop_nanos(at, stage.peer, Carries::State);
            at = stage.peer;
        }
        network += question.hop_nanos(at, question.head, Carries::Token);
        Self {
            compute: stages.iter().map(|stage| stage.time).sum(),
            network: Duration::from_nanos(network),
            stages,
        }
    }

    /// What a token of one session costs.
    pub(super) fn token(&self) -> Duration {
        self.compute + self.network
    }

    /// Whether a peer holds a stage.
    pub(super) fn has(&self, node: NodeId) -> bool {
        self.stages.iter().any(|stage| stage.peer == node)
    }
}

fn stage(question: &Question<'_>, node: NodeId, layers: Range<u32>) -> Option<Stage> {
    let peer = question.peer(node)?;
    let is_whole = layers == (0..question.shape.count());
    let bytes = match is_whole && node == question.head {
        true => question.shape.whole_bytes,
        false => question.shape.slice_bytes(layers.clone()),
    };
    Some(Stage {
        peer: node,
        bytes,
        fetch_bytes: question.fetch_bytes(peer, layers.clone()),
        time: Duration::from_nanos(question.stage_nanos(peer, layers.clone())),
        layers,
    })
}
