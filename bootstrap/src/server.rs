//! The server: its part in the swarm, its health page, and its end.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use dht::{
    identity::{Identity, IdentityError},
    network::{Config, Network, StartError, both_transports},
};
use etcetera::{BaseStrategy, choose_base_strategy};
use protocol::advert::{NodeRole, Profile};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    args::Args,
    health,
    list::{self, ListError},
};

/// Why the server does not start, or ends.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// There is no home folder, and no data directory was named.
    #[error("no home folder: name one with --data-dir")]
    NoHome,
    /// The data directory cannot be made or written.
    #[error("cannot use {}: {cause}", path.display())]
    DataDir {
        /// Which.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// An address of `--bootstrap` is none.
    #[error("--bootstrap: {0}")]
    Bootstrap(#[source] ListError),
    /// The swarm's part does not start.
    #[error(transparent)]
    Network(#[from] StartError),
    /// The health page cannot listen.
    #[error("cannot listen at {address} for the health page: {cause} (--health takes another)")]
    Health {
        /// Where.
        address: std::net::SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
}

/// Runs the server until `stop` is cancelled. `announce` is called with its addresses whenever
/// they change.
///
/// # Errors
/// See [`ServerError`].
pub async fn run(
    args: Args,
    stop: CancellationToken,
    mut announce: impl FnMut(&[String]),
) -> Result<(), ServerError> {
    let folder = data_dir(&args)?;
    let identity = Identity::load_or_create(&folder.join("identity.key"))?;
    let health = TcpListener::bind(args.health).await;
    let health = health.map_err(|cause| ServerError::Health {
        address: args.health,
        cause,
    })?;
    let swarm = args.swarm.clone();
    let (network, _, ended) = Network::start(config(args, &identity)?, stop.clone())?;
    info!(node = %identity.id(), %swarm, "serving");
    let page = tokio::spawn(health::serve(health, network.clone(), swarm, stop.clone()));
    let mut views = network.watch();
    let mut shown: Vec<String> = Vec::new();
    while !stop.is_cancelled() {
        let listening = views.borrow_and_update().listening.clone();
        if listening != shown {
            write_addresses(&folder, &listening)?;
            announce(&listening);
            shown = listening;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            changed = views.changed() => if changed.is_err() { break },
        }
    }
    ended.await;
    // The page ends with the same token.
    let _ = page.await;
    Ok(())
}

fn config(args: Args, identity: &Identity) -> Result<Config, ServerError> {
    let lines = args.bootstrap.join("\n");
    list::parse(&lines).map_err(ServerError::Bootstrap)?;
    let mut profile = Profile::new(args.swarm.clone(), NodeRole::Bootstrap);
    profile.version = env!("CARGO_PKG_VERSION").into();
    Ok(Config {
        profile,
        listen: args.listen.into_iter().flat_map(both_transports).collect(),
        any_port: false,
        external: args.external,
        bootstrap: args.bootstrap,
        mdns: false,
        upnp: false,
        is_server: true,
        ..Config::new(identity.signing_key().clone(), args.swarm)
    })
}

fn data_dir(args: &Args) -> Result<PathBuf, ServerError> {
    let folder = match &args.data_dir {
        Some(folder) => folder.clone(),
        None => {
            let base = choose_base_strategy().map_err(|_| ServerError::NoHome)?;
            base.data_dir().join("shoal-bootstrap")
        }
    };
    let made = fs::create_dir_all(&folder)
        .and_then(|()| fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)));
    match made {
        Ok(()) => Ok(folder),
        Err(cause) => Err(ServerError::DataDir {
            path: folder,
            cause,
        }),
    }
}

/// For scripts: one address a line.
fn write_addresses(folder: &Path, addresses: &[String]) -> Result<(), ServerError> {
    let path = folder.join("addresses");
    let new = folder.join("addresses.new");
    let written =
        fs::write(&new, addresses.join("\n") + "\n").and_then(|()| fs::rename(&new, &path));
    written.map_err(|cause| ServerError::DataDir { path, cause })
}
