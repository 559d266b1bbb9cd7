//! What of the swarm outlives a run: the peers most worth dialling, and the number of the last
//! advert. It decides only which peers those are.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use dht::network::Remembered;
use dht::view::{Peer, View};
use protocol::{NodeId, Sequence};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::store::{Record, Store, StoreError, Table};

/// Peers that are remembered: as many as one round of the join tries.
const MAX_PEERS: usize = 64;

/// Addresses of each.
const MAX_ADDRESSES: usize = 8;

/// How often what is remembered is written. What a crash loses is a minute of acquaintance; an
/// advert's number that was lost is still below the clock's.
const INTERVAL: Duration = Duration::from_secs(60);

/// The key of the only record.
const KEY: &str = "swarm";

/// Why nothing is remembered.
pub type MemoryError = StoreError;

/// The record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Acquaintance {
    sequence: Option<u64>,
    peers: Vec<Known>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    node: NodeId,
    addresses: Vec<String>,
}

impl Record for Acquaintance {
    const TABLE: &'static str = "swarm_memory";
}

/// The memory of one node.
pub struct Memory {
    table: Table<Acquaintance>,
    last: Acquaintance,
}

impl Memory {
    /// Reads it. One that is broken is as good as none: everybody is found anew.
    ///
    /// # Errors
    /// The disk failed.
    pub fn open(store: &Store) -> Result<Self, MemoryError> {
        let table: Table<Acquaintance> = store.table()?;
        let last = match table.read(KEY) {
            Ok(last) => last.unwrap_or_default(),
            Err(error @ StoreError::BadRecord { .. }) => {
                warn!(%error, "the peers of last time are forgotten");
                Acquaintance::default()
            }
            Err(error) => return Err(error),
        };
        Ok(Self { table, last })
    }

    /// The peers of last time, the best first.
    pub fn peers(&self) -> Vec<Remembered> {
        let peers = self.last.peers.iter().take(MAX_PEERS);
        let remembered = peers.map(|known| Remembered {
            node: known.node,
            addresses: known.addresses.clone(),
        });
        remembered.collect()
    }

    /// The number of the last advert.
    pub fn sequence(&self) -> Option<Sequence> {
        self.last.sequence.map(Sequence)
    }

    /// Writes what is worth it every [`INTERVAL`], and at the end.
    pub(super) async fn keep(mut self, view: watch::Receiver<Arc<View>>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
            let view = Arc::clone(&view.borrow());
            let next = self.next(&view);
            if next != self.last {
                self.write(next).await;
            }
        }
    }

    /// Whoever is connected, then whoever was heard of, then those of last time: a node that lost
    /// everybody forgets nobody.
    fn next(&self, view: &View) -> Acquaintance {
        let mut best: Vec<(&NodeId, &Peer)> = view.peers.iter().collect();
        best.retain(|(_, peer)| !addresses(peer).is_empty());
        best.sort_by_key(|(node, peer)| {
            let is_heard_only = peer.path.is_none();
            (
                is_heard_only,
                Reverse(peer.closeness),
                peer.round_trip(),
                **node,
            )
        });
        let known = best.into_iter().take(MAX_PEERS).map(|(node, peer)| Known {
            node: *node,
            addresses: addresses(peer),
        });
        let mut peers: Vec<Known> = known.collect();
        for old in &self.last.peers {
            if peers.len() < MAX_PEERS && peers.iter().all(|known| known.node != old.node) {
                peers.push(old.clone());
            }
        }
        Acquaintance {
            sequence: view.sequence.map(|sequence| sequence.0),
            peers,
        }
    }

    async fn write(&mut self, next: Acquaintance) {
        let (table, record) = (self.table.clone(), next.clone());
        let written = tokio::task::spawn_blocking(move || table.put(KEY, &record)).await;
        match written {
            Ok(Ok(())) => self.last = next,
            Ok(Err(error)) => warn!(%error, "the swarm's peers are not remembered"),
            // Cancelled with the runtime.
            Err(_) => {}
        }
    }
}

fn addresses(peer: &Peer) -> Vec<String> {
    let said = peer.said.iter().flat_map(|said| &said.addresses);
    let addresses = said.take(MAX_ADDRESSES);
    addresses.map(|text| text.as_str().to_owned()).collect()
}
