//! What goes wrong between neighbours: for whoever sends, receives or opens.

use protocol::{
    chain::{CloseCode, StageFrameError},
    limits::MAX_STAGE_CHANNELS,
};

use super::{pipe::MAX_STALL, registry::MAX_REGISTERED};
use crate::{
    core::channels::{ChannelError, ChannelViolation},
    network::OpenError,
};

/// Why a channel, or the stream that it was on, is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkEnded {
    /// The other end closed the channel.
    #[error("the peer closed the channel ({0:?})")]
    Closed(CloseCode),
    /// The stream or its connection ended.
    #[error("the link was cut")]
    Cut,
    /// The peer took nothing for [`MAX_STALL`].
    #[error("the peer read nothing for {} s", MAX_STALL.as_secs())]
    Stalled,
    /// The peer opened a newer stream.
    #[error("the peer opened another link")]
    Replaced,
    /// The peer does not speak the protocol.
    #[error("the peer takes part in no chains")]
    Unsupported,
    /// The peer does not keep to the protocol.
    #[error("the peer does not keep to the protocol of stages")]
    Violation(#[source] LinkViolation),
    /// This node has no links any more.
    #[error("this node has left the swarm")]
    Left,
}

/// What a peer did that no peer of any version does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkViolation {
    /// Bytes that are no frame.
    #[error(transparent)]
    Frame(#[from] StageFrameError),
    /// More than its credit, or more credit than there was use for.
    #[error(transparent)]
    Channel(#[from] ChannelViolation),
    /// A frame that goes the other way only.
    #[error("a frame in the wrong direction")]
    Direction,
}

impl LinkEnded {
    /// Whether the peer is to blame, not the way to it.
    pub fn is_violation(self) -> bool {
        matches!(self, Self::Violation(_))
    }
}

impl From<LinkViolation> for LinkEnded {
    fn from(violation: LinkViolation) -> Self {
        Self::Violation(violation)
    }
}

impl From<ChannelViolation> for LinkEnded {
    fn from(violation: ChannelViolation) -> Self {
        Self::Violation(violation.into())
    }
}

/// Why there is no channel to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenLinkError {
    /// There is no stream to the peer, or only one through a relay.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The channel is open, or [`MAX_STAGE_CHANNELS`] are.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// There are links to as many peers as may be.
    #[error("links to too many peers")]
    TooMany,
    /// The stream ended at once.
    #[error(transparent)]
    Ended(LinkEnded),
}

/// Why a payload was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// No frame can carry it.
    #[error(transparent)]
    Frame(StageFrameError),
    /// Too many payloads wait on the channel already.
    #[error("too many payloads wait on the channel")]
    Busy,
    /// The channel is over.
    #[error(transparent)]
    Ended(LinkEnded),
}

/// Why nothing is taken in on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// It is registered already: another id is to be drawn.
    #[error("the channel is registered already")]
    Taken,
    /// [`MAX_REGISTERED`] are.
    #[error("more than {MAX_REGISTERED} channels")]
    TooMany,
}

/// A peer may have no more channels than there are for all.
const _: () = assert!(MAX_STAGE_CHANNELS <= MAX_REGISTERED);
