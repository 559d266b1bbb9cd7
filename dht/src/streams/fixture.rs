//! Nodes for tests: real swarms over loopback, each driven by a task of its own.

use std::time::Duration;

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder,
    core::upgrade::Version,
    noise,
    swarm::{ConnectionId, SwarmEvent},
    tcp, yamux,
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use super::{Event, OpenId, OpenStreamError, Stream, Streams};

pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/shoal/test/streams/1");

/// Every kind of connection that a node listens for.
pub(crate) const ADDRESSES: [&str; 2] = ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"];

/// Longer than anything takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug)]
enum Command {
    Dial(Multiaddr),
    Open(PeerId, ConnectionId, StreamProtocol),
    Disconnect(ConnectionId),
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "seen one at a time")]
pub(crate) enum Seen {
    Listening(Multiaddr),
    Connected(ConnectionId),
    Disconnected(ConnectionId),
    Opening(OpenId),
    Streams(Event),
}

/// A node; it ends when it is dropped.
pub(crate) struct Node {
    pub(crate) peer: PeerId,
    pub(crate) seen: mpsc::UnboundedReceiver<Seen>,
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Node {
    pub(crate) fn new(protocols: Vec<StreamProtocol>) -> Self {
        Self::with_idle(protocols, DEADLINE)
    }

    /// With the time after which a connection that nobody uses is closed.
    pub(crate) fn with_idle(protocols: Vec<StreamProtocol>, idle: Duration) -> Self {
        let swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(
                tcp::Config::default(),
                noise::Config::new,
                yamux::Config::default,
            )
            .unwrap()
            .with_quic()
            .with_behaviour(|_| Streams::new(protocols))
            .unwrap()
            .with_swarm_config(|config| {
                config
                    .with_idle_connection_timeout(idle)
                    .with_substream_upgrade_protocol_override(Version::V1Lazy)
            })
            .build();
        let (commands, orders) = mpsc::unbounded_channel();
        let (sight, seen) = mpsc::unbounded_channel();
        Self {
            peer: *swarm.local_peer_id(),
            seen,
            commands,
            task: tokio::spawn(drive(swarm, orders, sight)),
        }
    }

    /// Two nodes that both speak [`PROTOCOL`], the first of which dialed; and each one's id of
    /// the connection.
    pub(crate) async fn pair(address: &str) -> (Self, Self, ConnectionId, ConnectionId) {
        let (mut first, mut second) = (Self::new(vec![PROTOCOL]), Self::new(vec![PROTOCOL]));
        let (ours, theirs) = connect(&mut first, &mut second, address).await;
        (first, second, ours, theirs)
    }

    pub(crate) fn disconnect(&self, connection: ConnectionId) {
        self.commands.send(Command::Disconnect(connection)).unwrap();
    }

    /// Opens a stream and waits for it.
    pub(crate) async fn open(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        protocol: StreamProtocol,
    ) -> Result<Stream, OpenStreamError> {
        let command = Command::Open(peer, connection, protocol);
        self.commands.send(command).unwrap();
        let wanted = self
            .until(|seen| match seen {
                Seen::Opening(id) => Some(id),
                _ => None,
            })
            .await;
        self.until(|seen| match seen {
            Seen::Streams(Event::Opened { id, result, .. }) if id == wanted => Some(result),
            _ => None,
        })
        .await
    }

    /// The next stream of the peer's.
    pub(crate) async fn inbound(&mut self) -> (ConnectionId, StreamProtocol, Stream) {
        self.until(|seen| match seen {
            Seen::Streams(Event::Inbound {
                connection,
                protocol,
                stream,
                ..
            }) => Some((connection, protocol, stream)),
            _ => None,
        })
        .await
    }

    /// The connection on which the next stream ended.
    pub(crate) async fn closed(&mut self) -> ConnectionId {
        self.until(|seen| match seen {
            Seen::Streams(Event::Closed { connection, .. }) => Some(connection),
            _ => None,
        })
        .await
    }

    /// Passes over what is seen until something is found in it.
    pub(crate) async fn until<T>(&mut self, mut found: impl FnMut(Seen) -> Option<T>) -> T {
        let search = async {
            loop {
                let seen = self.seen.recv().await.expect("the node runs");
                if let Some(value) = found(seen) {
                    return value;
                }
            }
        };
        timeout(DEADLINE, search)
            .await
            .expect("within the deadline")
    }
}

/// Connects the first to the second; each one's id of the connection.
pub(crate) async fn connect(
    first: &mut Node,
    second: &mut Node,
    address: &str,
) -> (ConnectionId, ConnectionId) {
    let is_tcp = address.contains("/tcp/");
    let listening = second
        .until(|seen| match seen {
            Seen::Listening(at) if at.to_string().contains("/tcp/") == is_tcp => Some(at),
            _ => None,
        })
        .await;
    first.commands.send(Command::Dial(listening)).unwrap();
    let connected = |seen| match seen {
        Seen::Connected(id) => Some(id),
        _ => None,
    };
    (first.until(connected).await, second.until(connected).await)
}

async fn drive(
    mut swarm: Swarm<Streams>,
    mut orders: mpsc::UnboundedReceiver<Command>,
    sight: mpsc::UnboundedSender<Seen>,
) {
    for address in ADDRESSES {
        swarm.listen_on(address.parse().unwrap()).unwrap();
    }
    loop {
        let seen = tokio::select! {
            Some(order) = orders.recv() => match order {
                Command::Dial(address) => {
                    swarm.dial(address).unwrap();
                    continue;
                }
                Command::Disconnect(connection) => {
                    swarm.close_connection(connection);
                    continue;
                }
                Command::Open(peer, connection, protocol) => {
                    Seen::Opening(swarm.behaviour_mut().open(peer, connection, protocol))
                }
            },
            event = swarm.select_next_some() => match event {
                SwarmEvent::NewListenAddr { address, .. } => Seen::Listening(address),
                SwarmEvent::ConnectionEstablished { connection_id, .. } => {
                    Seen::Connected(connection_id)
                }
                SwarmEvent::ConnectionClosed { connection_id, .. } => {
                    Seen::Disconnected(connection_id)
                }
                SwarmEvent::Behaviour(event) => Seen::Streams(event),
                _ => continue,
            },
        };
        let _ = sight.send(seen);
    }
}
