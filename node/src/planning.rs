//! Plans for the models that are on disk here: the file's shape, this node's devices and what is
//! known of the swarm go to [`core::planner`](crate::core::planner), which decides. Nothing is
//! loaded and nobody is asked.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use dht::network::Network;
use llama_sys::gguf::slice::Sliceable;
use llama_sys::gguf::{LayerBytes, Model, ModelFacts};
use protocol::chain::Precision;
use protocol::{ModelName, NodeId};
use web::manage::PlanReport;

use crate::config::Config;
use crate::core::planner::{self, Distances, NoPlan, Peer, Plan, Question, Shape, Vacancy};
use crate::core::profile::device;
use crate::core::ranking::Level;
use crate::core::sizing::{MIN_CONTEXT, Size, Wish, size};
use crate::devices::Devices;
use crate::models::{LocalModel, Models, ResolveError};
use crate::residency::Residency;
use crate::router::PrivacyPolicy;

mod model;
mod report;
mod swarm;

pub(crate) use self::model::{HEAD_BYTES, stage_bytes};
use self::swarm::{Asking, Own, Taken};

/// What plans are made from.
#[derive(Clone)]
pub struct Sources {
    /// The models on disk.
    pub models: Models,
    /// The loaded models.
    pub residency: Residency,
    /// The devices.
    pub devices: Arc<Devices>,
    /// The swarm; `None`: there is none.
    pub network: Option<Network>,
    /// This node.
    pub node: NodeId,
    /// What the owner set.
    pub settings: Settings,
}

/// What the owner set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether this node loads models.
    pub loads: bool,
    /// Memory of all models, bytes; `None`: a share of the machine's.
    pub memory_bytes: Option<u64>,
    /// Upload to peers, bytes a second; `None`: no limit.
    pub upload_bytes_per_second: Option<u64>,
    /// How large a context is wanted.
    pub wish: Wish,
    /// Who may see the text of requests that say nothing of it.
    pub privacy: PrivacyPolicy,
    /// How hidden states travel between stages.
    pub precision: Precision,
}

impl Settings {
    /// Of this configuration and build.
    pub fn of(config: &Config) -> Self {
        Self {
            loads: !config.client && cfg!(feature = "llama"),
            memory_bytes: config.residency.memory_limit_bytes,
            upload_bytes_per_second: config.serving.upload_bytes_per_second,
            wish: Wish {
                context: config.engine.ctx_size,
                parallel: config.engine.parallel,
            },
            privacy: config.privacy.clone(),
            precision: config.swarm.stage_precision,
        }
    }
}

/// A model, how it would be loaded, and by whom.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Its full name.
    pub model: ModelName,
    /// What it weighs, with room for `size`.
    pub shape: Shape,
    /// The context that it has room for.
    pub size: Size,
    /// The plan, or what is missing.
    pub outcome: Result<Plan, NoPlan>,
}

/// Layers that somebody beside a ring is to hold.
#[derive(Debug, Clone, Copy)]
pub struct Seeking<'a> {
    /// What the ring's stages have room for.
    pub size: Size,
    /// Which layers, and beside whom.
    pub vacancy: &'a Vacancy,
    /// Peers that are left out.
    pub without: &'a BTreeSet<NodeId>,
}

/// A model and its files.
struct Known {
    model: ModelName,
    found: LocalModel,
    parts: Parts,
}

/// Why nothing can be planned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The model is not on disk here.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Its files cannot be read.
    #[error("the files of `{model}` cannot be used: {cause}")]
    Unusable {
        /// The model.
        model: String,
        /// What is wrong.
        cause: String,
    },
}

/// The peers of one question.
struct Surroundings {
    peers: Vec<Peer>,
    distances: Distances,
}

impl Sources {
    /// Who may see the text of requests to a model that is planned over peers.
    pub fn seen_by(&self) -> Level {
        let is_private = self.network.as_ref().is_some_and(Network::is_private);
        self.settings.privacy.of_plans(is_private)
    }

    /// The plan for a model, as it is shown.
    ///
    /// # Errors
    /// See [`PlanError`]; that there is no plan is an answer.
    pub async fn report(&self, name: &str) -> Result<PlanReport, PlanError> {
        let planned = self.plan(name).await?;
        Ok(report::of(&planned, self.node))
    }

    /// The plan for a model. Where there is none for the context that is set, or would be by
    /// default, half of it is tried, as it is for one machine.
    ///
    /// # Errors
    /// See [`PlanError`]; that there is no plan is an answer.
    pub async fn plan(&self, name: &str) -> Result<Planned, PlanError> {
        self.plan_without(name, &BTreeSet::new()).await
    }

    /// The same, leaving these peers out.
    ///
    /// # Errors
    /// As [`Sources::plan`].
    pub async fn plan_without(
        &self,
        name: &str,
        without: &BTreeSet<NodeId>,
    ) -> Result<Planned, PlanError> {
        let Known {
            model,
            found,
            parts,
        } = self.known(name).await?;
        let surroundings = self.surroundings(&model, found.facts.layers, without).await;
        Ok(self.best(model, &found.facts, &parts, &surroundings))
    }

    /// Who could hold layers beside a ring, or instead of a stage that it lost.
    ///
    /// # Errors
    /// As [`Sources::plan`].
    pub async fn stand_ins(
        &self,
        name: &str,
        seeking: &Seeking<'_>,
    ) -> Result<Vec<(NodeId, Range<u32>)>, PlanError> {
        let Known {
            model,
            found,
            parts,
        } = self.known(name).await?;
        let layers = found.facts.layers;
        let surroundings = self.surroundings(&model, layers, seeking.without).await;
        let precision = self.settings.precision;
        let shape = model::shape(&found.facts, &parts.bytes, seeking.size, 0, precision);
        let question = self.question(&shape, &surroundings, &|_| true, seeking.size);
        Ok(planner::stand_ins(&question, seeking.vacancy))
    }

    /// What is known of a model's files.
    async fn known(&self, name: &str) -> Result<Known, PlanError> {
        let found = self.models.resolve(name).await?;
        let unusable = |cause: String| PlanError::Unusable {
            model: found.name.clone(),
            cause,
        };
        let model: ModelName = (found.name.parse())
            .map_err(|_| unusable("its full name is no model's name".into()))?;
        let parts = parts(&found).await.map_err(unusable)?;
        Ok(Known {
            model,
            found,
            parts,
        })
    }

    fn best(
        &self,
        model: ModelName,
        facts: &ModelFacts,
        parts: &Parts,
        surroundings: &Surroundings,
    ) -> Planned {
        let (wish, precision) = (self.settings.wish, self.settings.precision);
        let own = surroundings.peers.iter().find(|p| p.node == self.node);
        let own_bytes = own.map_or(0, |own| own.free_bytes);
        let whole_bytes = size(facts, wish, own_bytes).need_bytes;
        let mut size = size(facts, wish, u64::MAX);
        loop {
            let shape = model::shape(facts, &parts.bytes, size, whole_bytes, precision);
            let outcome = self.ask(&shape, &parts.cuts, surroundings, size);
            let is_last = wish.context.is_some() || size.cells / 2 < MIN_CONTEXT;
            if outcome.is_ok() || is_last {
                return Planned {
                    model,
                    shape,
                    size,
                    outcome,
                };
            }
            size.cells /= 2;
            size.context = size.context.min(size.cells);
        }
    }

    fn ask(
        &self,
        shape: &Shape,
        cuts: &BTreeSet<u32>,
        surroundings: &Surroundings,
        size: Size,
    ) -> Result<Plan, NoPlan> {
        let may_cut = |layer| cuts.contains(&layer);
        planner::plan(&self.question(shape, surroundings, &may_cut, size))
    }

    fn question<'a>(
        &self,
        shape: &'a Shape,
        surroundings: &'a Surroundings,
        may_cut: &'a dyn Fn(u32) -> bool,
        size: Size,
    ) -> Question<'a> {
        Question {
            shape,
            peers: &surroundings.peers,
            distances: &surroundings.distances,
            head: self.node,
            may_cut,
            streams: size.parallel,
        }
    }

    async fn surroundings(
        &self,
        model: &ModelName,
        layers: u32,
        without: &BTreeSet<NodeId>,
    ) -> Surroundings {
        let asking = Asking {
            model,
            layers,
            node: self.node,
            is_member: self.network.as_ref().is_some_and(Network::is_private),
            privacy: &self.settings.privacy,
        };
        let figures = self.devices.figures().await;
        let devices: Vec<_> = figures.iter().map(device).collect();
        let own = Own {
            loads: self.settings.loads,
            taken: self.taken(model).await,
            limit: self.settings.memory_bytes,
            uplink: self.settings.upload_bytes_per_second,
            devices: &devices,
        };
        let mut peers = vec![own.peer(asking)];
        let mut distances = Distances::default();
        if let Some(network) = &self.network {
            let view = network.view();
            peers.extend(swarm::others(asking, &view.peers));
            distances = swarm::distances(self.node, &view.peers);
        }
        for peer in &mut peers {
            peer.is_allowed &= !without.contains(&peer.node);
        }
        Surroundings { peers, distances }
    }

    /// What models take here now; the one that is planned for makes room for itself.
    async fn taken(&self, model: &ModelName) -> Taken {
        let mut taken = Taken::default();
        for loaded in self.residency.loaded().await {
            let is_busy = loaded.running > 0 || loaded.waiting > 0;
            match is_busy && loaded.name != model.as_str() {
                true => taken.busy_bytes += loaded.memory_bytes,
                false => taken.idle_bytes += loaded.memory_bytes,
            }
        }
        taken
    }
}

/// What the planner has to know of a model's files.
struct Parts {
    bytes: LayerBytes,
    /// Where the model may be cut; nowhere, if it is of a kind that is not cut at all.
    cuts: BTreeSet<u32>,
}

/// What each part of the model weighs, and where it may be cut; reads the headers.
async fn parts(found: &LocalModel) -> Result<Parts, String> {
    let file: PathBuf = found.files.first().cloned().ok_or("it has no files")?;
    let read = tokio::task::spawn_blocking(move || Model::open(file));
    let model = read.await.map_err(|error| error.to_string())?;
    let model = model.map_err(|error| error.to_string())?;
    let cuts = Sliceable::of(&model.headers).map(|sliceable| sliceable.cuts());
    Ok(Parts {
        bytes: LayerBytes::of(&model),
        cuts: cuts.unwrap_or_default().into_iter().collect(),
    })
}
