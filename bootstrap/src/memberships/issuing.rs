//! What whoever holds a swarm's root key, or a delegation, does by hand: invites, certificates,
//! delegations, revocations. Nothing here needs a connection.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::list::Address;
use dht::admission;
use dht::core::membership::{Grant, ListError, NotMember};
use protocol::limits::{MAX_CERTIFICATE_LIFETIME, MAX_REVOKED};
use protocol::membership::{
    ChainFault, Delegation, INVITE_ID_BYTES, Invite, InviteId, Issuer, JoinToken, Pass,
    Revocations, Role, Statement, wire,
};
use protocol::{NodeId, Sequence, Signed, UnixMillis};

use super::membership::{issuer_of, known_roster};
use super::{
    CERTIFICATE_LIFETIME, DELEGATION_LIFETIME, LIST_LIFETIME, Memberships, SwarmError, SwarmFiles,
};
use dht::identity::Identity;

/// What an invite shall be.
#[derive(Debug, Clone, PartialEq)]
pub struct InviteWish {
    /// What its holder becomes.
    pub role: Role,
    /// Distinct peers that it admits.
    pub uses: u32,
    /// How long it holds.
    pub lifetime: Duration,
    /// Where it is redeemed.
    pub bootstrap: Vec<Address>,
}

/// What a delegate may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct May {
    /// Admit members.
    pub admit_members: bool,
    /// Admit clients.
    pub admit_clients: bool,
    /// Revoke.
    pub revoke: bool,
}

/// What came of a revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The list that is spread from now on.
    pub list: Sequence,
    /// Peers on it.
    pub peers: usize,
}

impl Memberships {
    /// Signs an invite.
    ///
    /// # Errors
    /// This node may not, or the addresses are too long.
    pub fn invite(
        &self,
        files: &SwarmFiles,
        identity: &Identity,
        wish: &InviteWish,
        now: UnixMillis,
    ) -> Result<JoinToken, SwarmError> {
        const ACT: &str = "invite";
        let issuer = issuer(files, identity, ACT, now)?;
        let invite = Invite {
            swarm: files.swarm().clone(),
            id: InviteId(random_id(files)?),
            role: wish.role,
            uses: wish.uses,
            bootstrap: wish.bootstrap.iter().map(Address::to_string).collect(),
        };
        let expires = now.saturating_add(wish.lifetime);
        let statement = wire::Invite::from(&invite);
        let chain = issuer.sign(Sequence(now.0), expires, &statement)?;
        let roster = known_roster(files, now)?;
        let checked = roster.check_invite(&chain, issuer.id(), now);
        checked.map_err(|fault| refused(files, identity, ACT, fault))?;
        Ok(JoinToken(chain))
    }

    /// Signs a certificate for a peer by hand: a renewal, or a revoked peer that is taken back.
    ///
    /// # Errors
    /// This node may not, or the disk.
    pub fn certify(
        &self,
        files: &SwarmFiles,
        identity: &Identity,
        (peer, role): (NodeId, Role),
        now: UnixMillis,
    ) -> Result<Pass, SwarmError> {
        const ACT: &str = "give certificates";
        let _lock = self.lock()?;
        let issuer = issuer(files, identity, ACT, now)?;
        let grant = grant(peer, role, CERTIFICATE_LIFETIME, now);
        let certificate = admission::sign(&issuer, &grant)?;
        let roster = known_roster(files, now)?;
        let checked = roster.check_certificate(&certificate, peer, now);
        checked.map_err(|fault| refused(files, identity, ACT, fault))?;
        files.save_issued(grant)?;
        let pass = Pass {
            certificate,
            delegation: None,
        };
        if peer == identity.id() {
            files.save_pass(&Pass {
                delegation: files.pass()?.and_then(|pass| pass.delegation),
                ..pass.clone()
            })?;
        }
        Ok(pass)
    }

    /// Makes a peer a member that may sign in the root's place. Only the root does.
    ///
    /// # Errors
    /// The root key is not here, or the disk.
    pub fn delegate(
        &self,
        files: &SwarmFiles,
        identity: &Identity,
        (peer, may): (NodeId, May),
        now: UnixMillis,
    ) -> Result<Pass, SwarmError> {
        let _lock = self.lock()?;
        let swarm = files.swarm();
        let root = files.root_key()?.ok_or_else(|| SwarmError::MayNot {
            act: "delegate",
            swarm: swarm.name.clone(),
            own: identity.id(),
        })?;
        let delegation = Delegation {
            swarm: swarm.clone(),
            delegate: peer,
            not_before: now,
            may_admit_members: may.admit_members,
            may_admit_clients: may.admit_clients,
            may_revoke: may.revoke,
        };
        let statement = wire::Delegation::from(&delegation);
        let expires = now.saturating_add(DELEGATION_LIFETIME);
        let delegation = Signed::sign(&root, Sequence(now.0), expires, &statement)?;
        let issuer = Issuer::root(swarm.clone(), root).expect("the files checked the root's key");
        let grant = grant(peer, Role::Member, DELEGATION_LIFETIME, now);
        let certificate = admission::sign(&issuer, &grant)?;
        files.save_issued(grant)?;
        Ok(Pass {
            certificate,
            delegation: Some(delegation),
        })
    }

    /// Puts a peer out: signs and keeps a new list. A running node is to be told to spread it.
    ///
    /// # Errors
    /// This node may not, the list is full, or the disk.
    pub fn revoke(
        &self,
        files: &SwarmFiles,
        identity: &Identity,
        peer: NodeId,
        now: UnixMillis,
    ) -> Result<Revoked, SwarmError> {
        const ACT: &str = "revoke";
        let _lock = self.lock()?;
        let issuer = issuer(files, identity, ACT, now)?;
        let mut roster = known_roster(files, now)?;
        let (held, mut revoked) = own_list(files, issuer.id(), now)?;
        revoked.insert(peer, now);
        if revoked.len() > MAX_REVOKED {
            // No certificate from before then can hold any more.
            revoked.retain(|_, at| at.saturating_add(MAX_CERTIFICATE_LIFETIME) > now);
        }
        let peers = revoked.len();
        if peers > MAX_REVOKED {
            return Err(SwarmError::TooManyRevoked);
        }
        // By the clock: where this state was lost, the list is still newer than the old one.
        let list = Sequence(now.0.max(held.0.saturating_add(1)));
        let statement = wire::Revocations::from(&Revocations {
            swarm: files.swarm().clone(),
            revoked,
        });
        let expires = now.saturating_add(LIST_LIFETIME);
        let chain = issuer.sign(list, expires, &statement)?;
        let taken = roster.handle_revocations(chain.clone(), now);
        taken.map_err(|cause| match cause {
            ListError::NotBelieved(fault) => refused(files, identity, ACT, fault),
            cause => SwarmError::List {
                path: files.folder().to_path_buf(),
                cause,
            },
        })?;
        files.save_list(issuer.id(), &chain)?;
        Ok(Revoked { list, peers })
    }
}

fn issuer(
    files: &SwarmFiles,
    identity: &Identity,
    act: &'static str,
    now: UnixMillis,
) -> Result<Issuer, SwarmError> {
    let pass = files.pass()?;
    let issuer = issuer_of(files, files.root_key()?, pass.as_ref(), identity, now);
    issuer.ok_or_else(|| may_not(files, identity, act))
}

/// Signed here, and not believed: by a delegate whose rights do not reach that far, or ended.
fn refused(
    files: &SwarmFiles,
    identity: &Identity,
    act: &'static str,
    fault: NotMember,
) -> SwarmError {
    match &fault {
        NotMember::IssuerRevoked(_) => may_not(files, identity, act),
        NotMember::Chain(error) if matches!(error.fault, ChainFault::NotCovered(_)) => {
            may_not(files, identity, act)
        }
        _ => SwarmError::Own {
            swarm: files.swarm().name.clone(),
            fault,
        },
    }
}

fn may_not(files: &SwarmFiles, identity: &Identity, act: &'static str) -> SwarmError {
    SwarmError::MayNot {
        act,
        swarm: files.swarm().name.clone(),
        own: identity.id(),
    }
}

fn grant(peer: NodeId, role: Role, lifetime: Duration, now: UnixMillis) -> Grant {
    Grant {
        peer,
        is_member: role == Role::Member,
        not_before: now,
        expires: now.saturating_add(lifetime),
    }
}

/// The issuer's list that is kept: its sequence and its entries.
fn own_list(
    files: &SwarmFiles,
    issuer: NodeId,
    now: UnixMillis,
) -> Result<(Sequence, BTreeMap<NodeId, UnixMillis>), SwarmError> {
    let own = issuer.to_string();
    for (path, chain) in files.lists()? {
        if path.file_name() != Some(own.as_ref()) {
            continue;
        }
        // A delegate's list ends with its delegation; what it says goes into the next one.
        let serial = chain.verify(files.swarm(), now).map(|list| list.serial);
        let content = chain.statement.claimed_payload().ok();
        let content = content.and_then(|claimed| claimed.check().ok());
        let content = content.ok_or_else(|| SwarmError::damaged(&path, "it makes no sense"))?;
        return Ok((serial.unwrap_or(Sequence(0)), content.revoked));
    }
    Ok((Sequence(0), BTreeMap::new()))
}

fn random_id(files: &SwarmFiles) -> Result<[u8; INVITE_ID_BYTES], SwarmError> {
    let mut id = [0; INVITE_ID_BYTES];
    getrandom::fill(&mut id).map_err(|error| SwarmError::Io {
        path: files.folder().to_path_buf(),
        cause: std::io::Error::other(error),
    })?;
    Ok(id)
}
