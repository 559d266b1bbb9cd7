//! Streams of our own protocols: opened on a given connection, and taken in from peers.
//!
//! Every stream is counted from when it is handed out until it is dropped, in whatever task that
//! is: each one is announced by [`Event::Opened`] or [`Event::Inbound`] and ends with one
//! [`Event::Closed`], unless its whole connection went. It knows nothing of what is said on them,
//! nor which connection is the best to a peer ([`crate::core::connections`] does).
//!
//! With `Version::V1Lazy` an opened stream is not yet agreed upon: the first bytes travel with the
//! protocol's name, and a peer that does not speak it is noticed by the first read
//! ([`std::io::ErrorKind::Unsupported`]).

#[cfg(test)]
pub(crate) mod fixture;
mod handler;
mod ledger;
mod stream;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, atomic::AtomicUsize},
    task::{Context, Poll, Waker},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm,
    },
};

use self::handler::{Handler, Open, Report};
pub use self::stream::Stream;

/// Streams of a peer that are open at once on one connection: a peer that is the API of a whole
/// office has tens of requests under way.
pub const MAX_INBOUND_PER_CONNECTION: usize = 64;

/// Streams of all peers together: each may cost a task and 64 KiB of a request's beginning.
pub const MAX_INBOUND: usize = 1024;

/// Streams of ours that are open at once on one connection. A peer over TCP ends the whole
/// connection at 512 streams, and gossip, probes and the DHT have theirs on it too.
pub const MAX_OUTBOUND_PER_CONNECTION: usize = 128;

/// Streams of ours on one connection that are asked for and not yet there: opening waits for
/// nothing but the peer's limit of streams, so more are waiting only when it is reached.
pub const MAX_OPENING_PER_CONNECTION: usize = 32;

/// How long a stream may take to be there: several round trips of the longest path.
pub const NEGOTIATION_TIMEOUT: Duration = Duration::from_secs(10);

/// A stream that was asked for; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenId(u64);

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenStreamError {
    /// There is no such connection to the peer.
    #[error("there is no such connection to the peer")]
    NotConnected,
    /// The connection ended before the stream was there.
    #[error("the connection ended")]
    Disconnected,
    /// [`MAX_OUTBOUND_PER_CONNECTION`] are open, or [`MAX_OPENING_PER_CONNECTION`] wait.
    #[error("too many streams on the connection")]
    Busy,
    /// Not there within [`NEGOTIATION_TIMEOUT`].
    #[error("no stream within {} s", NEGOTIATION_TIMEOUT.as_secs())]
    Timeout,
    /// The peer does not speak the protocol.
    #[error("the peer does not speak the protocol")]
    Unsupported,
    /// The stream broke.
    #[error("the stream broke")]
    Broken(#[source] std::io::Error),
}

/// What happens to streams.
#[derive(Debug)]
pub enum Event {
    /// What [`Streams::open`] came to.
    Opened {
        /// What it returned.
        id: OpenId,
        /// The peer that was named.
        peer: PeerId,
        /// The connection that was named.
        connection: ConnectionId,
        /// The stream; it counts from now on.
        result: Result<Stream, OpenStreamError>,
    },
    /// A peer opened a stream; it counts from now on.
    Inbound {
        /// Who.
        peer: PeerId,
        /// Where.
        connection: ConnectionId,
        /// Which of the registered protocols.
        protocol: StreamProtocol,
        /// The stream.
        stream: Stream,
    },
    /// A stream of either kind was dropped. Never said of a connection that has ended.
    Closed {
        /// To whom.
        peer: PeerId,
        /// Where.
        connection: ConnectionId,
    },
    /// A peer's stream was dropped at once, for a limit was reached. It never counted.
    Refused {
        /// Who.
        peer: PeerId,
        /// Where.
        connection: ConnectionId,
        /// Which one.
        limit: Limit,
    },
}

/// What kept a peer's stream out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// [`MAX_INBOUND_PER_CONNECTION`]: its own doing.
    Connection,
    /// [`MAX_INBOUND`]: everybody's.
    All,
}

/// The behaviour.
pub struct Streams {
    protocols: Arc<[StreamProtocol]>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Streams of all peers that are open.
    inbound: Arc<AtomicUsize>,
    next: u64,
    commands: VecDeque<(PeerId, ConnectionId, Open)>,
    events: VecDeque<Event>,
    waker: Option<Waker>,
}

struct Connection {
    peer: PeerId,
    opening: BTreeSet<OpenId>,
}

impl Streams {
    /// Takes in streams of these protocols.
    pub fn new(protocols: Vec<StreamProtocol>) -> Self {
        Self {
            protocols: protocols.into(),
            connections: BTreeMap::new(),
            inbound: Arc::default(),
            next: 0,
            commands: VecDeque::new(),
            events: VecDeque::new(),
            waker: None,
        }
    }

    /// Opens a stream on a connection. What it came to is said by one [`Event::Opened`], also
    /// when the connection ends.
    pub fn open(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        protocol: StreamProtocol,
    ) -> OpenId {
        let id = OpenId(self.next);
        self.next += 1;
        match self.admit(id, peer, connection) {
            Ok(()) => {
                let open = Open { id, protocol };
                self.commands.push_back((peer, connection, open));
            }
            Err(error) => self.events.push_back(Event::Opened {
                id,
                peer,
                connection,
                result: Err(error),
            }),
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        id
    }

    fn admit(
        &mut self,
        id: OpenId,
        peer: PeerId,
        connection: ConnectionId,
    ) -> Result<(), OpenStreamError> {
        let known = self.connections.get_mut(&connection);
        let known = known
            .filter(|known| known.peer == peer)
            .ok_or(OpenStreamError::NotConnected)?;
        if known.opening.len() >= MAX_OPENING_PER_CONNECTION {
            return Err(OpenStreamError::Busy);
        }
        known.opening.insert(id);
        Ok(())
    }

    fn handler(&self) -> Handler {
        Handler::new(self.protocols.clone(), self.inbound.clone())
    }

    fn on_connection_closed(&mut self, connection: ConnectionId) {
        let Some(Connection { peer, opening }) = self.connections.remove(&connection) else {
            return;
        };
        self.commands.retain(|(_, id, _)| *id != connection);
        self.events
            .extend(opening.into_iter().map(|id| Event::Opened {
                id,
                peer,
                connection,
                result: Err(OpenStreamError::Disconnected),
            }));
    }

    /// A report of a connection that is still there, as an event.
    fn event(&mut self, peer: PeerId, connection: ConnectionId, report: Report) -> Option<Event> {
        let known = self.connections.get_mut(&connection)?;
        Some(match report {
            Report::Opened(id, result) => {
                known.opening.remove(&id);
                Event::Opened {
                    id,
                    peer,
                    connection,
                    result,
                }
            }
            Report::Inbound(protocol, stream) => Event::Inbound {
                peer,
                connection,
                protocol,
                stream,
            },
            Report::Closed => Event::Closed { peer, connection },
            Report::Refused(limit) => Event::Refused {
                peer,
                connection,
                limit,
            },
        })
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                let connection = Connection {
                    peer: established.peer_id,
                    opening: BTreeSet::new(),
                };
                self.connections
                    .insert(established.connection_id, connection);
            }
            FromSwarm::ConnectionClosed(closed) => self.on_connection_closed(closed.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        report: THandlerOutEvent<Self>,
    ) {
        let event = self.event(peer, connection, report);
        self.events.extend(event);
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(ToSwarm::GenerateEvent(event));
        }
        if let Some((peer_id, connection, open)) = self.commands.pop_front() {
            return Poll::Ready(ToSwarm::NotifyHandler {
                peer_id,
                handler: NotifyHandler::One(connection),
                event: open,
            });
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
