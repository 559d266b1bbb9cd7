//! `shoal up`: claims the data directory, puts the node's parts together, serves until told to
//! stop, drains. It decides nothing about requests or models.

mod boards;
mod chains;
mod offer;
mod parts;
mod pinned;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use bootstrap::memberships::{SwarmError, unix_now};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use web::{ApiKey, BindError, Server, WebConfig};

use self::parts::Parts;
pub use self::pinned::PinError;
use crate::config::{Config, Effective};
use crate::data_dir::{DataDir, DataDirError};
use crate::identity::{Identity, IdentityError};
use crate::lifecycle::{Ending, Signals, run_until_told};
use crate::shelf::ShelfError;
use crate::store::{Store, StoreError};
use crate::swarm::SwarmSetup;

/// Threads that move requests and tokens. Inference has its own in the workers.
const MIN_THREADS: usize = 2;

/// More do not help: a token is a few microseconds of work here.
const MAX_THREADS: usize = 4;

/// What is left after the drain (workers that end, downloads that are cut) gets this long.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpError {
    /// The data directory is in use or cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The state cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The model store cannot be opened.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// The parts of models cannot be read.
    #[error(transparent)]
    Weights(#[from] crate::weights::OpenError),
    /// The private swarm's files or settings cannot be used.
    #[error(transparent)]
    Swarm(#[from] SwarmError),
    /// The API cannot listen.
    #[error("{0}")]
    Bind(String),
    /// The node's part in the swarm does not start.
    #[error(transparent)]
    Network(#[from] dht::network::StartError),
    /// A model that `--model` names cannot be had.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The system refuses threads, signals or sockets.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

impl From<BindError> for UpError {
    fn from(error: BindError) -> Self {
        let mut text = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            text = format!("{text}: {cause}");
        }
        Self::Bind(format!(
            "{text} (--api ADDR:PORT takes another address, port 0 a free one)"
        ))
    }
}

/// Where the node answers, for whoever started it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// The real address.
    pub api: SocketAddr,
    /// A model that can be asked, if there is one.
    pub model: Option<String>,
    /// Requests need a key.
    pub needs_key: bool,
    /// Without a model it takes on one by itself.
    pub takes_on: bool,
}

/// Runs a node until it is told to stop. `announce` is called once, when requests are answered.
///
/// # Errors
/// See [`UpError`]; all of them before the node answers.
pub fn run(
    effective: Effective,
    announce: &mut (dyn FnMut(Listening) + Send),
) -> Result<Ending, UpError> {
    let dir = DataDir::claim(&effective.config.data_dir)?;
    let identity = Identity::load_or_create(&dir.layout().identity())?;
    let store = Store::open(&dir.layout().state())?;
    info!(node = %identity.id(), data_dir = %dir.layout().root().display(), "starting");
    info!(config = effective.to_line(), "configuration in effect");
    let setup = swarm(&effective.config, &dir, &identity)?;
    let runtime = runtime()?;
    let start = Start {
        effective,
        identity: &identity,
        store,
        setup,
    };
    let ending = runtime.block_on(serve(start, &dir, announce));
    // Whatever still runs was told to end and had its time; workers end with the process.
    runtime.shutdown_timeout(Duration::ZERO);
    ending
}

/// What a node starts with.
struct Start<'a> {
    effective: Effective,
    identity: &'a Identity,
    store: Store,
    setup: Option<SwarmSetup>,
}

/// The swarm to join. `None`: it is to stay off every network, or the swarm would not
/// take this node now, which then serves alone; why is in the log and in `shoal swarm status`.
fn swarm(
    config: &Config,
    dir: &DataDir,
    identity: &Identity,
) -> Result<Option<SwarmSetup>, SwarmError> {
    if config.offline {
        return Ok(None);
    }
    match SwarmSetup::prepare(&config.swarm, dir.layout(), identity, unix_now()) {
        Ok(setup) => Ok(Some(setup)),
        Err(error) if error.is_not_member() => {
            warn!(%error, "the swarm would not take this node; it serves alone");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn runtime() -> io::Result<Runtime> {
    let cores = available_parallelism().map_or(MIN_THREADS, usize::from);
    Builder::new_multi_thread()
        .worker_threads(cores.clamp(MIN_THREADS, MAX_THREADS))
        .thread_name("shoal")
        .enable_all()
        .build()
}

async fn serve(
    start: Start<'_>,
    dir: &DataDir,
    announce: &mut (dyn FnMut(Listening) + Send),
) -> Result<Ending, UpError> {
    let mut signals = Signals::listen()?;
    let shutdown = CancellationToken::new();
    let config = start.effective.config.clone();
    let parts = Parts::build(start).await?;
    let server = Server::bind(
        web_config(&config),
        Arc::clone(&parts.backend),
        Arc::clone(&parts.management) as _,
        Arc::new(parts.boards.keeper.clone()),
    );
    let server = server.await?;
    let api = server.local_addr();
    parts.management.started_at(api);
    dir.publish_api(api)?;
    info!(%api, "answering");
    announce(Listening {
        api,
        model: parts.example_model(),
        needs_key: config.api.key.is_some(),
        takes_on: parts.takes_on(),
    });
    let preload = parts.preload();
    parts.refuse_after(shutdown.clone());
    let serving = async {
        match server.serve(shutdown.clone()).await.cut {
            0 => Ending::Drained,
            _ => Ending::CutShort,
        }
    };
    let ending = run_until_told(serving, &mut signals, &shutdown).await;
    preload.abort();
    if ending == Ending::Drained {
        parts.leave(LEAVE_TIMEOUT, &mut signals).await;
    }
    Ok(ending)
}

fn web_config(config: &Config) -> WebConfig {
    let key = config.api.key.as_ref();
    WebConfig {
        listen: config.api.addr,
        api_key: key.and_then(|key| ApiKey::new(key.reveal())),
        allow_no_key: config.api.no_key,
        cors_origins: config.api.cors_origins.clone(),
        drain_timeout: config.drain_timeout,
        ..WebConfig::default()
    }
}
