//! What became of an advert, and what that means for gossip.
//!
//! It does not know how it came to that.

use protocol::{
    Sequence, Signed,
    advert::{Advert, AdvertError},
};

/// What gossip does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Pass it on.
    Accept,
    /// Drop it; whoever sent it may be honest.
    Ignore,
    /// Drop it; no honest peer sends it.
    Reject,
}

/// What became of an advert.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// Of an author who was not in the view.
    New,
    /// Newer than what was known of its author.
    Updated,
    /// This node's own, come back. A sequence beyond the last published one is from before a
    /// restart, or of somebody with the same key: see [`super::Publisher::on_own`].
    Own(Sequence),
    /// Known already, or older than what is known.
    Duplicate,
    /// Its time ended on the way.
    Expired,
    /// Its author says more than any honest peer.
    TooOften,
    /// Every seat is taken by somebody who keeps it.
    NoSeat,
    /// Its author is shunned.
    Shunned,
    /// It proves that its author said two things at once.
    Equivocation(Box<Proof>),
    /// Its author signed what no version of the software makes.
    Malformed(AdvertError),
    /// Made for another swarm.
    OtherSwarm,
}

impl Outcome {
    /// What gossip does with the message.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::New | Self::Updated | Self::Equivocation(_) => Verdict::Accept,
            Self::Malformed(_) | Self::OtherSwarm => Verdict::Reject,
            Self::Own(_)
            | Self::Duplicate
            | Self::Expired
            | Self::TooOften
            | Self::NoSeat
            | Self::Shunned => Verdict::Ignore,
        }
    }
}

/// Two different adverts of one author under one sequence number; each proves itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof {
    /// The one that was known.
    pub first: Signed<Advert>,
    /// The one that came.
    pub second: Signed<Advert>,
}
