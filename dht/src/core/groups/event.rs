//! What [`super::Groups`] is told and what it answers. Plain data; nothing is decided here.

use std::time::Duration;

use protocol::NodeId;

use crate::core::{adverts::Closeness, coordinates::Coordinate};

/// How a peer is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// By at least one direct connection.
    Direct,
    /// Through relays only.
    Relayed,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Input {
    /// A deadline of [`super::Groups::next_deadline`] has come; harmless at any time.
    Tick,
    /// How the peer is reached from now on; `None`: it is no longer connected.
    Path(NodeId, Option<Path>),
    /// The answer to a probe came after so long.
    Reply(NodeId, Duration),
    /// A probe broke, or had no answer in time.
    Lost(NodeId),
    /// What a peer says of itself.
    Said {
        /// The peer.
        peer: NodeId,
        /// Where it thinks that it is.
        place: Option<Coordinate>,
        /// It names an address at which it can be dialled without a relay.
        is_dialable: bool,
    },
    /// Nothing is known any more of what the peer said.
    Silent(NodeId),
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Probe the peer's direct connection; answer with [`Input::Reply`] or [`Input::Lost`].
    Probe(NodeId),
    /// Dial the peer: it seems to be near. A connection is the answer; without one this is
    /// tried again after a pause that grows.
    Dial(NodeId),
    /// The peer is to this node something else than before.
    Closeness(NodeId, Closeness),
    /// This node is something else in the swarm than before.
    Role(Role),
}

/// What a node is in the swarm by its place in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It had no chance to find out yet.
    Undecided,
    /// It has a group and may take part in chains.
    Member,
    /// It is in nobody's group: it asks others, and serves whole models at most.
    ApiClient,
}
