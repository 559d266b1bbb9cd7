//! Chains that this node heads: for each, a worker with the model's vocabulary, and a task that
//! owns [`crate::core::deployment`]. It translates between that core, the peers, the planner and
//! the worker, and decides nothing.

mod actor;
mod mending;
mod probe;
mod ring;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dht::network::Network;
use futures::future::join_all;
use llama_sys::engine::{Engine, EngineState, Speculate};
use llama_sys::stage::HeadConfig;
use llama_sys::supervisor::{HeadWorkerConfig, WorkerEngine};
use protocol::chain::{LeaseReply, LeaseRequest, ModelRef, Precision};
use protocol::names::Protocol;
use protocol::{DeploymentId, ModelName, NodeId};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use self::actor::{Actor, Outside};
use self::mending::Mending;
use super::channels::Channels;
use super::engine::ChainEngine;
use super::precision::to_engine;
use super::slices::{Part, Slices};
use super::stages::Desk;
use crate::core::deployment::{CallError, Deployment, Place, Plan, Work};
use crate::core::planner::{NoPlan, Verdict};
use crate::core::ranking::Level;
use crate::core::sizing::Size;
use crate::drafts::Draft;
use crate::planning::{self, Caution, Planned, Subject};
use crate::weights::Share;

/// Tokens of a batch: what a whole model takes at a time, too.
const BATCH_TOKENS: u32 = 512;

/// Sequences of llama.cpp's cache at most.
const MAX_SEQUENCES: u32 = 256;

/// Peers that are met for one plan at most: more than one chain needs.
const MOST_MET: usize = 16;

/// How long peers may take to be connected, and to be measured.
const MEETING_PATIENCE: Duration = Duration::from_secs(4);

/// Memory of a head's process beside its model's vocabulary.
const HEAD_MEMORY_BYTES: u64 = 1 << 30;

/// What chains are headed with.
pub struct HeadSetup {
    /// This node.
    pub own: NodeId,
    /// The swarm.
    pub network: Network,
    /// The channels.
    pub channels: Channels,
    /// Slices on the disk.
    pub slices: Slices,
    /// This node's own stages.
    pub desk: Desk,
    /// Where plans come from.
    pub planning: OnceLock<planning::Sources>,
    /// The program whose hidden command is the worker.
    pub program: PathBuf,
    /// Requests that wait for a sequence, at most.
    pub queue_limit: u32,
    /// How hidden states travel.
    pub precision: Precision,
}

/// The chains that this node heads. Clones share them.
#[derive(Clone)]
pub struct Chains {
    setup: Arc<HeadSetup>,
}

impl Chains {
    /// Chains with this setup.
    pub fn new(setup: HeadSetup) -> Self {
        Self {
            setup: Arc::new(setup),
        }
    }

    /// Says where plans come from; before the first chain.
    pub fn plan_with(&self, sources: planning::Sources) {
        // Said once, when the node's parts are put together.
        let _ = self.setup.planning.set(sources);
    }

    /// Who may see the text of requests to a chain.
    pub fn seen_by(&self) -> Level {
        let sources = self.setup.planning.get();
        sources.map_or(Level::Swarm, planning::Sources::seen_by)
    }

    /// Begins a chain for a model whose files are here: the engine is loading until the chain
    /// answers. What is held with it lets peers fetch their part of the model.
    ///
    /// # Errors
    /// Why it cannot even begin, in one line.
    pub async fn start(
        &self,
        model: &ModelName,
        draft: &Draft,
    ) -> Result<(Arc<dyn Engine>, Share), String> {
        let setup = &self.setup;
        let in_words = |error: &dyn std::error::Error| error.to_string();
        let source = setup.slices.source(model, |_| {}).await;
        let source = source.map_err(|error| in_words(&error))?;
        let slice = setup.slices.make(&source, Part::Head, |_| {}).await;
        let slice = slice.map_err(|error| in_words(&error))?;
        let subject = Subject::of(model.clone(), &source.model);
        let planned = self.plan(&subject, &Caution::default()).await?;
        let size = planned.size;
        let mut head = head_config(slice.file, &size, slice.scales.lookup, setup);
        head.speculate = draft.speculate;
        head.draft.clone_from(&draft.file);
        let limit = head.memory_limit_bytes;
        head.memory_limit_bytes = limit.map(|bytes| bytes.saturating_add(draft.memory_bytes));
        let work = Work {
            deployment: DeploymentId(rand::random()),
            model: ModelRef {
                name: model.clone(),
                manifest: source.manifest,
                layers: planned.shape.count(),
            },
            cells: size.cells,
            sequences: head.sequences,
            batch_tokens: BATCH_TOKENS,
            precision: setup.precision,
        };
        let config = HeadWorkerConfig::new(&setup.program, model.as_str(), head);
        let (worker, port) = WorkerEngine::spawn_head(config);
        let worker = Arc::new(worker);
        let (state_out, state) = watch::channel(EngineState::Loading(0.0));
        let (end, ends) = mpsc::channel(1);
        let actor = Actor::new(
            Deployment::new(setup.own, work, rand::make_rng()),
            Outside {
                mending: Mending {
                    chains: self.clone(),
                    subject,
                    size,
                    caution: Caution::default(),
                },
                model: model.clone(),
                worker: Arc::clone(&worker),
                state: state_out,
            },
            planned,
        );
        tokio::spawn(actor.run(port, ends));
        let engine = ChainEngine {
            head: worker,
            state,
            end,
        };
        let share = setup.slices.share(source.manifest);
        Ok((Arc::new(engine), share))
    }

    /// The plan for a model.
    async fn plan(&self, subject: &Subject, caution: &Caution) -> Result<Planned, String> {
        let sources = self.setup.planning.get().ok_or("this node plans nothing")?;
        let planned = sources.plan_of(subject, caution).await;
        match &planned.outcome {
            Err(none) if self.meet(none).await => Ok(sources.plan_of(subject, caution).await),
            _ => Ok(planned),
        }
    }

    /// Connects to peers that would help if it were known how far they are, and waits until that
    /// was measured; whether there was any such peer.
    async fn meet(&self, none: &NoPlan) -> bool {
        let unmeasured = none.out.iter();
        let unmeasured = unmeasured.filter(|(_, verdict)| *verdict == Verdict::Unmeasured);
        let peers: Vec<NodeId> = unmeasured.map(|(node, _)| *node).take(MOST_MET).collect();
        let network = &self.setup.network;
        // A stream needs a connection, and whoever is connected is measured.
        let opened = peers
            .iter()
            .map(|peer| network.open(*peer, Protocol::Lease));
        let connected = timeout(MEETING_PATIENCE, join_all(opened)).await;
        let mut view = network.watch();
        let measured = view.wait_for(|view| {
            let known = |peer| {
                view.peers
                    .get(peer)
                    .is_some_and(|p| p.round_trip().is_some())
            };
            peers.iter().all(known)
        });
        if connected.is_ok() {
            // Whoever is not measured by then is left out.
            let _ = timeout(MEETING_PATIENCE, measured).await;
        }
        !peers.is_empty()
    }

    /// Asks a peer, or this node's own stages.
    async fn call(&self, peer: NodeId, request: LeaseRequest) -> Result<LeaseReply, CallError> {
        use dht::lease::LeaseError;
        let setup = &self.setup;
        if peer == setup.own {
            return Ok(setup.desk.answer(peer, true, request).await);
        }
        let reply = setup.network.lease(peer, &request).await;
        reply.map_err(|error| match error {
            LeaseError::Late => CallError::Late,
            error if error.is_violation() => CallError::Broken,
            _ => CallError::Unreachable,
        })
    }
}

fn head_config(file: PathBuf, size: &Size, embedding_scale: f32, setup: &HeadSetup) -> HeadConfig {
    HeadConfig {
        file,
        context_length: size.context,
        parallel: size.parallel,
        cells: size.cells,
        // Those beyond the running ones keep prefixes.
        sequences: size
            .parallel
            .saturating_mul(2)
            .min(MAX_SEQUENCES)
            .max(size.parallel),
        batch_tokens: BATCH_TOKENS,
        queue_limit: setup.queue_limit,
        precision: to_engine(setup.precision),
        embedding_scale,
        memory_limit_bytes: Some(HEAD_MEMORY_BYTES),
        speculate: Speculate::default(),
        draft: None,
    }
}

/// A plan as a deployment takes it; `None`: there is none, or its stages are none.
fn stages_of(planned: &Planned) -> Option<Plan> {
    let plan = planned.outcome.as_ref().ok()?;
    let places = plan.stages.iter().map(|stage| Place {
        peer: stage.peer,
        first_layer: stage.layers.start,
        last_layer: stage.layers.end,
    });
    Plan::new(places.collect(), Vec::new(), planned.shape.count()).ok()
}
