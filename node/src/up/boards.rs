//! The node's boards: whose they are, and with what they are kept.

use bootstrap::memberships::{Memberships, SwarmError};
use dht::network::Network;
use protocol::names::SwarmName;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::UpError;
use crate::board::{Keeper, Reach, Setup};
use crate::config::Config;
use crate::data_dir::Layout;
use crate::identity::Identity;
use crate::store::Store;
use crate::swarm::SwarmSetup;

/// Where the notes of a node are kept that is in no swarm and off the network. Nobody is given
/// them: in a private swarm of this name they would be too slow to be within the rate.
const ALONE: &str = "this-machine";

/// Opens the boards of the swarm that the node joins, or would join were it not offline.
pub(super) fn open(
    config: &Config,
    setup: Option<&SwarmSetup>,
    identity: &Identity,
    store: &Store,
) -> Result<Keeper, UpError> {
    let (swarm, reach) = match setup {
        Some(setup) if setup.membership.is_some() => (setup.name.clone(), Reach::Members),
        Some(setup) => (setup.name.clone(), Reach::Public),
        None => without_network(config),
    };
    let setup = Setup {
        swarm,
        reach,
        key: identity.signing_key().clone(),
        config: config.board.clone(),
    };
    Ok(Keeper::open(setup, store)?)
}

/// A member writes for its swarm, also while it is offline; others get it when they meet.
fn without_network(config: &Config) -> (SwarmName, Reach) {
    let memberships = Memberships::new(Layout::new(&config.data_dir).swarms());
    let alone = || (ALONE.parse().expect("a swarm's name"), Reach::Alone);
    match memberships.to_join(config.swarm.name.as_ref()) {
        Ok(Some(files)) => (files.swarm().name.clone(), Reach::Members),
        Ok(None) => alone(),
        Err(error) => {
            unknown(&error);
            alone()
        }
    }
}

fn unknown(error: &SwarmError) {
    warn!(%error, "which swarm's boards to keep is not known: they are this machine's alone");
}

/// The boards of a running node.
pub(super) struct Boards {
    pub(super) keeper: Keeper,
    pub(super) task: JoinHandle<()>,
}

impl Boards {
    /// Keeps them, with peers if there are any, until the node stops.
    pub(super) fn run(keeper: Keeper, network: Option<Network>, stop: CancellationToken) -> Self {
        let kept = keeper.clone();
        let task = tokio::spawn(async move {
            if let Some(network) = network {
                kept.connect(network).await;
            }
            kept.run(stop).await;
        });
        Self { keeper, task }
    }
}
