//! The pass: what one peer is given by hand, as a line of text: its certificate, and where it is
//! a delegate its delegation. A bootstrap server redeems invites with it and needs no root key.
//!
//! It holds no secret: only the peer that it names can use it. Whether it holds, the roster says.

use std::{fmt, str::FromStr};

use prost::Message;

use super::{
    Chain, ChainDecodeError, Statement, Swarm,
    armour::{self, Flaw, Form},
    wire,
};
use crate::{
    envelope::Signed,
    limits::{MAX_CERTIFICATE_BYTES, MAX_ENVELOPE_OVERHEAD_BYTES},
};

/// What a pass begins with: a word to recognise it by, and its version.
pub const PASS_PREFIX: &str = "shoalpass1_";

/// A certificate with its delegation, a delegation of the peer's own, and the fields around.
const FORM: Form = Form {
    family: "shoalpass",
    prefix: PASS_PREFIX,
    max_bytes: 3 * (MAX_CERTIFICATE_BYTES + MAX_ENVELOPE_OVERHEAD_BYTES) + 24,
};

/// A peer's certificate and delegation; only their form was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Pass {
    /// That it belongs to the swarm.
    pub certificate: Chain<wire::MembershipCertificate>,
    /// That it may sign in the root's place.
    pub delegation: Option<Signed<wire::Delegation>>,
}

/// Why a text is no pass: one line that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PassError {
    /// Something else, or nothing.
    #[error(
        "this is no pass: one begins with {PASS_PREFIX}; take the whole line that `shoal swarm renew` or `delegate` printed"
    )]
    NoPass,
    /// Of a later version.
    #[error("this pass was made by a newer shoal; update this one, or ask for another pass")]
    Newer,
    /// Cut, mistyped, or with something after its end.
    #[error("the pass is damaged; copy the whole line again, and nothing else")]
    Damaged,
    /// It arrived as it was made, and holds no usable certificate.
    #[error("the pass holds no usable certificate; ask for another one")]
    Contents(#[source] ChainDecodeError),
}

impl Pass {
    /// The swarm that its certificate claims to be of: to learn what to check it against, never
    /// to rely on.
    pub fn claimed_swarm(&self) -> Option<Swarm> {
        let claimed = self.certificate.statement.claimed_payload().ok()?;
        Some(claimed.check().ok()?.swarm)
    }
}

impl From<Flaw> for PassError {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Empty | Flaw::Other => Self::NoPass,
            Flaw::Newer => Self::Newer,
            Flaw::TooLong | Flaw::Cut(_) | Flaw::Trailing | Flaw::Mistyped => Self::Damaged,
        }
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delegation = self.delegation.as_ref().map(Signed::encode);
        let pass = wire::Pass {
            certificate: Some(self.certificate.encode()),
            delegation: delegation.unwrap_or_default(),
        };
        f.write_str(&armour::write(&FORM, &pass.encode_to_vec()))
    }
}

impl FromStr for Pass {
    type Err = PassError;

    /// Spaces and line breaks anywhere are passed over.
    fn from_str(text: &str) -> Result<Self, PassError> {
        let bytes = armour::read(&FORM, text)?;
        let missing = || PassError::Contents(ChainDecodeError::Missing);
        let pass = wire::Pass::decode(bytes.as_slice()).map_err(|_| missing())?;
        let certificate = pass.certificate.ok_or_else(missing)?;
        let delegation = match pass.delegation.as_slice() {
            [] => None,
            bytes => Some(Signed::decode(bytes).map_err(ChainDecodeError::Delegation)),
        };
        Ok(Self {
            certificate: Chain::decode(&certificate).map_err(PassError::Contents)?,
            delegation: delegation.transpose().map_err(PassError::Contents)?,
        })
    }
}

#[cfg(test)]
mod tests;
