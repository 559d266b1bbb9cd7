//! What is asked of the planner for a chain that is there: a stage for one that was lost, spares, a
//! ring that is better than one with a slow stage, or another plan. It translates and decides
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use protocol::NodeId;

use super::Chains;
use crate::core::deployment::{Excluded, Place, Plan, Slow};
use crate::core::planner::{Slices, Vacancy};
use crate::core::sizing::Size;
use crate::planning::{Caution, Planned, Seeking, Subject, Working};

/// One question of one chain.
#[derive(Clone)]
pub(super) struct Mending {
    pub(super) chains: Chains,
    pub(super) subject: Subject,
    /// What the stages are planned for.
    pub(super) size: Size,
    /// What is known against peers.
    pub(super) caution: Caution,
}

/// A ring that lost stages, and keeps the others.
pub(super) struct Hole {
    kept: Vec<Place>,
    lost: Vec<Range<u32>>,
}

impl Hole {
    /// `None`: nothing is kept, or nothing is lost.
    pub(super) fn of(wanted: &[Place], held: &[Place]) -> Option<Self> {
        let (kept, lost): (Vec<Place>, Vec<Place>) = wanted
            .iter()
            .copied()
            .partition(|place| held.contains(place));
        let is_hole = !kept.is_empty() && !lost.is_empty();
        let lost = lost.iter().map(|place| place.first_layer..place.last_layer);
        is_hole.then(|| Self {
            lost: lost.collect(),
            kept,
        })
    }
}

impl Mending {
    /// The plan for the model.
    pub(super) async fn plan(&self) -> Result<Planned, String> {
        self.chains.plan(&self.subject, &self.caution).await
    }

    /// The ring with somebody else for what it lost; `None`: nobody has room for it.
    pub(super) async fn filled(&self, hole: Hole) -> Option<Plan> {
        let vacancy = Vacancy {
            ring: hole.kept.iter().map(slice).collect(),
            layers: hole.lost.clone(),
            is_for_ring: true,
        };
        let found = self.stand_ins(&vacancy).await;
        if found.len() < hole.lost.len() {
            return None;
        }
        let mut stages: Vec<Place> = hole.kept.into_iter().chain(found).collect();
        stages.sort_by_key(|stage| stage.first_layer);
        plan_of(stages)
    }

    /// Places beside a ring that may be kept ready for these stages of it.
    pub(super) async fn spares(&self, ring: &[Place], wanted: Vec<Place>) -> Vec<Place> {
        let layers = wanted
            .iter()
            .map(|stage| stage.first_layer..stage.last_layer);
        let vacancy = Vacancy {
            ring: ring.iter().map(slice).collect(),
            layers: layers.collect(),
            is_for_ring: false,
        };
        self.stand_ins(&vacancy).await
    }

    /// A ring that is clearly better than this one, in which stages are slow.
    pub(super) async fn better(
        &self,
        ring: &[Place],
        spares: &[Place],
        replayed: u64,
    ) -> Option<Plan> {
        let sources = self.chains.setup.planning.get()?;
        let slices = |places: &[Place]| -> Slices { places.iter().map(slice).collect() };
        let (ring, spares) = (slices(ring), slices(spares));
        let working = Working {
            size: self.size,
            ring: &ring,
            spares: &spares,
            replayed,
            caution: &self.caution,
        };
        let better = sources.better(&self.subject, &working).await?;
        plan_of(better.into_iter().map(place).collect())
    }

    async fn stand_ins(&self, vacancy: &Vacancy) -> Vec<Place> {
        let Some(sources) = self.chains.setup.planning.get() else {
            return Vec::new();
        };
        let seeking = Seeking {
            size: self.size,
            vacancy,
            caution: &self.caution,
        };
        let found = sources.stand_ins(&self.subject, &seeking).await;
        found.into_iter().map(place).collect()
    }
}

/// What a deployment says against peers.
pub(super) fn caution(excluding: &[Excluded], slow: &[Slow]) -> Caution {
    let without: BTreeSet<NodeId> = excluding.iter().map(|excluded| excluded.peer).collect();
    let slow: BTreeMap<NodeId, f64> = slow.iter().map(|slow| (slow.peer, slow.factor)).collect();
    Caution { without, slow }
}

fn plan_of(stages: Vec<Place>) -> Option<Plan> {
    let layers = stages.last()?.last_layer;
    Plan::new(stages, Vec::new(), layers).ok()
}

fn slice(place: &Place) -> (NodeId, Range<u32>) {
    (place.peer, place.first_layer..place.last_layer)
}

fn place((peer, layers): (NodeId, Range<u32>)) -> Place {
    Place {
        peer,
        first_layer: layers.start,
        last_layer: layers.end,
    }
}
