//! What the swarm's owner is told of admission. Plain data.

use libp2p::{PeerId, swarm::ConnectionId};
use protocol::membership::{Chain, InviteId, wire};

use super::NotKept;
use crate::{
    core::membership::{DoorOutput, EntryFailure, ExpelCause, Member},
    peer::peer_id,
};

/// What the swarm's owner is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The peer is a member: open the gate to it, at once.
    Admitted {
        /// Who.
        peer: PeerId,
        /// As what, and until when.
        member: Member,
        /// Where it was proved.
        connection: ConnectionId,
        /// The connection is inside of the gate. One that is not is replaced by whoever dialed
        /// it; nothing is to be done for that.
        is_inside: bool,
    },
    /// This node redeemed its invite: keep the certificate.
    Granted(Box<Chain<wire::MembershipCertificate>>),
    /// The handshake on a connection failed, and the connection is closed.
    Refused {
        /// Who.
        peer: PeerId,
        /// Where.
        connection: ConnectionId,
        /// Why.
        cause: EntryFailure,
    },
    /// The peer is a member no more: shut the gate to it. Its connections are closed.
    Expelled {
        /// Who.
        peer: PeerId,
        /// Why.
        cause: ExpelCause,
    },
    /// The last connection of an admitted peer closed: shut the gate to it.
    Left {
        /// Who.
        peer: PeerId,
    },
    /// There are newer lists of revocations: keep [`crate::core::membership::Roster::lists`], and hand them to
    /// [`crate::revocations::Revocations::update`].
    RosterChanged,
    /// A withdrawn invite is on the disk, or is not.
    Withdrawn {
        /// Which.
        invite: InviteId,
        /// Whether it is.
        is_kept: bool,
    },
    /// An entry of the ledger could not be written; the peer was refused.
    NotKept(NotKept),
}

impl Event {
    /// What is told as it is; `None` for what is to be done.
    pub(super) fn of(output: DoorOutput<ConnectionId>) -> Option<Self> {
        Some(match output {
            DoorOutput::Admitted {
                member,
                connection,
                is_inside,
            } => Self::Admitted {
                peer: peer_id(&member.peer),
                member,
                connection,
                is_inside,
            },
            DoorOutput::Granted(certificate) => Self::Granted(certificate),
            DoorOutput::Refused {
                peer,
                connection,
                cause,
            } => Self::Refused {
                peer: peer_id(&peer),
                connection,
                cause,
            },
            DoorOutput::Left(peer) => Self::Left {
                peer: peer_id(&peer),
            },
            DoorOutput::RosterChanged => Self::RosterChanged,
            DoorOutput::Withdrawn { invite, is_kept } => Self::Withdrawn { invite, is_kept },
            _ => return None,
        })
    }
}
