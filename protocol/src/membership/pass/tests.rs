//! A pass reads back as it was made; whatever else is refused in one line.

use std::time::Duration;

use ed25519_dalek::SigningKey;
use proptest::prelude::*;

use super::*;
use crate::{
    ids::{NodeId, Sequence, UnixMillis},
    membership::{Certificate, Delegation, Issuer, JoinToken, Role},
};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn swarm() -> Swarm {
    Swarm {
        name: "lab".parse().unwrap(),
        root: NodeId::from(&key(1)),
    }
}

fn later() -> UnixMillis {
    NOW.saturating_add(Duration::from_secs(3600))
}

fn certificate(issuer: &Issuer) -> Chain<wire::MembershipCertificate> {
    let statement = wire::MembershipCertificate::from(&Certificate {
        swarm: swarm(),
        peer: NodeId::from(&key(2)),
        role: Role::Member,
        not_before: NOW,
    });
    issuer.sign(Sequence(NOW.0), later(), &statement).unwrap()
}

fn delegation(of: u8) -> Signed<wire::Delegation> {
    let statement = wire::Delegation::from(&Delegation {
        swarm: swarm(),
        delegate: NodeId::from(&key(of)),
        not_before: NOW,
        may_admit_members: true,
        may_admit_clients: false,
        may_revoke: false,
    });
    Signed::sign(&key(1), Sequence(1), later(), &statement).unwrap()
}

fn pass() -> Pass {
    let root = Issuer::root(swarm(), key(1)).unwrap();
    Pass {
        certificate: certificate(&root),
        delegation: Some(delegation(2)),
    }
}

#[test]
fn a_pass_reads_back_and_says_its_swarm() {
    let mut pass = pass();
    assert_eq!(pass.to_string().parse(), Ok(pass.clone()));
    assert_eq!(pass.claimed_swarm(), Some(swarm()));
    pass.delegation = None;
    assert_eq!(pass.to_string().parse(), Ok(pass));
}

#[test]
fn the_largest_pass_has_room() {
    let delegate = Issuer::delegate(swarm(), key(3), delegation(3)).unwrap();
    let mut pass = pass();
    pass.certificate = certificate(&delegate.unwrap());
    assert_eq!(pass.to_string().parse(), Ok(pass.clone()));
    assert!(pass.certificate.verify(&swarm(), NOW).is_ok());
}

#[test]
fn only_the_keys_own_rights_make_an_issuer() {
    assert!(Issuer::root(swarm(), key(2)).is_none());
    let other = Issuer::delegate(swarm(), key(4), delegation(3)).unwrap();
    assert!(other.is_none());
    let root = Issuer::root(swarm(), key(1)).unwrap();
    let shown = format!("{root:?}");
    assert!(
        !shown.contains("SigningKey") && shown.contains(".."),
        "{shown}"
    );
}

#[test]
fn each_mistake_is_told_as_that() {
    let text = pass().to_string();
    let error = |text: &str| text.parse::<Pass>().unwrap_err();
    assert_eq!(error(""), PassError::NoPass);
    assert_eq!(error("shoal1_abc"), PassError::NoPass);
    assert_eq!(error("shoalpass2_abc"), PassError::Newer);
    assert_eq!(error(&text[..text.len() - 5]), PassError::Damaged);
    assert_eq!(error(&format!("{text}A")), PassError::Damaged);
    assert_eq!(error(&text.replacen('_', "_A", 1)), PassError::Damaged);
    let empty = armour::write(&FORM, &[]);
    assert!(matches!(error(&empty), PassError::Contents(_)));
    assert!(text.parse::<JoinToken>().is_err(), "it is no invite");
}

proptest! {
    #[test]
    fn a_changed_character_is_noticed(at: prop::sample::Index, with in "[A-Za-z0-9_-]") {
        let text = pass().to_string();
        let at = at.index(text.len());
        let mut changed = text.clone();
        changed.replace_range(at..=at, &with);
        prop_assume!(changed != text);
        prop_assert!(changed.parse::<Pass>().is_err());
    }

    #[test]
    fn garbage_never_panics(text: String) {
        if let Err(error) = text.parse::<Pass>() {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }
}
