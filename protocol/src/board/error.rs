//! Why bytes are no entry of a board.

use crate::{
    envelope::{EnvelopeError, SignError, VerifyError},
    names::SwarmName,
};

use super::names::{AgentNameError, BoardNameError};

/// Why an entry was not signed or not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Not an envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Its author, its signature or its time is wrong.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// More than is signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Made for another swarm.
    #[error("the note was made for another swarm than {0}")]
    Swarm(SwarmName),
    /// Its board has no name.
    #[error(transparent)]
    Board(#[from] BoardNameError),
    /// Its agent has a name that none may have.
    #[error(transparent)]
    Agent(#[from] AgentNameError),
    /// A field is not what it must be.
    #[error("`{field}` must be {must}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it must be.
        must: &'static str,
    },
    /// It is from the future by more than clocks are apart.
    #[error("the note is from the future: one of the clocks is wrong")]
    Ahead,
    /// It expires before it was written, or more than 30 days after.
    #[error("a note expires within 30 days after it was written")]
    Lifetime,
    /// A withdrawal of a note that is not the signer's.
    #[error("a note is taken back by its own author only")]
    Altered,
    /// A later version's; this one cannot tell what it says.
    #[error("the note is of a kind that this version does not know")]
    Unknown,
}

impl EntryError {
    /// Whether an honest peer would never have sent it. Clocks differ, notes expire on their way,
    /// and versions differ.
    pub fn blames_sender(&self) -> bool {
        !matches!(
            self,
            Self::Ahead | Self::Unknown | Self::Verify(VerifyError::Expired)
        )
    }
}
