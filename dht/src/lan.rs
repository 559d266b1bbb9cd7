//! Peers of the local network, by multicast DNS: libp2p's behaviour with bounds of our own.
//!
//! All libp2p programs share one service name, so peers of other swarms and of other programs
//! are found too; what is found is a candidate, and who it is and whether it belongs to the swarm
//! is seen at the dial. libp2p's behaviour keeps whatever anyone on the network says for as long
//! as they say, and adds it to every dial: here it is emptied when it holds too much, and only
//! nodes with addresses of other machines get out of it. It names this node and where it listens,
//! and no swarm.

use std::task::{Context, Poll};

use libp2p::{
    Multiaddr, PeerId,
    core::{
        Endpoint,
        transport::{ListenerId, PortUse},
    },
    mdns,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NewListenAddr, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm,
    },
};

use crate::{
    core::join::{Candidate, MAX_CANDIDATES},
    reach::{self, Reach},
};

/// Addresses that libp2p's behaviour may hold: a large office with eight for each machine.
/// Beyond that somebody floods the network, and everything is forgotten.
const MAX_KNOWN: usize = 1024;

/// Listen addresses that are remembered, to be told again after that.
const MAX_LISTENING: usize = 64;

/// The behaviour. What it finds comes as candidates for the join, unasked.
pub struct Lan {
    inner: mdns::tokio::Behaviour,
    local: PeerId,
    listening: Vec<(ListenerId, Multiaddr)>,
}

impl Lan {
    /// For the node itself.
    ///
    /// # Errors
    /// When the system does not tell of its network interfaces.
    pub fn new(local: PeerId) -> std::io::Result<Self> {
        Ok(Self {
            inner: behaviour(local)?,
            local,
            listening: Vec::new(),
        })
    }

    /// Follows the addresses that the node listens on; `true` if the inner behaviour may hear of
    /// this.
    fn follow(&mut self, event: &FromSwarm<'_>) -> bool {
        match event {
            FromSwarm::NewListenAddr(new) => {
                let known = (new.listener_id, new.addr.clone());
                let room = self.listening.len() < MAX_LISTENING;
                if room && !self.listening.contains(&known) {
                    self.listening.push(known);
                }
                room
            }
            FromSwarm::ExpiredListenAddr(old) => {
                let gone = (old.listener_id, old.addr.clone());
                self.listening.retain(|known| *known != gone);
                true
            }
            FromSwarm::ListenerClosed(closed) => {
                self.listening.retain(|(id, _)| *id != closed.listener_id);
                true
            }
            _ => true,
        }
    }

    /// Forgets everybody if there are too many to be true.
    fn empty_if_flooded(&mut self) {
        if self.inner.discovered_nodes().len() <= MAX_KNOWN {
            return;
        }
        // Without a new one the flooded one stays: it is tried again with the next packet.
        let Ok(mut inner) = behaviour(self.local) else {
            return;
        };
        for (listener_id, addr) in &self.listening {
            inner.on_swarm_event(FromSwarm::NewListenAddr(NewListenAddr {
                listener_id: *listener_id,
                addr,
            }));
        }
        self.inner = inner;
    }
}

fn behaviour(local: PeerId) -> std::io::Result<mdns::tokio::Behaviour> {
    mdns::tokio::Behaviour::new(mdns::Config::default(), local)
}

/// The nodes among what was found, each once, with those of its addresses that can be dialed.
fn candidates(found: &[(PeerId, Multiaddr)], local: &PeerId) -> Vec<Candidate> {
    let mut peers: Vec<PeerId> = Vec::new();
    for (peer, _) in found {
        if peers.len() < MAX_CANDIDATES && peer != local && !peers.contains(peer) {
            peers.push(*peer);
        }
    }
    let of = |peer: &PeerId| {
        let theirs = found.iter().filter(|(id, _)| id == peer);
        reach::candidate(peer, theirs.map(|(_, address)| address), Reach::Lan)
    };
    peers.iter().filter_map(of).collect()
}

impl NetworkBehaviour for Lan {
    type ConnectionHandler = THandler<mdns::tokio::Behaviour>;
    type ToSwarm = Vec<Candidate>;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner
            .handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner
            .handle_established_outbound_connection(connection, peer, address, role, port)
    }

    // `handle_pending_outbound_connection` is not passed on: the inner one would add whatever was
    // said of a peer to every dial of it.

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if self.follow(&event) {
            self.inner.on_swarm_event(event);
        }
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
        // Only what was found gets out, so a flood keeps this loop no longer than one poll of the
        // inner behaviour keeps its own.
        while let Poll::Ready(event) = self.inner.poll(cx) {
            let ToSwarm::GenerateEvent(mdns::Event::Discovered(found)) = event else {
                continue;
            };
            self.empty_if_flooded();
            let candidates = candidates(&found, &self.local);
            if !candidates.is_empty() {
                return Poll::Ready(ToSwarm::GenerateEvent(candidates));
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
