//! Who is a member, what a list of revocations changes, and that replays and cheats change
//! nothing.

use proptest::prelude::*;

use super::*;
use crate::core::membership::fixture::{
    DAY, NOW, certificate, certificate_by, delegation, key, later, list, list_by, node, swarm,
};

const HOUR: Duration = Duration::from_secs(3600);

fn roster() -> Roster {
    Roster::new(swarm())
}

fn check(roster: &Roster, number: u8) -> Result<Member, NotMember> {
    roster.check_certificate(&certificate(number, NOW), node(number), NOW)
}

#[test]
fn the_roots_certificate_makes_a_member() {
    let member = check(&roster(), 5).unwrap();
    assert_eq!((member.peer, member.role), (node(5), Role::Member));
    assert_eq!(member.issuer, swarm().root);
    assert_eq!(member.expires, later(DAY));
}

#[test]
fn somebody_elses_certificate_does_not() {
    let result = roster().check_certificate(&certificate(5, NOW), node(6), NOW);
    assert_eq!(result, Err(NotMember::OtherPeer(node(5))));
}

#[test]
fn a_certificate_has_its_time() {
    let error = |now| {
        let result = roster().check_certificate(&certificate(5, NOW), node(5), now);
        result.unwrap_err()
    };
    let expired = error(later(DAY * 3));
    assert_eq!(expired.refusal_code(), RefusalCode::Expired);
    assert!(expired.to_string().contains("expired 2 days ago"));
    let early = error(UnixMillis(NOW.0 - 7_200_000));
    assert_eq!(early.refusal_code(), RefusalCode::NotYetValid);
}

#[test]
fn a_revoked_peer_is_out_until_it_is_invited_again() {
    let mut roster = roster();
    roster.handle_revocations(list(1, &[5]), NOW).unwrap();
    let error = check(&roster, 5).unwrap_err();
    assert_eq!(error, NotMember::Revoked { peer: node(5) });
    assert_eq!(error.refusal_code(), RefusalCode::Revoked);
    assert!(check(&roster, 6).is_ok());
    let again = certificate(5, UnixMillis(NOW.0 + 1));
    assert!(roster.check_certificate(&again, node(5), NOW).is_ok());
}

#[test]
fn a_new_list_says_whom_to_disconnect() {
    let mut roster = roster();
    for number in [5, 6, 7] {
        let member = check(&roster, number).unwrap();
        roster.admit(member).unwrap();
    }
    roster.on_disconnected(node(7));
    let outcome = roster.handle_revocations(list(1, &[5, 7]), NOW).unwrap();
    assert!(outcome.is_news && !outcome.equivocation);
    assert_eq!(outcome.disconnect, [node(5)]);
    assert!(roster.admitted(node(5)).is_none() && roster.admitted(node(6)).is_some());
    let again = roster.handle_revocations(list(1, &[5, 7]), NOW);
    assert_eq!(again, Ok(ListOutcome::default()), "no news");
}

#[test]
fn a_member_that_was_revoked_meanwhile_is_not_admitted() {
    let mut roster = roster();
    let member = check(&roster, 5).unwrap();
    roster.handle_revocations(list(1, &[5]), NOW).unwrap();
    assert!(matches!(
        roster.admit(member),
        Err(AdmitError::NotMember(NotMember::Revoked { .. }))
    ));
}

#[test]
fn an_older_list_is_refused() {
    let mut roster = roster();
    roster.handle_revocations(list(2, &[5]), NOW).unwrap();
    let replay = roster.handle_revocations(list(1, &[]), NOW);
    let (held, came) = (Sequence(2), Sequence(1));
    assert_eq!(replay, Err(ListError::Older { held, came }));
    assert!(check(&roster, 5).is_err());
}

#[test]
fn a_newer_list_replaces() {
    let mut roster = roster();
    roster.handle_revocations(list(1, &[5]), NOW).unwrap();
    assert!(
        roster
            .handle_revocations(list(2, &[6]), NOW)
            .unwrap()
            .is_news
    );
    assert!(check(&roster, 5).is_ok() && check(&roster, 6).is_err());
}

#[test]
fn nobody_else_revokes() {
    let mut roster = roster();
    let by_member = list_by(5, None, 1, &[6]);
    assert!(roster.handle_revocations(by_member, NOW).is_err());
    let without_right = list_by(2, Some(delegation(2, false)), 1, &[6]);
    assert!(roster.handle_revocations(without_right, NOW).is_err());
    assert!(check(&roster, 6).is_ok());
}

#[test]
fn a_delegate_revokes_peers_and_not_delegates() {
    let mut roster = roster();
    let by_delegate = list_by(2, Some(delegation(2, true)), 1, &[5, 3]);
    assert!(roster.handle_revocations(by_delegate, NOW).unwrap().is_news);
    assert!(check(&roster, 5).is_err());
    let by_other = certificate_by(3, delegation(3, false), 6);
    assert!(roster.check_certificate(&by_other, node(6), NOW).is_ok());
}

#[test]
fn a_delegate_that_the_root_revokes_has_no_say() {
    let mut roster = roster();
    let by_delegate = certificate_by(2, delegation(2, true), 6);
    let member = roster
        .check_certificate(&by_delegate, node(6), NOW)
        .unwrap();
    roster.admit(member).unwrap();
    let its_list = || list_by(2, Some(delegation(2, true)), 1, &[5]);
    roster.handle_revocations(its_list(), NOW).unwrap();
    let outcome = roster.handle_revocations(list(1, &[2]), NOW).unwrap();
    assert_eq!(outcome.disconnect, [node(6)], "whom it admitted");
    assert!(check(&roster, 5).is_ok(), "whom it revoked");
    assert_eq!(roster.lists().count(), 1);
    let refused = Err(NotMember::IssuerRevoked(node(2)));
    assert_eq!(
        roster.check_certificate(&by_delegate, node(6), NOW),
        refused
    );
    assert!(roster.handle_revocations(its_list(), NOW).is_err());
}

#[test]
fn lists_of_many_delegates_are_bounded_and_the_roots_has_room() {
    let mut roster = roster();
    for number in 0..16 {
        let number = 100 + number;
        let chain = list_by(number, Some(delegation(number, true)), 1, &[5]);
        roster.handle_revocations(chain, NOW).unwrap();
    }
    let one_more = list_by(200, Some(delegation(200, true)), 1, &[5]);
    assert_eq!(
        roster.handle_revocations(one_more, NOW),
        Err(ListError::TooManyRevokers)
    );
    assert!(roster.handle_revocations(list(1, &[6]), NOW).is_ok());
}

#[test]
fn kept_lists_restore_the_roster() {
    let mut before = roster();
    before.handle_revocations(list(3, &[5]), NOW).unwrap();
    let kept: Vec<_> = before.lists().map(|(_, _, chain)| chain.clone()).collect();
    let mut after = roster();
    for chain in kept {
        after.handle_revocations(chain, NOW).unwrap();
    }
    assert!(check(&after, 5).is_err());
    assert!(after.handle_revocations(list(2, &[]), NOW).is_err());
}

#[test]
fn memberships_end_by_the_clock() {
    let mut roster = roster();
    roster.admit(check(&roster, 5).unwrap()).unwrap();
    assert_eq!(roster.next_expiry(NOW), Some(DAY));
    assert!(roster.expire(later(DAY - HOUR)).is_empty());
    assert_eq!(roster.expire(later(DAY)), [node(5)]);
    assert_eq!(roster.next_expiry(NOW), None);
}

#[test]
fn an_altered_list_is_not_believed() {
    let mut bytes = list(1, &[5]).encode();
    bytes.statement[50] ^= 1;
    let chain = Chain::decode(&bytes).unwrap();
    assert!(roster().handle_revocations(chain, NOW).is_err());
    assert_eq!(NodeId::from(&key(1)), swarm().root);
}

proptest! {
    /// Whatever comes in whatever order, everybody that saw the same lists ends alike.
    #[test]
    fn the_order_of_lists_does_not_matter(
        lists in prop::collection::vec((1..4_u64, prop::collection::btree_set(5..9_u8, 0..4)), 1..6),
        seed: u64,
    ) {
        let chains: Vec<_> = lists
            .iter()
            .map(|(serial, peers)| list(*serial, &peers.iter().copied().collect::<Vec<_>>()))
            .collect();
        let end = |chains: &mut dyn Iterator<Item = &Chain<wire::Revocations>>| {
            let mut roster = roster();
            for chain in chains {
                let _ = roster.handle_revocations(chain.clone(), NOW);
            }
            let held = roster.lists.values().next().unwrap();
            (held.list.serial, held.list.content.clone())
        };
        let mut shuffled = chains.clone();
        for at in (1..shuffled.len()).rev() {
            let with = usize::try_from(seed.rotate_left(u32::try_from(at).unwrap()) % (at as u64 + 1));
            shuffled.swap(at, with.unwrap());
        }
        prop_assert_eq!(end(&mut chains.iter()), end(&mut shuffled.iter()));
    }
}
