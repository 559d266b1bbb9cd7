//! Lists of revocations between members, over libp2p: the protocol
//! `/shoal/<swarm>/revocations/1`, a request and a reply on a stream of their own. It belongs
//! behind the gate. Who is asked when is decided in [`Spread`]; whether a list counts, by the
//! roster: give [`Event::List`] to [`crate::admission::Admissions::revoke`], and what the roster
//! holds then to [`Revocations::update`].

mod codec;

use std::{
    collections::VecDeque,
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    request_response::{
        self as exchange, InboundFailure, Message, OutboundFailure, ProtocolSupport,
    },
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
};
use protocol::{
    membership::{Chain, RevocationsReply, RevocationsRequest, wire},
    names::{Protocol, SwarmName},
};
use tokio::time::Sleep;

use crate::core::membership::{Roster, Spread, SpreadOutput};
use codec::Codec;

/// For a request and its reply: 864 KB in the worst case, over a slow path.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Requests of one connection at one time, both ways: each side has one of its own.
const MAX_STREAMS: usize = 4;

/// What the swarm's owner is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A member has a list that this node has not: for the roster to judge.
    List {
        /// Who.
        peer: PeerId,
        /// Not checked.
        list: Box<Chain<wire::Revocations>>,
    },
    /// A member broke the protocol, for its score.
    Abuse {
        /// Who.
        peer: PeerId,
        /// How.
        abuse: Abuse,
    },
}

/// How a member broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Abuse {
    /// Bytes that are no message, or a message over its limit.
    Garbage,
    /// More requests than its lists can change.
    Flood,
}

/// The behaviour.
pub struct Revocations {
    inner: exchange::Behaviour<Codec>,
    spread: Spread<PeerId>,
    /// A few for each input, and taken out before the next.
    events: VecDeque<Event>,
    timer: Option<Pin<Box<Sleep>>>,
    waker: Option<Waker>,
}

type Answer = exchange::ResponseChannel<RevocationsReply>;

impl Revocations {
    /// For one swarm, with nothing known yet.
    pub fn new(swarm: &SwarmName) -> Self {
        let name = Protocol::Revocations.of(swarm);
        let name = StreamProtocol::try_from_owned(name).expect("it begins with a slash");
        let config = exchange::Config::default()
            .with_request_timeout(REQUEST_TIMEOUT)
            .with_max_concurrent_streams(MAX_STREAMS);
        let protocols = [(name, ProtocolSupport::Full)];
        Self {
            inner: exchange::Behaviour::with_codec(Codec, protocols, config),
            spread: Spread::new(Instant::now()),
            events: VecDeque::new(),
            timer: None,
            waker: None,
        }
    }

    /// What the roster holds now: at the start, and at each
    /// [`crate::admission::Event::RosterChanged`]. Every connected member hears of what is new.
    pub fn update(&mut self, roster: &Roster) {
        self.spread.update(roster.lists());
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn on_request(&mut self, peer: PeerId, request: &RevocationsRequest, answer: Answer) {
        match self.spread.on_request(peer, request, Instant::now()) {
            // It fails where the peer is gone.
            Some(reply) => drop(self.inner.send_response(answer, reply)),
            None => self.tell_abuse(peer, Abuse::Flood),
        }
    }

    fn on_exchange(&mut self, event: exchange::Event<RevocationsRequest, RevocationsReply>) {
        use exchange::Event as E;
        match event {
            E::Message { peer, message, .. } => match message {
                Message::Request {
                    request, channel, ..
                } => self.on_request(peer, &request, channel),
                Message::Response { response, .. } => self.spread.on_reply(peer, response),
            },
            E::OutboundFailure { peer, error, .. } => {
                self.spread.on_failed(peer, Instant::now());
                if matches!(&error, OutboundFailure::Io(error) if codec::is_garbage(error)) {
                    self.tell_abuse(peer, Abuse::Garbage);
                }
            }
            E::InboundFailure { peer, error, .. } => {
                if matches!(&error, InboundFailure::Io(error) if codec::is_garbage(error)) {
                    self.tell_abuse(peer, Abuse::Garbage);
                }
            }
            E::ResponseSent { .. } => {}
        }
    }

    fn tell_abuse(&mut self, peer: PeerId, abuse: Abuse) {
        self.events.push_back(Event::Abuse { peer, abuse });
    }

    fn drain(&mut self) {
        while let Some(output) = self.spread.next_output() {
            match output {
                SpreadOutput::Ask { peer, request } => {
                    self.inner.send_request(&peer, request);
                }
                SpreadOutput::List { peer, list } => {
                    self.events.push_back(Event::List { peer, list });
                }
            }
        }
    }

    /// Ready when a peer is to be asked again.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.spread.next_deadline() {
            None => self.timer = None,
            Some(at) => {
                let at = at.into();
                let timer = self
                    .timer
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
                if timer.deadline() != at {
                    timer.as_mut().reset(at);
                }
                ready!(timer.as_mut().poll(cx));
                self.timer = None;
                self.spread.on_tick(Instant::now());
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

impl NetworkBehaviour for Revocations {
    type ConnectionHandler = THandler<exchange::Behaviour<Codec>>;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner
            .handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner
            .handle_established_outbound_connection(id, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match &event {
            FromSwarm::ConnectionEstablished(e) if e.other_established == 0 => {
                self.spread.on_connected(e.peer_id);
            }
            FromSwarm::ConnectionClosed(e) if e.remaining_established == 0 => {
                self.spread.on_disconnected(e.peer_id);
            }
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.inner
            .on_connection_handler_event(peer, connection, event);
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            self.drain();
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(ToSwarm::GenerateEvent(event));
            }
            match self.inner.poll(cx) {
                Poll::Ready(ToSwarm::GenerateEvent(event)) => self.on_exchange(event),
                Poll::Ready(other) => {
                    return Poll::Ready(other.map_out(|_| unreachable!("matched above")));
                }
                Poll::Pending if self.poll_timer(cx).is_ready() => {}
                Poll::Pending => {
                    self.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
