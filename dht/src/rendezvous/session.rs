//! One visit to the DHT: a swarm from its making to its end. It knows keys of the DHT and servers;
//! what a record means it does not know.

use std::{io, num::NonZeroUsize, time::Duration};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, Transport,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, timeout::TransportTimeout},
        upgrade::Version,
    },
    identify,
    identity::Keypair,
    kad::{
        self, GetProvidersOk, QueryId, QueryInfo, QueryResult, RecordKey,
        store::{MemoryStore, MemoryStoreConfig},
    },
    noise, quic,
    swarm::{self, NetworkBehaviour, StreamProtocol, SwarmEvent},
    tcp, yamux,
};
use tokio::time::timeout;

use super::{failure::cause_of, guard::Guarded};
use crate::{core::join::Cause, reach::Reach, resolve::Resolved};

/// The public DHT's protocol.
const KAD: StreamProtocol = StreamProtocol::new("/ipfs/kad/1.0.0");

/// What the public DHT's nodes call their network in identify.
const NETWORK: &str = "ipfs/0.1.0";

/// An answer: 20 servers and some hundred providers with a handful of addresses each. Libp2p's own
/// 16 KiB is short for that. Times [`MAX_DIALS`] a session reads 20 MiB of lies at worst.
///
/// [`MAX_DIALS`]: super::guard::MAX_DIALS
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Servers that are asked at once, as the public DHT's own clients do; the paper's three take too
/// long where every third server is gone.
const PARALLEL: NonZeroUsize = NonZeroUsize::new(10).expect("ten is not zero");

/// One lookup.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(38);

/// A dial, handshakes included.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Longer than any session: a record goes out on the connections that the lookup has made.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// For saying good-bye. A server that is not told closes the connection by itself, later.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A provider and where a server says that it is.
pub(super) type Claim = (PeerId, Vec<Multiaddr>);

/// How a lookup goes on.
pub(super) enum Step {
    /// A server named these providers.
    Found(Vec<Claim>),
    /// It is over; so many servers answered.
    Ended(usize),
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    kad: Guarded,
    identify: identify::Behaviour,
}

/// A visit.
pub(super) struct Session {
    swarm: Swarm<Behaviour>,
    query: Option<QueryId>,
    /// The most telling of the failed dials.
    cause: Option<Cause>,
    /// Some server was connected.
    connected: bool,
}

impl Session {
    /// Connects to nobody yet.
    pub(super) fn open(keypair: &Keypair, servers: &Resolved, reach: Reach) -> Self {
        let local = keypair.public().to_peer_id();
        let mut kad = kademlia(local);
        for (peer, addresses) in servers.peers() {
            for address in addresses {
                kad.add_address(peer, address.clone());
            }
        }
        // New servers would start a bootstrap of Kademlia's own, hundreds of requests for a table
        // that nobody keeps; one that is under way starts no other, and this one is ended at once.
        let _ = kad.bootstrap();
        let identify = identify::Config::new(NETWORK.to_owned(), keypair.public());
        let behaviour = Behaviour {
            kad: Guarded::new(kad, servers.peers(), reach),
            // Without its cache it adds no addresses of its own to dials.
            identify: identify::Behaviour::new(identify.with_cache_size(0)),
        };
        let config =
            swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE_TIMEOUT);
        let mut session = Self {
            swarm: Swarm::new(transport(keypair), behaviour, local, config),
            query: None,
            cause: None,
            connected: false,
        };
        session.end_bootstraps();
        session
    }

    fn kad(&mut self) -> &mut kad::Behaviour<MemoryStore> {
        self.swarm.behaviour_mut().kad.kad()
    }

    /// Begins to look for whoever provides the key.
    pub(super) fn look_for_providers(&mut self, key: RecordKey) {
        self.query = Some(self.kad().get_providers(key));
    }

    /// Begins to look for the servers closest to the key.
    pub(super) fn look_for_servers(&mut self, key: &RecordKey) {
        self.query = Some(self.kad().get_closest_peers(key.to_vec()));
    }

    /// Begins to tell the servers closest to the key that this peer provides it, at these
    /// addresses.
    pub(super) fn provide(&mut self, key: RecordKey, addresses: Vec<Multiaddr>) {
        for address in addresses {
            self.swarm.add_external_address(address);
        }
        // A refusal would be of a full store, and this one holds one record.
        self.query = self.kad().start_providing(key).ok();
    }

    /// The next thing to know of what was begun. May be dropped and called again.
    pub(super) async fn step(&mut self) -> Step {
        loop {
            if self.query.is_none() {
                return Step::Ended(0);
            }
            match self.swarm.select_next_some().await {
                SwarmEvent::Behaviour(BehaviourEvent::Kad(event)) => {
                    if let Some(step) = self.on_kad(event) {
                        return step;
                    }
                }
                SwarmEvent::ConnectionEstablished { .. } => self.connected = true,
                SwarmEvent::OutgoingConnectionError { error, .. } => {
                    let cause = cause_of(&error);
                    self.cause = Some(self.cause.map_or(cause, |told| told.min(cause)));
                }
                _ => {}
            }
        }
    }

    /// Waits for the end of what was begun: how many servers answered.
    pub(super) async fn ended(&mut self) -> usize {
        loop {
            if let Step::Ended(answered) = self.step().await {
                return answered;
            }
        }
    }

    fn on_kad(&mut self, event: kad::Event) -> Option<Step> {
        let kad::Event::OutboundQueryProgressed {
            id,
            result,
            stats,
            step,
        } = event
        else {
            return None;
        };
        if Some(id) != self.query {
            self.end_bootstraps();
            return None;
        }
        let answered = match result {
            QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) => {
                let kad = &mut self.swarm.behaviour_mut().kad;
                let peers = providers.into_iter();
                return Some(Step::Found(
                    peers.map(|peer| (peer, kad.addresses_of(peer))).collect(),
                ));
            }
            QueryResult::GetClosestPeers(Ok(closest)) => closest.peers.len(),
            _ => usize::try_from(stats.num_successes()).unwrap_or(usize::MAX),
        };
        if !step.last {
            return None;
        }
        self.query = None;
        Some(Step::Ended(answered))
    }

    /// Ends Kademlia's own lookups before they ask anybody. It goes from one to the next, and
    /// tells of each.
    fn end_bootstraps(&mut self) {
        for mut query in self.kad().iter_queries_mut() {
            if matches!(query.info(), QueryInfo::Bootstrap { .. }) {
                query.finish();
            }
        }
    }

    /// What to say of so many answers; without any, why there were none.
    ///
    /// # Errors
    /// The cause when nobody answered.
    pub(super) fn verdict(&self, answered: usize) -> Result<usize, Cause> {
        match (answered, self.connected) {
            (0, true) => Err(Cause::HandshakeRefused),
            (0, false) => Err(self.cause.unwrap_or(Cause::NoAddress)),
            _ => Ok(answered),
        }
    }

    /// Closes every connection.
    pub(super) async fn close(mut self) {
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // It is connected, so there is something to close.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closed = async {
            while self.swarm.network_info().num_peers() > 0 {
                self.swarm.select_next_some().await;
            }
        };
        // Dropping the swarm closes what is left.
        let _ = timeout(CLOSE_TIMEOUT, closed).await;
    }
}

/// What the system said of a socket. The upgrades above it pass on an error's source, and never the
/// error itself.
#[derive(Debug, thiserror::Error)]
#[error("the connection failed")]
struct SocketError(#[source] io::Error);

/// A client that keeps its own record only, and for this session only.
fn kademlia(local: PeerId) -> kad::Behaviour<MemoryStore> {
    let mut config = kad::Config::new(KAD);
    config
        .set_parallelism(PARALLEL)
        .set_query_timeout(LOOKUP_TIMEOUT)
        .set_max_packet_size(MAX_ANSWER_BYTES)
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_periodic_bootstrap_interval(None)
        .set_provider_publication_interval(None)
        .set_publication_interval(None)
        .set_replication_interval(None);
    let store = MemoryStoreConfig {
        max_records: 0,
        max_value_bytes: 0,
        max_providers_per_key: 1,
        max_provided_keys: 1,
    };
    let store = MemoryStore::with_config(local, store);
    let mut kad = kad::Behaviour::with_config(local, store, config);
    kad.set_mode(Some(kad::Mode::Client));
    kad
}

/// QUIC and TCP, each boxed by itself, so that their errors can be told apart.
fn transport(keypair: &Keypair) -> Boxed<(PeerId, StreamMuxerBox)> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default())
        .map_err(SocketError)
        .upgrade(Version::V1)
        .authenticate(noise::Config::new(keypair).expect("an Ed25519 key signs"))
        .multiplex(yamux::Config::default())
        .boxed();
    let quic = quic::tokio::Transport::new(quic::Config::new(keypair))
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed();
    let both = quic
        .or_transport(tcp)
        .map(|either, _| either.into_inner())
        .map_err(|either| -> io::Error { either.into_inner() })
        .boxed();
    TransportTimeout::new(both, DIAL_TIMEOUT).boxed()
}
