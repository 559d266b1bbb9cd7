//! What a root or a delegate signs, checked: certificates, delegations, invites, revocations.
//!
//! Each has a wire message that is a [`Payload`], and a type that holds only what makes sense.
//! It knows neither signatures nor the time.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{MembershipError, Role, Swarm, wire};
use crate::{
    envelope::Payload,
    ids::{NodeId, UnixMillis},
    limits::{
        MAX_ADDRESS_BYTES, MAX_CERTIFICATE_BYTES, MAX_CERTIFICATE_LIFETIME, MAX_INVITE_ADDRESSES,
        MAX_INVITE_BYTES, MAX_INVITE_LIFETIME, MAX_INVITE_USES, MAX_REVOCATIONS_BYTES,
        MAX_REVOCATIONS_LIFETIME, MAX_REVOKED,
    },
};

/// Bytes of an invite's id: as many that none is guessed and no two are equal.
pub const INVITE_ID_BYTES: usize = 16;

/// A peer belongs to a swarm. Its serial and its expiry are the envelope's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Which swarm.
    pub swarm: Swarm,
    /// Who belongs to it.
    pub peer: NodeId,
    /// As what.
    pub role: Role,
    /// Since when.
    pub not_before: UnixMillis,
}

/// A delegate may sign in the root's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// Which swarm.
    pub swarm: Swarm,
    /// Who may sign.
    pub delegate: NodeId,
    /// Since when.
    pub not_before: UnixMillis,
    /// Invites and certificates of members.
    pub may_admit_members: bool,
    /// Invites and certificates of clients.
    pub may_admit_clients: bool,
    /// Lists of revocations.
    pub may_revoke: bool,
}

/// Whoever holds it may become a member. Its expiry is the envelope's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// Which swarm.
    pub swarm: Swarm,
    /// Which of the swarm's invites.
    pub id: InviteId,
    /// What its holder becomes.
    pub role: Role,
    /// Distinct peers that it admits, 1 to [`MAX_INVITE_USES`].
    pub uses: u32,
    /// Multiaddrs as text, of nodes that redeem it. Claims: they are dialled, never opened.
    pub bootstrap: Vec<String>,
}

/// Peers that no longer belong to a swarm. How new the list is, its envelope says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocations {
    /// Which swarm.
    pub swarm: Swarm,
    /// Each peer with the time up to which its certificates are void.
    pub revoked: BTreeMap<NodeId, UnixMillis>,
}

/// Random bytes that tell an invite from every other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InviteId(pub [u8; INVITE_ID_BYTES]);

/// A payload of membership, and what it takes to be believed in a swarm.
pub trait Statement: Payload {
    /// What is left when the message makes sense.
    type Checked: fmt::Debug + Clone + PartialEq;
    /// What people call it, as `certificate`.
    const NOUN: &'static str;

    /// Checks every field.
    ///
    /// # Errors
    /// A [`MembershipError`] of the field at fault.
    fn check(&self) -> Result<Self::Checked, MembershipError>;

    /// The swarm that it is about.
    fn swarm(checked: &Self::Checked) -> &Swarm;

    /// The time from which it holds, where it says one.
    fn not_before(checked: &Self::Checked) -> Option<UnixMillis>;

    /// Whether a delegation lets its delegate sign this.
    fn is_covered_by(checked: &Self::Checked, delegation: &Delegation) -> bool;
}

impl Delegation {
    /// Whether the delegate may admit peers in this role.
    pub fn may_admit(&self, role: Role) -> bool {
        match role {
            Role::Member => self.may_admit_members,
            Role::Client => self.may_admit_clients,
            Role::Unspecified => false,
        }
    }
}

impl Role {
    fn check(number: i32) -> Result<Self, MembershipError> {
        match Self::try_from(number) {
            Ok(role @ (Self::Member | Self::Client)) => Ok(role),
            _ => Err(MembershipError::Role),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Member => "member",
            Self::Client => "client",
            Self::Unspecified => "unspecified",
        })
    }
}

impl fmt::Display for InviteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for InviteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InviteId({self})")
    }
}

impl Payload for wire::MembershipCertificate {
    const LABEL: &'static str = "shoal/membership-certificate/1";
    const MAX_BYTES: usize = MAX_CERTIFICATE_BYTES;
    const MAX_LIFETIME: Duration = MAX_CERTIFICATE_LIFETIME;
}

impl Payload for wire::Delegation {
    const LABEL: &'static str = "shoal/membership-delegation/1";
    const MAX_BYTES: usize = MAX_CERTIFICATE_BYTES;
    const MAX_LIFETIME: Duration = MAX_CERTIFICATE_LIFETIME;
}

impl Payload for wire::Invite {
    const LABEL: &'static str = "shoal/membership-invite/1";
    const MAX_BYTES: usize = MAX_INVITE_BYTES;
    const MAX_LIFETIME: Duration = MAX_INVITE_LIFETIME;
}

impl Payload for wire::Revocations {
    const LABEL: &'static str = "shoal/membership-revocations/1";
    const MAX_BYTES: usize = MAX_REVOCATIONS_BYTES;
    const MAX_LIFETIME: Duration = MAX_REVOCATIONS_LIFETIME;
}

impl Statement for wire::MembershipCertificate {
    type Checked = Certificate;
    const NOUN: &'static str = "certificate";

    fn check(&self) -> Result<Certificate, MembershipError> {
        Ok(Certificate {
            swarm: Swarm::check(&self.swarm, &self.root)?,
            peer: NodeId::from_bytes(&self.peer).map_err(MembershipError::Peer)?,
            role: Role::check(self.role)?,
            not_before: UnixMillis(self.not_before_unix_millis),
        })
    }

    fn swarm(checked: &Certificate) -> &Swarm {
        &checked.swarm
    }

    fn not_before(checked: &Certificate) -> Option<UnixMillis> {
        Some(checked.not_before)
    }

    fn is_covered_by(checked: &Certificate, delegation: &Delegation) -> bool {
        delegation.may_admit(checked.role)
    }
}

impl Statement for wire::Delegation {
    type Checked = Delegation;
    const NOUN: &'static str = "delegation";

    fn check(&self) -> Result<Delegation, MembershipError> {
        if !(self.may_admit_members || self.may_admit_clients || self.may_revoke) {
            return Err(MembershipError::NothingAllowed);
        }
        Ok(Delegation {
            swarm: Swarm::check(&self.swarm, &self.root)?,
            delegate: NodeId::from_bytes(&self.delegate).map_err(MembershipError::Peer)?,
            not_before: UnixMillis(self.not_before_unix_millis),
            may_admit_members: self.may_admit_members,
            may_admit_clients: self.may_admit_clients,
            may_revoke: self.may_revoke,
        })
    }

    fn swarm(checked: &Delegation) -> &Swarm {
        &checked.swarm
    }

    fn not_before(checked: &Delegation) -> Option<UnixMillis> {
        Some(checked.not_before)
    }

    /// Never: only the root delegates.
    fn is_covered_by(_: &Delegation, _: &Delegation) -> bool {
        false
    }
}

impl Statement for wire::Invite {
    type Checked = Invite;
    const NOUN: &'static str = "invite";

    fn check(&self) -> Result<Invite, MembershipError> {
        let id = self.id.as_slice().try_into();
        if self.uses == 0 || self.uses > MAX_INVITE_USES {
            return Err(MembershipError::Uses(self.uses));
        }
        if self.bootstrap.len() > MAX_INVITE_ADDRESSES {
            return Err(MembershipError::TooManyAddresses(self.bootstrap.len()));
        }
        if !self.bootstrap.iter().all(|text| is_address(text)) {
            return Err(MembershipError::Address);
        }
        Ok(Invite {
            swarm: Swarm::check(&self.swarm, &self.root)?,
            id: InviteId(id.map_err(|_| MembershipError::InviteId(self.id.len()))?),
            role: Role::check(self.role)?,
            uses: self.uses,
            bootstrap: self.bootstrap.clone(),
        })
    }

    fn swarm(checked: &Invite) -> &Swarm {
        &checked.swarm
    }

    fn not_before(_: &Invite) -> Option<UnixMillis> {
        None
    }

    fn is_covered_by(checked: &Invite, delegation: &Delegation) -> bool {
        delegation.may_admit(checked.role)
    }
}

impl Statement for wire::Revocations {
    type Checked = Revocations;
    const NOUN: &'static str = "list of revocations";

    fn check(&self) -> Result<Revocations, MembershipError> {
        if self.revoked.len() > MAX_REVOKED {
            return Err(MembershipError::TooManyRevoked(self.revoked.len()));
        }
        // One list has one form: in order, each peer once.
        if !self.revoked.is_sorted_by(|a, b| a.peer < b.peer) {
            return Err(MembershipError::RevokedOrder);
        }
        let entry = |revoked: &wire::RevokedPeer| {
            let peer = NodeId::from_bytes(&revoked.peer).map_err(MembershipError::Peer)?;
            Ok((peer, UnixMillis(revoked.revoked_unix_millis)))
        };
        Ok(Revocations {
            swarm: Swarm::check(&self.swarm, &self.root)?,
            revoked: self.revoked.iter().map(entry).collect::<Result<_, _>>()?,
        })
    }

    fn swarm(checked: &Revocations) -> &Swarm {
        &checked.swarm
    }

    fn not_before(_: &Revocations) -> Option<UnixMillis> {
        None
    }

    fn is_covered_by(_: &Revocations, delegation: &Delegation) -> bool {
        delegation.may_revoke
    }
}

/// The text of a multiaddr, as far as that can be said without knowing its protocols.
fn is_address(text: &str) -> bool {
    (2..=MAX_ADDRESS_BYTES).contains(&text.len())
        && text.starts_with('/')
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl From<&Certificate> for wire::MembershipCertificate {
    fn from(certificate: &Certificate) -> Self {
        Self {
            swarm: certificate.swarm.name.to_string(),
            root: certificate.swarm.root.as_bytes().to_vec(),
            peer: certificate.peer.as_bytes().to_vec(),
            role: certificate.role.into(),
            not_before_unix_millis: certificate.not_before.0,
        }
    }
}

impl From<&Delegation> for wire::Delegation {
    fn from(delegation: &Delegation) -> Self {
        Self {
            swarm: delegation.swarm.name.to_string(),
            root: delegation.swarm.root.as_bytes().to_vec(),
            delegate: delegation.delegate.as_bytes().to_vec(),
            not_before_unix_millis: delegation.not_before.0,
            may_admit_members: delegation.may_admit_members,
            may_admit_clients: delegation.may_admit_clients,
            may_revoke: delegation.may_revoke,
        }
    }
}

impl From<&Invite> for wire::Invite {
    fn from(invite: &Invite) -> Self {
        Self {
            swarm: invite.swarm.name.to_string(),
            root: invite.swarm.root.as_bytes().to_vec(),
            id: invite.id.0.to_vec(),
            role: invite.role.into(),
            uses: invite.uses,
            bootstrap: invite.bootstrap.clone(),
        }
    }
}

impl From<&Revocations> for wire::Revocations {
    fn from(list: &Revocations) -> Self {
        let entry = |(peer, at): (&NodeId, &UnixMillis)| wire::RevokedPeer {
            peer: peer.as_bytes().to_vec(),
            revoked_unix_millis: at.0,
        };
        Self {
            swarm: list.swarm.name.to_string(),
            root: list.swarm.root.as_bytes().to_vec(),
            revoked: list.revoked.iter().map(entry).collect(),
        }
    }
}
