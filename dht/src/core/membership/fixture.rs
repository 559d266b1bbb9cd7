//! A swarm with keys by number, for the tests beside it: node 1 is the root.

use std::{collections::BTreeMap, time::Duration};

use ed25519_dalek::SigningKey;
use protocol::{
    NodeId, Sequence, Signed, UnixMillis,
    membership::{
        Certificate, Chain, Delegation, Invite, InviteId, Revocations, Role, Swarm, wire,
    },
};

pub(crate) const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

pub(crate) fn node(number: u8) -> NodeId {
    NodeId::from(&key(number))
}

pub(crate) fn later(by: Duration) -> UnixMillis {
    NOW.saturating_add(by)
}

pub(crate) fn swarm() -> Swarm {
    Swarm {
        name: "lab".parse().unwrap(),
        root: node(1),
    }
}

fn wire_certificate(peer: u8, not_before: UnixMillis) -> wire::MembershipCertificate {
    wire::MembershipCertificate::from(&Certificate {
        swarm: swarm(),
        peer: node(peer),
        role: Role::Member,
        not_before,
    })
}

/// By the root, for a day.
pub(crate) fn certificate(peer: u8, not_before: UnixMillis) -> Chain<wire::MembershipCertificate> {
    let statement = wire_certificate(peer, not_before);
    Chain::by_root(&key(1), Sequence(1), later(DAY), &statement).unwrap()
}

pub(crate) fn certificate_by(
    issuer: u8,
    delegation: Signed<wire::Delegation>,
    peer: u8,
) -> Chain<wire::MembershipCertificate> {
    let statement = wire_certificate(peer, NOW);
    Chain::by_root(&key(issuer), Sequence(1), later(DAY), &statement)
        .unwrap()
        .with_delegation(delegation)
}

/// By the root: may admit anybody, and revoke or not.
pub(crate) fn delegation(delegate: u8, may_revoke: bool) -> Signed<wire::Delegation> {
    let statement = wire::Delegation::from(&Delegation {
        swarm: swarm(),
        delegate: node(delegate),
        not_before: NOW,
        may_admit_members: true,
        may_admit_clients: true,
        may_revoke,
    });
    Signed::sign(&key(1), Sequence(1), later(DAY * 2), &statement).unwrap()
}

/// By the root.
pub(crate) fn list(serial: u64, peers: &[u8]) -> Chain<wire::Revocations> {
    list_by(1, None, serial, peers)
}

pub(crate) fn list_by(
    issuer: u8,
    delegation: Option<Signed<wire::Delegation>>,
    serial: u64,
    peers: &[u8],
) -> Chain<wire::Revocations> {
    let revoked: BTreeMap<_, _> = peers.iter().map(|peer| (node(*peer), NOW)).collect();
    let swarm = swarm();
    let statement = wire::Revocations::from(&Revocations { swarm, revoked });
    let chain = Chain::by_root(&key(issuer), Sequence(serial), later(DAY), &statement);
    let mut chain = chain.unwrap();
    chain.delegation = delegation;
    chain
}

/// By anybody, for a day.
pub(crate) fn invite(issuer: u8, id: u8, uses: u32) -> Chain<wire::Invite> {
    let statement = wire::Invite::from(&Invite {
        swarm: swarm(),
        id: InviteId([id; 16]),
        role: Role::Member,
        uses,
        bootstrap: Vec::new(),
    });
    Chain::by_root(&key(issuer), Sequence(1), later(DAY), &statement).unwrap()
}
