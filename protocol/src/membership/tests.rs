//! Membership's messages: golden bytes, what is refused, and that a chain holds by the root only.

use std::{collections::BTreeMap, time::Duration};

use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{
    envelope::{Payload, Signed, VerifyError},
    ids::{Sequence, UnixMillis},
    limits::{
        MAX_ADMISSION_BYTES, MAX_CERTIFICATE_LIFETIME, MAX_CLOCK_SKEW, MAX_INVITE_LIFETIME,
        MAX_REVOCATIONS_LIFETIME,
    },
};

pub(super) const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn node(number: u8) -> NodeId {
    NodeId::from(&key(number))
}

fn later(by: Duration) -> UnixMillis {
    NOW.saturating_add(by)
}

fn swarm() -> Swarm {
    Swarm {
        name: "lab".parse().unwrap(),
        root: node(1),
    }
}

fn certificate() -> Certificate {
    Certificate {
        swarm: swarm(),
        peer: node(3),
        role: Role::Member,
        not_before: NOW,
    }
}

fn delegation() -> Delegation {
    Delegation {
        swarm: swarm(),
        delegate: node(2),
        not_before: NOW,
        may_admit_members: false,
        may_admit_clients: true,
        may_revoke: false,
    }
}

fn invite() -> Invite {
    Invite {
        swarm: swarm(),
        id: InviteId([9; INVITE_ID_BYTES]),
        role: Role::Client,
        uses: 3,
        bootstrap: vec!["/ip4/192.0.2.1/udp/4001/quic-v1".into()],
    }
}

fn revocations() -> Revocations {
    Revocations {
        swarm: swarm(),
        revoked: BTreeMap::from([(node(4), NOW), (node(5), NOW)]),
    }
}

fn sign<T: Statement>(number: u8, statement: &T) -> Chain<T> {
    Chain::by_root(&key(number), Sequence(7), later(DAY), statement).unwrap()
}

fn delegated(delegation: &Delegation) -> Signed<wire::Delegation> {
    let statement = wire::Delegation::from(delegation);
    Signed::sign(&key(1), Sequence(1), later(DAY / 2), &statement).unwrap()
}

fn wire_certificate() -> wire::MembershipCertificate {
    wire::MembershipCertificate::from(&certificate())
}

/// An invite by a delegate, with everything that it takes.
pub(super) fn invite_chain() -> Chain<wire::Invite> {
    sign(2, &wire::Invite::from(&invite())).with_delegation(delegated(&delegation()))
}

fn messages() -> Vec<(&'static str, AdmissionMessage)> {
    let tag = [6; TAG_BYTES];
    let certificate = sign(1, &wire_certificate());
    vec![
        (
            "hello",
            AdmissionMessage::Hello {
                nonce: [5; NONCE_BYTES],
                tag,
            },
        ),
        (
            "proof",
            AdmissionMessage::Proof {
                certificate: certificate.clone(),
                tag,
            },
        ),
        (
            "redeem",
            AdmissionMessage::Redeem {
                invite: invite_chain(),
                tag,
            },
        ),
        (
            "welcome",
            AdmissionMessage::Welcome {
                certificate: certificate.clone(),
                granted: Some(certificate),
            },
        ),
        (
            "refused",
            AdmissionMessage::Refused {
                code: RefusalCode::UsedUp,
                now: NOW,
            },
        ),
    ]
}

#[test]
fn bytes_are_golden() {
    let statements = [
        ("certificate", sign(1, &wire_certificate()).encode()),
        ("invite", invite_chain().encode()),
        (
            "revocations",
            sign(1, &wire::Revocations::from(&revocations())).encode(),
        ),
    ];
    let statements = statements.map(|(name, chain)| (name, chain.encode_to_vec()));
    let messages = messages().into_iter().map(|(name, m)| (name, m.encode()));
    let lines = statements.into_iter().chain(messages);
    let text: String = lines
        .map(|(name, bytes)| format!("{name} {}\n", hex::encode(bytes)))
        .collect();
    assert_eq!(text, include_str!("golden.txt"));
}

#[test]
fn messages_round_trip() {
    for (name, message) in messages() {
        let bytes = message.encode();
        assert_eq!(AdmissionMessage::decode(&bytes), Ok(message), "{name}");
    }
}

#[test]
fn statements_round_trip() {
    assert_eq!(wire_certificate().check(), Ok(certificate()));
    assert_eq!(
        wire::Delegation::from(&delegation()).check(),
        Ok(delegation())
    );
    assert_eq!(wire::Invite::from(&invite()).check(), Ok(invite()));
    assert_eq!(
        wire::Revocations::from(&revocations()).check(),
        Ok(revocations())
    );
}

#[test]
fn the_root_and_its_delegate_are_believed() {
    let by_root = sign(1, &wire_certificate()).verify(&swarm(), NOW).unwrap();
    assert_eq!(by_root.content, certificate());
    assert_eq!((by_root.issuer, by_root.serial), (node(1), Sequence(7)));
    assert_eq!(by_root.expires, later(DAY));
    let by_delegate = invite_chain().verify(&swarm(), NOW).unwrap();
    assert_eq!(by_delegate.issuer, node(2));
    assert_eq!(by_delegate.expires, later(DAY / 2), "its delegation's");
}

#[test]
fn nobody_else_is_believed() {
    let unauthorised = |chain: Chain<wire::MembershipCertificate>, by: u8| {
        let error = chain.verify(&swarm(), NOW).unwrap_err();
        assert_eq!(error.fault, ChainFault::Unauthorised(node(by)));
    };
    unauthorised(sign(3, &wire_certificate()), 3);
    let with = |number| sign(number, &wire_certificate());
    unauthorised(with(3).with_delegation(delegated(&delegation())), 3);
    // A delegate that delegates further, and a peer that delegates to itself.
    let further = wire::Delegation::from(&Delegation {
        delegate: node(3),
        may_admit_members: true,
        ..delegation()
    });
    for author in [2, 3] {
        let own = Signed::sign(&key(author), Sequence(1), later(DAY), &further).unwrap();
        unauthorised(with(3).with_delegation(own), author);
    }
}

#[test]
fn a_delegate_keeps_to_its_delegation() {
    let chain = sign(2, &wire_certificate()).with_delegation(delegated(&delegation()));
    let error = chain.verify(&swarm(), NOW).unwrap_err();
    assert_eq!(error.fault, ChainFault::NotCovered(node(2)));
    let list = wire::Revocations::from(&revocations());
    let chain = sign(2, &list).with_delegation(delegated(&delegation()));
    let error = chain.verify(&swarm(), NOW).unwrap_err();
    assert_eq!(error.fault, ChainFault::NotCovered(node(2)));
}

#[test]
fn another_swarm_is_another_swarm() {
    let other = Swarm {
        root: node(8),
        ..swarm()
    };
    let error = sign(1, &wire_certificate())
        .verify(&other, NOW)
        .unwrap_err();
    assert_eq!(error.fault, ChainFault::WrongSwarm(swarm()));
    assert!(
        error
            .to_string()
            .starts_with("the certificate is of another swarm, lab")
    );
}

#[test]
fn times_are_told_in_words() {
    let fault = |now| {
        let result = sign(1, &wire_certificate()).verify(&swarm(), now);
        result.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(
        fault(later(DAY * 4)).unwrap_err(),
        "the certificate expired 3 days ago; get a new one, or set this machine's clock if it is wrong"
    );
    let early = UnixMillis(NOW.0 - 3 * 3_600_000);
    assert_eq!(
        fault(early).unwrap_err(),
        "the certificate holds only in 3 hours from now: this machine's clock is behind, or the issuer's is ahead"
    );
    let skewed = NOW.0 - u64::try_from(MAX_CLOCK_SKEW.as_millis()).unwrap();
    assert_eq!(fault(UnixMillis(skewed)), Ok(()));
    assert!(fault(UnixMillis(skewed - 1)).is_err());
    let long_ago = fault(UnixMillis(NOW.0 / 2)).unwrap_err();
    assert!(long_ago.contains("clock is behind"), "{long_ago}");
}

#[test]
fn an_altered_chain_is_not_genuine() {
    let mut chain = sign(1, &wire_certificate()).encode();
    let last = chain.statement.len() - 1;
    chain.statement[last] ^= 1;
    let chain = Chain::<wire::MembershipCertificate>::decode(&chain).unwrap();
    let error = chain.verify(&swarm(), NOW).unwrap_err();
    assert_eq!(error.fault, ChainFault::NotGenuine(VerifyError::Signature));
}

#[test]
fn fields_that_mean_nothing_are_refused() {
    use MembershipError as E;
    let certificate = |change: fn(&mut wire::MembershipCertificate)| {
        let mut message = wire_certificate();
        change(&mut message);
        message.check().unwrap_err()
    };
    assert!(matches!(
        certificate(|c| c.swarm = "A".into()),
        E::SwarmName(_)
    ));
    assert!(matches!(certificate(|c| c.root.clear()), E::Root(_)));
    assert!(matches!(certificate(|c| c.peer.push(0)), E::Peer(_)));
    assert_eq!(certificate(|c| c.role = 0), E::Role);
    assert_eq!(certificate(|c| c.role = 9), E::Role);

    let invite = |change: fn(&mut wire::Invite)| {
        let mut message = wire::Invite::from(&invite());
        change(&mut message);
        message.check().unwrap_err()
    };
    assert_eq!(invite(|i| i.uses = 0), E::Uses(0));
    assert_eq!(invite(|i| i.uses = 1001), E::Uses(1001));
    assert_eq!(invite(|i| i.id.push(0)), E::InviteId(17));
    assert_eq!(
        invite(|i| i.bootstrap = vec!["/x".into(); 9]),
        E::TooManyAddresses(9)
    );
    for text in ["", "/", "example.org:4001", "/ip4/192.0.2.1 ", "/dns4/ü"] {
        let mut message = wire::Invite::from(&self::invite());
        message.bootstrap = vec![text.into()];
        assert_eq!(message.check(), Err(E::Address), "{text:?}");
    }

    let nothing = Delegation {
        may_admit_clients: false,
        ..delegation()
    };
    assert_eq!(
        wire::Delegation::from(&nothing).check(),
        Err(E::NothingAllowed)
    );
}

#[test]
fn a_list_has_one_form() {
    let mut list = wire::Revocations::from(&revocations());
    list.revoked.swap(0, 1);
    assert_eq!(list.check(), Err(MembershipError::RevokedOrder));
    list.revoked[1] = list.revoked[0].clone();
    assert_eq!(list.check(), Err(MembershipError::RevokedOrder));
    list.revoked = vec![list.revoked[0].clone(); MAX_REVOKED + 1];
    assert_eq!(
        list.check(),
        Err(MembershipError::TooManyRevoked(MAX_REVOKED + 1))
    );
}

#[test]
fn the_largest_statements_fit() {
    let swarm = Swarm {
        name: "x".repeat(32).parse().unwrap(),
        root: node(1),
    };
    let largest = wire::Invite::from(&Invite {
        swarm: swarm.clone(),
        uses: MAX_INVITE_USES,
        bootstrap: vec![format!("/{}", "x".repeat(MAX_ADDRESS_BYTES - 1)); MAX_INVITE_ADDRESSES],
        ..invite()
    });
    let chain = sign(2, &largest).with_delegation(delegated(&delegation()));
    let tag = [1; TAG_BYTES];
    let message = AdmissionMessage::Redeem { invite: chain, tag };
    assert_eq!(AdmissionMessage::decode(&message.encode()), Ok(message));

    let entry = |number: usize| wire::RevokedPeer {
        peer: number.to_be_bytes().repeat(4),
        revoked_unix_millis: u64::MAX,
    };
    let list = wire::Revocations {
        swarm: swarm.name.to_string(),
        root: swarm.root.as_bytes().to_vec(),
        revoked: (0..MAX_REVOKED).map(entry).collect(),
    };
    assert!(list.encoded_len() <= wire::Revocations::MAX_BYTES);
}

#[test]
fn a_list_outlives_what_it_revokes() {
    assert!(MAX_REVOCATIONS_LIFETIME > MAX_CERTIFICATE_LIFETIME * 2);
    assert!(MAX_INVITE_LIFETIME < MAX_CERTIFICATE_LIFETIME);
}

#[test]
fn unusable_messages_are_told_apart() {
    use AdmissionMessageError as E;
    let long = vec![0; MAX_ADMISSION_BYTES + 1];
    assert_eq!(
        AdmissionMessage::decode(&long),
        Err(E::TooLarge(long.len()))
    );
    assert_eq!(AdmissionMessage::decode(&[]), Err(E::Kind));
    assert!(matches!(
        AdmissionMessage::decode(&[0x0a, 0xff]),
        Err(E::Malformed(_))
    ));
    // A hello with nothing in it, a proof without a certificate, a refusal of a later version.
    assert_eq!(AdmissionMessage::decode(&[0x0a, 0]), Err(E::Nonce(0)));
    assert_eq!(
        AdmissionMessage::decode(&[0x12, 0]),
        Err(E::Chain(ChainDecodeError::Missing))
    );
    assert_eq!(
        AdmissionMessage::decode(&[0x2a, 2, 0x08, 99]),
        Ok(AdmissionMessage::Refused {
            code: RefusalCode::NotAccepted,
            now: UnixMillis(0)
        })
    );
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = AdmissionMessage::decode(&bytes);
        let _ = wire::MembershipCertificate::decode(bytes.as_slice()).map(|m| m.check());
        let _ = wire::Delegation::decode(bytes.as_slice()).map(|m| m.check());
        let _ = wire::Invite::decode(bytes.as_slice()).map(|m| m.check());
        let _ = wire::Revocations::decode(bytes.as_slice()).map(|m| m.check());
    }

    #[test]
    fn any_flipped_bit_of_a_chain_is_noticed(at: prop::sample::Index, bit in 0..8_u32) {
        let mut bytes = invite_chain().encode().encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let accepted = wire::Chain::decode(bytes.as_slice())
            .ok()
            .and_then(|chain| Chain::<wire::Invite>::decode(&chain).ok())
            .and_then(|chain| chain.verify(&swarm(), NOW).ok());
        prop_assert_eq!(accepted, None);
    }
}
