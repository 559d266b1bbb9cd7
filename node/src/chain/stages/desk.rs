//! What comes before the stages' task: who is refused at once, and what a reservation would take.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use protocol::chain::{LeaseReply, LeaseRequest, Refusal, Reserve};
use protocol::{ModelName, NodeId};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::info;

use super::{StageSetup, Stages};
use crate::chain::holders::Wanted;
use crate::chain::slices::Slices;
use crate::core::leases::{Asker, Need};
use crate::planning::stage_bytes;

/// Models whose headers are read, and maybe fetched, at a time: heads ask again.
const READINGS: usize = 8;

/// How long that may take. A head does not wait for so long, but finds the headers here when it asks
/// again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where heads' requests come in. It answers out of files what the task should not wait for.
#[derive(Clone)]
pub struct Desk {
    stages: Stages,
    slices: Slices,
    serves_strangers: bool,
    models: Option<BTreeSet<ModelName>>,
    reading: Arc<Semaphore>,
}

impl Desk {
    pub(super) fn new(stages: Stages, setup: &StageSetup) -> Self {
        Self {
            stages,
            slices: setup.slices.clone(),
            serves_strangers: setup.serves_strangers,
            models: setup.models.clone(),
            reading: Arc::new(Semaphore::new(READINGS)),
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
            LeaseRequest::Reserve(reserve) => match self.reading.try_acquire() {
                Ok(_one) => self.need(head, reserve).await,
                Err(_) => return LeaseReply::Refused(Refusal::TooMany.into()),
            },
            _ => Need::UnknownModel,
        };
        self.stages.ask(from, request, need).await
    }

    fn is_allowed(&self, asker: &Asker, model: &ModelName) -> bool {
        let is_named = |models: &BTreeSet<ModelName>| models.contains(model);
        (self.serves_strangers || !asker.is_stranger) && self.models.as_ref().is_none_or(is_named)
    }

    /// What a reservation takes, by the headers of the model's files, which may have to be fetched.
    async fn need(&self, head: NodeId, reserve: &Reserve) -> Need {
        let model = &reserve.model;
        let wanted = Wanted {
            name: model.name.clone(),
            manifest: model.manifest,
            head,
        };
        let source = match timeout(PATIENCE, self.slices.source_of(&wanted)).await {
            Ok(Ok(source)) => source,
            Ok(Err(error)) => {
                info!(%error, model = %model.name, %head, "a model is not known here");
                return Need::UnknownModel;
            }
            Err(_) => return Need::UnknownModel,
        };
        if source.model.facts.layers != model.layers {
            return Need::Unsupported;
        }
        let layers = reserve.first_layer..reserve.last_layer;
        let bytes = stage_bytes(&source.model, layers, reserve.cells);
        bytes.map_or(Need::Unsupported, Need::Bytes)
    }
}

#[cfg(test)]
mod tests;
