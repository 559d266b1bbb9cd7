//! Nodes over loopback QUIC, each driven as the swarm's owner is to drive it, and a peer that
//! says whatever a test wants.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt, StreamExt,
    future::{BoxFuture, select_all},
};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identity,
    request_response::{self, ProtocolSupport},
    swarm::{ConnectionId, NetworkBehaviour, SwarmEvent, dial_opts::DialOpts},
};
use protocol::{
    UnixMillis,
    membership::{Issuer, Swarm as SwarmId},
};

use super::{Admissions, Config, Event, LedgerStore, NotKept, Redeemer};
use crate::{
    core::membership::{
        Credential, EntryFailure, InviteLedger, LedgerEntry, Roster,
        fixture::{DAY, NOW, certificate, key, node, swarm},
    },
    gate::Gated,
    peer::peer_id,
    revocations::{self, Revocations},
};

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) admission: Admissions,
    pub(crate) gated: Gated<Revocations>,
}

/// Entries as they were written.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) entries: Mutex<Vec<LedgerEntry>>,
    pub(crate) is_broken: bool,
}

impl LedgerStore for Disk {
    fn keep(&self, entry: LedgerEntry) -> BoxFuture<'static, Result<(), NotKept>> {
        if self.is_broken {
            return std::future::ready(Err(NotKept("the disk is full".into()))).boxed();
        }
        self.entries.lock().unwrap().push(entry);
        std::future::ready(Ok(())).boxed()
    }
}

/// One node, and what its owner was told.
pub(crate) struct TestNode {
    pub(crate) swarm: Swarm<Behaviour>,
    pub(crate) address: Option<Multiaddr>,
    pub(crate) told: Vec<Event>,
    pub(crate) abuses: usize,
    clock: Arc<AtomicU64>,
}

/// What a test changes of a member.
pub(crate) struct Plan {
    pub(crate) number: u8,
    pub(crate) credential: Credential,
    pub(crate) swarm: SwarmId,
    pub(crate) disk: Option<Arc<Disk>>,
    pub(crate) now: UnixMillis,
}

impl Plan {
    pub(crate) fn member(number: u8) -> Self {
        Self {
            number,
            credential: Credential::Certificate(certificate(number, NOW)),
            swarm: swarm(),
            disk: None,
            now: NOW,
        }
    }

    /// Of another swarm of the same name.
    pub(crate) fn stranger(number: u8) -> Self {
        let mut plan = Self::member(number);
        plan.swarm.root = node(77);
        plan
    }
}

impl TestNode {
    pub(crate) async fn member(number: u8) -> Self {
        Self::new(Plan::member(number)).await
    }

    pub(crate) async fn new(plan: Plan) -> Self {
        let clock = Arc::new(AtomicU64::new(plan.now.0));
        let read = clock.clone();
        let name = plan.swarm.name.clone();
        let root = Issuer::root(plan.swarm.clone(), key(1));
        let redeemer = plan.disk.zip(root).map(|(disk, issuer)| Redeemer {
            issuer,
            ledger: InviteLedger::default(),
            lifetime: DAY,
            store: disk,
        });
        let behaviour = Behaviour {
            admission: Admissions::new(Config {
                local: node(plan.number),
                roster: Roster::new(plan.swarm),
                credential: plan.credential,
                redeemer,
                clock: Box::new(move || UnixMillis(read.load(Ordering::Relaxed))),
            }),
            gated: Gated::shut(Revocations::new(&name)),
        };
        let mut node = Self {
            swarm: build(plan.number, behaviour),
            address: None,
            told: Vec::new(),
            abuses: 0,
            clock,
        };
        let any = "/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap();
        node.swarm.listen_on(any).unwrap();
        while node.address.is_none() {
            let event = node.swarm.select_next_some().await;
            node.react(event);
        }
        node
    }

    pub(crate) fn dial(&mut self, address: &Multiaddr) {
        let options = DialOpts::unknown_peer_id().address(address.clone());
        self.swarm.dial(options.build()).unwrap();
    }

    pub(crate) fn set_clock(&self, now: UnixMillis) {
        self.clock.store(now.0, Ordering::Relaxed);
    }

    /// What the owner of a swarm does.
    pub(crate) fn react(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let behaviour = self.swarm.behaviour_mut();
        match event {
            SwarmEvent::NewListenAddr { address, .. } => self.address = Some(address),
            SwarmEvent::Behaviour(BehaviourEvent::Admission(event)) => {
                match &event {
                    Event::Admitted { peer, .. } => behaviour.gated.admit(*peer),
                    Event::Expelled { peer, .. } | Event::Left { peer } => {
                        behaviour.gated.expel(peer);
                    }
                    Event::RosterChanged => {
                        let roster = behaviour.admission.roster();
                        behaviour.gated.inner_mut().update(roster);
                    }
                    _ => {}
                }
                self.told.push(event);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Gated(event)) => match event {
                // One that is not believed changes nothing.
                revocations::Event::List { list, .. } => {
                    drop(behaviour.admission.revoke(*list));
                }
                revocations::Event::Abuse { .. } => self.abuses += 1,
            },
            _ => {}
        }
    }

    /// Connections on which a peer was admitted, and whether inside.
    pub(crate) fn admitted(&self, number: u8) -> Vec<(ConnectionId, bool)> {
        let of = peer_id(&node(number));
        let admitted = self.told.iter().filter_map(|event| match event {
            Event::Admitted {
                peer,
                connection,
                is_inside,
                ..
            } if *peer == of => Some((*connection, *is_inside)),
            _ => None,
        });
        admitted.collect()
    }

    /// It is connected to a peer, inside of the gate and in no other way.
    pub(crate) fn is_settled_with(&self, number: u8) -> bool {
        let inside = self
            .admitted(number)
            .into_iter()
            .filter(|(_, inside)| *inside);
        let gated = &self.swarm.behaviour().gated;
        let live = inside.filter(|(id, _)| gated.is_inside(*id)).count();
        let peer = peer_id(&node(number));
        let connected = self.swarm.connected_peers().any(|other| *other == peer);
        let all = self
            .swarm
            .network_info()
            .connection_counters()
            .num_established();
        let peers = u32::try_from(self.swarm.connected_peers().count()).unwrap();
        live == 1 && connected && all == peers
    }

    pub(crate) fn is_connected(&self, number: u8) -> bool {
        self.swarm.is_connected(&peer_id(&node(number)))
    }

    pub(crate) fn refusals(&self) -> Vec<&EntryFailure> {
        let refused = self.told.iter().filter_map(|event| match event {
            Event::Refused { cause, .. } => Some(cause),
            _ => None,
        });
        refused.collect()
    }
}

fn build<B: NetworkBehaviour>(number: u8, behaviour: B) -> Swarm<B> {
    let identity = identity::Keypair::ed25519_from_bytes([number; 32]).unwrap();
    SwarmBuilder::with_existing_identity(identity)
        .with_tokio()
        .with_quic()
        .with_behaviour(|_| behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(PATIENCE * 2))
        .build()
}

/// Drives all until it is so.
pub(crate) async fn until(nodes: &mut [TestNode], mut is_so: impl FnMut(&[TestNode]) -> bool) {
    let waiting = async {
        while !is_so(nodes) {
            let events = nodes.iter_mut().enumerate().map(|(at, node)| {
                let event = node.swarm.select_next_some();
                event.map(move |event| (at, event)).boxed_local()
            });
            let ((at, event), ..) = select_all(events).await;
            nodes[at].react(event);
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    if waited.is_err() {
        let told: Vec<_> = nodes.iter().map(|node| &node.told).collect();
        panic!("it never came to be so: {told:#?}");
    }
}

/// What a rude peer does on a stream.
#[derive(Debug, Clone)]
pub(crate) enum Manner {
    /// Says this, and reads whatever comes.
    Say(Vec<u8>),
    /// Says this and then nothing more.
    Stall(Vec<u8>),
}

/// Notes every byte that it reads.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawCodec {
    pub(crate) read: Arc<Mutex<Vec<u8>>>,
}

impl request_response::Codec for RawCodec {
    type Protocol = StreamProtocol;
    type Request = Manner;
    type Response = ();

    async fn read_request<T>(&mut self, _: &StreamProtocol, _: &mut T) -> io::Result<Manner>
    where
        T: AsyncRead + Unpin + Send,
    {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, stream: &mut T) -> io::Result<()>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut byte = [0];
        while stream.read(&mut byte).await? > 0 {
            self.read.lock().unwrap().push(byte[0]);
        }
        Ok(())
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
        manner: Manner,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let (Manner::Say(bytes) | Manner::Stall(bytes)) = &manner;
        stream.write_all(bytes).await?;
        stream.flush().await?;
        if matches!(manner, Manner::Stall(_)) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, _: &mut T, (): ()) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A peer that opens admission streams and says on each what it likes. What it read when it was
/// cut off, and how long it was held.
pub(crate) struct Rude {
    swarm: Swarm<request_response::Behaviour<RawCodec>>,
    pub(crate) read: Arc<Mutex<Vec<u8>>>,
}

impl Rude {
    pub(crate) fn new(number: u8) -> Self {
        let codec = RawCodec::default();
        let read = codec.read.clone();
        let name = StreamProtocol::new("/shoal/admission/1");
        let config = request_response::Config::default().with_request_timeout(PATIENCE * 2);
        let protocols = [(name, ProtocolSupport::Outbound)];
        let behaviour = request_response::Behaviour::with_codec(codec, protocols, config);
        Self {
            swarm: build(number, behaviour),
            read,
        }
    }

    /// Until it is disconnected, while the victim goes on.
    pub(crate) async fn bother(&mut self, victim: &mut TestNode, streams: &[Manner]) {
        let address = victim.address.clone().unwrap();
        let peer: PeerId = *victim.swarm.local_peer_id();
        self.swarm.add_peer_address(peer, address);
        for manner in streams {
            self.swarm
                .behaviour_mut()
                .send_request(&peer, manner.clone());
        }
        let bothering = async {
            loop {
                tokio::select! {
                    event = victim.swarm.select_next_some() => victim.react(event),
                    event = self.swarm.select_next_some() => {
                        if let SwarmEvent::ConnectionClosed { .. } = event {
                            return;
                        }
                    }
                }
            }
        };
        let bothered = tokio::time::timeout(PATIENCE, bothering).await;
        bothered.expect("it was never cut off");
    }
}
