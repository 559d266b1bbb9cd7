//! Plans for the models that are on disk here: the file's shape, this node's devices and what is
//! known of the swarm go to [`core::planner`](crate::core::planner), which decides. Nothing is
//! loaded and nobody is asked.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::core::planner::{self, Distances, NoPlan, Plan, Question, Shape, Slices, Vacancy};
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
use self::swarm::{Asking, Own, Surroundings, Taken};

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
    /// What is known against peers.
    pub caution: &'a Caution,
}

/// A ring that works, and has a slow stage.
#[derive(Debug, Clone, Copy)]
pub struct Working<'a> {
    /// What its stages have room for.
    pub size: Size,
    /// Its stages.
    pub ring: &'a [(NodeId, Range<u32>)],
    /// Stages that are loaded beside it.
    pub spares: &'a [(NodeId, Range<u32>)],
    /// Tokens that another ring would have to replay.
    pub replayed: u64,
    /// What is known against peers.
    pub caution: &'a Caution,
}

/// What is known against peers.
#[derive(Debug, Clone, Default)]
pub struct Caution {
    /// These are left out.
    pub without: BTreeSet<NodeId>,
    /// These are so many times slower than they say.
    pub slow: BTreeMap<NodeId, f64>,
}

/// A model as its files were when they were looked at: whatever is put in their place, plans for it
/// stay plans for these.
#[derive(Clone)]
pub struct Subject {
    model: ModelName,
    facts: Arc<ModelFacts>,
    parts: Arc<Parts>,
}

impl Subject {
    /// Of a model whose headers were read.
    pub fn of(model: ModelName, read: &Model) -> Self {
        Self {
            model,
            facts: Arc::new(read.facts.clone()),
            parts: Arc::new(Parts::of(read)),
        }
    }
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
        let subject = self.subject(name).await?;
        Ok(self.plan_of(&subject, &Caution::default()).await)
    }

    /// The same for a model whose files were looked at before. Where measured distances leave none,
    /// those that were not measured are reckoned by way of this node.
    pub async fn plan_of(&self, subject: &Subject, caution: &Caution) -> Planned {
        let surroundings = self.surroundings(subject, caution).await;
        let planned = self.best(subject, &surroundings);
        if planned.outcome.is_ok() {
            return planned;
        }
        let bridged = self.best(subject, &surroundings.bridged(self.node));
        match bridged.outcome.is_ok() {
            true => bridged,
            false => planned,
        }
    }

    /// Who could hold layers beside a ring, or instead of a stage that it lost. Where measured distances
    /// leave nobody for some, those that were not measured are reckoned by way of this node.
    pub async fn stand_ins(&self, subject: &Subject, seeking: &Seeking<'_>) -> Slices {
        let surroundings = self.surroundings(subject, seeking.caution).await;
        let shape = self.stage_shape(subject, seeking.size);
        let vacancy = seeking.vacancy;
        let look = |surroundings: &Surroundings| {
            let question = self.question(&shape, surroundings, &|_| true, seeking.size);
            planner::stand_ins(&question, vacancy)
        };
        let found = look(&surroundings);
        match found.len() < vacancy.layers.len() {
            true => look(&surroundings.bridged(self.node)),
            false => found,
        }
    }

    /// A ring that is clearly better than one with slow stages: a spare or somebody else in place of
    /// these, or another plan altogether.
    pub async fn better(&self, subject: &Subject, working: &Working<'_>) -> Option<Slices> {
        let surroundings = self.surroundings(subject, working.caution).await;
        let shape = Shape {
            // It is a chain because this machine does not hold it.
            whole_bytes: u64::MAX,
            ..self.stage_shape(subject, working.size)
        };
        let may_cut = |layer| subject.parts.cuts.contains(&layer);
        let question = self.question(&shape, &surroundings, &may_cut, working.size);
        let is_slow = |peer: &NodeId| working.caution.slow.contains_key(peer);
        let others = planner::others(&question, working.ring, working.spares, &is_slow);
        planner::change(&question, working.ring, others, working.replayed)
    }

    /// What stages weigh; what the whole model does is left out.
    fn stage_shape(&self, subject: &Subject, size: Size) -> Shape {
        let precision = self.settings.precision;
        model::shape(&subject.facts, &subject.parts.bytes, size, 0, precision)
    }

    /// A model that is here, as its files are now.
    async fn subject(&self, name: &str) -> Result<Subject, PlanError> {
        let found = self.models.resolve(name).await?;
        let unusable = |cause: String| PlanError::Unusable {
            model: found.name.clone(),
            cause,
        };
        let model: ModelName = (found.name.parse())
            .map_err(|_| unusable("its full name is no model's name".into()))?;
        let read = read(&found).await.map_err(unusable)?;
        Ok(Subject {
            model,
            parts: Arc::new(Parts::of(&read)),
            facts: found.facts,
        })
    }

    fn best(&self, subject: &Subject, surroundings: &Surroundings) -> Planned {
        let (facts, parts) = (&*subject.facts, &*subject.parts);
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
                    model: subject.model.clone(),
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

    async fn surroundings(&self, subject: &Subject, caution: &Caution) -> Surroundings {
        let model = &subject.model;
        let asking = Asking {
            model,
            layers: subject.facts.layers,
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
            peer.is_allowed &= !caution.without.contains(&peer.node);
            peer.slowdown = caution.slow.get(&peer.node).copied().unwrap_or(1.0);
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

impl Parts {
    /// What each part of the model weighs, and where it may be cut.
    fn of(model: &Model) -> Self {
        let cuts = Sliceable::of(&model.headers).map(|sliceable| sliceable.cuts());
        Self {
            bytes: LayerBytes::of(model),
            cuts: cuts.unwrap_or_default().into_iter().collect(),
        }
    }
}

/// Reads the headers.
async fn read(found: &LocalModel) -> Result<Model, String> {
    let file: PathBuf = found.files.first().cloned().ok_or("it has no files")?;
    let read = tokio::task::spawn_blocking(move || Model::open(file));
    let model = read.await.map_err(|error| error.to_string())?;
    model.map_err(|error| error.to_string())
}
