//! The server: its part in the swarm, its health page, and its end.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use dht::{
    core::connections,
    identity::{Identity, IdentityError},
    network::{Config, Network, StartError, both_transports},
};
use etcetera::{BaseStrategy, choose_base_strategy};
use protocol::{
    NodeId,
    advert::{NodeRole, Profile},
    names::SwarmName,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    args::Args,
    health,
    list::{self, ListError},
    memberships::{Membership, Memberships, SwarmError, keep, read_proof, unix_now},
};

/// Connections that are kept: a server is dialed by everybody who comes. At 150 KB each they, and
/// half as many that just came, are 115 MB.
const MAX_KEPT: usize = 512;

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
    /// The private swarm's files, token or pass.
    #[error(transparent)]
    Swarm(#[from] SwarmError),
    /// A private swarm, and nothing that lets this server in.
    #[error(
        "`{swarm}` is a private swarm: where its root key is, run `shoal swarm delegate {own}`, and give the line that it prints with --join or --join-file"
    )]
    NoPass {
        /// Which swarm.
        swarm: SwarmName,
        /// This server.
        own: NodeId,
    },
    /// The pass is for another swarm than `--swarm` says.
    #[error("the pass is for the swarm `{pass}`, not for `{swarm}`: give --swarm {pass}")]
    OtherSwarm {
        /// Of `--swarm`.
        swarm: SwarmName,
        /// Of the pass.
        pass: SwarmName,
    },
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

/// The server's id, which is made if there is none yet.
///
/// # Errors
/// The data directory or the key in it cannot be used.
pub fn id(args: &Args) -> Result<NodeId, ServerError> {
    let folder = data_dir(args)?;
    Ok(Identity::load_or_create(&folder.join("identity.key"))?.id())
}

/// Runs the server until `stop` is cancelled; with `reload` it reads the files of a private swarm
/// again. `announce` is called with its addresses whenever they change.
///
/// # Errors
/// See [`ServerError`].
pub async fn run(
    args: Args,
    stop: CancellationToken,
    reload: watch::Receiver<()>,
    mut announce: impl FnMut(&[String]),
) -> Result<(), ServerError> {
    let folder = data_dir(&args)?;
    let identity = Identity::load_or_create(&folder.join("identity.key"))?;
    let membership = membership(&args, &folder, &identity)?;
    let health = TcpListener::bind(args.health).await;
    let health = health.map_err(|cause| ServerError::Health {
        address: args.health,
        cause,
    })?;
    let swarm = args.swarm.clone();
    let files = membership
        .as_ref()
        .map(|membership| membership.files.clone());
    let config = config(args, &identity, membership.as_ref())?;
    let (network, _, ended) = Network::start(config, stop.clone())?;
    info!(node = %identity.id(), %swarm, "serving");
    if let Some(files) = files {
        // It ends with the network.
        tokio::spawn(keep(files, identity, network.clone(), reload));
    }
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

/// What this server is in a private swarm; `None`: the public mesh.
fn membership(
    args: &Args,
    folder: &Path,
    identity: &Identity,
) -> Result<Option<Membership>, ServerError> {
    let memberships = Memberships::new(folder.join("swarms"));
    let now = unix_now();
    let text = match (&args.join, &args.join_file) {
        (Some(text), _) => Some(text.clone()),
        (None, Some(path)) => Some(read_proof(path)?),
        (None, None) => None,
    };
    if args.swarm == SwarmName::public() {
        return match text {
            Some(_) => Err(SwarmError::Public.into()),
            None => Ok(None),
        };
    }
    if let Some(text) = text {
        let pass = memberships.join_once(&text.parse()?, identity, now)?;
        if pass != args.swarm {
            let swarm = args.swarm.clone();
            return Err(ServerError::OtherSwarm { swarm, pass });
        }
    }
    let files = match memberships.find(Some(&args.swarm)) {
        Err(SwarmError::Unknown { .. }) => {
            return Err(ServerError::NoPass {
                swarm: args.swarm.clone(),
                own: identity.id(),
            });
        }
        files => files?,
    };
    Ok(Some(Membership::load(files, identity, now)?))
}

fn config(
    args: Args,
    identity: &Identity,
    membership: Option<&Membership>,
) -> Result<Config, ServerError> {
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
        connections: connections::Config {
            high: MAX_KEPT,
            low: MAX_KEPT / 4 * 3,
            ceiling: MAX_KEPT / 2 * 3,
            ..connections::Config::default()
        },
        private: membership.and_then(Membership::private),
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
