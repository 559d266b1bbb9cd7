//! The swarm's shell: one task that owns the libp2p swarm and drives the cores, and the handle
//! by which the rest of the node speaks to it.
//!
//! It moves bytes and translates; whom to dial, keep, believe and tell is decided in
//! [`crate::core`].

mod actor;
mod ask;
mod behaviour;
mod command;
mod config;
mod finding;
mod gossip;
mod joining;
mod linking;
mod listening;
mod telling;
mod viewing;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use protocol::{ModelName, NodeId, advert::Profile};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use self::{actor::Actor, command::Command};
pub use self::config::{Config, DEFAULT_PORT, Remembered};
use crate::view::View;

/// Commands that wait for the task: each comes from a request or a person, and waits microseconds.
const MOST_COMMANDS: usize = 256;

/// A lookup in the swarm's DHT ends within this.
const FIND_TIMEOUT: Duration = Duration::from_secs(25);

/// Why the node's part in the swarm does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be listened at.
    #[error("cannot listen at {address} for the swarm: {cause} (--listen takes another address)")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system says.
        cause: String,
    },
    /// An address of the configuration is none.
    #[error("{0} is no address of a peer")]
    Address(String),
    /// A part of the swarm's software refuses its setup.
    #[error("the swarm cannot be set up: {0}")]
    Setup(String),
}

/// The swarm's task has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this node has left the swarm")]
pub struct Left;

/// The node's part in the swarm, for the rest of the node. Cheap to clone.
#[derive(Clone)]
pub struct Network {
    own: NodeId,
    commands: mpsc::Sender<Command>,
    profile: Arc<watch::Sender<Profile>>,
    view: watch::Receiver<Arc<View>>,
}

impl Network {
    /// Joins a swarm: listens, and goes on joining in a task of the present tokio runtime until
    /// `stop` is cancelled. The future ends when the task has.
    ///
    /// # Errors
    /// See [`StartError`]. That nobody can be reached is none: the node goes on trying.
    pub fn start(
        config: Config,
        stop: CancellationToken,
    ) -> Result<(Self, impl Future<Output = ()>), StartError> {
        let (commands, inbox) = mpsc::channel(MOST_COMMANDS);
        let (profile, own_profile) = watch::channel(config.profile.clone());
        let own = NodeId::from(&config.key);
        let (actor, view) = Actor::new(config, own_profile)?;
        let task = tokio::spawn(actor.run(inbox, stop));
        let network = Self {
            own,
            commands,
            profile: Arc::new(profile),
            view,
        };
        let ended = async {
            if let Err(error) = task.await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        };
        Ok((network, ended))
    }

    /// This node.
    pub fn own(&self) -> NodeId {
        self.own
    }

    /// What is known of the swarm now.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// What is known of the swarm, and when it changes.
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Says what this node is now; the swarm is told as soon as a change is worth it.
    pub fn set_profile(&self, profile: Profile) {
        self.profile.send_replace(profile);
    }

    /// Looks the heads of a model up in the swarm's DHT, beyond those whose adverts are heard
    /// here anyway; afterwards they are in the view. How many providers there are.
    ///
    /// # Errors
    /// [`Left`].
    pub async fn find(&self, model: &ModelName) -> Result<usize, Left> {
        let (found, answer) = oneshot::channel();
        let model = model.clone();
        let command = Command::Find { model, found };
        self.commands.send(command).await.map_err(|_| Left)?;
        let answer = tokio::time::timeout(FIND_TIMEOUT, answer).await;
        answer.map_or(Ok(0), |found| found.map_err(|_| Left))
    }

    /// The network under the node changed: an interface or a default route came or went.
    ///
    /// # Errors
    /// [`Left`].
    pub async fn on_network_changed(&self) -> Result<(), Left> {
        let command = Command::NetworkChanged;
        self.commands.send(command).await.map_err(|_| Left)
    }
}

#[cfg(test)]
mod tests;
