//! What is said to and by the door: plain data, and causes in words for a person.

use std::time::Instant;

use protocol::{
    NodeId, UnixMillis,
    frame::FrameError,
    membership::{Chain, ChainError, ChainFault, InviteId, RefusalCode, wire},
};

use super::super::{
    ADMISSION_TIMEOUT, AdmissionFailure, AdmitError, Grant, LedgerEntry, Member, NotMember,
};
use crate::core::join::Cause;

/// One moment by both clocks: certificates hold by the wall's, deadlines by the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For deadlines.
    pub instant: Instant,
    /// For what is signed.
    pub unix: UnixMillis,
}

/// A new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival<C> {
    /// Its id.
    pub connection: C,
    /// To whom, as the transport authenticated it.
    pub peer: NodeId,
    /// This node speaks first.
    pub is_dialer: bool,
    /// The gate was open to the peer when the connection began.
    pub is_inside: bool,
}

/// Why a connection is not even tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// Too many handshakes at one time, all with peers that know the swarm.
    #[error("too many peers are being admitted at this moment")]
    Crowded,
    /// Too many with this peer.
    #[error("too many connections of one peer are being admitted")]
    CrowdedByPeer,
    /// This node is no member yet: it can dial with its invite, and let nobody in.
    #[error("this node has no certificate yet")]
    NoCertificate,
}

/// What goes on after the messages were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The peer's next message is awaited.
    Listen,
    /// The handshake is done and the stream is closed; the connection stays.
    Finish,
    /// The peer is given time to read, then [`super::Door::on_said`] is called.
    Close,
}

/// Why a member must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpelCause {
    /// It, or whoever signed its certificate, was put out.
    Revoked,
    /// Its certificate expired.
    Expired,
}

/// What the door's owner does, in order. `C` names a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum DoorOutput<C> {
    /// Send these messages, one frame each.
    Say {
        /// Where.
        connection: C,
        /// What; may be nothing.
        messages: Vec<Vec<u8>>,
        /// And after that.
        then: Then,
    },
    /// Close this connection now.
    Close(C),
    /// Dial the peer again at this connection's address: the new connection is inside of the
    /// gate. If it fails, call [`super::Door::on_redial_failed`].
    Redial {
        /// The one that is outside.
        connection: C,
        /// To whom.
        peer: NodeId,
    },
    /// Write this down durably, then call [`super::Door::on_written`].
    Write(LedgerEntry),
    /// Sign the grant's certificate, then call [`super::Door::on_signed`].
    Sign {
        /// For the peer here.
        connection: C,
        /// What to sign.
        grant: Grant,
    },
    /// The peer is a member: open the gate to its next connections.
    Admitted {
        /// Who.
        member: Member,
        /// Where it was proved.
        connection: C,
        /// As its [`Arrival`] said.
        is_inside: bool,
    },
    /// This node has a new certificate: keep it.
    Granted(Box<Chain<wire::MembershipCertificate>>),
    /// A handshake failed; its connection closes.
    Refused {
        /// Who.
        peer: NodeId,
        /// Where.
        connection: C,
        /// Why.
        cause: EntryFailure,
    },
    /// Close every connection of this peer, and the gate to it.
    Expelled {
        /// Who.
        peer: NodeId,
        /// Why.
        cause: ExpelCause,
    },
    /// The last connection of an admitted peer closed, or it refuses this node from now on:
    /// close the gate to it.
    Left(NodeId),
    /// There are newer lists of revocations: keep and pass on [`super::Door::roster`]'s.
    RosterChanged,
    /// An invite's withdrawal, and whether it is on the disk.
    Withdrawn {
        /// Which invite.
        invite: InviteId,
        /// Whether it is on the disk.
        is_kept: bool,
    },
}

/// Why a handshake admitted nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryFailure {
    /// What the two said to each other.
    #[error(transparent)]
    Handshake(#[from] AdmissionFailure),
    /// It took too long.
    #[error("the peer did not finish the admission within {} s", ADMISSION_TIMEOUT.as_secs())]
    Late,
    /// The peer does not know the protocol.
    #[error(
        "the peer does not speak the admission of private swarms: it is a node of the public mesh, or no Shoal node"
    )]
    NotSpoken,
    /// Bytes that are no frame, or one over the limit.
    #[error("the peer broke the form of the admission stream")]
    Frame(#[from] FrameError),
    /// A second admission stream on one connection, or one from the side that does not begin.
    #[error("the peer opened an admission stream out of turn")]
    SecondStream,
    /// The peer is a member, and there is no place or its membership ended just now.
    #[error("the peer is not taken in")]
    NotTaken(#[from] AdmitError),
    /// Its place was given to another peer before it had shown that it knows the swarm.
    #[error("too many peers are being admitted at this moment")]
    Crowded,
}

impl EntryFailure {
    /// Whether one of the two machines' clocks is to blame.
    pub fn is_clock(&self) -> bool {
        let by_refusal = |code, gap: bool| {
            gap && matches!(code, RefusalCode::Expired | RefusalCode::NotYetValid)
        };
        match self {
            Self::Handshake(AdmissionFailure::Refused { code, clock }) => {
                by_refusal(*code, clock.is_some())
            }
            Self::Handshake(
                AdmissionFailure::NotMember(NotMember::Chain(error))
                | AdmissionFailure::Grant(NotMember::Chain(error)),
            ) => is_early(error),
            _ => false,
        }
    }

    /// Whether the peer refuses what this node is, and not only what it asks for.
    pub fn is_turned_away(&self) -> bool {
        let Self::Handshake(AdmissionFailure::Refused { code, .. }) = self else {
            return false;
        };
        !matches!(code, RefusalCode::UsedUp | RefusalCode::CannotRedeem)
    }

    /// What it means for this node's way into the swarm.
    pub fn join_cause(&self) -> Cause {
        match self {
            _ if self.is_clock() => Cause::ClockOff,
            Self::Handshake(
                AdmissionFailure::Refused { .. }
                | AdmissionFailure::NotMember(_)
                | AdmissionFailure::Grant(_)
                | AdmissionFailure::NothingGranted
                | AdmissionFailure::Closed
                | AdmissionFailure::Stranger,
            ) => Cause::NotMember,
            Self::Late => Cause::TimedOut,
            _ => Cause::HandshakeRefused,
        }
    }
}

/// What does not hold yet was signed by a clock that is ahead of this one.
fn is_early(error: &ChainError) -> bool {
    matches!(
        error.fault,
        ChainFault::NotYet(_) | ChainFault::TooLongLived
    )
}
