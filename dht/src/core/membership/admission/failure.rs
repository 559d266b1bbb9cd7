//! Why a handshake admitted nobody, in words for a person. It decides nothing.

use std::{fmt, time::Duration};

use protocol::{
    UnixMillis,
    limits::MAX_CLOCK_SKEW,
    membership::{AdmissionMessageError, InWords, RefusalCode},
};

use crate::core::membership::NotMember;

/// Why nobody was admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdmissionFailure {
    /// Bytes that are no message.
    #[error("the peer sent something unreadable")]
    Message(#[source] AdmissionMessageError),
    /// A message out of order.
    #[error("the peer sent an admission message out of order")]
    OutOfOrder,
    /// The peer does not know the swarm, or answers for another handshake.
    #[error("the peer does not belong to this swarm")]
    Stranger,
    /// The peer closed the connection, as a node of another swarm does.
    #[error(
        "the peer closed the connection without an answer: it does not belong to this swarm, or is not the node that was meant"
    )]
    Closed,
    /// The peer refuses this node.
    #[error("{}", RefusalText { code: *.code, clock: *.clock })]
    Refused {
        /// Why.
        code: RefusalCode,
        /// How far the two clocks are apart, where that is too far.
        clock: Option<ClockGap>,
    },
    /// What the peer showed does not make it a member.
    #[error("the peer is not admitted")]
    NotMember(#[source] NotMember),
    /// The certificate that was granted does not hold.
    #[error("the certificate that was granted does not hold")]
    Grant(#[source] NotMember),
    /// The invite was accepted and no certificate came with it.
    #[error("the peer accepted the invite and granted nothing; try another bootstrap node")]
    NothingGranted,
    /// This node was asked to redeem an invite, and its owner did not.
    #[error("the peer's invite was not redeemed")]
    NotRedeemed,
}

/// How far this machine's clock is from a peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockGap {
    /// How far.
    pub by: Duration,
    /// This machine's is the later one.
    pub is_ahead: bool,
}

impl ClockGap {
    /// The gap between this machine's clock and a peer's; `None` within [`MAX_CLOCK_SKEW`].
    pub fn between(ours: UnixMillis, theirs: UnixMillis) -> Option<Self> {
        let is_ahead = ours > theirs;
        let by = ours
            .saturating_since(theirs)
            .max(theirs.saturating_since(ours));
        (by > MAX_CLOCK_SKEW).then_some(Self { by, is_ahead })
    }
}

struct RefusalText {
    code: RefusalCode,
    clock: Option<ClockGap>,
}

impl fmt::Display for RefusalText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.code {
            RefusalCode::Expired => {
                "the swarm refuses this node: its certificate or invite expired; ask for a new invite"
            }
            RefusalCode::NotYetValid => {
                "the swarm refuses this node: its certificate or invite does not hold yet"
            }
            RefusalCode::Revoked => {
                "the swarm refuses this node: its membership, or the key that signed it, was revoked; ask the swarm's owner"
            }
            RefusalCode::UsedUp => {
                "each use of this invite was taken by another node; ask for a new invite"
            }
            RefusalCode::CannotRedeem => {
                "this bootstrap node redeems no invites now; try another one, or later"
            }
            RefusalCode::NotAccepted | RefusalCode::Unspecified => {
                "the swarm does not accept this node's certificate or invite; ask for a new invite"
            }
        })?;
        match self.clock {
            None => Ok(()),
            Some(gap) => {
                let side = if gap.is_ahead { "ahead of" } else { "behind" };
                let by = InWords(gap.by);
                write!(
                    f,
                    " (this machine's clock is {by} {side} the peer's: set it first)"
                )
            }
        }
    }
}
