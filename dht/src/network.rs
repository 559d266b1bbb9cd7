//! The swarm's shell: one task that owns the libp2p swarm and drives the cores, and the handle
//! by which the rest of the node speaks to it.
//!
//! It moves bytes and translates; whom to dial, keep, believe and tell is decided in
//! [`crate::core`].

mod actor;
mod admitting;
mod ask;
mod behaviour;
mod boarding;
mod boards;
mod command;
mod config;
mod demanding;
mod finding;
mod gossip;
mod grouping;
mod hearing;
mod joining;
mod linking;
mod listening;
mod meeting;
mod opening;
mod sharding;
mod standing;
mod telling;
mod viewing;

use std::{sync::Arc, time::Duration};

use protocol::{
    ModelName, NodeId,
    advert::Profile,
    chain::{LeaseReply, LeaseRequest},
    membership::{Chain, wire},
    names::Protocol,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use self::{actor::Actor, command::Command};
pub use self::{
    admitting::{Kept, Private},
    boards::{FetchError, FollowError},
    config::{Config, DEFAULT_PORT, Meeting, Remembered, both_transports, everywhere},
    opening::{Inbound, OpenError},
};
use crate::{
    core::membership::{Credential, ListError},
    demand::{Asked, Demand},
    lease::{self, LeaseError},
    streams::Stream,
    view::View,
};

/// Commands that wait for the task: each comes from a request or a person, and waits microseconds.
const MOST_COMMANDS: usize = 256;

/// Streams of peers that wait to be served: whoever serves takes each at once.
const MOST_INBOUND: usize = 64;

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
        address: String,
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

/// Why a list of revocations changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevokeError {
    /// The roster does not take it.
    #[error(transparent)]
    List(#[from] ListError),
    /// This node has left the swarm.
    #[error("this node has left the swarm")]
    Left,
}

/// The node's part in the swarm, for the rest of the node. Cheap to clone.
#[derive(Clone)]
pub struct Network {
    own: NodeId,
    commands: mpsc::Sender<Command>,
    profile: Arc<watch::Sender<Profile>>,
    view: watch::Receiver<Arc<View>>,
    kept: watch::Receiver<Kept>,
    demand: watch::Receiver<Arc<[Demand]>>,
    is_private: bool,
}

impl Network {
    /// Joins a swarm: listens, and goes on joining in a task of the present tokio runtime until
    /// `stop` is cancelled. Streams that peers open come out of the receiver; the future ends when
    /// the task has.
    ///
    /// # Errors
    /// See [`StartError`]. That nobody can be reached is none: the node goes on trying.
    pub fn start(
        config: Config,
        stop: CancellationToken,
    ) -> Result<(Self, mpsc::Receiver<Inbound>, impl Future<Output = ()>), StartError> {
        let (commands, inbox) = mpsc::channel(MOST_COMMANDS);
        let (profile, own_profile) = watch::channel(config.profile.clone());
        let own = NodeId::from(&config.key);
        let (served, inbound) = mpsc::channel(MOST_INBOUND);
        let is_private = config.private.is_some();
        let (actor, shown) = Actor::new(config, own_profile, served)?;
        let task = tokio::spawn(actor.run(inbox, stop));
        let network = Self {
            own,
            commands,
            profile: Arc::new(profile),
            view: shown.view,
            kept: shown.kept,
            demand: shown.demand,
            is_private,
        };
        let ended = async {
            if let Err(error) = task.await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        };
        Ok((network, inbound, ended))
    }

    /// This node.
    pub fn own(&self) -> NodeId {
        self.own
    }

    /// Whether everybody here is a member of a private swarm.
    pub fn is_private(&self) -> bool {
        self.is_private
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

    /// What the swarm asks for, this node's own users included: what is missed most first, then what
    /// is asked for most. Half a second old at most.
    pub fn demand(&self) -> Vec<Demand> {
        self.demand.borrow().to_vec()
    }

    /// Says what became of a request of one of this node's users. Of very many at once some go
    /// uncounted.
    pub fn asked(&self, model: ModelName, asked: Asked) {
        // A full queue or an ended task: nobody waits for this.
        let _ = self.commands.try_send(Command::Asked { model, asked });
    }

    /// What a private swarm brings that is to be kept over a restart, and when it changes.
    pub fn kept(&self) -> watch::Receiver<Kept> {
        self.kept.clone()
    }

    /// What this node shows on its next connections, as a certificate that was renewed. Nothing
    /// in the public mesh.
    ///
    /// # Errors
    /// [`Left`].
    pub async fn show(&self, credential: Credential) -> Result<(), Left> {
        let command = Command::Show(credential);
        self.commands.send(command).await.map_err(|_| Left)
    }

    /// Puts out whom a list of revocations names, and spreads it. False: it was known.
    ///
    /// # Errors
    /// See [`RevokeError`].
    pub async fn revoke(&self, list: Chain<wire::Revocations>) -> Result<bool, RevokeError> {
        let (done, answer) = oneshot::channel();
        let list = Box::new(list);
        let command = Command::Revoke { list, done };
        let sent = self.commands.send(command).await;
        sent.map_err(|_| RevokeError::Left)?;
        let revoked = answer.await.map_err(|_| RevokeError::Left)?;
        Ok(revoked?)
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

    /// Opens a stream to a peer, by the connection that serves best, or after a dial.
    ///
    /// # Errors
    /// See [`OpenError`]. With the first bytes it may still turn out that the peer does not speak
    /// the protocol ([`crate::streams`]).
    pub async fn open(&self, peer: NodeId, protocol: Protocol) -> Result<Stream, OpenError> {
        let (opened, answer) = oneshot::channel();
        let command = Command::Open {
            peer,
            protocol,
            opened,
        };
        let sent = self.commands.send(command).await;
        sent.map_err(|_| OpenError::Left)?;
        answer.await.map_err(|_| OpenError::Left)?
    }

    /// Asks a peer for a lease, or about one.
    ///
    /// # Errors
    /// Every [`LeaseError`]. A peer that broke the protocol is blamed already.
    pub async fn lease(
        &self,
        peer: NodeId,
        request: &LeaseRequest,
    ) -> Result<LeaseReply, LeaseError> {
        let stream = self.open(peer, Protocol::Lease).await?;
        let reply = lease::ask(stream, request).await;
        if reply.as_ref().is_err_and(LeaseError::is_violation) {
            self.blame(peer);
        }
        reply
    }

    /// Says that a peer broke the protocol that it spoke on a stream. Whoever does so twice within
    /// minutes is disconnected, whoever goes on is kept out. Of very many at once some go
    /// uncounted.
    pub fn blame(&self, peer: NodeId) {
        // A full queue or an ended task: nobody waits for this.
        let _ = self.commands.try_send(Command::Blame(peer));
    }
}

#[cfg(test)]
mod tests;
