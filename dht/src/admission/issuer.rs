//! The right to redeem invites: the key that signs, and the disk that the ledger is kept on.
//! When what is signed, and in which order, is decided by the desk.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use ed25519_dalek::SigningKey;
use futures::{FutureExt, future::BoxFuture};
use protocol::{
    Sequence, Signed,
    membership::{Chain, Swarm, wire},
};

use crate::core::membership::{Desk, Grant, InviteLedger, LedgerEntry};

/// An entry of the ledger was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the use of an invite could not be written down, so nobody was let in: {0}")]
pub struct NotKept(pub String);

/// Where the ledger is kept over a restart.
pub trait LedgerStore: Send + Sync + 'static {
    /// Writes an entry in the place of the invite's last one, durably. Entries are written one
    /// after the other.
    fn keep(&self, entry: LedgerEntry) -> BoxFuture<'static, Result<(), NotKept>>;
}

/// What it takes to redeem invites.
pub struct Issuer {
    /// The root's key, or a delegate's.
    pub key: SigningKey,
    /// Of the key, where it is not the root's.
    pub delegation: Option<Signed<wire::Delegation>>,
    /// What was redeemed before.
    pub ledger: InviteLedger,
    /// How long the certificates hold.
    pub lifetime: Duration,
    /// Where uses are written down.
    pub store: Arc<dyn LedgerStore>,
}

impl Issuer {
    pub(super) fn desk<C: Copy + Ord>(&self) -> Desk<C> {
        Desk::new(self.ledger.clone(), self.lifetime)
    }

    pub(super) fn office(self, swarm: Swarm) -> Office {
        Office {
            swarm,
            key: self.key,
            delegation: self.delegation,
            store: self.store,
            writing: None,
        }
    }
}

/// Signs and writes, when told to.
pub(super) struct Office {
    swarm: Swarm,
    key: SigningKey,
    delegation: Option<Signed<wire::Delegation>>,
    store: Arc<dyn LedgerStore>,
    writing: Option<BoxFuture<'static, Result<(), NotKept>>>,
}

impl Office {
    /// The grant's certificate; the same bytes each time. `None` for one over its size, which a
    /// swarm's name and two keys never are.
    pub(super) fn sign(&self, grant: &Grant) -> Option<Chain<wire::MembershipCertificate>> {
        let statement = wire::MembershipCertificate::from(&grant.certificate(&self.swarm));
        let serial = Sequence(grant.not_before.0);
        let signed = Chain::by_root(&self.key, serial, grant.expires, &statement).ok()?;
        Some(match &self.delegation {
            Some(delegation) => signed.with_delegation(delegation.clone()),
            None => signed,
        })
    }

    /// Begins to write an entry; the desk asks for one at a time.
    pub(super) fn write(&mut self, entry: LedgerEntry) {
        self.writing = Some(self.store.keep(entry));
    }

    /// The end of a write.
    pub(super) fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NotKept>> {
        let Some(writing) = &mut self.writing else {
            return Poll::Pending;
        };
        let written = std::task::ready!(writing.poll_unpin(cx));
        self.writing = None;
        Poll::Ready(written)
    }
}
