//! A statement with what entitles its author: signed by the swarm's root, or by a delegate whose
//! delegation the root signed. Two signatures at most, so there is no path to search.
//!
//! [`Chain::verify`] checks everything that a signature, a clock and the swarm's root can
//! decide. Revocation comes on top, elsewhere.

use std::{fmt, time::Duration};

use ed25519_dalek::SigningKey;

use super::{Delegation, MembershipError, Statement, Swarm, wire};
use crate::{
    envelope::{EnvelopeError, SignError, Signed, Verified, VerifyError},
    ids::{NodeId, Sequence, UnixMillis},
    limits::MAX_CLOCK_SKEW,
};

/// A signed statement and the delegation of its author, not checked yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain<T> {
    /// The statement.
    pub statement: Signed<T>,
    /// What entitles its author; `None` where the author is the root.
    pub delegation: Option<Signed<wire::Delegation>>,
}

/// A statement that holds in the swarm that it was checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued<C> {
    /// What it says.
    pub content: C,
    /// Who signed it: the root, or a delegate.
    pub issuer: NodeId,
    /// How new it is among its issuer's of this kind.
    pub serial: Sequence,
    /// From when it no longer holds: its own expiry, or its delegation's where that is sooner.
    pub expires: UnixMillis,
}

/// Why bytes are no chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainDecodeError {
    /// There is none.
    #[error("there is no statement")]
    Missing,
    /// The statement is no envelope.
    #[error("the statement is unreadable")]
    Statement(#[source] EnvelopeError),
    /// The delegation is no envelope.
    #[error("the delegation is unreadable")]
    Delegation(#[source] EnvelopeError),
}

/// Why a statement does not hold, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {noun} {fault}")]
#[non_exhaustive]
pub struct ChainError {
    /// What it is, as `certificate`.
    pub noun: &'static str,
    /// What is wrong with it.
    #[source]
    pub fault: ChainFault,
}

/// What is wrong with a statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainFault {
    /// Its time is over, or this machine's clock is ahead.
    #[error("expired {} ago; get a new one, or set this machine's clock if it is wrong", InWords(*.0))]
    Expired(Duration),
    /// Its time has not begun, or this machine's clock is behind.
    #[error("holds only in {} from now: this machine's clock is behind, or the issuer's is ahead", InWords(*.0))]
    NotYet(Duration),
    /// It would hold for longer than its kind may: so does a good one where a clock is behind.
    #[error("expires later than it may: this machine's clock is behind, or it was made wrongly")]
    TooLongLived,
    /// It is about another swarm, or one of the same name with another root.
    #[error("is of another swarm, {} under the root {}", .0.name, .0.root)]
    WrongSwarm(Swarm),
    /// Its author is neither the root nor a delegate.
    #[error("is signed by {0}, who is not the swarm's root and has no delegation")]
    Unauthorised(NodeId),
    /// Its author's delegation does not cover it.
    #[error("is signed by {0}, whose delegation does not allow it")]
    NotCovered(NodeId),
    /// Its signature or form is wrong.
    #[error("is not genuine")]
    NotGenuine(#[source] VerifyError),
    /// It is signed, and makes no sense.
    #[error("makes no sense")]
    Content(#[source] MembershipError),
}

impl<T: Statement> Chain<T> {
    /// Signs a statement as the root.
    ///
    /// # Errors
    /// When it is over its type's size.
    pub fn by_root(
        key: &SigningKey,
        serial: Sequence,
        expires: UnixMillis,
        statement: &T,
    ) -> Result<Self, SignError> {
        Ok(Self {
            statement: Signed::sign(key, serial, expires, statement)?,
            delegation: None,
        })
    }

    /// The same statement with the delegation of its author.
    #[must_use]
    pub fn with_delegation(mut self, delegation: Signed<wire::Delegation>) -> Self {
        self.delegation = Some(delegation);
        self
    }

    /// Reads both envelopes, their payloads still as bytes.
    ///
    /// # Errors
    /// Every [`ChainDecodeError`].
    pub fn decode(chain: &wire::Chain) -> Result<Self, ChainDecodeError> {
        if chain.statement.is_empty() {
            return Err(ChainDecodeError::Missing);
        }
        let statement = Signed::decode(&chain.statement).map_err(ChainDecodeError::Statement)?;
        let delegation = match chain.delegation.as_slice() {
            [] => None,
            bytes => Some(Signed::decode(bytes).map_err(ChainDecodeError::Delegation)?),
        };
        Ok(Self {
            statement,
            delegation,
        })
    }

    /// Both envelopes as they travel.
    pub fn encode(&self) -> wire::Chain {
        let encode = |delegation: &Signed<wire::Delegation>| delegation.encode();
        wire::Chain {
            statement: self.statement.encode(),
            delegation: self.delegation.as_ref().map(encode).unwrap_or_default(),
        }
    }

    /// Whether the statement holds now in this swarm, but for revocation.
    ///
    /// # Errors
    /// A [`ChainError`] about the statement, or about the delegation behind it.
    pub fn verify(&self, swarm: &Swarm, now: UnixMillis) -> Result<Issued<T::Checked>, ChainError> {
        let (author, mut issued) = verify_one(&self.statement, swarm, now)?;
        if author == swarm.root {
            return Ok(issued);
        }
        let fault = |fault| fault_of::<T>(fault);
        let delegation = self
            .delegation
            .as_ref()
            .ok_or_else(|| fault(ChainFault::Unauthorised(author)))?;
        let delegation = verify_delegation(delegation, swarm, now)?;
        if delegation.content.delegate != author {
            return Err(fault(ChainFault::Unauthorised(author)));
        }
        if !T::is_covered_by(&issued.content, &delegation.content) {
            return Err(fault(ChainFault::NotCovered(author)));
        }
        issued.expires = issued.expires.min(delegation.expires);
        Ok(issued)
    }
}

fn verify_delegation(
    delegation: &Signed<wire::Delegation>,
    swarm: &Swarm,
    now: UnixMillis,
) -> Result<Issued<Delegation>, ChainError> {
    let (author, issued) = verify_one(delegation, swarm, now)?;
    if author != swarm.root {
        let fault = ChainFault::Unauthorised(author);
        return Err(fault_of::<wire::Delegation>(fault));
    }
    Ok(issued)
}

/// One envelope: genuine, in its time, sensible, and of this swarm.
fn verify_one<T: Statement>(
    signed: &Signed<T>,
    swarm: &Swarm,
    now: UnixMillis,
) -> Result<(NodeId, Issued<T::Checked>), ChainError> {
    let fault = |fault| fault_of::<T>(fault);
    let verified = signed.clone().verify(now).map_err(|error| {
        let late = now.saturating_since(signed.claimed_expiry());
        fault(match error {
            VerifyError::Expired => ChainFault::Expired(late),
            VerifyError::TooLongLived => ChainFault::TooLongLived,
            other => ChainFault::NotGenuine(other),
        })
    })?;
    let content = check_content(&verified, swarm, now).map_err(fault)?;
    let issued = Issued {
        content,
        issuer: verified.author(),
        serial: verified.sequence(),
        expires: verified.expires(),
    };
    Ok((verified.author(), issued))
}

fn check_content<T: Statement>(
    verified: &Verified<T>,
    swarm: &Swarm,
    now: UnixMillis,
) -> Result<T::Checked, ChainFault> {
    let content = verified.message().check().map_err(ChainFault::Content)?;
    if T::swarm(&content) != swarm {
        return Err(ChainFault::WrongSwarm(T::swarm(&content).clone()));
    }
    let begins = T::not_before(&content).unwrap_or(UnixMillis(0));
    if begins > now.saturating_add(MAX_CLOCK_SKEW) {
        return Err(ChainFault::NotYet(begins.saturating_since(now)));
    }
    Ok(content)
}

fn fault_of<T: Statement>(fault: ChainFault) -> ChainError {
    ChainError {
        noun: T::NOUN,
        fault,
    }
}

/// A time span as a person says it: its largest unit only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InWords(pub Duration);

impl fmt::Display for InWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (count, unit) = match seconds {
            0..120 => (seconds, "second"),
            120..7_200 => (seconds / 60, "minute"),
            7_200..172_800 => (seconds / 3_600, "hour"),
            _ => (seconds / 86_400, "day"),
        };
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{count} {unit}{plural}")
    }
}
