//! What this node is in a private swarm, loaded from its files with everything checked: its
//! certificate, the invite that it still has, what is known to be revoked, and whether it may
//! redeem. It knows no connection.

use std::sync::Arc;
use std::time::Duration;

use crate::list::Address;
use dht::admission::Redeemer;
use dht::core::membership::{Credential, ListError, Member, NotMember, Roster};
use dht::network::Private;
use ed25519_dalek::SigningKey;
use protocol::membership::{
    Chain, ChainFault, Delegation, Invite, Issued, Issuer, Pass, Swarm, wire,
};
use protocol::{NodeId, Signed, UnixMillis};

use super::joining::issue_own;
use super::keeping::Ledger;
use super::{CERTIFICATE_LIFETIME, RENEWAL_MARGIN, SwarmError, SwarmFiles};
use dht::identity::Identity;

/// A certificate of this node that holds.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnCertificate {
    /// To show.
    pub chain: Chain<wire::MembershipCertificate>,
    /// What it says.
    pub member: Member,
}

/// What this node is in a private swarm.
#[derive(Debug)]
pub struct Membership {
    /// The swarm.
    pub swarm: Swarm,
    /// The node's certificate. `None`: it has only an invite so far.
    pub certificate: Option<OwnCertificate>,
    /// An invite that is still to be redeemed; beside a certificate it renews that one.
    pub invite: Option<Chain<wire::Invite>>,
    /// Who is revoked; nobody is admitted yet.
    pub roster: Roster,
    /// Redeems invites, where this node may.
    pub redeemer: Option<Redeemer>,
    /// Where to begin: the addresses that came with the invite.
    pub bootstrap: Vec<Address>,
    /// Where what the network brings is kept.
    pub files: SwarmFiles,
}

impl Membership {
    /// Loads it. Where the root key is, a certificate near its end or past it is renewed.
    ///
    /// # Errors
    /// [`SwarmError::Own`], [`SwarmError::NotInvited`] or [`SwarmError::NoCredential`] where the
    /// swarm would not take the node; others where a file is damaged or cannot be read.
    pub fn load(
        files: SwarmFiles,
        identity: &Identity,
        now: UnixMillis,
    ) -> Result<Self, SwarmError> {
        let own = identity.id();
        let roster = known_roster(&files, now)?;
        let root = files.root_key()?;
        let pass = own_pass(&files, root.clone(), own, now)?;
        let certificate = match &pass {
            Some(pass) => Some(OwnCertificate {
                chain: pass.certificate.clone(),
                member: check_pass(pass, &roster, own, now)?,
            }),
            None => None,
        };
        let invite = pending(&files, &roster, own, now);
        let invite = match (invite, certificate.is_some()) {
            (Ok(invite), _) => invite,
            // It was for a renewal only; the certificate holds.
            (Err(SwarmError::NotInvited { .. } | SwarmError::Invite(_)), true) => None,
            (Err(error), _) => return Err(error),
        };
        if certificate.is_none() && invite.is_none() {
            return Err(SwarmError::NoCredential(files.swarm().name.clone()));
        }
        let issuer = issuer_of(&files, root, pass.as_ref(), identity, now);
        let redeemer = match (issuer, &certificate) {
            (Some(issuer), Some(_)) => Some(redeemer(issuer, &files, now)?),
            _ => None,
        };
        Ok(Self {
            swarm: files.swarm().clone(),
            certificate,
            invite,
            roster,
            redeemer,
            bootstrap: files.bootstrap()?,
            files,
        })
    }

    /// What to show to a peer: the certificate, else the invite. What was loaded has one of them.
    pub fn credential(&self) -> Option<Credential> {
        let certificate = self.certificate.as_ref();
        let certificate = certificate.map(|own| Credential::Certificate(own.chain.clone()));
        certificate.or_else(|| self.invite.clone().map(Credential::Invite))
    }

    /// What makes the network a private one. `None`: there is nothing to show, as
    /// [`Membership::credential`] says.
    pub fn private(&self) -> Option<Private> {
        Some(Private {
            roster: self.roster.clone(),
            credential: self.credential()?,
            redeemer: self.redeemer.clone(),
        })
    }

    /// How long the node's certificate still holds; none without one.
    pub fn remaining(&self, now: UnixMillis) -> Option<Duration> {
        let certificate = self.certificate.as_ref()?;
        Some(certificate.member.expires.saturating_since(now))
    }

    /// Whether the owner should be told that the certificate ends soon.
    pub fn ends_soon(&self, now: UnixMillis) -> bool {
        self.invite.is_none()
            && self
                .remaining(now)
                .is_some_and(|left| left < RENEWAL_MARGIN)
    }
}

fn redeemer(issuer: Issuer, files: &SwarmFiles, now: UnixMillis) -> Result<Redeemer, SwarmError> {
    files.sweep_ledger(now)?;
    Ok(Redeemer {
        issuer,
        ledger: files.ledger()?,
        lifetime: CERTIFICATE_LIFETIME,
        store: Arc::new(Ledger(files.clone())),
    })
}

/// The roster with every list that is kept. A list that counts no more (its issuer was put out
/// since) is removed.
pub(super) fn known_roster(files: &SwarmFiles, now: UnixMillis) -> Result<Roster, SwarmError> {
    let mut roster = Roster::new(files.swarm().clone());
    let root = files.swarm().root.to_string();
    let mut lists = files.lists()?;
    // The root's first: it says whose others count.
    lists.sort_by_key(|(path, _)| path.file_name() != Some(root.as_ref()));
    for (path, list) in lists {
        match roster.handle_revocations(list, now) {
            Ok(_) => {}
            Err(ListError::NotBelieved(NotMember::IssuerRevoked(_))) => files.remove_list(&path)?,
            // It ended with its issuer's delegation. Kept: it may be this clock that is wrong.
            Err(ListError::NotBelieved(NotMember::Chain(error)))
                if matches!(error.fault, ChainFault::Expired(_)) => {}
            Err(cause) => return Err(SwarmError::List { path, cause }),
        }
    }
    Ok(roster)
}

/// Whether a pass makes `own` a member now, and its delegation is one.
pub(super) fn check_pass(
    pass: &Pass,
    roster: &Roster,
    own: NodeId,
    now: UnixMillis,
) -> Result<Member, SwarmError> {
    let swarm = roster.swarm();
    let refused = |fault| SwarmError::Own {
        swarm: swarm.name.clone(),
        fault,
    };
    let member = roster.check_certificate(&pass.certificate, own, now);
    let member = member.map_err(refused)?;
    if let Some(delegation) = &pass.delegation {
        let delegation = verify(delegation, swarm, now);
        let delegation = delegation.map_err(|fault| refused(fault.into()))?;
        if delegation.content.delegate != own {
            return Err(refused(NotMember::OtherPeer(delegation.content.delegate)));
        }
    }
    Ok(member)
}

/// Whether a delegation holds now; only the root delegates.
pub(super) fn verify(
    delegation: &Signed<wire::Delegation>,
    swarm: &Swarm,
    now: UnixMillis,
) -> Result<Issued<Delegation>, protocol::membership::ChainError> {
    let chain = Chain {
        statement: delegation.clone(),
        delegation: None,
    };
    chain.verify(swarm, now)
}

/// The node's pass; where the root key is, one that holds for a while.
fn own_pass(
    files: &SwarmFiles,
    root: Option<SigningKey>,
    own: NodeId,
    now: UnixMillis,
) -> Result<Option<Pass>, SwarmError> {
    let pass = files.pass()?;
    let Some(root) = root else {
        return Ok(pass);
    };
    let is_due =
        pass.as_ref()
            .is_none_or(|pass| match pass.certificate.verify(files.swarm(), now) {
                Ok(issued) => issued.expires.saturating_since(now) < RENEWAL_MARGIN,
                Err(error) => matches!(error.fault, ChainFault::Expired(_)),
            });
    match is_due {
        true => issue_own(files, root, own, now).map(Some),
        false => Ok(pass),
    }
}

fn pending(
    files: &SwarmFiles,
    roster: &Roster,
    own: NodeId,
    now: UnixMillis,
) -> Result<Option<Chain<wire::Invite>>, SwarmError> {
    let Some(token) = files.invite()? else {
        return Ok(None);
    };
    let checked: Result<Issued<Invite>, _> = roster.check_invite(&token.0, own, now);
    match checked {
        Ok(_) => Ok(Some(token.0)),
        Err(fault) => Err(SwarmError::NotInvited {
            swarm: files.swarm().name.clone(),
            fault,
        }),
    }
}

/// Who signs here: the root, else the node under its delegation while that holds.
pub(super) fn issuer_of(
    files: &SwarmFiles,
    root: Option<SigningKey>,
    pass: Option<&Pass>,
    identity: &Identity,
    now: UnixMillis,
) -> Option<Issuer> {
    let swarm = files.swarm();
    if let Some(root) = root {
        return Issuer::root(swarm.clone(), root);
    }
    let delegation = pass?.delegation.clone()?;
    verify(&delegation, swarm, now).ok()?;
    let key = identity.signing_key().clone();
    Issuer::delegate(swarm.clone(), key, delegation).ok()?
}
