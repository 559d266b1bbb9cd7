//! What the node offers to the swarm, put together: serving peers, hosting what is lacking, saying what
//! there is. It decides only which part gets which setting.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use protocol::advert::NodeRole;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::chains::ChainParts;
use super::parts::no_engine;
use crate::config::Config;
use crate::devices::Devices;
use crate::management::NodeManagement;
use crate::models::Models;
use crate::placement::{self, Moving, Shown};
use crate::profile::Sources;
use crate::residency::Residency;
use crate::router::OwnHeads;
use crate::serving::{self, Serving, Upload};
use crate::swarm::{ChainSide, Joined};

/// What this node offers to the swarm.
pub(super) struct Offer {
    joined: Joined,
    pub(super) serving: Serving,
    following: BoxFuture<'static, ()>,
    residency: Residency,
    models: Models,
    placed: Shown,
    moving: watch::Receiver<Moving>,
    stop: CancellationToken,
    changes: watch::Receiver<()>,
}

/// Both ends of what is said of hosting.
pub(super) struct Placed {
    pub(super) shown: Shown,
    pub(super) moving: watch::Receiver<Moving>,
}

impl Offer {
    pub(super) fn new(
        joined: Joined,
        own: &Arc<OwnHeads>,
        management: &NodeManagement,
        upload: Upload,
        placed: Placed,
    ) -> Self {
        let config = &management.effective.config;
        let changes = management.swarm_changes.subscribe();
        let stop = joined.stop().clone();
        let residency = own.residency().clone();
        let (serving, following) = Serving::new(serving::Parts {
            local: Arc::clone(own) as _,
            residency: residency.clone(),
            config: config.serving.clone(),
            upload,
            received: joined.weights.received(),
            stop: stop.clone(),
        });
        Self {
            joined,
            serving,
            following: following.boxed(),
            residency,
            models: management.models.clone(),
            placed: placed.shown,
            moving: placed.moving,
            stop,
            changes,
        }
    }

    /// Serves peers, hosts what is lacking and says what there is, until the node stops.
    pub(super) fn run(
        self,
        config: &Config,
        devices: Arc<Devices>,
        chain: Option<ChainParts>,
    ) -> JoinHandle<()> {
        let placing = self.parts(config);
        let sources = Sources {
            swarm: self.joined.swarm.clone(),
            role: match no_engine(config) {
                Some(_) => NodeRole::ApiClient,
                None => NodeRole::Server,
            },
            memory_bytes: config.residency.memory_limit_bytes,
            config: config.serving.clone(),
            residency: self.residency,
            serving: self.serving.clone(),
            devices,
            moving: self.moving,
        };
        let (profile, telling) = sources.follow(self.stop);
        let side = chain.as_ref().map(|parts| ChainSide {
            desk: parts.desk.clone(),
            links: parts.links.clone(),
        });
        let chaining = chain.map(|parts| parts.running);
        let running = self.joined.run(self.serving, side, profile, self.changes);
        let (following, placed) = (self.following, self.placed);
        tokio::spawn(async move {
            let chaining = async {
                if let Some(chaining) = chaining {
                    chaining.await;
                }
            };
            let placing = async {
                if let Some(parts) = placing {
                    placement::run(parts, placed).await;
                }
            };
            tokio::join!(following, telling, running, chaining, placing);
        })
    }

    /// What hosts models for the swarm; `None`: this node loads none.
    fn parts(&self, config: &Config) -> Option<placement::Parts> {
        let loads = no_engine(config).is_none();
        loads.then(|| placement::Parts {
            network: self.joined.network.clone(),
            residency: self.residency.clone(),
            models: self.models.clone(),
            serving: self.serving.clone(),
            config: config.placement.clone(),
            keep_alive: config.residency.keep_alive,
            begins: config.pinned.is_empty(),
            stop: self.stop.clone(),
        })
    }
}
