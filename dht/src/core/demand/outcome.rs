//! What became of a record of demand, and what that means for gossip.
//!
//! It does not know how it came to that.

use protocol::{Sequence, demand::DemandError};

use crate::core::adverts::Verdict;

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It counts, from when its period begins.
    Taken,
    /// This node's own, come back.
    Own(Sequence),
    /// Known already, or older than what is known: a replay, or a message that came late.
    Duplicate,
    /// Its period is over.
    Expired,
    /// Its period begins later than clocks may be apart.
    Early,
    /// Its author says more in one period than any honest peer.
    TooOften,
    /// More tell than the sample needs; whoever knows how many others tell is silent.
    Surplus,
    /// Every seat is taken by somebody with a smaller coin.
    NoSeat,
    /// Its author is shunned.
    Shunned,
    /// Its author said two things at once, and is shunned from now on.
    Equivocation,
    /// Its author signed what no version of the software makes.
    Malformed(DemandError),
    /// Made for another swarm.
    OtherSwarm,
}

impl Outcome {
    /// What gossip does with the message. Records from the past and the future are not held
    /// against who passes them on: the clock that is off may be this one.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Taken | Self::Equivocation => Verdict::Accept,
            Self::Malformed(_) | Self::OtherSwarm => Verdict::Reject,
            Self::Own(_)
            | Self::Duplicate
            | Self::Expired
            | Self::Early
            | Self::TooOften
            | Self::Surplus
            | Self::NoSeat
            | Self::Shunned => Verdict::Ignore,
        }
    }
}
