//! Who may have a model that a head named: the head itself, peers that say so, peers nearby (a stage
//! that fetched its layers gives them on), and the hub under the model's name. Whether they have it,
//! and what they send, is checked by whoever asks them.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use dht::network::Network;
use dht::view::{Peer, View};
use protocol::advert::NodeRole;
use protocol::{ManifestId, ModelName, NodeId};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::models::Models;
use crate::weights::{Giver, Givers, HubGiver, PeerGiver};

/// Peers that are asked for one model at most: each is one short question, and a few fill any line.
const MOST_HOLDERS: usize = 16;

/// How often it is looked for more of them.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Which model, and who wants a part of it held here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The model's name.
    pub name: ModelName,
    /// What its files are.
    pub manifest: ManifestId,
    /// The head that named it.
    pub head: NodeId,
}

/// How far it is looked for holders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Peers of whom it is known now: a head waits for what is asked of them.
    Known,
    /// Whoever comes to be known, and the hub.
    All,
}

/// Those who may be asked, for as long as this lives.
pub struct Found {
    /// Who.
    pub givers: Givers,
    _looking: Option<AbortOnDropHandle<()>>,
}

/// Finds those who may have a model.
pub trait Holders: Send + Sync + 'static {
    /// Those who may be asked for it.
    fn find(&self, wanted: &Wanted, reach: Reach) -> Found;
}

/// Holders in the swarm, and the hub.
#[derive(Clone)]
pub struct SwarmHolders {
    network: Network,
    models: Models,
}

type List = Vec<Arc<dyn Giver>>;

impl Found {
    /// These, and nobody else.
    pub fn only(givers: List) -> Self {
        let (_, givers) = watch::channel(givers);
        Self {
            givers,
            _looking: None,
        }
    }
}

impl SwarmHolders {
    /// In this swarm, and at the hub of these models.
    pub fn new(network: Network, models: Models) -> Self {
        Self { network, models }
    }

    fn peers(&self, wanted: &Wanted) -> impl Iterator<Item = (NodeId, Arc<dyn Giver>)> + '_ {
        let peers = choose(&self.network.view(), self.network.own(), wanted);
        let giver = |peer| Arc::new(PeerGiver::new(self.network.clone(), peer)) as Arc<dyn Giver>;
        peers.into_iter().map(move |peer| (peer, giver(peer)))
    }

    async fn look(self, wanted: Wanted, sender: watch::Sender<List>) {
        let hub = async {
            match self.models.published(&wanted.name).await {
                Ok((hub, files)) => {
                    let giver: Arc<dyn Giver> = Arc::new(HubGiver::new(hub, files));
                    sender.send_modify(|list| list.push(giver));
                }
                Err(error) => debug!(%error, model = %wanted.name, "not fetched from the hub"),
            }
        };
        // Those whom it finds are in the view then.
        let finding = async {
            let _ = self.network.find(&wanted.name).await;
        };
        let following = async {
            let mut views = self.network.watch();
            let mut known: Vec<NodeId> = Vec::new();
            known.extend(self.peers(&wanted).map(|(peer, _)| peer));
            while views.changed().await.is_ok() {
                for (peer, giver) in self.peers(&wanted) {
                    // Nobody is taken off: who is gone is not heard of either.
                    if known.len() < MOST_HOLDERS && !known.contains(&peer) {
                        known.push(peer);
                        sender.send_modify(|list| list.push(giver));
                    }
                }
                sleep(LOOK_AGAIN).await;
            }
        };
        tokio::join!(hub, finding, following);
    }
}

impl Holders for SwarmHolders {
    fn find(&self, wanted: &Wanted, reach: Reach) -> Found {
        let known: List = self.peers(wanted).map(|(_, giver)| giver).collect();
        if reach == Reach::Known {
            return Found::only(known);
        }
        let (sender, givers) = watch::channel(known);
        let looking = tokio::spawn(self.clone().look(wanted.clone(), sender));
        Found {
            givers,
            _looking: Some(AbortOnDropHandle::new(looking)),
        }
    }
}

/// The head first, then who says to have something of the model, then who is nearest.
fn choose(view: &View, own: NodeId, wanted: &Wanted) -> Vec<NodeId> {
    let is_other = |node: &NodeId| *node != own && *node != wanted.head;
    let others = view.peers.iter().filter(|(node, _)| is_other(node));
    let mut others: Vec<_> = others
        .filter_map(|(node, peer)| {
            let says = says_to_hold(peer, &wanted.name);
            let is_near = peer.round_trip().is_some() && is_server(peer);
            (says || is_near).then_some((Reverse(says), peer.round_trip(), *node))
        })
        .collect();
    others.sort_unstable();
    let head = Some(wanted.head).filter(|head| *head != own);
    let others = others.into_iter().map(|(_, _, node)| node);
    head.into_iter().chain(others).take(MOST_HOLDERS).collect()
}

fn is_server(peer: &Peer) -> bool {
    let role = peer.said.as_ref().map(|said| said.role);
    role == Some(NodeRole::Server)
}

fn says_to_hold(peer: &Peer, model: &ModelName) -> bool {
    peer.said.as_ref().is_some_and(|said| {
        let mut slices = said.slices.iter();
        said.deployment(model).is_some() || slices.any(|slice| slice.model == *model)
    })
}
