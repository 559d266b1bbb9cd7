//! Redeems invites: counts, writes down, signs, in that order, so that a crash neither loses a
//! use that was taken nor gives a certificate that was not counted. It knows no stream.

use dht::core::membership::{InviteLedger, RedeemError};
use protocol::membership::{Chain, Invite, Issued, Issuer, RefusalCode, wire};
use protocol::{NodeId, UnixMillis};

use super::joining::sign_grant;
use super::{CERTIFICATE_LIFETIME, SwarmError, SwarmFiles};

/// Why an invite was not redeemed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedeemFailure {
    /// The ledger refuses.
    #[error(transparent)]
    Ledger(#[from] RedeemError),
    /// The delegation of this node does not cover the invite's role.
    #[error("this node may not admit peers in that role; ask another bootstrap node")]
    Role,
    /// It could not be written down or signed.
    #[error(transparent)]
    Storage(#[from] SwarmError),
}

impl RedeemFailure {
    /// What to tell the peer.
    pub fn refusal_code(&self) -> RefusalCode {
        match self {
            Self::Ledger(error) => error.refusal_code(),
            Self::Role | Self::Storage(_) => RefusalCode::CannotRedeem,
        }
    }
}

/// A node that may redeem invites of one swarm.
#[derive(Debug)]
pub struct Redeemer {
    issuer: Issuer,
    ledger: InviteLedger,
    files: SwarmFiles,
}

impl Redeemer {
    pub(super) fn open(
        issuer: Issuer,
        files: SwarmFiles,
        now: UnixMillis,
    ) -> Result<Self, SwarmError> {
        files.sweep_ledger(now)?;
        Ok(Self {
            ledger: files.ledger()?,
            issuer,
            files,
        })
    }

    /// Who signs.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The certificate for a peer that showed an invite which the roster found good: its own
    /// again, or a new one. Waits for the disk: call it outside the async threads.
    ///
    /// # Errors
    /// See [`RedeemFailure`]; the peer is to be told its code.
    pub fn redeem(
        &mut self,
        invite: &Issued<Invite>,
        peer: NodeId,
        now: UnixMillis,
    ) -> Result<Chain<wire::MembershipCertificate>, RedeemFailure> {
        let role = invite.content.role;
        let delegation = self.issuer.delegation();
        if delegation.is_some_and(|delegation| !delegation.may_admit(role)) {
            return Err(RedeemFailure::Role);
        }
        // On a copy: what is not on disk was not counted.
        let mut ledger = self.ledger.clone();
        let grant = ledger.redeem(invite, peer, CERTIFICATE_LIFETIME, now)?;
        let id = invite.content.id;
        let entry = ledger.entry(id).expect("the invite was just redeemed");
        if self.ledger.entry(id).as_ref() != Some(&entry) {
            self.files.save_entry(&entry)?;
        }
        self.ledger = ledger;
        Ok(sign_grant(&self.issuer, &grant)?)
    }
}
