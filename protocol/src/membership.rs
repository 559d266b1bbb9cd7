//! A private swarm's membership: what its root and its delegates sign, what the admission stream
//! carries, the join token, and the pass that is given by hand.
//!
//! The generated messages of `proto/membership.proto` are in [`wire`]; what was checked has a
//! type of its own here ([`Certificate`], [`Delegation`], [`Invite`], [`Revocations`],
//! [`AdmissionMessage`]), so that nothing unchecked gets any further. [`Chain::verify`] says
//! whether a statement holds in a swarm. It does not know what was revoked, nor who is
//! connected: that is the roster's.

mod admission;
mod armour;
mod chain;
mod exchange;
mod issuer;
mod pass;
mod statement;
mod token;

use crate::{
    ids::{NodeId, NodeIdError},
    limits::{MAX_ADDRESS_BYTES, MAX_INVITE_ADDRESSES, MAX_INVITE_USES, MAX_REVOKED},
    names::{SwarmName, SwarmNameError},
};

pub use admission::{AdmissionMessage, AdmissionMessageError, NONCE_BYTES, TAG_BYTES};
pub use chain::{Chain, ChainDecodeError, ChainError, ChainFault, InWords, Issued};
pub use exchange::{
    Heads, LIST_DIGEST_BYTES, ListHead, RevocationsMessageError, RevocationsReply,
    RevocationsRequest,
};
pub use issuer::Issuer;
pub use pass::{PASS_PREFIX, Pass, PassError};
pub use statement::{
    Certificate, Delegation, INVITE_ID_BYTES, Invite, InviteId, Revocations, Statement,
};
pub use token::{InviteError, JoinToken, TOKEN_PREFIX, TokenError};
pub use wire::{RefusalCode, Role};

/// The messages as they travel, unchecked.
pub mod wire {
    #![allow(
        missing_docs,
        reason = "generated; documented in proto/membership.proto"
    )]
    include!(concat!(env!("OUT_DIR"), "/shoal.membership.v1.rs"));
}

/// A private swarm: a name for people, and the root key that makes it the one it is.
///
/// The root's key is public to members and to whoever holds an invite, and to nobody else: see
/// the admission handshake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Swarm {
    /// What people call it; two swarms may have one name.
    pub name: SwarmName,
    /// The key that everything in it is signed under, by itself or by its delegates.
    pub root: NodeId,
}

impl Swarm {
    fn check(name: &str, root: &[u8]) -> Result<Self, MembershipError> {
        Ok(Self {
            name: name.parse().map_err(MembershipError::SwarmName)?,
            root: NodeId::from_bytes(root).map_err(MembershipError::Root)?,
        })
    }
}

/// Why a decoded message means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// The swarm's name is none.
    #[error("the swarm's name is unusable")]
    SwarmName(#[source] SwarmNameError),
    /// The root's key is none.
    #[error("the root's key is unusable")]
    Root(#[source] NodeIdError),
    /// The key of the peer or delegate that it is about is none.
    #[error("the peer's key is unusable")]
    Peer(#[source] NodeIdError),
    /// Neither member nor client: made by a later version, perhaps.
    #[error("a role that this version does not know")]
    Role,
    /// A delegation that allows nothing.
    #[error("a delegation that allows nothing")]
    NothingAllowed,
    /// An invite's id has another length.
    #[error("an invite's id has {INVITE_ID_BYTES} bytes, not {0}")]
    InviteId(usize),
    /// No use, or more than may be.
    #[error("an invite has 1 to {MAX_INVITE_USES} uses, not {0}")]
    Uses(u32),
    /// More addresses than an invite may have.
    #[error("an invite has {0} addresses, the limit is {MAX_INVITE_ADDRESSES}")]
    TooManyAddresses(usize),
    /// Empty, too long, or not the text of a multiaddr.
    #[error(
        "a bootstrap address is a multiaddr such as /dns4/example.org/udp/4001/quic-v1, up to {MAX_ADDRESS_BYTES} characters"
    )]
    Address,
    /// More entries than a list may have.
    #[error("a list of {0} revocations, the limit is {MAX_REVOKED}")]
    TooManyRevoked(usize),
    /// A list out of order, or with a peer twice.
    #[error("a list of revocations that is out of order")]
    RevokedOrder,
}

#[cfg(test)]
mod tests;
