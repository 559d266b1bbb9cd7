//! The join token: an invite as a line of text that a person pastes, `shoal1_…`.
//!
//! How bytes become such a line is the armour's. Whether the invite is genuine is not the
//! checksum's to say: [`JoinToken::verify`].

use std::{fmt, str::FromStr};

use prost::Message;

use super::{
    Chain, ChainDecodeError, ChainError, Invite, Issued, MembershipError, Statement,
    armour::{self, Flaw, Form},
    wire,
};
use crate::{
    ids::UnixMillis,
    limits::{MAX_CERTIFICATE_BYTES, MAX_ENVELOPE_OVERHEAD_BYTES, MAX_INVITE_BYTES},
};

/// What a token begins with: a word to recognise it by, and its version.
pub const TOKEN_PREFIX: &str = "shoal1_";

/// Both envelopes at their limits, and the fields around them.
const FORM: Form = Form {
    family: "shoal",
    prefix: TOKEN_PREFIX,
    max_bytes: MAX_INVITE_BYTES + MAX_CERTIFICATE_BYTES + 2 * MAX_ENVELOPE_OVERHEAD_BYTES + 16,
};

/// An invite with what entitles its author; only its form was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinToken(pub Chain<wire::Invite>);

/// Why a text is no join token: one line that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Nothing, or spaces only.
    #[error("the join token is empty; paste the whole line that `shoal swarm invite` printed")]
    Empty,
    /// Something else.
    #[error(
        "this is no join token: one begins with {TOKEN_PREFIX}; paste the whole line that `shoal swarm invite` printed"
    )]
    NoToken,
    /// Of a later version.
    #[error("this join token was made by a newer shoal; update this one, or ask for another token")]
    Newer,
    /// Longer than any token.
    #[error("this is too long for a join token; paste one token only")]
    TooLong,
    /// Its end is missing: about that many characters.
    #[error(
        "the join token is cut short: about {0} characters are missing at its end; copy the whole line again"
    )]
    Cut(usize),
    /// There is more after its end.
    #[error("there is something after the join token's end; paste one token only")]
    Trailing,
    /// A character is wrong.
    #[error("the join token is mistyped; copy and paste it instead of typing it")]
    Mistyped,
    /// It arrived as it was made, and holds no invite.
    #[error("the join token holds no usable invite; ask for another one")]
    Contents(#[source] ChainDecodeError),
}

/// Why a token's invite does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// The invite cannot be read at all.
    #[error("the invite cannot be read; ask for another one")]
    Unreadable,
    /// It makes no sense.
    #[error("the invite makes no sense; ask for another one")]
    Content(#[source] MembershipError),
    /// It does not hold.
    #[error(transparent)]
    Chain(ChainError),
}

impl From<Flaw> for TokenError {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Empty => Self::Empty,
            Flaw::Other => Self::NoToken,
            Flaw::Newer => Self::Newer,
            Flaw::TooLong => Self::TooLong,
            Flaw::Cut(missing) => Self::Cut(missing),
            Flaw::Trailing => Self::Trailing,
            Flaw::Mistyped => Self::Mistyped,
        }
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&armour::write(&FORM, &self.0.encode().encode_to_vec()))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    /// Spaces and line breaks anywhere are passed over: a mail or a terminal puts them in.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let bytes = armour::read(&FORM, text)?;
        let malformed = |_| TokenError::Contents(ChainDecodeError::Missing);
        let chain = wire::Chain::decode(bytes.as_slice()).map_err(malformed)?;
        Chain::decode(&chain)
            .map(Self)
            .map_err(TokenError::Contents)
    }
}

impl JoinToken {
    /// Whether the invite holds now in the swarm that it names itself. Holding it is the reason
    /// to trust that swarm: there is nothing else to check it against.
    ///
    /// # Errors
    /// Every [`InviteError`].
    pub fn verify(&self, now: UnixMillis) -> Result<Issued<Invite>, InviteError> {
        let claimed = self.0.statement.claimed_payload();
        let claimed = claimed.map_err(|_| InviteError::Unreadable)?;
        let invite = claimed.check().map_err(InviteError::Content)?;
        self.0
            .verify(&invite.swarm, now)
            .map_err(InviteError::Chain)
    }
}

#[cfg(test)]
mod tests;
