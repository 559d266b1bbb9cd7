//! The node's management: what `/api/…` shows and does. It joins the store, the loaded models
//! and the devices, and decides nothing.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use async_trait::async_trait;
use dht::core::demand::HALF_LIFE;
use dht::network::Network;
use protocol::{ModelName, NodeId};
use tokio::sync::{mpsc, watch};
use web::manage::{
    DemandReport, DeviceStatus, LoadedModel, ManageError, Management, NodeStatus, PlacementReport,
    PlanReport, PullEvent, PullRequest, StoredModel, SwarmStatus,
};

use crate::config::Effective;
use crate::devices::Devices;
use crate::models::{Models, PullError, RemoveError, ResolveError};
use crate::planning::{PlanError, Settings, Sources};
use crate::residency::{AcquireError, ExamineError, Residency};
use crate::swarm;

/// The running node, for the command line and the console.
pub struct NodeManagement {
    /// The store.
    pub models: Models,
    /// The loaded models.
    pub residency: Residency,
    /// The devices.
    pub devices: Arc<Devices>,
    /// The configuration in effect.
    pub effective: Effective,
    /// Who the node is.
    pub id: NodeId,
    /// The node's part in the swarm; `None`: it is in none.
    pub network: Option<Network>,
    /// The swarm's name.
    pub swarm_name: String,
    /// When it started.
    pub started: Instant,
    /// Told when the files of the private swarm changed; whoever runs the swarm listens.
    pub swarm_changes: watch::Sender<()>,
    /// What is taken on for the swarm, and why.
    pub placement: watch::Receiver<PlacementReport>,
    /// Where the API listens; set once it does.
    pub api: OnceLock<SocketAddr>,
}

impl NodeManagement {
    /// The API listens here. Said once; a second time changes nothing.
    pub fn started_at(&self, api: SocketAddr) {
        let _ = self.api.set(api);
    }

    fn mode(&self) -> &'static str {
        let config = &self.effective.config;
        match (config.offline, config.client) {
            (true, _) => "offline",
            (false, true) => "client",
            (false, false) => "node",
        }
    }

    /// What plans are made from.
    pub fn sources(&self) -> Sources {
        Sources {
            models: self.models.clone(),
            residency: self.residency.clone(),
            devices: Arc::clone(&self.devices),
            network: self.network.clone(),
            node: self.id,
            settings: Settings::of(&self.effective.config),
        }
    }

    fn full_name(&self, name: &str) -> Result<ModelName, ManageError> {
        let name = self
            .models
            .full_name(name)
            .map_err(|error| resolve_error(&error))?;
        name.parse()
            .map_err(|_| ManageError::Internal(format!("`{name}` is no model's name")))
    }
}

#[async_trait]
impl Management for NodeManagement {
    async fn status(&self) -> NodeStatus {
        let usage = self.models.usage().await;
        NodeStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            node_id: self.id.to_string(),
            api: self.api.get().map(ToString::to_string).unwrap_or_default(),
            uptime_seconds: self.started.elapsed().as_secs(),
            mode: self.mode().into(),
            devices: self.devices.known().await,
            loaded: self.residency.loaded().await,
            stored: usage.models,
            store_bytes: usage.model_bytes.saturating_add(usage.partial_bytes),
            store_budget_bytes: usage.budget_bytes,
        }
    }

    async fn stored(&self) -> Vec<StoredModel> {
        self.models.list()
    }

    async fn pull(&self, request: PullRequest) -> Result<mpsc::Receiver<PullEvent>, ManageError> {
        self.models
            .pull(&request.name)
            .map_err(|error| pull_error(&error))
    }

    async fn remove(&self, name: &str) -> Result<u64, ManageError> {
        // A download that was begun has no full name yet; the store knows it by this one.
        if let Ok(full) = self.full_name(name) {
            self.residency.unload(&full).await;
        }
        self.models
            .remove(name)
            .await
            .map_err(|error| remove_error(&error))
    }

    async fn loaded(&self) -> Vec<LoadedModel> {
        self.residency.loaded().await
    }

    async fn load(&self, name: &str) -> Result<LoadedModel, ManageError> {
        let full = self.full_name(name)?;
        let lease = self.residency.acquire(&full).await;
        let _lease = lease.map_err(|error| acquire_error(&error))?;
        let loaded = self.residency.loaded().await;
        let model = loaded.into_iter().find(|model| model.name == full.as_str());
        model.ok_or_else(|| ManageError::Conflict(format!("the model `{full}` was unloaded again")))
    }

    async fn unload(&self, name: &str) -> Result<(), ManageError> {
        self.residency.unload(&self.full_name(name)?).await;
        Ok(())
    }

    async fn peers(&self) -> SwarmStatus {
        match &self.network {
            Some(network) => swarm::status(&self.swarm_name, &network.view()),
            None => SwarmStatus {
                state: "off".into(),
                ..SwarmStatus::default()
            },
        }
    }

    async fn reload_swarm(&self) -> Result<(), ManageError> {
        let told = self.swarm_changes.send(());
        told.map_err(|_| ManageError::Conflict("this node is in no swarm".into()))
    }

    async fn plan(&self, model: &str) -> Result<PlanReport, ManageError> {
        let report = self.sources().report(model).await;
        report.map_err(|error| plan_error(&error))
    }

    async fn placement(&self) -> PlacementReport {
        self.placement.borrow().clone()
    }

    async fn demand(&self) -> DemandReport {
        let models = match &self.network {
            Some(network) => swarm::demand(network, &self.residency.loaded().await),
            None => Vec::new(),
        };
        DemandReport {
            half_life_seconds: HALF_LIFE.as_secs(),
            models,
        }
    }

    async fn bench(&self) -> Result<Vec<DeviceStatus>, ManageError> {
        self.devices.measure().await.map_err(ManageError::Internal)
    }

    async fn config(&self) -> String {
        self.effective.to_toml()
    }
}

fn resolve_error(error: &ResolveError) -> ManageError {
    let text = error.to_string();
    match error {
        ResolveError::NotFound(_) => ManageError::NotFound(text),
        ResolveError::Ambiguous { .. } => ManageError::Invalid(text),
        _ => ManageError::Internal(text),
    }
}

fn pull_error(error: &PullError) -> ManageError {
    let text = error.to_string();
    match error {
        PullError::Name(_) | PullError::Unknown(_) => ManageError::Invalid(text),
        PullError::Offline | PullError::TooMany => ManageError::Conflict(text),
        _ => ManageError::Internal(text),
    }
}

fn plan_error(error: &PlanError) -> ManageError {
    match error {
        PlanError::Resolve(error) => resolve_error(error),
        PlanError::Unusable { .. } => ManageError::Conflict(error.to_string()),
    }
}

fn remove_error(error: &RemoveError) -> ManageError {
    match error {
        RemoveError::Resolve(error) => resolve_error(error),
        RemoveError::InUse(_) | RemoveError::BeingPulled(_) => {
            ManageError::Conflict(error.to_string())
        }
        _ => ManageError::Internal(error.to_string()),
    }
}

fn acquire_error(error: &AcquireError) -> ManageError {
    let text = error.to_string();
    match error {
        AcquireError::Examine(ExamineError::NotFound(_)) => ManageError::NotFound(text),
        AcquireError::Examine(ExamineError::Ambiguous(_)) => ManageError::Invalid(text),
        _ => ManageError::Conflict(text),
    }
}
