//! The channels of one stream between neighbours of a chain: whose turn it is, and who may send
//! how much.
//!
//! Each channel has a window of credit of its own, so one that stands still at the receiver stops
//! no other. A frame counts for [`protocol::chain::stage_cost`]; the receiver gives credit back by
//! halves of a window as frames are taken from it. A frame never needs more than half a window, so
//! a sender whose frames are all taken always has credit for the next one.
//!
//! [`Sending`] is the opener's side, [`Receiving`] the acceptor's. Neither knows a stream, a payload
//! or a clock, nor whether a channel may be spoken on at all.

mod receiving;
mod sending;

pub use self::{
    receiving::{Arrival, Receiving},
    sending::{MAX_QUEUED_FRAMES, PushError, Sending},
};

/// Why a channel is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// [`protocol::limits::MAX_STAGE_CHANNELS`] are open.
    #[error("as many channels are open as may be")]
    TooMany,
    /// It is open already.
    #[error("the channel is open already")]
    Taken,
}

/// What no honest peer does on a stream between neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelViolation {
    /// It sent more than it had credit for.
    #[error("a frame beyond the channel's credit")]
    OverCredit,
    /// It gave more credit than was ever used.
    #[error("credit beyond the channel's window")]
    OverWindow,
}

#[cfg(test)]
mod tests;
