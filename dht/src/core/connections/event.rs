//! What is said of connections: what opened, what is known of a peer, what is to be closed.
//! Plain data; nothing is decided here.

use std::net::IpAddr;

use protocol::NodeId;

use crate::core::join::Transport;

/// One connection; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// Who dialed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialer {
    /// This node.
    Us,
    /// The peer: the connection is inbound.
    Peer,
}

/// How a connection runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Straight to this address.
    Direct(Transport, IpAddr),
    /// Through a relay.
    Relay,
}

/// A connection that is open and admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Its id.
    pub id: ConnectionId,
    /// To whom.
    pub peer: NodeId,
    /// Who dialed.
    pub dialer: Dialer,
    /// How it runs.
    pub via: Via,
}

/// Why a peer is never closed for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    /// It is in a gossip mesh of ours.
    Mesh,
    /// It is in our group.
    Group,
    /// We are reached through it.
    Relay,
}

/// What makes a peer worth keeping.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerFacts {
    /// Near enough for a chain.
    pub is_near: bool,
    /// It serves a model that is asked for here.
    pub serves_us: bool,
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There are more than [`high`](super::Config::high).
    Trimmed,
    /// There are [`ceiling`](super::Config::ceiling).
    NoRoom,
    /// Its peer has better ones.
    Duplicate,
    /// Its neighbourhood has its share.
    Crowded,
}

/// A connection to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    /// Which.
    pub id: ConnectionId,
    /// Why.
    pub reason: Reason,
}

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Small messages: any connection will do.
    Control,
    /// Everything else: direct connections only.
    Data,
}
