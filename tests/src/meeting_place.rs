//! A meeting place of the test's own: servers of the public DHT's protocol stand in for it. They are
//! plain libp2p, and know nothing of the swarm but the record that its nodes leave.

use std::{collections::BTreeSet, net::Ipv4Addr};

use anyhow::{Context, Result, anyhow};
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder,
    kad::{
        self, Mode,
        store::{MemoryStore, RecordStore},
    },
    multiaddr::Protocol,
    noise,
    swarm::SwarmEvent,
    tcp, yamux,
};
use protocol::{NodeId, record_key::RecordKey};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::swarm::PATIENCE;

/// What the public DHT speaks.
const KAD: StreamProtocol = StreamProtocol::new("/ipfs/kad/1.0.0");

type Server = Swarm<kad::Behaviour<MemoryStore>>;

/// The servers, which know one another. Dropping it ends them.
#[derive(Debug)]
pub struct MeetingPlace {
    /// The servers' multiaddrs, with their peers; half of them over QUIC, half over TCP.
    pub addresses: Vec<String>,
    /// Everybody who left a record at any of them.
    announced: watch::Receiver<BTreeSet<PeerId>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for MeetingPlace {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl MeetingPlace {
    /// Starts so many servers at an address of this machine. They run on the caller's runtime,
    /// beside what blocks the caller's thread only if that has threads of its own.
    ///
    /// # Errors
    /// One does not listen in time.
    pub async fn open(ip: Ipv4Addr, count: usize) -> Result<Self> {
        let mut servers = Vec::new();
        let transports = [
            format!("/ip4/{ip}/udp/0/quic-v1"),
            format!("/ip4/{ip}/tcp/0"),
        ];
        for index in 0..count {
            let mut server = server()?;
            let on = &transports[index % transports.len()];
            let listening = timeout(PATIENCE, listen(&mut server, on)).await;
            let address = listening.context("a server does not listen")??;
            servers.push((server, address));
        }
        let known: Vec<(PeerId, Multiaddr)> = servers
            .iter()
            .map(|(server, address)| (*server.local_peer_id(), address.clone()))
            .collect();
        for (server, _) in &mut servers {
            for (peer, address) in &known {
                server.behaviour_mut().add_address(peer, address.clone());
            }
        }
        let (told, announced) = watch::channel(BTreeSet::new());
        let servers = servers.into_iter();
        let tasks = servers.map(|(server, _)| tokio::spawn(run(server, told.clone())));
        Ok(Self {
            tasks: tasks.collect(),
            announced,
            addresses: known
                .iter()
                .map(|(_, address)| address.to_string())
                .collect(),
        })
    }

    /// Waits until a node has announced itself.
    ///
    /// # Errors
    /// It has not within [`PATIENCE`].
    pub async fn until_it_knows(&self, node: &NodeId) -> Result<()> {
        let peer = dht::peer::peer_id(node);
        self.until(|peers| peers.contains(&peer)).await
    }

    /// Waits until anybody has.
    ///
    /// # Errors
    /// Nobody has within [`PATIENCE`].
    pub async fn until_it_knows_somebody(&self) -> Result<()> {
        self.until(|peers| !peers.is_empty()).await
    }

    async fn until(&self, is_so: impl Fn(&BTreeSet<PeerId>) -> bool) -> Result<()> {
        let mut announced = self.announced.clone();
        let announced = timeout(PATIENCE, announced.wait_for(is_so)).await;
        announced.context("who should does not announce itself")??;
        Ok(())
    }
}

/// A server that is told nothing yet.
fn server() -> Result<Server> {
    let builder = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )
        .map_err(|error| anyhow!("{error}"))?;
    let builder = builder.with_quic().with_behaviour(|key| {
        let own = key.public().to_peer_id();
        let mut config = kad::Config::new(KAD);
        config.set_periodic_bootstrap_interval(None);
        let mut kad = kad::Behaviour::with_config(own, MemoryStore::new(own), config);
        // Nobody confirms its address, which would make it one.
        kad.set_mode(Some(Mode::Server));
        kad
    })?;
    Ok(builder.build())
}

async fn listen(server: &mut Server, on: &str) -> Result<Multiaddr> {
    server.listen_on(on.parse()?)?;
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = server.select_next_some().await {
            return Ok(address.with(Protocol::P2p(*server.local_peer_id())));
        }
    }
}

/// Serves, and says who announced themselves.
async fn run(mut server: Server, told: watch::Sender<BTreeSet<PeerId>>) {
    let key = kad::RecordKey::new(&RecordKey::rendezvous().to_multihash());
    loop {
        server.select_next_some().await;
        let records = server.behaviour_mut().store_mut().providers(&key);
        told.send_if_modified(|peers| {
            let before = peers.len();
            peers.extend(records.iter().map(|record| record.provider));
            peers.len() > before
        });
    }
}
