//! What a chain's task asks of the planner, as tasks of its own: the answers are its inputs.

use llama_sys::engine::Engine as _;
use tracing::info;

use super::Actor;
use crate::chain::head::mending::{Hole, Mending, caution};
use crate::chain::head::stages_of;
use crate::core::deployment::{Excluded, Input, Place, Slow, StageStatus};

impl Actor {
    pub(super) fn mending(&self, excluding: &[Excluded], slow: &[Slow]) -> Mending {
        Mending {
            caution: caution(excluding, slow),
            ..self.outside.mending.clone()
        }
    }

    pub(super) fn plan(&mut self, mending: Mending, hole: Option<Hole>) {
        let missing = self.missing.clone();
        self.plans.spawn(async move {
            if let Some(hole) = hole
                && let Some(plan) = mending.filled(hole).await
            {
                return Some(plan);
            }
            let planned = mending.plan().await;
            match &planned {
                Ok(planned) => {
                    if let Err(none) = &planned.outcome {
                        missing.send_replace(none.to_string());
                    }
                }
                Err(cause) => drop(missing.send_replace(cause.clone())),
            }
            stages_of(planned.as_ref().ok()?)
        });
    }

    /// Looks for a ring that is clearly better than the one that works.
    pub(super) fn better(&mut self, mending: Mending, slow: &[Slow]) {
        let Some(ring) = self.ring.clone() else {
            return self.handle(Input::NoPlan);
        };
        let model = self.outside.model.clone();
        for Slow { peer, factor } in slow {
            info!(%model, %peer, factor, "chain has a slow stage");
        }
        let stages = self.core.status().stages.into_iter();
        let is_ready = |stage: &StageStatus| {
            let ready = protocol::chain::Phase::Ready;
            stage.is_spare && stage.phase.is_some_and(|(phase, _)| phase == ready)
        };
        let spares: Vec<Place> = stages.filter(is_ready).map(|stage| stage.place).collect();
        let load = self.outside.worker.load();
        // Kept prefixes are not replayed at once, and counted though.
        let replayed = if load.running > 0 { load.kv_used } else { 0 };
        self.plans.spawn(async move {
            let better = mending.better(&ring.stages, &spares, replayed.into());
            let better = better.await;
            if better.is_none() {
                info!(%model, "no chain is clearly better");
            }
            better
        });
    }

    pub(super) fn look_for_spares(&mut self, mending: Mending, ring: Vec<Place>, wanted: &[Place]) {
        let own = mending.chains.setup.own;
        // With the head its own stage is lost too.
        let wanted = wanted.iter().filter(|stage| stage.peer != own).copied();
        let wanted: Vec<Place> = wanted.collect();
        self.spares
            .spawn(async move { mending.spares(&ring, wanted).await });
    }
}
