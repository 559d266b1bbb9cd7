//! Nothing is granted before it was written down, and one entry is written at a time.

use proptest::prelude::*;

use super::*;
use crate::core::membership::fixture::{DAY, NOW, invite, later, node, swarm};

fn desk() -> Desk<u8> {
    Desk::new(InviteLedger::default(), DAY, None)
}

fn issued(id: u8, uses: u32) -> Box<Issued<Invite>> {
    Box::new(invite(1, id, uses).verify(&swarm(), NOW).unwrap())
}

#[test]
fn entries_are_written_one_after_the_other() {
    let mut desk = desk();
    assert!(desk.redeem(1, node(5), issued(1, 9)) && desk.redeem(2, node(6), issued(1, 9)));
    let Some(DeskStep::Write(first)) = desk.step(NOW) else {
        panic!("nothing to write");
    };
    assert_eq!(first.grants.len(), 1);
    assert_eq!(desk.step(NOW), None, "the first is being written");
    assert!(
        matches!(desk.on_written(true), Some(Written::Granted(1, grant)) if grant.peer == node(5))
    );
    let Some(DeskStep::Write(second)) = desk.step(NOW) else {
        panic!("nothing to write");
    };
    assert_eq!(second.grants.len(), 2, "with the one before");
    let refused = Written::Refused(2, RefusalCode::CannotRedeem);
    assert_eq!(desk.on_written(false), Some(refused));
    assert_eq!(desk.on_written(true), None);
    // It comes again, and has its own grant, which is written once more.
    assert!(desk.redeem(3, node(6), issued(1, 2)));
    assert_eq!(desk.step(later(DAY / 2)), Some(DeskStep::Write(second)));
}

#[test]
fn a_withdrawal_counts_at_once_and_is_written() {
    let mut desk = desk();
    let id = InviteId([1; 16]);
    desk.withdraw(id, later(DAY)).unwrap();
    assert!(desk.redeem(1, node(5), issued(1, 9)));
    assert!(matches!(desk.step(NOW), Some(DeskStep::Write(entry)) if entry.is_withdrawn));
    let kept = Written::Withdrawn {
        invite: id,
        is_kept: true,
    };
    assert_eq!(desk.on_written(true), Some(kept));
    let refused = DeskStep::Refuse(1, RefusalCode::UsedUp);
    assert_eq!(desk.step(NOW), Some(refused));
    assert_eq!(desk.step(NOW), None);
}

#[test]
fn a_role_that_the_delegation_does_not_cover_is_refused_and_not_counted() {
    let clients_only = Delegation {
        swarm: swarm(),
        delegate: node(9),
        not_before: NOW,
        may_admit_members: false,
        may_admit_clients: true,
        may_revoke: false,
    };
    let mut desk = Desk::new(InviteLedger::default(), DAY, Some(clients_only));
    assert!(desk.redeem(1, node(5), issued(1, 9)));
    let refused = DeskStep::Refuse(1, RefusalCode::CannotRedeem);
    assert_eq!(desk.step(NOW), Some(refused));
    assert_eq!(desk.ledger().entries().count(), 0);
}

#[test]
fn who_left_is_not_waited_for_and_the_queue_is_bounded() {
    let mut desk = Desk::new(InviteLedger::default(), DAY, None);
    for connection in 0..MAX_WAITING_AT_DESK {
        assert!(desk.redeem(connection, node(5), issued(1, 1)));
    }
    assert!(!desk.redeem(usize::MAX, node(5), issued(1, 1)));
    let full = desk.withdraw(InviteId([1; 16]), later(DAY));
    assert_eq!(full, Err(RedeemError::Full));
    for connection in 0..MAX_WAITING_AT_DESK {
        desk.forget(connection);
    }
    assert_eq!(desk.step(NOW), None);
    assert_eq!(desk.ledger().entries().count(), 0);
}

proptest! {
    /// Whatever comes in whatever order: every grant is in the entry that was written before it.
    #[test]
    fn what_is_granted_was_written(steps in prop::collection::vec((0u8..4, 0u8..6, any::<bool>()), 1..60)) {
        let mut desk = desk();
        let mut written: Option<LedgerEntry> = None;
        for (step, which, flag) in steps {
            match step {
                0 => drop(desk.redeem(which, node(which + 2), issued(which % 2, 2))),
                1 => desk.forget(which),
                2 => if let Some(DeskStep::Write(entry)) = desk.step(NOW) {
                    prop_assert!(written.replace(entry).is_none(), "one at a time");
                },
                _ => if let Some(entry) = written.take() {
                    match desk.on_written(flag) {
                        Some(Written::Granted(_, grant)) => {
                            prop_assert!(flag && entry.grants.contains(&grant));
                            prop_assert!(entry.grants.len() <= 2);
                        }
                        Some(Written::Refused(..)) => prop_assert!(!flag),
                        other => prop_assert!(false, "{other:?}"),
                    }
                },
            }
        }
    }
}
