//! The public mesh's meeting place in the public IPFS (Amino) DHT: one provider record, looked for
//! and announced.
//!
//! Each run makes a libp2p swarm of its own, a client of `/ipfs/kad/1.0.0` that listens nowhere and
//! speaks none of Shoal's protocols, and takes it down again: a node keeps no connection to the
//! IPFS network. An announcement runs under the node's own key, since servers take a provider
//! record only from the provider itself; a search runs under a key made for it, so that a peer
//! that it meets on its way does not take it for the node, and strangers' servers do not learn who
//! asks.
//!
//! When to announce is decided in [`crate::core::rendezvous`], when to search in
//! [`crate::core::join`]; what is found is a candidate for the join, and nothing is believed.

mod failure;
mod guard;
mod servers;
mod session;

use std::{collections::BTreeMap, time::Duration};

use libp2p::{Multiaddr, identity::Keypair, kad::RecordKey as KadKey};
use protocol::{NodeId, record_key::RecordKey};
use tokio::{sync::mpsc, time::timeout};

pub use self::servers::AMINO;
use self::session::{Session, Step};
use crate::{
    core::{
        join::{Candidate, Cause},
        rendezvous::MAX_ADDRESSES,
    },
    peer,
    reach::{self, MAX_KEPT, Reach},
    resolve::{Lookup, ResolveError, Resolved, SystemLookup, resolve},
};

/// After this a search ends with what it has: the join waits [`SEARCH_TIMEOUT`] for it, and
/// lookups in the public DHT take 10 to 30 s.
///
/// [`SEARCH_TIMEOUT`]: crate::core::join::SEARCH_TIMEOUT
pub const FIND_TIMEOUT: Duration = Duration::from_secs(40);

/// After this an announcement fails: two lookups. The schedule gives up a little later.
pub const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(100);

/// Peers taken out of one server's answer, whichever comes first: honest servers of the public DHT
/// send more when there are more, and one that lies cannot fill a search by itself.
pub const MAX_PER_ANSWER: usize = 20;

/// Peers that one search finds: the answers of a dozen servers. The join tries 64 a round.
pub const MAX_FOUND: usize = 256;

/// How the rendezvous is reached.
#[derive(Clone)]
pub struct Config {
    /// The node's own key.
    pub keypair: Keypair,
    /// Where to enter the DHT: multiaddrs that end in `/p2p/PEER`, names allowed. [`AMINO`] unless
    /// a test or a closed network says otherwise; if empty, there is no rendezvous.
    pub servers: Vec<String>,
    /// Which machines strangers may name, as servers or as nodes.
    pub reach: Reach,
}

impl Config {
    /// The public DHT.
    pub fn amino(keypair: Keypair) -> Self {
        Self {
            keypair,
            servers: AMINO.iter().map(|&entry| entry.to_owned()).collect(),
            reach: Reach::Public,
        }
    }
}

/// Why an announcement reached nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnnounceError {
    /// None of the addresses is one that others can dial.
    #[error("this node has no address that others can reach")]
    NoAddress,
    /// No server of the DHT took part.
    #[error("the public DHT was not reached")]
    NoServer(#[source] Cause),
}

/// The way to the rendezvous; cheap to clone, holds no connection.
#[derive(Clone)]
pub struct Rendezvous {
    config: Config,
    key: KadKey,
}

/// What a search has met so far.
#[derive(Default)]
struct Met {
    /// Whose record was found, and which of its addresses were handed out.
    peers: BTreeMap<NodeId, Vec<String>>,
}

impl Rendezvous {
    /// For a node.
    pub fn new(config: Config) -> Self {
        let key = KadKey::new(&RecordKey::rendezvous().to_multihash());
        Self { config, key }
    }

    /// Looks for nodes of the public mesh and hands each to `found` as soon as a server names it:
    /// the same node may come again, with further addresses. Answers how many nodes there were.
    ///
    /// It takes at most [`FIND_TIMEOUT`]. Dropping the future stops it at once and closes its
    /// connections; so does dropping the receiver.
    ///
    /// # Errors
    /// The cause to tell when no server of the DHT answered.
    pub async fn find(&self, found: mpsc::Sender<Candidate>) -> Result<usize, Cause> {
        let mut met = Met::default();
        match timeout(FIND_TIMEOUT, self.search(&found, &mut met)).await {
            Ok(Err(cause)) => Err(cause),
            Err(_) if met.peers.is_empty() => Err(Cause::TimedOut),
            Ok(Ok(())) | Err(_) => Ok(met.peers.len()),
        }
    }

    async fn search(&self, found: &mpsc::Sender<Candidate>, met: &mut Met) -> Result<(), Cause> {
        let servers = self.servers(&SystemLookup).await?;
        let mut session = Session::open(&Keypair::generate_ed25519(), &servers, self.config.reach);
        session.look_for_providers(self.key.clone());
        let end = loop {
            match session.step().await {
                Step::Found(peers) => {
                    let news = self.news(&peers, met);
                    if !hand_out(news, found).await || met.peers.len() >= MAX_FOUND {
                        break Ok(());
                    }
                }
                Step::Ended(answered) => break session.verdict(answered).map(|_| ()),
            }
        };
        session.close().await;
        end
    }

    /// The nodes of one server's answer, with those of their addresses that are new.
    fn news(&self, peers: &[session::Claim], met: &mut Met) -> Vec<Candidate> {
        let own = peer::node_id(&self.config.keypair.public().to_peer_id());
        let mut news = Vec::new();
        for (id, claimed) in peers.iter().take(MAX_PER_ANSWER) {
            let Some(mut candidate) = reach::candidate(id, claimed, self.config.reach) else {
                continue;
            };
            let is_full = met.peers.len() >= MAX_FOUND && !met.peers.contains_key(&candidate.peer);
            if Some(candidate.peer) == own || is_full {
                continue;
            }
            let known = met.peers.entry(candidate.peer).or_default();
            candidate.addresses.retain(|address| {
                let is_new = known.len() < MAX_KEPT && !known.contains(&address.text);
                if is_new {
                    known.push(address.text.clone());
                }
                is_new
            });
            if !candidate.addresses.is_empty() {
                news.push(candidate);
            }
        }
        news
    }

    /// Announces the node at those of these addresses that others can reach, and answers how many
    /// servers, of the 20 closest to the record, answered once it was sent to them. That is all
    /// that can be known: the protocol has no receipt.
    ///
    /// It takes at most [`ANNOUNCE_TIMEOUT`]. Dropping the future stops it at once.
    ///
    /// # Errors
    /// [`AnnounceError`]; the record of an earlier announcement stays where it is.
    pub async fn announce(&self, addresses: &[String]) -> Result<usize, AnnounceError> {
        let addresses = self.announced(addresses);
        if addresses.is_empty() {
            return Err(AnnounceError::NoAddress);
        }
        let run = timeout(ANNOUNCE_TIMEOUT, self.provide(addresses));
        let ended = run.await.unwrap_or(Err(Cause::TimedOut));
        ended.map_err(AnnounceError::NoServer)
    }

    async fn provide(&self, addresses: Vec<Multiaddr>) -> Result<usize, Cause> {
        let servers = self.servers(&SystemLookup).await?;
        let mut session = Session::open(&self.config.keypair, &servers, self.config.reach);
        session.provide(self.key.clone(), addresses);
        let mut answered = session.ended().await;
        if answered > 0 {
            // The record is on its way when the query says that it ended. Asking the same servers
            // once more takes the same steps on the same connections, so an answer means that it
            // has arrived.
            session.look_for_servers(&self.key);
            answered = session.ended().await;
        }
        let end = session.verdict(answered);
        session.close().await;
        end
    }

    /// Those of the node's addresses that may stand in the record.
    fn announced(&self, addresses: &[String]) -> Vec<Multiaddr> {
        let own = self.config.keypair.public().to_peer_id();
        let parsed = addresses.iter().filter_map(|text| text.parse().ok());
        let usable = parsed.filter_map(|multiaddr| {
            let address = reach::address(&multiaddr, &own, self.config.reach)?;
            address.text.parse().ok()
        });
        usable.take(MAX_ADDRESSES).collect()
    }

    /// The servers to begin with.
    async fn servers<L: Lookup>(&self, lookup: &L) -> Result<Resolved, Cause> {
        let resolved = resolve(&self.config.servers, lookup).await;
        if resolved.peers().is_empty() {
            let timed_out = |(_, error): &(String, _)| matches!(error, ResolveError::TimedOut);
            let silent = resolved.problems.iter().any(timed_out);
            return Err(if silent {
                Cause::TimedOut
            } else {
                Cause::NoAddress
            });
        }
        Ok(resolved)
    }
}

/// `false` if nobody wants them any more.
async fn hand_out(candidates: Vec<Candidate>, found: &mpsc::Sender<Candidate>) -> bool {
    for candidate in candidates {
        if found.send(candidate).await.is_err() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests;
