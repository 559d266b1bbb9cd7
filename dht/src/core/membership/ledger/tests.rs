//! Uses are counted once a peer, never over the invite's, and over restarts.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::core::membership::fixture::{DAY, NOW, invite, later, node, swarm};

fn issued(id: u8, uses: u32) -> Issued<Invite> {
    invite(1, id, uses).verify(&swarm(), NOW).unwrap()
}

fn restored(ledger: &InviteLedger) -> InviteLedger {
    InviteLedger::restore(ledger.entries()).unwrap()
}

#[test]
fn a_peer_counts_once() {
    let mut ledger = InviteLedger::default();
    let invite = issued(1, 2);
    let first = ledger.redeem(&invite, node(5), DAY * 30, NOW).unwrap();
    assert_eq!((first.peer, first.role()), (node(5), Role::Member));
    assert_eq!(first.expires, later(DAY * 30));
    let again = ledger.redeem(&invite, node(5), DAY, later(DAY / 2));
    assert_eq!(again, Ok(first), "the same grant, whatever is asked now");
    assert!(ledger.redeem(&invite, node(6), DAY, NOW).is_ok());
    let third = ledger.redeem(&invite, node(7), DAY, NOW);
    assert_eq!(third, Err(RedeemError::UsedUp(2)));
    assert_eq!(ledger.redeem(&invite, node(5), DAY, NOW), Ok(first));
}

#[test]
fn a_grant_makes_one_certificate() {
    let mut ledger = InviteLedger::default();
    let grant = ledger.redeem(&issued(1, 1), node(5), DAY, NOW).unwrap();
    let certificate = grant.certificate(&swarm());
    assert_eq!((certificate.peer, certificate.not_before), (node(5), NOW));
}

#[test]
fn an_expired_invite_is_refused_and_forgotten() {
    let mut ledger = InviteLedger::default();
    let invite = issued(1, 1);
    ledger.redeem(&invite, node(5), DAY, NOW).unwrap();
    let late = ledger.redeem(&invite, node(5), DAY, later(DAY));
    assert_eq!(late, Err(RedeemError::Expired));
    assert_eq!(ledger.entries().count(), 0);
}

#[test]
fn a_restart_forgets_nothing() {
    let mut ledger = InviteLedger::default();
    let invite = issued(1, 1);
    let grant = ledger.redeem(&invite, node(5), DAY, NOW).unwrap();
    let mut after = restored(&ledger);
    assert_eq!(after.redeem(&invite, node(5), DAY, NOW), Ok(grant));
    assert!(after.redeem(&invite, node(6), DAY, NOW).is_err());
    assert_eq!(
        after.entry(invite.content.id),
        ledger.entry(invite.content.id)
    );
}

#[test]
fn a_withdrawn_invite_admits_nobody_new() {
    let mut ledger = InviteLedger::default();
    let (begun, fresh) = (issued(1, 2), issued(2, 2));
    let grant = ledger.redeem(&begun, node(5), DAY, NOW).unwrap();
    for invite in [&begun, &fresh] {
        ledger.withdraw(invite.content.id, invite.expires).unwrap();
    }
    let mut after = restored(&ledger);
    assert_eq!(after.redeem(&begun, node(5), DAY, NOW), Ok(grant));
    for invite in [&begun, &fresh] {
        let refused = after.redeem(invite, node(6), DAY, NOW);
        assert_eq!(refused, Err(RedeemError::Withdrawn));
    }
}

#[test]
fn the_ledger_is_bounded() {
    let entry = |number: u16| LedgerEntry {
        invite: [number.to_be_bytes(); 8].concat().try_into().unwrap(),
        expires: later(DAY),
        is_withdrawn: false,
        grants: Vec::new(),
    };
    let most = u16::try_from(MAX_INVITES).unwrap();
    let mut full = InviteLedger::restore((0..most).map(entry)).unwrap();
    let one_more = full.redeem(&issued(9, 1), node(5), DAY, NOW);
    assert_eq!(one_more, Err(RedeemError::Full));
    let too_many = InviteLedger::restore((0..=most).map(entry));
    assert_eq!(too_many.unwrap_err(), RestoreError::TooLarge);
    let twice = InviteLedger::restore([entry(1), entry(1)]);
    assert_eq!(twice.unwrap_err(), RestoreError::Twice);
}

#[test]
fn refusals_have_codes() {
    assert_eq!(RedeemError::UsedUp(1).refusal_code(), RefusalCode::UsedUp);
    assert_eq!(RedeemError::Expired.refusal_code(), RefusalCode::Expired);
    assert_eq!(RedeemError::Full.refusal_code(), RefusalCode::CannotRedeem);
}

proptest! {
    #[test]
    fn never_more_peers_than_uses(
        uses in 1..4_u32,
        steps in prop::collection::vec((1..3_u8, 5..12_u8, any::<bool>()), 0..40),
    ) {
        let mut ledger = InviteLedger::default();
        let invites = [issued(1, uses), issued(2, uses)];
        let mut granted = [BTreeSet::new(), BTreeSet::new()];
        for (id, peer, restart) in steps {
            let at = usize::from(id) - 1;
            if let Ok(grant) = ledger.redeem(&invites[at], node(peer), DAY, NOW) {
                granted[at].insert(grant.peer);
            } else {
                prop_assert_eq!(granted[at].len(), usize::try_from(uses).unwrap());
                prop_assert!(!granted[at].contains(&node(peer)));
            }
            prop_assert!(granted[at].len() <= usize::try_from(uses).unwrap());
            if restart {
                ledger = restored(&ledger);
            }
        }
    }
}
