//! The node's parts, put together. It decides only which part gets which setting.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use web::manage::{PlacementReport, StoredModel};
use web::{Backend, Readiness};

use super::boards::{self, Boards};
use super::chains::Chaining;
use super::offer::{Offer, Placed};
use super::pinned::{self, Pinned};
use super::{Start, UpError};
use crate::chain::Chains;
use crate::config::Config;
use crate::core::residency::Policy;
use crate::core::sizing::{Wish, default_budget};
use crate::data_dir::Layout;
use crate::devices::Devices;
use crate::drafts::Drafts;
use crate::engines::{Engines, NoEngines};
use crate::head::Surroundings;
use crate::identity::Identity;
use crate::lifecycle::Signals;
use crate::management::NodeManagement;
use crate::models::Models;
use crate::peers::NoPeers;
use crate::placement;
use crate::residency::{Loader, Residency, Setup};
use crate::router::{Router, Shelf};
use crate::serving::Upload;
use crate::shelf;
use crate::store::Store;
use crate::swarm::{Joined, Kept, Memory, SwarmPeers, SwarmSetup};
use crate::weights::Weights;

/// Everything that a running node is made of.
pub(super) struct Parts {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) management: Arc<NodeManagement>,
    pub(super) boards: Boards,
    models: Models,
    residency: Residency,
    residency_stop: CancellationToken,
    residency_task: JoinHandle<()>,
    swarm_task: Option<JoinHandle<()>>,
    pinned: Vec<Pinned>,
    loads_nothing: bool,
    ready: watch::Sender<Readiness>,
}

impl Parts {
    /// Builds them; nothing is loaded yet.
    pub(super) async fn build(start: Start<'_>) -> Result<Self, UpError> {
        let Start {
            effective,
            identity,
            store,
            setup: swarm,
        } = start;
        let config = effective.config.clone();
        let models = shelf::open(&config, &store)?;
        let pinned = pinned::find(&config, &models).await?;
        let budget_bytes = budget(&config);
        let chains = Arc::default();
        let loader = loader(&config, &models, budget_bytes, Arc::clone(&chains))?;
        let residency_stop = CancellationToken::new();
        let setup = setup(&config, budget_bytes);
        let (residency, task) = residency(setup, loader, &store, residency_stop.clone())?;
        let (placed, placement) = placed(&config, swarm.is_some());
        let (boards, network) = join(&config, swarm.as_ref(), identity, &store, &residency_stop)?;
        let management = NodeManagement {
            models: models.clone(),
            residency: residency.clone(),
            devices: Arc::new(Devices::new(&store, program()?, config.engine.threads)?),
            effective,
            id: identity.id(),
            started: Instant::now(),
            swarm_changes: watch::Sender::new(()),
            network: network.as_ref().map(|joined| joined.network.clone()),
            swarm_name: swarm.map(|s| s.name.to_string()).unwrap_or_default(),
            placement,
            api: OnceLock::new(),
        };
        let joined = network.as_ref().filter(|_| no_engine(&config).is_none());
        let upload = Upload::new(config.serving.upload_bytes_per_second);
        let chaining = Chaining::new(&config, &management, budget_bytes, &residency_stop)?;
        let chain_parts = joined.map(|joined| chaining.build(joined, &chains, &upload));
        let (ready, readiness) = watch::channel(first_readiness(&config, &pinned));
        let shelf = Arc::new(Stored(models.clone()));
        let router = Router::new(residency.clone(), shelf, readiness, Surroundings::default());
        let router = in_swarm(router, network.as_ref(), &config);
        let offering = |joined| Offer::new(joined, router.own(), &management, upload, placed);
        let offer = network.map(offering);
        let router = serving_peers(router, offer.as_ref());
        let devices = Arc::clone(&management.devices);
        let swarm_task = offer.map(|offer| offer.run(&config, devices, chain_parts));
        Ok(Self {
            backend: Arc::new(router),
            management: Arc::new(management),
            boards,
            models,
            residency,
            residency_stop,
            residency_task: task,
            swarm_task,
            pinned,
            loads_nothing: no_engine(&config).is_some(),
            ready,
        })
    }

    /// A model for the first question: one that is kept ready, else any that is here.
    pub(super) fn example_model(&self) -> Option<String> {
        let pinned = self.pinned.iter().find_map(|pinned| match pinned {
            Pinned::Here(name) => Some(name.to_string()),
            Pinned::ToFetch(_) => None,
        });
        let stored = || {
            self.models
                .list()
                .into_iter()
                .next()
                .map(|model| model.name)
        };
        pinned.or_else(stored)
    }

    /// Whether a node that was started without a model takes on one by itself.
    pub(super) fn takes_on(&self) -> bool {
        let is_in_swarm = self.swarm_task.is_some() && !self.loads_nothing;
        is_in_swarm && self.management.effective.config.placement.enabled
    }

    /// Loads what is kept ready; then `/readyz` says so.
    pub(super) fn preload(&self) -> JoinHandle<()> {
        if self.loads_nothing {
            return tokio::spawn(async {});
        }
        let (models, residency) = (self.models.clone(), self.residency.clone());
        let loading = pinned::preload(self.pinned.clone(), models, residency.clone());
        let ready = self.ready.clone();
        tokio::spawn(async move {
            let models = loading.await;
            ready.send_if_modified(|readiness| match readiness {
                Readiness::NotReady(reason) if reason == LOADING => {
                    *readiness = Readiness::Ready;
                    true
                }
                _ => false,
            });
            pinned::keep(models, residency).await;
        })
    }

    /// Once this is cancelled, `/readyz` says that the node stops, and downloads end: they are
    /// resumed another time, and no drain waits for them.
    pub(super) fn refuse_after(&self, shutdown: CancellationToken) {
        let (ready, models) = (self.ready.clone(), self.models.clone());
        tokio::spawn(async move {
            shutdown.cancelled().await;
            models.stop();
            ready.send_replace(Readiness::NotReady("the node is stopping".into()));
        });
    }

    /// Unloads every model, within a deadline and until a further signal.
    pub(super) async fn leave(self, deadline: Duration, signals: &mut Signals) {
        self.residency_stop.cancel();
        let swarm = async {
            match self.swarm_task {
                Some(task) => task.await,
                None => Ok(()),
            }
        };
        let all = async { tokio::join!(self.residency_task, swarm, self.boards.task) };
        tokio::select! {
            biased;
            _ = all => {}
            name = signals.next() => warn!(signal = name, "stopped at once"),
            () = tokio::time::sleep(deadline) => warn!("models did not end in time"),
        }
    }
}

/// The loaded models, and the task that keeps them and their speeds.
fn residency(
    setup: Setup,
    loader: Arc<dyn Loader>,
    store: &Store,
    stop: CancellationToken,
) -> Result<(Residency, JoinHandle<()>), UpError> {
    let (residency, task) = Residency::new(setup, loader, stop.clone());
    let speeds = residency.speeds().clone();
    let keeping = speeds.keep(store.table()?, stop);
    let task = tokio::spawn(async move {
        tokio::join!(task, keeping);
    });
    Ok((residency, task))
}

/// Opens the boards, and begins to join the swarm if there is one.
fn join(
    config: &Config,
    setup: Option<&SwarmSetup>,
    identity: &Identity,
    store: &Store,
    stop: &CancellationToken,
) -> Result<(Boards, Option<Joined>), UpError> {
    let boards = boards::open(config, setup, identity, store)?;
    let Some(setup) = setup else {
        return Ok((Boards::run(boards, None, stop.clone()), None));
    };
    let kept = Kept {
        weights: Weights::open(Layout::new(&config.data_dir).weights(), store)?,
        memory: Memory::open(store)?,
        boards: boards.clone(),
    };
    let joined = Joined::begin(setup, identity, kept, stop.clone())?;
    let network = joined.network.clone();
    let boards = Boards::run(boards, Some(network), stop.clone());
    Ok((boards, Some(joined)))
}

/// The router with the peers that it may ask, who are told what is asked for.
fn in_swarm(router: Router, network: Option<&Joined>, config: &Config) -> Router {
    let privacy = config.privacy.clone();
    let Some(joined) = network else {
        return router.with_peers(Arc::new(NoPeers), privacy);
    };
    let peers = Arc::new(SwarmPeers::new(joined.network.clone()));
    let router = router.with_peers(peers, privacy);
    router.with_demands(Arc::new(joined.network.clone()))
}

/// The router that counts what peers are served, if any are.
fn serving_peers(router: Router, offer: Option<&Offer>) -> Router {
    match offer {
        Some(offer) => router.with_serving(offer.serving.clone()),
        None => router,
    }
}

/// Both ends of what is said of hosting models for the swarm, and what is said until anything is done.
fn placed(config: &Config, is_in_swarm: bool) -> (Placed, watch::Receiver<PlacementReport>) {
    let why = match no_engine(config) {
        Some(reason) => reason,
        None if is_in_swarm => "the node has just begun",
        None => "the node is in no swarm",
    };
    let (shown, watched) = placement::shown(why);
    let moving = watched.moving;
    (Placed { shown, moving }, watched.report)
}

/// What `/readyz` says while the models of `--model` are loaded.
const LOADING: &str = "the models of --model are being loaded";

fn first_readiness(config: &Config, pinned: &[Pinned]) -> Readiness {
    match no_engine(config) {
        // Peers answer for it.
        Some(_) if !config.offline => Readiness::Ready,
        Some(reason) => Readiness::NotReady(format!("this node loads no models: {reason}")),
        None if pinned.is_empty() => Readiness::Ready,
        None => Readiness::NotReady(LOADING.into()),
    }
}

/// Why this node loads no models, if so.
pub(super) fn no_engine(config: &Config) -> Option<&'static str> {
    match (config.client, cfg!(feature = "llama")) {
        (true, _) => Some("it was started with --client; start it without to load models"),
        (_, false) => Some("this build has no engine; build it with default features"),
        _ => None,
    }
}

/// The store, as the router asks it.
struct Stored(Models);

#[async_trait]
impl Shelf for Stored {
    async fn stored(&self) -> Vec<StoredModel> {
        self.0.list()
    }
}

fn program() -> Result<PathBuf, UpError> {
    Ok(std::env::current_exe()?)
}

fn budget(config: &Config) -> u64 {
    let limit = config.residency.memory_limit_bytes;
    limit.unwrap_or_else(|| default_budget(llama_sys::hardware::Memory::detect().total_bytes))
}

fn loader(
    config: &Config,
    models: &Models,
    budget_bytes: u64,
    chains: Arc<OnceLock<Chains>>,
) -> Result<Arc<dyn Loader>, UpError> {
    if let Some(reason) = no_engine(config) {
        return Ok(Arc::new(NoEngines { reason }));
    }
    Ok(Arc::new(Engines {
        models: models.clone(),
        wish: Wish {
            context: config.engine.ctx_size,
            parallel: config.engine.parallel,
        },
        threads: config.engine.threads,
        drafts: Drafts::of(&config.engine),
        budget_bytes,
        program: program()?,
        chains,
    }))
}

fn setup(config: &Config, budget_bytes: u64) -> Setup {
    Setup {
        policy: Policy {
            budget_bytes,
            keep_alive: config.residency.keep_alive,
            wait: config.residency.load_timeout,
        },
        // The models of `--model` are pinned when they are loaded, under their full names.
        pinned: Vec::new(),
        drain: config.drain_timeout,
    }
}
