//! The task that owns the links' tasks: one for each peer that is sent to, one for each that sends.
//! It starts them, blames peers whom they found at fault, and ends them.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use protocol::{NodeId, names::Protocol};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    error::{LinkEnded, OpenLinkError},
    inlet::Inlet,
    outlet::{Order, Outlet},
    registry::Registry,
};
use crate::{
    network::{Network, OpenError},
    streams::Stream,
};

/// Commands that wait for the hub: each is taken at once.
pub(super) const MOST_COMMANDS: usize = 64;

/// Orders that wait for one link's task: each channel holds a place for its end, and each sender
/// one while it sends.
const MOST_ORDERS: usize = 256;

/// Links each way: more neighbours than chains of one machine have.
const MOST_LINKS: usize = 64;

/// What is asked of the hub.
#[derive(Debug)]
pub(super) enum Command {
    /// The link to a peer, begun if there is none.
    Link {
        peer: NodeId,
        answer: oneshot::Sender<Result<Link, OpenLinkError>>,
    },
    /// A stream that a peer opened.
    Accept { peer: NodeId, stream: Stream },
}

/// A link that is there, or being opened.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) orders: mpsc::Sender<Order>,
    /// Why there is no stream, once that is certain.
    pub(super) failed: Arc<OnceLock<OpenError>>,
}

/// The hub's state.
pub(super) struct Hub {
    network: Network,
    registry: Arc<Registry>,
    outlets: BTreeMap<NodeId, Link>,
    inlets: BTreeMap<NodeId, CancellationToken>,
    tasks: JoinSet<(NodeId, LinkEnded)>,
}

impl Hub {
    pub(super) fn new(network: Network, registry: Arc<Registry>) -> Self {
        Self {
            network,
            registry,
            outlets: BTreeMap::new(),
            inlets: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Runs until nobody holds the handle any more.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        loop {
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok((peer, ended)) => self.on_ended(peer, ended),
                    Err(error) if error.is_panic() => {
                        std::panic::resume_unwind(error.into_panic());
                    }
                    Err(_) => {}
                },
                command = inbox.recv() => match command {
                    Some(Command::Link { peer, answer }) => {
                        // Whoever asked may have gone.
                        let _ = answer.send(self.link(peer));
                    }
                    Some(Command::Accept { peer, stream }) => self.accept(peer, stream),
                    None => break,
                },
            }
        }
        self.tasks.shutdown().await;
    }

    fn link(&mut self, peer: NodeId) -> Result<Link, OpenLinkError> {
        self.outlets.retain(|_, link| !link.orders.is_closed());
        if let Some(link) = self.outlets.get(&peer) {
            return Ok(link.clone());
        }
        if self.outlets.len() >= MOST_LINKS {
            return Err(OpenLinkError::TooMany);
        }
        let (orders, inbox) = mpsc::channel(MOST_ORDERS);
        let failed = Arc::new(OnceLock::new());
        let link = Link { orders, failed };
        self.outlets.insert(peer, link.clone());
        let network = self.network.clone();
        let failed = link.failed.clone();
        self.tasks.spawn(async move {
            let ended = match network.open(peer, Protocol::Stage).await {
                Ok(stream) => Outlet::new(stream).run(inbox).await,
                Err(error) => {
                    // Before the orders are dropped, which is when it is looked at.
                    let _ = failed.set(error);
                    LinkEnded::Cut
                }
            };
            (peer, ended)
        });
        Ok(link)
    }

    /// The newest of a peer's streams counts.
    fn accept(&mut self, peer: NodeId, stream: Stream) {
        self.inlets.retain(|_, stop| !stop.is_cancelled());
        if let Some(older) = self.inlets.remove(&peer) {
            older.cancel();
        }
        if self.inlets.len() >= MOST_LINKS {
            return;
        }
        let stop = CancellationToken::new();
        self.inlets.insert(peer, stop.clone());
        let network = self.network.clone();
        let inlet = Inlet::new(peer, stream, self.registry.clone(), move || {
            network.blame(peer);
        });
        self.tasks.spawn(async move {
            let replaced = async {
                stop.cancelled().await;
                LinkEnded::Replaced
            };
            let ended = inlet.run(replaced).await;
            stop.cancel();
            (peer, ended)
        });
    }

    fn on_ended(&self, peer: NodeId, ended: LinkEnded) {
        if ended.is_violation() {
            self.network.blame(peer);
        }
        debug!(%peer, ?ended, "a link between stages is over");
    }
}

impl Drop for Hub {
    /// However it ends, nobody waits for what does not come.
    fn drop(&mut self) {
        self.registry.end_all();
    }
}
