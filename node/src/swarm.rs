//! The node's part in the swarm: dht's network with the router on one side and the serving of
//! peers on the other. It translates; whom to ask is the router's to decide, whom to answer is
//! [`Serving`]'s, whom to know is dht's.

mod asking;
mod memory;
mod offering;
mod setup;
mod status;

use std::sync::Arc;

use bootstrap::memberships::{Membership, SwarmFiles, keep};
use dht::generate::RequestRoom;
use dht::identity::Identity;
use dht::network::{Config, Inbound, Network, StartError};
use protocol::advert::Profile;
use protocol::names::SwarmName;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::asking::SwarmPeers;
pub use self::memory::{Memory, MemoryError};
pub use self::offering::ChainSide;
use self::offering::Services;
pub use self::setup::SwarmSetup;
pub(crate) use self::setup::configured_proof;
pub use self::status::{demand, status};
use crate::board::Keeper;
use crate::config::ListenConfig;
use crate::serving::Serving;
use crate::weights::Weights;

/// What of the disk the network is given.
pub struct Kept {
    /// The peers of last time.
    pub memory: Memory,
    /// Parts of models, which peers are given.
    pub weights: Weights,
    /// Notes of boards.
    pub boards: Keeper,
}

/// The network, and what has to be done with it.
pub struct Joined {
    /// The handle.
    pub network: Network,
    /// The swarm's name.
    pub swarm: SwarmName,
    /// Parts of models, which peers are given.
    pub weights: Weights,
    /// Where what a private swarm brings is kept.
    membership: Option<SwarmFiles>,
    identity: Identity,
    inbound: mpsc::Receiver<Inbound>,
    ended: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
    memory: Memory,
    stop: CancellationToken,
}

impl Joined {
    /// What ends it.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Begins to join the swarm.
    ///
    /// # Errors
    /// No address can be listened at, or an address of the configuration is none.
    pub fn begin(
        setup: &SwarmSetup,
        identity: &Identity,
        kept: Kept,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        let Kept {
            memory,
            weights,
            boards,
        } = kept;
        let mut config = config(setup, identity, &memory);
        config.ledger = Some(Arc::new(boards));
        let (network, inbound, ended) = Network::start(config, stop.clone())?;
        Ok(Self {
            network,
            swarm: setup.name.clone(),
            weights,
            membership: setup.membership.as_ref().map(|own| own.files.clone()),
            identity: identity.clone(),
            inbound,
            ended: Box::pin(ended),
            memory,
            stop,
        })
    }

    /// Serves peers, tells the swarm what the node is, remembers peers, and follows the files of a
    /// private swarm when `changes` says so, until the network has ended.
    pub async fn run(
        self,
        serving: Serving,
        chain: Option<ChainSide>,
        mut profile: watch::Receiver<Profile>,
        changes: watch::Receiver<()>,
    ) {
        let Self {
            network,
            mut inbound,
            ended,
            memory,
            stop,
            membership,
            identity,
            weights,
            ..
        } = self;
        let services = Services {
            giving: serving.giving(weights),
            serving,
            chain,
            room: RequestRoom::default(),
        };
        let telling = async {
            loop {
                network.set_profile(profile.borrow_and_update().clone());
                if profile.changed().await.is_err() {
                    stop.cancelled().await;
                    return;
                }
            }
        };
        let offering = async {
            let mut answers = JoinSet::new();
            while let Some(stream) = inbound.recv().await {
                while answers.try_join_next().is_some() {}
                answers.spawn(offering::answer(stream, network.clone(), services.clone()));
            }
            answers.shutdown().await;
        };
        let remembering = memory.keep(network.watch(), stop.clone());
        let keeping = async {
            if let Some(files) = membership {
                keep(files, identity, network.clone(), changes).await;
            }
        };
        let all = async { tokio::join!(telling, offering, keeping) };
        let running = async {
            tokio::select! {
                biased;
                _ = all => {}
                () = ended => {}
            }
        };
        // What is remembered is written after the end, too.
        tokio::join!(running, remembering);
    }
}

fn config(setup: &SwarmSetup, identity: &Identity, memory: &Memory) -> Config {
    let listen = setup.listen.addresses();
    Config {
        listen: listen.iter().map(ToString::to_string).collect(),
        any_port: setup.listen == ListenConfig::Default,
        bootstrap: setup.bootstrap.iter().map(ToString::to_string).collect(),
        remembered: memory.peers(),
        last_sequence: memory.sequence(),
        mdns: setup.mdns,
        upnp: setup.upnp,
        private: setup.membership.as_ref().and_then(Membership::private),
        meeting: setup.meeting.clone(),
        ..Config::new(identity.signing_key().clone(), setup.name.clone())
    }
}
