//! What comes before the stages' task: who is refused at once, and what a reservation would take.

use std::collections::BTreeSet;

use protocol::chain::{LeaseReply, LeaseRequest, Refusal, Reserve};
use protocol::{ModelName, NodeId};

use super::{StageSetup, Stages};
use crate::chain::slices::Slices;
use crate::core::leases::{Asker, Need};
use crate::planning::stage_bytes;

/// Where heads' requests come in. It answers out of files what the task should not wait for.
#[derive(Clone)]
pub struct Desk {
    stages: Stages,
    slices: Slices,
    serves_strangers: bool,
    models: Option<BTreeSet<ModelName>>,
}

impl Desk {
    pub(super) fn new(stages: Stages, setup: &StageSetup) -> Self {
        Self {
            stages,
            slices: setup.slices.clone(),
            serves_strangers: setup.serves_strangers,
            models: setup.models.clone(),
        }
    }

    /// The stages.
    pub fn stages(&self) -> &Stages {
        &self.stages
    }

    /// Answers a head.
    pub async fn answer(
        &self,
        head: NodeId,
        is_trusted: bool,
        request: LeaseRequest,
    ) -> LeaseReply {
        let from = Asker {
            peer: head,
            is_stranger: !is_trusted,
        };
        let need = match &request {
            // Files are read for nobody who gets no lease anyway.
            LeaseRequest::Reserve(reserve) if !self.is_allowed(&from, &reserve.model.name) => {
                return LeaseReply::Refused(Refusal::NotAllowed.into());
            }
            LeaseRequest::Reserve(reserve) => self.need(reserve).await,
            _ => Need::UnknownModel,
        };
        self.stages.ask(from, request, need).await
    }

    fn is_allowed(&self, asker: &Asker, model: &ModelName) -> bool {
        let is_named = |models: &BTreeSet<ModelName>| models.contains(model);
        (self.serves_strangers || !asker.is_stranger) && self.models.as_ref().is_none_or(is_named)
    }

    /// What a reservation takes, by the headers of the model's files.
    async fn need(&self, reserve: &Reserve) -> Need {
        let model = &reserve.model;
        let source = self.slices.source_of(&model.name, model.manifest).await;
        let Ok(source) = source else {
            return Need::UnknownModel;
        };
        if source.model.facts.layers != model.layers {
            return Need::Unsupported;
        }
        let layers = reserve.first_layer..reserve.last_layer;
        let bytes = stage_bytes(&source.model, layers, reserve.cells);
        bytes.map_or(Need::Unsupported, Need::Bytes)
    }
}
