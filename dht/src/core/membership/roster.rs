//! Whether a peer is a member now, and who must go when that changes.
//!
//! A certificate holds when its chain leads to the root, its time is now, it names the peer that
//! the transport authenticated, and no list of revocations voids it:
//! - the newest list of each author counts; an older one is refused, so a replay changes nothing;
//! - of two lists with one sequence (two machines with one key, or a cheat) the longer counts,
//!   then the one with the greater bytes, so that everybody ends with the same one;
//! - a peer on any list is out, unless its certificate begins later than the revocation, and it
//!   redeems no invite: only a new signature by the owner takes it back in, or a new list;
//! - a delegate on the root's list has no say any more: nor have its certificates, invites and
//!   lists, whenever they claim to have been made, for a thief can date them back.
//!
//! It knows no connection, and stores nothing: [`Roster::lists`] is what to keep over a restart.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use protocol::{
    NodeId, Sequence, UnixMillis,
    membership::{
        Chain, ChainError, ChainFault, Invite, Issued, RefusalCode, Revocations, Role, Swarm, wire,
    },
};

/// Delegates whose lists are kept beside the root's own: a swarm has a few people that may
/// revoke, and each list may take 48 KiB.
pub const MAX_REVOKERS: usize = 16;

/// Members that are connected at one time: far beyond what one machine keeps open.
pub const MAX_ADMITTED: usize = 16_384;

/// A peer whose certificate held when it was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub peer: NodeId,
    /// As what.
    pub role: Role,
    /// Who signed its certificate.
    pub issuer: NodeId,
    /// When its certificate begins.
    pub not_before: UnixMillis,
    /// From when it is no member any more, unless it shows a newer certificate.
    pub expires: UnixMillis,
}

/// Why a peer, or whoever holds an invite, is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotMember {
    /// What it showed does not hold in this swarm now.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// It showed somebody else's certificate.
    #[error("the certificate is {0}'s, not this peer's")]
    OtherPeer(NodeId),
    /// It was put out.
    #[error("the membership of {peer} was revoked; the swarm's owner can take it back in")]
    Revoked {
        /// Whose.
        peer: NodeId,
    },
    /// Whoever signed it was put out.
    #[error("it was signed by {0}, who may no longer sign; ask the swarm's owner for a new invite")]
    IssuerRevoked(NodeId),
}

/// Why a list of revocations was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// It does not hold in this swarm now, or its author may no longer sign.
    #[error(transparent)]
    NotBelieved(#[from] NotMember),
    /// A newer one of its author is known: a replay, or a slow way.
    #[error("a list of revocations with sequence {came}; {held} is known")]
    Older {
        /// The sequence that is known.
        held: Sequence,
        /// The sequence that came.
        came: Sequence,
    },
    /// [`MAX_REVOKERS`] delegates have a list already.
    #[error(
        "more than {MAX_REVOKERS} delegates revoke; the root can take their lists into its own"
    )]
    TooManyRevokers,
}

/// What a list of revocations changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListOutcome {
    /// It is news: pass it on.
    pub is_news: bool,
    /// Its author signed two lists with one sequence: tell the owner.
    pub equivocation: bool,
    /// Admitted peers that are no members any more: disconnect them.
    pub disconnect: Vec<NodeId>,
}

/// Why a member is not counted as admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdmitError {
    /// Its membership ended after it was checked.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// [`MAX_ADMITTED`] are connected.
    #[error("{MAX_ADMITTED} members are connected already")]
    Full,
}

/// A list as it came, and as it was checked.
#[derive(Debug, Clone)]
struct Held {
    chain: Chain<wire::Revocations>,
    list: Issued<Revocations>,
}

/// The members of one swarm as one node sees them.
#[derive(Debug, Clone)]
pub struct Roster {
    swarm: Swarm,
    lists: BTreeMap<NodeId, Held>,
    admitted: BTreeMap<NodeId, Member>,
}

impl NotMember {
    /// What to tell the peer.
    pub fn refusal_code(&self) -> RefusalCode {
        match self {
            Self::Chain(error) => match error.fault {
                ChainFault::Expired(_) => RefusalCode::Expired,
                ChainFault::NotYet(_) | ChainFault::TooLongLived => RefusalCode::NotYetValid,
                _ => RefusalCode::NotAccepted,
            },
            Self::Revoked { .. } | Self::IssuerRevoked(_) => RefusalCode::Revoked,
            Self::OtherPeer(_) => RefusalCode::NotAccepted,
        }
    }
}

impl Roster {
    /// Nobody is revoked, nobody is here.
    pub fn new(swarm: Swarm) -> Self {
        Self {
            swarm,
            lists: BTreeMap::new(),
            admitted: BTreeMap::new(),
        }
    }

    /// The swarm.
    pub fn swarm(&self) -> &Swarm {
        &self.swarm
    }

    /// Whether `peer`, as the transport authenticated it, is a member now.
    ///
    /// # Errors
    /// Every [`NotMember`].
    pub fn check_certificate(
        &self,
        chain: &Chain<wire::MembershipCertificate>,
        peer: NodeId,
        now: UnixMillis,
    ) -> Result<Member, NotMember> {
        let certificate = chain.verify(&self.swarm, now)?;
        if certificate.content.peer != peer {
            return Err(NotMember::OtherPeer(certificate.content.peer));
        }
        let member = Member {
            peer,
            role: certificate.content.role,
            issuer: certificate.issuer,
            not_before: certificate.content.not_before,
            expires: certificate.expires,
        };
        self.check_revocation(&member)?;
        Ok(member)
    }

    /// Whether an invite holds now for `peer`. How often it was used, the ledger knows. Whoever
    /// is on a list redeems nothing, or an old invite would undo the revocation.
    ///
    /// # Errors
    /// [`NotMember::Chain`], [`NotMember::Revoked`] and [`NotMember::IssuerRevoked`].
    pub fn check_invite(
        &self,
        chain: &Chain<wire::Invite>,
        peer: NodeId,
        now: UnixMillis,
    ) -> Result<Issued<Invite>, NotMember> {
        let invite = chain.verify(&self.swarm, now)?;
        self.check_issuer(invite.issuer)?;
        let is_on = |held: &Held| held.list.content.revoked.contains_key(&peer);
        if self.lists.values().any(is_on) {
            return Err(NotMember::Revoked { peer });
        }
        Ok(invite)
    }

    /// Everybody who is on a list and not admitted by a newer certificate here.
    pub fn put_out(&self) -> BTreeSet<NodeId> {
        let lists = self.lists.values();
        let peers = lists.flat_map(|held| held.list.content.revoked.keys());
        let out = peers.filter(|peer| !self.admitted.contains_key(peer));
        out.copied().collect()
    }

    /// Takes a list of revocations, from a peer or from the store.
    ///
    /// # Errors
    /// Every [`ListError`]; nothing changed then.
    pub fn handle_revocations(
        &mut self,
        chain: Chain<wire::Revocations>,
        now: UnixMillis,
    ) -> Result<ListOutcome, ListError> {
        let list = chain.verify(&self.swarm, now).map_err(NotMember::Chain)?;
        let issuer = list.issuer;
        self.check_issuer(issuer)?;
        let came = Held { chain, list };
        let equivocation = match self.lists.get(&issuer) {
            Some(held) => match compare(held, &came)? {
                Standing::Known => return Ok(ListOutcome::default()),
                Standing::Weaker => {
                    return Ok(ListOutcome {
                        equivocation: true,
                        ..ListOutcome::default()
                    });
                }
                Standing::Stronger => true,
                Standing::Newer => false,
            },
            None if self.is_full_for(issuer) => return Err(ListError::TooManyRevokers),
            None => false,
        };
        self.lists.insert(issuer, came);
        self.drop_lists_of_revoked();
        Ok(ListOutcome {
            is_news: true,
            equivocation,
            disconnect: self
                .take_admitted(|roster, member| roster.check_revocation(member).is_err()),
        })
    }

    /// The lists that count, to keep over a restart and to give to a peer that has older ones.
    pub fn lists(&self) -> impl Iterator<Item = (NodeId, Sequence, &Chain<wire::Revocations>)> {
        self.lists
            .iter()
            .map(|(issuer, held)| (*issuer, held.list.serial, &held.chain))
    }

    /// Takes note of a member that was admitted on a connection. One that comes again with a
    /// newer certificate has that one's time.
    ///
    /// # Errors
    /// Every [`AdmitError`]: it must be disconnected.
    pub fn admit(&mut self, member: Member) -> Result<(), AdmitError> {
        self.check_revocation(&member)?;
        if self.admitted.len() >= MAX_ADMITTED && !self.admitted.contains_key(&member.peer) {
            return Err(AdmitError::Full);
        }
        let kept = self.admitted.entry(member.peer).or_insert(member);
        if member.expires > kept.expires {
            *kept = member;
        }
        Ok(())
    }

    /// Takes note that a peer has no connection any more.
    pub fn on_disconnected(&mut self, peer: NodeId) {
        self.admitted.remove(&peer);
    }

    /// The admitted member, if the peer is one.
    pub fn admitted(&self, peer: NodeId) -> Option<&Member> {
        self.admitted.get(&peer)
    }

    /// Everybody that is admitted.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.admitted.values()
    }

    /// Admitted peers whose membership ended by now: disconnect them. They are forgotten here.
    pub fn expire(&mut self, now: UnixMillis) -> Vec<NodeId> {
        self.take_admitted(|_, member| member.expires <= now)
    }

    /// How long until the next admitted membership ends.
    pub fn next_expiry(&self, now: UnixMillis) -> Option<Duration> {
        let ends = self.admitted.values().map(|member| member.expires).min()?;
        Some(ends.saturating_since(now))
    }

    fn check_revocation(&self, member: &Member) -> Result<(), NotMember> {
        self.check_issuer(member.issuer)?;
        let is_void = |held: &Held| {
            let revoked = held.list.content.revoked.get(&member.peer);
            revoked.is_some_and(|at| member.not_before <= *at)
        };
        if self.lists.values().any(is_void) {
            return Err(NotMember::Revoked { peer: member.peer });
        }
        Ok(())
    }

    fn check_issuer(&self, issuer: NodeId) -> Result<(), NotMember> {
        if issuer != self.swarm.root && self.is_revoked_delegate(issuer) {
            return Err(NotMember::IssuerRevoked(issuer));
        }
        Ok(())
    }

    /// Only the root takes a delegate's right away: a stolen delegate's key could else silence
    /// the others.
    fn is_revoked_delegate(&self, delegate: NodeId) -> bool {
        let root = self.lists.get(&self.swarm.root);
        root.is_some_and(|held| held.list.content.revoked.contains_key(&delegate))
    }

    fn drop_lists_of_revoked(&mut self) {
        let issuers: Vec<_> = self.lists.keys().copied().collect();
        for issuer in issuers {
            if self.check_issuer(issuer).is_err() {
                self.lists.remove(&issuer);
            }
        }
    }

    /// There is always room for the root's list.
    fn is_full_for(&self, issuer: NodeId) -> bool {
        let root = self.swarm.root;
        let delegates = self.lists.keys().filter(|held| **held != root).count();
        issuer != root && delegates >= MAX_REVOKERS
    }

    fn take_admitted(&mut self, is_out: impl Fn(&Self, &Member) -> bool) -> Vec<NodeId> {
        let out: Vec<_> = self
            .admitted
            .values()
            .filter(|member| is_out(self, member))
            .map(|member| member.peer)
            .collect();
        for peer in &out {
            self.admitted.remove(peer);
        }
        out
    }
}

/// How a list stands to the one of its author that is held.
enum Standing {
    /// The same one.
    Known,
    /// Another one with the same sequence, which does not count.
    Weaker,
    /// Another one with the same sequence, which counts from now on.
    Stronger,
    /// A later sequence.
    Newer,
}

fn compare(held: &Held, came: &Held) -> Result<Standing, ListError> {
    if came.list.serial < held.list.serial {
        return Err(ListError::Older {
            held: held.list.serial,
            came: came.list.serial,
        });
    }
    if came.list.serial > held.list.serial {
        return Ok(Standing::Newer);
    }
    // What is said, not the envelope around it: a list may come again with a later expiry, or
    // with a newer delegation of its author.
    let rank = |held: &Held| {
        let revoked = &held.list.content.revoked;
        let entries: Vec<_> = revoked.iter().map(|(peer, at)| (*peer, *at)).collect();
        (entries.len(), entries)
    };
    Ok(match rank(came).cmp(&rank(held)) {
        std::cmp::Ordering::Less => Standing::Weaker,
        std::cmp::Ordering::Equal => Standing::Known,
        std::cmp::Ordering::Greater => Standing::Stronger,
    })
}

#[cfg(test)]
mod tests;
