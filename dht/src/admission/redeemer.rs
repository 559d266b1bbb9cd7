//! The right to redeem invites: who signs, and the disk that the ledger is kept on. When what is
//! signed, and in which order, is decided by the desk.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use protocol::{
    Sequence,
    envelope::SignError,
    membership::{Chain, Issuer, wire},
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
#[derive(Clone)]
pub struct Redeemer {
    /// Who signs: the root, or a delegate.
    pub issuer: Issuer,
    /// What was redeemed before.
    pub ledger: InviteLedger,
    /// How long the certificates hold.
    pub lifetime: Duration,
    /// Where uses are written down.
    pub store: Arc<dyn LedgerStore>,
}

/// The certificate that a grant is: the same bytes each time.
///
/// # Errors
/// When it is over its size, which a swarm's name and two keys never are.
pub fn sign(
    issuer: &Issuer,
    grant: &Grant,
) -> Result<Chain<wire::MembershipCertificate>, SignError> {
    let statement = wire::MembershipCertificate::from(&grant.certificate(issuer.swarm()));
    let serial = Sequence(grant.not_before.0);
    issuer.sign(serial, grant.expires, &statement)
}

impl fmt::Debug for Redeemer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redeemer")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl Redeemer {
    pub(super) fn desk<C: Copy + Ord>(&self) -> Desk<C> {
        let delegation = self.issuer.delegation().cloned();
        Desk::new(self.ledger.clone(), self.lifetime, delegation)
    }

    pub(super) fn office(self) -> Office {
        Office {
            issuer: self.issuer,
            store: self.store,
            writing: None,
        }
    }
}

/// Signs and writes, when told to.
pub(super) struct Office {
    issuer: Issuer,
    store: Arc<dyn LedgerStore>,
    writing: Option<BoxFuture<'static, Result<(), NotKept>>>,
}

impl Office {
    pub(super) fn sign(&self, grant: &Grant) -> Option<Chain<wire::MembershipCertificate>> {
        sign(&self.issuer, grant).ok()
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
