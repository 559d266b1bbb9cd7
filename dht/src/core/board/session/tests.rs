//! Two sides against each other, and against what no honest one says.

use std::collections::BTreeSet;

use proptest::prelude::*;
use protocol::digest::digest;

use super::*;

fn item(n: u64) -> Item {
    Item {
        // Several are written in one moment.
        written: UnixMillis(1_700_000_000_000 + n / 3),
        id: NoteId::from_bytes(&digest("test", &[&n.to_be_bytes()])).unwrap(),
    }
}

fn items(numbers: impl IntoIterator<Item = u64>) -> Vec<Item> {
    let mut items: Vec<Item> = numbers.into_iter().map(item).collect();
    items.sort_unstable();
    items
}

fn ids(numbers: impl IntoIterator<Item = u64>) -> BTreeSet<NoteId> {
    numbers.into_iter().map(|n| item(n).id).collect()
}

/// What came of it: the difference, rounds, and bytes both ways.
fn run(ours: &[Item], theirs: &[Item]) -> (Difference, u32, usize) {
    let (mut initiator, first) = Initiator::begin(ours);
    let mut responder = Responder::new(theirs);
    let (mut message, mut bytes) = (Some(first), 0);
    while let Some(asked) = message {
        let answer = responder.on_round(&asked).unwrap();
        assert!(answer.len() <= MAX_ROUND_BYTES && asked.len() <= MAX_ROUND_BYTES);
        bytes += asked.len() + answer.len();
        message = initiator.on_round(&answer).unwrap();
    }
    let rounds = responder.sides.rounds;
    (initiator.end(), rounds, bytes)
}

fn set(ids: &[NoteId]) -> BTreeSet<NoteId> {
    ids.iter().copied().collect()
}

#[test]
fn a_hundred_of_ten_thousand_cost_a_hundred() {
    let theirs = items(0..10_000);
    let ours = items((0..10_000).filter(|n| n % 100 != 7));
    let (found, rounds, bytes) = run(&ours, &theirs);
    assert_eq!(set(&found.lacking), ids((0..100).map(|n| 100 * n + 7)));
    assert!(found.surplus.is_empty() && found.is_whole);
    println!("{rounds} rounds, {bytes} bytes");
    assert!(rounds <= 8 && bytes < 256 << 10, "{rounds} {bytes}");
}

#[test]
fn equal_lists_cost_one_round() {
    for count in [0, 1, 31, 32, 33, 10_000] {
        let list = items(0..count);
        let (found, rounds, bytes) = run(&list, &list);
        assert!(found.is_whole && found.lacking.is_empty() && found.surplus.is_empty());
        assert!(rounds == 1 && bytes < 2048, "{count}: {rounds} {bytes}");
    }
}

#[test]
fn one_who_has_nothing_learns_of_all_in_several_reconciliations() {
    let theirs = items(0..20_000);
    let mut ours = Vec::new();
    let mut times = 0;
    loop {
        let (found, rounds, _) = run(&ours, &theirs);
        assert!(rounds < MOST_ROUNDS / 2);
        let lacking = set(&found.lacking);
        ours.extend(theirs.iter().filter(|item| lacking.contains(&item.id)));
        ours.sort_unstable();
        times += 1;
        if found.is_whole {
            break;
        }
        // What was told twice counts once.
        assert!(lacking.len() > MOST_LACKED * 9 / 10, "{}", lacking.len());
    }
    assert_eq!(ours, theirs);
    assert!((3..=4).contains(&times), "{times}");
    let (found, ..) = run(&theirs, &[]);
    let surplus = found.surplus.len();
    assert!(
        surplus <= MOST_LACKED && surplus > MOST_LACKED * 9 / 10,
        "{surplus}"
    );
    assert!(!found.is_whole);
}

#[test]
fn what_never_ends_is_cut() {
    let list = items(0..1000);
    let (mut initiator, first) = Initiator::begin(&list);
    let mut responder = Responder::new(&items(500..2000));
    // The same mismatch, time and again.
    let answer = responder.on_round(&first).unwrap();
    let ended = (0..=MOST_ROUNDS).find_map(|_| initiator.on_round(&answer).err());
    assert_eq!(ended, Some(Poison::Endless));
    let ended = (0..=MOST_ROUNDS).find_map(|_| responder.on_round(&first).err());
    assert_eq!(ended, Some(Poison::Endless));
}

#[test]
fn garbage_is_poison() {
    let (mut initiator, first) = Initiator::begin(&items(0..100));
    assert_eq!(initiator.on_round(b"garbage"), Err(Poison::Malformed));
    assert_eq!(initiator.on_round(b""), Err(Poison::Malformed));
    let long = vec![0x61; MAX_ROUND_BYTES + 1];
    assert_eq!(initiator.on_round(&long), Err(Poison::Malformed));
    let mut responder = Responder::new(&items(0..10));
    let cut = &first[..first.len() - 1];
    assert_eq!(responder.on_round(cut), Err(Poison::Malformed));
}

proptest! {
    #[test]
    fn the_difference_is_found(
        ours in prop::collection::btree_set(0_u64..3000, 0..400),
        theirs in prop::collection::btree_set(0_u64..3000, 0..400),
    ) {
        let (found, rounds, _) = run(&items(ours.clone()), &items(theirs.clone()));
        prop_assert!(found.is_whole && rounds < MOST_ROUNDS);
        prop_assert_eq!(set(&found.lacking), ids(theirs.difference(&ours).copied()));
        prop_assert_eq!(set(&found.surplus), ids(ours.difference(&theirs).copied()));
    }

    #[test]
    fn no_message_panics_or_grows(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 1..8),
        count in 0_u64..500,
    ) {
        let list = items(0..count);
        let mut responder = Responder::new(&list);
        let (mut initiator, _) = Initiator::begin(&list);
        for mut message in messages {
            if let Some(version) = message.first_mut() {
                *version = 0x61;
            }
            if let Ok(answer) = responder.on_round(&message) {
                prop_assert!(answer.len() <= MAX_ROUND_BYTES);
            }
            let _ = initiator.on_round(&message);
        }
        prop_assert!(initiator.end().lacking.len() <= MOST_LACKED);
    }

    #[test]
    fn a_message_that_was_tampered_with_ends(at in 0_usize..500, with: u8, ours in 0_u64..300) {
        let (mut initiator, first) = Initiator::begin(&items(0..ours));
        let mut responder = Responder::new(&items(100..400));
        let mut message = Some(first);
        let mut rounds = 0;
        while let Some(asked) = message {
            rounds += 1;
            prop_assert!(rounds <= MOST_ROUNDS);
            let Ok(mut answer) = responder.on_round(&asked) else { break };
            let length = answer.len();
            if let Some(byte) = answer.get_mut(at % length.max(1)) {
                *byte = with;
            }
            let Ok(next) = initiator.on_round(&answer) else { break };
            message = next;
        }
    }
}
