//! How notes spread between the peers that follow a board: what gossip passes on, with whom boards
//! are reconciled and when, and one reconciliation, step by step.
//!
//! It does not know what a note says, nor who keeps it.

pub mod guests;
pub mod meetings;
pub mod session;
pub mod toll;

pub use self::{
    guests::Guests,
    meetings::{Ending, Input, MeetingId, Meetings, Output},
    session::{Difference, Initiator, Item, Poison, Responder},
    toll::{Passage, Toll},
};
use super::adverts;

/// What became of an entry where notes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is kept from now on, and passed on.
    New,
    /// It is known.
    Known,
    /// Over a limit, or of an author who is muted here: not passed on, and nobody is blamed.
    Ignored,
    /// Nobody honest sends it: who sent it is blamed.
    Invalid,
}

/// How an entry came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// When it was written, or soon after.
    Gossip,
    /// By reconciling, so it may be old.
    Reconciled,
}

impl Verdict {
    /// What gossip does with the message. One that is known has been passed on, or others have it
    /// by reconciling as this node has: passing it on would let anybody repeat old notes to all.
    pub fn gossip(self) -> adverts::Verdict {
        match self {
            Self::New => adverts::Verdict::Accept,
            Self::Known | Self::Ignored => adverts::Verdict::Ignore,
            Self::Invalid => adverts::Verdict::Reject,
        }
    }
}
