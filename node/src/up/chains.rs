//! The node's part in chains, put together: stages for others, chains of its own, the channels of
//! both. It decides only which part gets which setting.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use dht::links::StageLinks;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::chain::{Chains, Channels, Desk, HeadSetup, Slices, StageSetup, Stages, SwarmHolders};
use crate::config::Config;
use crate::data_dir::Layout;
use crate::engines::QUEUE_LIMIT;
use crate::management::NodeManagement;
use crate::serving::Upload;
use crate::swarm::Joined;

/// What the parts are made from.
pub(super) struct Chaining<'a> {
    config: &'a Config,
    management: &'a NodeManagement,
    memory_bytes: u64,
    program: PathBuf,
    stop: &'a CancellationToken,
}

/// The parts.
pub(super) struct ChainParts {
    pub(super) desk: Desk,
    pub(super) links: StageLinks,
    /// To be driven until it ends.
    pub(super) running: BoxFuture<'static, ()>,
}

impl<'a> Chaining<'a> {
    /// With what the node is made of.
    pub(super) fn new(
        config: &'a Config,
        management: &'a NodeManagement,
        memory_bytes: u64,
        stop: &'a CancellationToken,
    ) -> std::io::Result<Self> {
        Ok(Self {
            config,
            management,
            memory_bytes,
            program: std::env::current_exe()?,
            stop,
        })
    }

    /// Puts them together. Whoever loads models looks for chains in `known`.
    pub(super) fn build(
        self,
        joined: &Joined,
        known: &OnceLock<Chains>,
        upload: &Upload,
    ) -> ChainParts {
        let (config, management) = (self.config, self.management);
        let network = &joined.network;
        let (links, linking) = StageLinks::new(network.clone());
        let channels = Channels::new(management.id, links.clone(), upload.clone());
        let holders = SwarmHolders::new(network.clone(), management.models.clone());
        let slices = Slices::new(
            Layout::new(&config.data_dir).slices(),
            management.models.clone(),
            joined.weights.clone(),
            Arc::new(holders),
            config.models.disk_budget_bytes,
        );
        let setup = self.stages(slices.clone(), channels.clone());
        let resident = management.residency.clone();
        let (desk, holding) = Stages::start(setup, resident.view(), self.stop.clone());
        let mut promised = desk.stages().promised();
        let lending = async move {
            while promised.changed().await.is_ok() {
                let bytes = *promised.borrow_and_update();
                resident.set_lent(bytes).await;
            }
        };
        let chains = Chains::new(HeadSetup {
            own: management.id,
            network: network.clone(),
            channels,
            slices,
            desk: desk.clone(),
            planning: OnceLock::new(),
            program: self.program,
            queue_limit: QUEUE_LIMIT,
            precision: config.swarm.stage_precision,
        });
        chains.plan_with(management.sources());
        // Said once, here.
        let _ = known.set(chains);
        let running = async move {
            // The links end with their last handle, and the lending with the stages.
            tokio::select! {
                biased;
                ((), ()) = async { tokio::join!(holding, lending) } => {}
                () = linking => {}
            }
        };
        ChainParts {
            desk,
            links,
            running: running.boxed(),
        }
    }

    fn stages(&self, slices: Slices, channels: Channels) -> StageSetup {
        let config = self.config;
        let named = config.serving.models.as_ref();
        let models: Option<BTreeSet<_>> = named.map(|models| models.iter().cloned().collect());
        StageSetup {
            slices,
            channels,
            program: self.program.clone(),
            threads: config.engine.threads,
            // As with whole models: whom the owner does not know causes no load that was not allowed
            // by name.
            serves_strangers: config.serving.public && models.is_some(),
            models,
            memory_bytes: self.memory_bytes,
            drain: config.drain_timeout,
        }
    }
}
