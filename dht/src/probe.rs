//! Round-trip times by a protocol of our own: eight bytes there and back on a stream that stays
//! open. (libp2p's `ping` loses wake-ups over QUIC and answers seconds late.) Each connection is
//! measured by itself, so a direct path and a relayed one are never mixed up. What to make of
//! the times, and when to measure, is decided in [`crate::core::rtt`] and by whoever calls.

mod handler;

use std::{
    collections::VecDeque,
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

use handler::Handler;

/// Why a probe gave no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The peer does not speak the protocol.
    #[error("the peer does not answer probes")]
    Unsupported,
    /// No answer within [`PROBE_TIMEOUT`].
    #[error("no answer to a probe within {} s", PROBE_TIMEOUT.as_secs())]
    Timeout,
    /// The stream broke, or other bytes came back than were sent.
    #[error("the probe's stream broke")]
    Broken,
}

/// A path that takes longer serves nobody.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// A probe's outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// The peer at the other end.
    pub peer: PeerId,
    /// The connection that was measured.
    pub connection: ConnectionId,
    /// There and back, or why not.
    pub round_trip: Result<Duration, ProbeError>,
}

/// The behaviour: answers probes, and sends them when told to.
pub struct Probes {
    protocol: StreamProtocol,
    wanted: VecDeque<(PeerId, ConnectionId)>,
    outcomes: VecDeque<Probed>,
    waker: Option<Waker>,
}

/// Probes that wait to be handed to their connections: more are asked for than there can be
/// connections only by mistake, and the oldest are dropped.
const MOST_WAITING: usize = 512;

impl Probes {
    /// For the protocol's name in a swarm.
    pub fn new(protocol: StreamProtocol) -> Self {
        Self {
            protocol,
            wanted: VecDeque::new(),
            outcomes: VecDeque::new(),
            waker: None,
        }
    }

    /// Measures a connection. The outcome comes as an event; while a probe of the connection is
    /// under way, another one is not begun.
    pub fn probe(&mut self, peer: PeerId, connection: ConnectionId) {
        if self.wanted.len() >= MOST_WAITING {
            self.wanted.pop_front();
        }
        self.wanted.push_back((peer, connection));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl NetworkBehaviour for Probes {
    type ConnectionHandler = Handler;
    type ToSwarm = Probed;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(self.protocol.clone()))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(self.protocol.clone()))
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        round_trip: THandlerOutEvent<Self>,
    ) {
        self.outcomes.push_back(Probed {
            peer,
            connection,
            round_trip,
        });
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(probed) = self.outcomes.pop_front() {
            return Poll::Ready(ToSwarm::GenerateEvent(probed));
        }
        if let Some((peer_id, connection)) = self.wanted.pop_front() {
            return Poll::Ready(ToSwarm::NotifyHandler {
                peer_id,
                handler: NotifyHandler::One(connection),
                event: handler::Begin,
            });
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
