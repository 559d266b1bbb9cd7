//! What the management API (`/api/…`) needs from the node, and its JSON types. The command
//! line is its first client.
//!
//! | route | body | answer |
//! |---|---|---|
//! | `GET /api/status` | | [`NodeStatus`] |
//! | `GET /api/models` | | `[StoredModel]` |
//! | `DELETE /api/models/{name}` (the name may hold slashes) | | `{"freed_bytes": n}` |
//! | `POST /api/pull` | [`PullRequest`] | server-sent events, each `data:` a [`PullEvent`] |
//! | `GET /api/loaded` | | `[LoadedModel]` |
//! | `POST /api/load` | [`ModelName`] | [`LoadedModel`], once it is ready |
//! | `POST /api/unload` | [`ModelName`] | `{}` |
//! | `GET /api/peers` | | [`SwarmStatus`] |
//! | `POST /api/swarm/reload` | | `{}`, once the swarm was told |
//! | `POST /api/bench` | | `[DeviceStatus]` |
//! | `GET /api/plan?model=NAME` | | [`PlanReport`] |
//! | `GET /api/placement` | | [`PlacementReport`] |
//! | `GET /api/demand` | | [`DemandReport`] |
//! | `GET /api/config` | | TOML, `text/plain` |
//!
//! Errors are the error object of the OpenAI API.

use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

mod demand;
mod placement;
mod plan;

pub use self::demand::{DemandReport, ModelDemand};
pub use self::placement::{Fetching, PlacedModel, PlacementReport};
pub use self::plan::{LeftOut, PlanPrediction, PlanReport, PlannedStage};

/// A model file in the store or in use from its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredModel {
    /// The name that requests use.
    pub name: String,
    /// Bytes on disk, all files together.
    pub size_bytes: u64,
    /// `general.architecture` of its header.
    pub architecture: String,
    /// The quantization of most of its bytes (`Q4_1`, …).
    pub quantization: String,
    /// The context that it was trained for, tokens.
    pub context_length: u64,
    /// Unix seconds at which it came here.
    pub added: u64,
    /// Used from this path outside the store; `None`: the store owns the file.
    pub external_path: Option<PathBuf>,
}

/// A model with a worker, or about to have one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadedModel {
    /// The name that requests use.
    pub name: String,
    /// `loading`, `ready`, `restarting`, `draining` or `failed`.
    pub state: String,
    /// Why it is restarting or failed.
    pub detail: Option<String>,
    /// Memory of its worker (resident), bytes.
    pub memory_bytes: u64,
    /// Context of each sequence, tokens.
    pub context_length: u32,
    /// Sequences that run now.
    pub running: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Seconds until it is unloaded if nobody asks for it; `None`: it stays.
    pub unload_in_seconds: Option<u64>,
    /// Times that its worker was started again after a crash.
    pub restarts: u32,
}

/// The node in one view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The product's version.
    pub version: String,
    /// The node's public key, as text.
    pub node_id: String,
    /// Address of the API.
    pub api: String,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// `offline`, `client` or `node`.
    pub mode: String,
    /// Processor, memory and accelerators, one line each.
    pub devices: Vec<DeviceStatus>,
    /// Models with a worker.
    pub loaded: Vec<LoadedModel>,
    /// Models on disk.
    pub stored: usize,
    /// Bytes of the store.
    pub store_bytes: u64,
    /// The store's budget, bytes; `None`: the disk's free space.
    pub store_budget_bytes: Option<u64>,
}

/// One device that can hold a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// llama.cpp's name (`CPU`, `CUDA0`, …).
    pub name: String,
    /// What it is, in the maker's words.
    pub description: String,
    /// Memory in all, bytes.
    pub memory_total_bytes: u64,
    /// Memory free now, bytes.
    pub memory_free_bytes: u64,
    /// Measured, tokens a second of prefill of the benchmark's model; `None`: not measured yet.
    pub prefill_tokens_per_second: Option<f64>,
    /// Measured effective bandwidth, bytes a second; `None`: not measured yet.
    pub bandwidth_bytes_per_second: Option<f64>,
}

/// The swarm as the node sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SwarmStatus {
    /// Its name; `None`: the node is in none (`--offline`, or it was not taken).
    pub swarm: Option<String>,
    /// `joining`, `joined` or `alone`; `off` without a swarm.
    pub state: String,
    /// `member`: it has a group, peers within 80 ms; `api-client`: there are peers and none near,
    /// so it asks others and serves whole models at most; `undecided`.
    pub standing: String,
    /// How many peers the swarm has, by the node's own estimate; `None`: no idea yet.
    pub size: Option<u32>,
    /// What lies between the node and the Internet: `public`, `endpoint-independent`,
    /// `symmetric` or `unknown`.
    pub nat: String,
    /// IPv6 gets no answers on this network while IPv4 does.
    pub ipv6_black_holed: bool,
    /// By how many seconds this machine's clock is off what most peers sign by, above zero where
    /// it is ahead; `None`: it is not.
    pub clock_off_seconds: Option<i64>,
    /// Where the node listens, as multiaddrs with its peer id: what others can be given.
    pub listening: Vec<String>,
    /// Where others were seen to reach it.
    pub external: Vec<String>,
    /// How each way into the swarm fared.
    pub ways: Vec<WayStatus>,
    /// Everybody who is connected or known by an advert.
    pub peers: Vec<PeerStatus>,
}

/// One way into the swarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WayStatus {
    /// `remembered`, `bootstrap`, `mdns` or `rendezvous`.
    pub way: String,
    /// `off`, `resting` or `trying`.
    pub state: String,
    /// Whether it has ever led to somebody since the start.
    pub worked: bool,
    /// Why its last round led to nobody, in one line.
    pub cause: Option<String>,
}

/// One peer. What it says of itself is a claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its public key, as text.
    pub id: String,
    /// `direct`, `relayed`, or `None`: not connected.
    pub path: Option<String>,
    /// Round trip by the node's own probes, milliseconds.
    pub rtt_ms: Option<f64>,
    /// Near enough for a chain: within the bounds of a group.
    pub near: bool,
    /// In this node's group.
    pub in_group: bool,
    /// `member` or `client` of the private swarm, while it is connected.
    pub membership: Option<String>,
    /// `server`, `api-client` or `bootstrap`.
    pub role: Option<String>,
    /// As [`SwarmStatus::nat`].
    pub nat: Option<String>,
    /// Its software's version.
    pub version: Option<String>,
    /// The models that it serves.
    pub models: Vec<String>,
}

/// Body of `POST /api/pull`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullRequest {
    /// `org/repo[:file-or-quant]`, a catalog name, an URL, or a path of this machine.
    pub name: String,
}

/// Body of `POST /api/load` and `/api/unload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelName {
    /// The name that requests use.
    pub name: String,
}

/// One server-sent event of a pull. `Done` or `Failed` is the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PullEvent {
    /// The name was resolved to these files.
    Resolved {
        /// The model's full name.
        name: String,
        /// Files to fetch.
        files: usize,
        /// Their bytes in all.
        total_bytes: u64,
    },
    /// Bytes on disk so far, those of an earlier attempt included.
    Progress {
        /// Bytes so far.
        done_bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
    /// The bytes are compared with the published SHA-256.
    Verifying,
    /// The model is in the store.
    Done {
        /// What was stored.
        model: StoredModel,
    },
    /// It could not be fetched.
    Failed {
        /// One line: what happened and what to do.
        message: String,
    },
}

/// Why a management call was refused; each variant has one HTTP status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManageError {
    /// 404: no such model.
    #[error("{0}")]
    NotFound(String),
    /// 400: the request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// 409: not while things are as they are (in use, over the budget, offline).
    #[error("{0}")]
    Conflict(String),
    /// 500: the node failed.
    #[error("{0}")]
    Internal(String),
}

/// The node's management, for the command line and the console.
#[async_trait]
pub trait Management: Send + Sync + 'static {
    /// The node in one view.
    async fn status(&self) -> NodeStatus;
    /// Models on disk, sorted by name.
    async fn stored(&self) -> Vec<StoredModel>;
    /// Begins a pull; dropping the receiver leaves the partial file for a later resume.
    async fn pull(&self, request: PullRequest) -> Result<mpsc::Receiver<PullEvent>, ManageError>;
    /// Removes a model from the store (an external file is only forgotten); answers the bytes freed.
    async fn remove(&self, name: &str) -> Result<u64, ManageError>;
    /// Models with a worker.
    async fn loaded(&self) -> Vec<LoadedModel>;
    /// Loads a model now and answers when it is ready.
    async fn load(&self, name: &str) -> Result<LoadedModel, ManageError>;
    /// Drains and unloads a model.
    async fn unload(&self, name: &str) -> Result<(), ManageError>;
    /// The swarm as the node sees it.
    async fn peers(&self) -> SwarmStatus;
    /// Reads the files of the private swarm again, and spreads what is new in them.
    async fn reload_swarm(&self) -> Result<(), ManageError>;
    /// Who would hold a model that is on disk here, and how fast it would be. Nothing is loaded.
    async fn plan(&self, model: &str) -> Result<PlanReport, ManageError>;
    /// What the node takes on for the swarm, and why.
    async fn placement(&self) -> PlacementReport;
    /// What the swarm asks for; nothing where the node is in none.
    async fn demand(&self) -> DemandReport;
    /// Measures the devices (again) and answers the figures.
    async fn bench(&self) -> Result<Vec<DeviceStatus>, ManageError>;
    /// The effective configuration as TOML, secrets hidden.
    async fn config(&self) -> String;
}
