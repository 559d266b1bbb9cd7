//! How often each invite was used, and by whom.
//!
//! A peer counts once: one that redeems again (its answer was lost, its disk was wiped) has the
//! same grant, not another use. So the ledger must survive a restart: it is written down before
//! the certificate is sent. Where, is not known here; nor does it sign certificates. Each node
//! that redeems keeps its own ledger, so an invite admits up to its uses at each.

use std::{collections::BTreeMap, time::Duration};

use protocol::{
    NodeId, UnixMillis,
    membership::{Certificate, Invite, InviteId, Issued, RefusalCode, Role, Swarm},
};
use serde::{Deserialize, Serialize};

/// Invites that are counted at one time. They are made by the swarm's owner and leave when they
/// expire.
pub const MAX_INVITES: usize = 1024;

/// Grants over all invites: 16,384 entries of about 60 bytes are 1 MB.
pub const MAX_GRANTS: usize = 16_384;

/// The uses of one swarm's invites at one node.
#[derive(Debug, Clone, Default)]
pub struct InviteLedger {
    invites: BTreeMap<InviteId, Uses>,
    grants: usize,
}

#[derive(Debug, Clone)]
struct Uses {
    expires: UnixMillis,
    is_withdrawn: bool,
    grants: BTreeMap<NodeId, Grant>,
}

/// What a peer was granted: all that its certificate says, so that the same one can be signed
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// To whom.
    pub peer: NodeId,
    /// As what: a member, else a client.
    pub is_member: bool,
    /// When the certificate begins; its serial too.
    pub not_before: UnixMillis,
    /// When it ends.
    pub expires: UnixMillis,
}

/// One invite's uses as plain data, to keep over a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// [`InviteId`].
    pub invite: [u8; 16],
    /// When the invite expires: the entry is of no use after that.
    pub expires: UnixMillis,
    /// It admits nobody new.
    pub is_withdrawn: bool,
    /// Each peer once.
    pub grants: Vec<Grant>,
}

/// Why an invite was not redeemed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedeemError {
    /// Other peers took every use.
    #[error("each of the invite's {0} uses was taken by another peer; ask for a new invite")]
    UsedUp(u32),
    /// Its owner withdrew it.
    #[error("the invite was withdrawn; ask for a new one")]
    Withdrawn,
    /// It no longer holds.
    #[error("the invite expired; ask for a new one")]
    Expired,
    /// [`MAX_INVITES`] or [`MAX_GRANTS`] are reached until others expire.
    #[error("this node keeps no more invites now; try another bootstrap node, or later")]
    Full,
}

/// Why plain data is no ledger: better no start than an invite that counts from nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// An invite, or a peer of one, is there twice.
    #[error("the ledger of invites has an entry twice")]
    Twice,
    /// More than a ledger holds.
    #[error("the ledger of invites has more than {MAX_INVITES} invites or {MAX_GRANTS} grants")]
    TooLarge,
}

impl RedeemError {
    /// What to tell the peer.
    pub fn refusal_code(&self) -> RefusalCode {
        match self {
            Self::UsedUp(_) | Self::Withdrawn => RefusalCode::UsedUp,
            Self::Expired => RefusalCode::Expired,
            Self::Full => RefusalCode::CannotRedeem,
        }
    }
}

impl Grant {
    /// The certificate to sign: with `not_before` as serial and `expires` as expiry it has the
    /// same bytes each time.
    pub fn certificate(&self, swarm: &Swarm) -> Certificate {
        Certificate {
            swarm: swarm.clone(),
            peer: self.peer,
            role: self.role(),
            not_before: self.not_before,
        }
    }

    /// As what.
    pub fn role(&self) -> Role {
        if self.is_member {
            Role::Member
        } else {
            Role::Client
        }
    }
}

impl InviteLedger {
    /// A ledger that goes on where the entries left off.
    ///
    /// # Errors
    /// Every [`RestoreError`].
    pub fn restore(entries: impl IntoIterator<Item = LedgerEntry>) -> Result<Self, RestoreError> {
        let mut ledger = Self::default();
        for entry in entries {
            let count = entry.grants.len();
            let by_peer = |grant: Grant| (grant.peer, grant);
            let grants: BTreeMap<_, _> = entry.grants.into_iter().map(by_peer).collect();
            ledger.grants = ledger.grants.saturating_add(grants.len());
            let twice = grants.len() != count;
            let uses = Uses {
                expires: entry.expires,
                is_withdrawn: entry.is_withdrawn,
                grants,
            };
            let before = ledger.invites.insert(InviteId(entry.invite), uses);
            if twice || before.is_some() {
                return Err(RestoreError::Twice);
            }
            if ledger.invites.len() > MAX_INVITES || ledger.grants > MAX_GRANTS {
                return Err(RestoreError::TooLarge);
            }
        }
        Ok(ledger)
    }

    /// The grant of a peer that holds a verified invite: its own again, or a new one for
    /// `lifetime`.
    ///
    /// # Errors
    /// Every [`RedeemError`]; nothing was counted then.
    pub fn redeem(
        &mut self,
        invite: &Issued<Invite>,
        peer: NodeId,
        lifetime: Duration,
        now: UnixMillis,
    ) -> Result<Grant, RedeemError> {
        self.expire(now);
        if invite.expires <= now {
            return Err(RedeemError::Expired);
        }
        let uses = self.invites.get(&invite.content.id);
        if let Some(grant) = uses.and_then(|uses| uses.grants.get(&peer)) {
            return Ok(*grant);
        }
        if uses.is_some_and(|uses| uses.is_withdrawn) {
            return Err(RedeemError::Withdrawn);
        }
        let limit = usize::try_from(invite.content.uses).unwrap_or(usize::MAX);
        if uses.is_some_and(|uses| uses.grants.len() >= limit) || limit == 0 {
            return Err(RedeemError::UsedUp(invite.content.uses));
        }
        if self.grants >= MAX_GRANTS || (uses.is_none() && self.invites.len() >= MAX_INVITES) {
            return Err(RedeemError::Full);
        }
        let grant = Grant {
            peer,
            is_member: invite.content.role == Role::Member,
            not_before: now,
            expires: now.saturating_add(lifetime),
        };
        self.count(invite, grant);
        Ok(grant)
    }

    /// Lets an invite admit nobody new, so that somebody who was put out does not come back
    /// under another key. `expires` is the invite's.
    ///
    /// # Errors
    /// [`RedeemError::Full`].
    pub fn withdraw(&mut self, invite: InviteId, expires: UnixMillis) -> Result<(), RedeemError> {
        if self.invites.len() >= MAX_INVITES && !self.invites.contains_key(&invite) {
            return Err(RedeemError::Full);
        }
        let uses = self.invites.entry(invite).or_insert(Uses {
            expires,
            is_withdrawn: true,
            grants: BTreeMap::new(),
        });
        uses.is_withdrawn = true;
        uses.expires = uses.expires.max(expires);
        Ok(())
    }

    /// One invite's uses, to write down.
    pub fn entry(&self, invite: InviteId) -> Option<LedgerEntry> {
        let uses = self.invites.get(&invite)?;
        Some(LedgerEntry {
            invite: invite.0,
            expires: uses.expires,
            is_withdrawn: uses.is_withdrawn,
            grants: uses.grants.values().copied().collect(),
        })
    }

    /// Everything, to write down.
    pub fn entries(&self) -> impl Iterator<Item = LedgerEntry> {
        self.invites.keys().filter_map(|invite| self.entry(*invite))
    }

    /// Forgets invites that expired: they are refused for that.
    pub fn expire(&mut self, now: UnixMillis) {
        self.invites.retain(|_, uses| uses.expires > now);
        self.grants = self.invites.values().map(|uses| uses.grants.len()).sum();
    }

    fn count(&mut self, invite: &Issued<Invite>, grant: Grant) {
        let uses = self.invites.entry(invite.content.id).or_insert(Uses {
            expires: invite.expires,
            is_withdrawn: false,
            grants: BTreeMap::new(),
        });
        // One invite may be signed again, or shown with another delegation: the entry stays for
        // as long as any of them holds.
        uses.expires = uses.expires.max(invite.expires);
        uses.grants.insert(grant.peer, grant);
        self.grants += 1;
    }
}

#[cfg(test)]
mod tests;
