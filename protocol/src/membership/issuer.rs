//! Whoever may sign in a swarm: its root, or a delegate with what entitles it. It signs what it is
//! told; a delegation that does not cover it shows when the statement is checked.
//!
//! It holds a secret key, and neither shows nor stores it. It knows no clock.

use std::fmt;

use ed25519_dalek::SigningKey;

use super::{Chain, Delegation, MembershipError, Statement, Swarm, wire};
use crate::{
    envelope::{SignError, Signed},
    ids::{NodeId, Sequence, UnixMillis},
};

/// A key that signs in a swarm.
#[derive(Clone)]
pub struct Issuer {
    swarm: Swarm,
    key: SigningKey,
    delegation: Option<(Signed<wire::Delegation>, Delegation)>,
}

impl Issuer {
    /// The swarm's root. `None`: the key is another one.
    pub fn root(swarm: Swarm, key: SigningKey) -> Option<Self> {
        let is_root = NodeId::from(&key) == swarm.root;
        is_root.then_some(Self {
            swarm,
            key,
            delegation: None,
        })
    }

    /// A delegate with its delegation, which was verified before. `None`: it is another key's
    /// or another swarm's.
    ///
    /// # Errors
    /// The delegation makes no sense.
    pub fn delegate(
        swarm: Swarm,
        key: SigningKey,
        delegation: Signed<wire::Delegation>,
    ) -> Result<Option<Self>, MembershipError> {
        let claimed = delegation.claimed_payload();
        let content = claimed.unwrap_or_default().check()?;
        let fits = content.delegate == NodeId::from(&key) && content.swarm == swarm;
        Ok(fits.then_some(Self {
            swarm,
            key,
            delegation: Some((delegation, content)),
        }))
    }

    /// The swarm.
    pub fn swarm(&self) -> &Swarm {
        &self.swarm
    }

    /// Who signs.
    pub fn id(&self) -> NodeId {
        NodeId::from(&self.key)
    }

    /// What a delegate may sign; `None`: the root, which may everything.
    pub fn delegation(&self) -> Option<&Delegation> {
        self.delegation.as_ref().map(|(_, content)| content)
    }

    /// Signs a certificate, an invite or a list of revocations.
    ///
    /// # Errors
    /// When it is over its type's size.
    pub fn sign<T: Statement>(
        &self,
        serial: Sequence,
        expires: UnixMillis,
        statement: &T,
    ) -> Result<Chain<T>, SignError> {
        let chain = Chain::by_root(&self.key, serial, expires, statement)?;
        Ok(match &self.delegation {
            Some((delegation, _)) => chain.with_delegation(delegation.clone()),
            None => chain,
        })
    }
}

impl fmt::Debug for Issuer {
    /// Not the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("swarm", &self.swarm)
            .field("id", &self.id())
            .field("delegation", &self.delegation())
            .finish_non_exhaustive()
    }
}
