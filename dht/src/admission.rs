//! Admission to a private swarm over libp2p: runs a [`Door`] for the swarm's connections, on the
//! stream `/shoal/admission/1` of each. It stands beside the gate, not behind it, and decides
//! nothing: it moves messages, keeps the timer, signs what the door granted once the ledger's
//! entry is written, dials and closes.
//!
//! Whoever drives the swarm opens and shuts the gate, at once when the event comes:
//! [`Event::Admitted`] → `Gated::admit`; [`Event::Expelled`] and [`Event::Left`] →
//! `Gated::expel`. Connections are closed and dialed again here.

mod config;
mod event;
mod handler;
mod redeemer;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Instant,
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour,
        NotifyHandler, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use protocol::{
    NodeId, UnixMillis,
    membership::{Chain, InviteId, wire},
};
use tokio::time::Sleep;

use crate::{
    core::membership::{
        Arrival, Credential, Door, DoorOutput, ListError, ListOutcome, Now, RedeemError, Roster,
    },
    peer,
};
pub use config::{Clock, Config, system_clock};
pub use event::Event;
use handler::{Handler, Report, Say};
use redeemer::Office;
pub use redeemer::{LedgerStore, NotKept, Redeemer, sign};

/// The behaviour.
pub struct Admissions {
    door: Door<ConnectionId>,
    protocol: StreamProtocol,
    clock: Clock,
    office: Option<Office>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// For the swarm: a few for each input, and taken out before the next.
    actions: VecDeque<ToSwarm<Event, Say>>,
    /// To whom the owner was told to open the gate.
    gate: BTreeSet<PeerId>,
    /// Dials in place of a connection that is outside.
    redials: BTreeMap<ConnectionId, NodeId>,
    timer: Option<Pin<Box<Sleep>>>,
    /// The timer may have to be set anew.
    is_timer_stale: bool,
    waker: Option<Waker>,
}

/// A connection that the door knows.
struct Connection {
    peer: PeerId,
    /// Where it leads, if this node dialed it.
    address: Option<Multiaddr>,
}

/// The peer's key is of a kind that no node has.
#[derive(Debug, thiserror::Error)]
#[error("the peer's key is no Ed25519 key")]
struct OtherKey;

impl Admissions {
    /// For one node in one swarm.
    pub fn new(config: Config) -> Self {
        let swarm = &config.roster.swarm().name;
        let protocol = protocol::names::Protocol::Admission.of(swarm);
        let desk = config.redeemer.as_ref().map(Redeemer::desk);
        Self {
            door: Door::new(config.local, config.roster, config.credential, desk),
            protocol: StreamProtocol::try_from_owned(protocol).expect("it begins with a slash"),
            clock: config.clock,
            office: config.redeemer.map(Redeemer::office),
            connections: BTreeMap::new(),
            actions: VecDeque::new(),
            gate: BTreeSet::new(),
            redials: BTreeMap::new(),
            timer: None,
            is_timer_stale: true,
            waker: None,
        }
    }

    /// Who is a member, and the lists of revocations.
    pub fn roster(&self) -> &Roster {
        self.door.roster()
    }

    /// What this node shows on its next connections, as a certificate that was renewed.
    pub fn set_credential(&mut self, credential: Credential) {
        self.door.set_credential(credential);
    }

    /// Takes a list of revocations, from the owner or from a member. Whoever is out by it is
    /// disconnected at once; [`ListOutcome::disconnect`] says who that is.
    ///
    /// # Errors
    /// Every [`ListError`]; nothing changed then.
    pub fn revoke(&mut self, list: Chain<wire::Revocations>) -> Result<ListOutcome, ListError> {
        let now = self.now();
        let outcome = self.door.revoke(list, now.unix);
        self.on_change();
        outcome
    }

    /// Lets an invite, which expires then, admit nobody new at this node. It counts at once;
    /// [`Event::Withdrawn`] says when it is on the disk.
    ///
    /// # Errors
    /// [`RedeemError::Full`].
    pub fn withdraw(&mut self, invite: InviteId, expires: UnixMillis) -> Result<(), RedeemError> {
        let now = self.now();
        let withdrawn = self.door.withdraw(invite, expires, now);
        self.on_change();
        withdrawn
    }

    fn now(&self) -> Now {
        Now {
            instant: Instant::now(),
            unix: (self.clock)(),
        }
    }

    fn on_change(&mut self) {
        self.is_timer_stale = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// A new connection, with the address where this node dialed it and is the one to begin.
    fn arrive(
        &mut self,
        id: ConnectionId,
        connection: Connection,
        is_dialer: bool,
    ) -> Result<Handler, ConnectionDenied> {
        let Some(peer) = peer::node_id(&connection.peer) else {
            return Err(ConnectionDenied::new(OtherKey));
        };
        let arrival = Arrival {
            connection: id,
            peer,
            is_dialer,
            is_inside: self.gate.contains(&connection.peer),
        };
        let hello = self.door.open(arrival, rand::random(), self.now());
        self.on_change();
        let hello = hello.map_err(ConnectionDenied::new)?;
        self.connections.insert(id, connection);
        Ok(Handler::new(self.protocol.clone(), hello))
    }

    fn on_gone(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
        self.door.on_closed(connection);
        self.on_change();
    }

    fn on_dial_failed(&mut self, connection: ConnectionId) {
        self.on_gone(connection);
        if let Some(peer) = self.redials.remove(&connection) {
            self.door.on_redial_failed(peer);
        }
    }

    /// Does what the door wants, or queues it for the swarm.
    fn apply(&mut self, output: DoorOutput<ConnectionId>) {
        match output {
            DoorOutput::Say {
                connection,
                messages,
                then,
            } => self.say(connection, Say { messages, then }),
            DoorOutput::Close(connection) => {
                if let Some(known) = self.connections.get(&connection) {
                    self.close(known.peer, CloseConnection::One(connection));
                }
            }
            DoorOutput::Redial { connection, peer } => self.redial(connection, peer),
            DoorOutput::Write(entry) => {
                if let Some(office) = &mut self.office {
                    office.write(entry);
                }
            }
            DoorOutput::Sign { connection, grant } => {
                let signed = self.office.as_ref().and_then(|office| office.sign(&grant));
                self.door.on_signed(connection, signed, self.now());
            }
            // The gate is shut before the connections close: none is made inside meanwhile.
            DoorOutput::Expelled { peer, cause } => {
                let peer = peer::peer_id(&peer);
                self.tell(Event::Expelled { peer, cause });
                self.close(peer, CloseConnection::All);
            }
            told => {
                if let Some(event) = Event::of(told) {
                    self.tell(event);
                }
            }
        }
    }

    /// The gate as it is once the owner did what this tells it.
    fn follow_gate(&mut self, action: &ToSwarm<Event, Say>) {
        match action {
            ToSwarm::GenerateEvent(Event::Admitted { peer, .. }) => {
                self.gate.insert(*peer);
            }
            ToSwarm::GenerateEvent(Event::Expelled { peer, .. } | Event::Left { peer }) => {
                self.gate.remove(peer);
            }
            _ => {}
        }
    }

    fn tell(&mut self, event: Event) {
        self.actions.push_back(ToSwarm::GenerateEvent(event));
    }

    fn say(&mut self, connection: ConnectionId, say: Say) {
        if let Some(known) = self.connections.get(&connection) {
            self.actions.push_back(ToSwarm::NotifyHandler {
                peer_id: known.peer,
                handler: NotifyHandler::One(connection),
                event: say,
            });
        }
    }

    fn close(&mut self, peer_id: PeerId, connection: CloseConnection) {
        self.actions.push_back(ToSwarm::CloseConnection {
            peer_id,
            connection,
        });
    }

    fn redial(&mut self, connection: ConnectionId, peer: NodeId) {
        let known = self.connections.get(&connection);
        let Some(address) = known.and_then(|known| known.address.clone()) else {
            return self.door.on_redial_failed(peer);
        };
        let opts = DialOpts::peer_id(peer::peer_id(&peer))
            .addresses(vec![address])
            .condition(PeerCondition::Always)
            .build();
        self.redials.insert(opts.connection_id(), peer);
        self.actions.push_back(ToSwarm::Dial { opts });
    }

    /// The end of a write, passed on.
    fn poll_office(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(office) = &mut self.office else {
            return Poll::Pending;
        };
        let written = ready!(office.poll_written(cx));
        self.door.on_written(written.is_ok(), self.now());
        if let Err(error) = written {
            self.tell(Event::NotKept(error));
        }
        Poll::Ready(())
    }

    /// Ready when something is due at the door, which is then told.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::take(&mut self.is_timer_stale) {
            let deadline = self.door.next_deadline(self.now());
            let sleep = |at: Instant| Box::pin(tokio::time::sleep_until(at.into()));
            self.timer = deadline.map(sleep);
        }
        let Some(timer) = &mut self.timer else {
            return Poll::Pending;
        };
        ready!(timer.as_mut().poll(cx));
        self.is_timer_stale = true;
        self.door.on_tick(self.now());
        Poll::Ready(())
    }
}

impl NetworkBehaviour for Admissions {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let address = None;
        self.arrive(id, Connection { peer, address }, false)
    }

    /// Of two that dial each other at once to punch a hole, one is told to listen.
    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let address = Some(address.clone());
        self.arrive(id, Connection { peer, address }, role.is_dialer())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                self.redials.remove(&established.connection_id);
            }
            FromSwarm::ConnectionClosed(closed) => self.on_gone(closed.connection_id),
            // It was let in here and denied by another behaviour.
            FromSwarm::ListenFailure(failure) => self.on_gone(failure.connection_id),
            FromSwarm::DialFailure(failure) => self.on_dial_failed(failure.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        connection: ConnectionId,
        report: THandlerOutEvent<Self>,
    ) {
        let now = self.now();
        match report {
            Report::Message(message) => self.door.on_message(connection, &message, now),
            Report::Broken(failure) => self.door.on_broken(connection, failure, now),
            Report::Said => self.door.on_said(connection),
        }
        self.on_change();
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            while let Some(output) = self.door.next_output() {
                self.apply(output);
            }
            if let Some(action) = self.actions.pop_front() {
                self.follow_gate(&action);
                return Poll::Ready(action);
            }
            if self.poll_office(cx).is_ready() || self.poll_timer(cx).is_ready() {
                continue;
            }
            self.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
