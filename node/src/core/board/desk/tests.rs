//! Rates by arrival and by the notes' own times, mutes, what is asked for again; poison.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::core::board::holdings::Refusal::{Known, NotFollowed, Share};
use crate::core::board::holdings::tests::{NOW, at, author, note, withdrawal};
use crate::core::board::standing::Standing;

fn desk(limits: Limits, is_rated: bool) -> Desk {
    let mut desk = Desk::new(limits, Standings::default(), is_rated);
    assert!(desk.holdings.follow(&"b".parse().unwrap(), true));
    desk
}

/// So many seconds after `start`, on both clocks.
fn after(start: Instant, seconds: u64) -> Now {
    Now {
        instant: start + Duration::from_secs(seconds),
        unix: at(seconds),
    }
}

fn take(desk: &mut Desk, entry: &Entry, way: Way, now: Now) -> Result<(), Refusal> {
    desk.judge(entry, way, now)?;
    desk.keep(entry, now.instant);
    Ok(())
}

fn is_too_fast(result: Result<(), Refusal>) -> bool {
    matches!(result, Err(Refusal::TooFast(_)))
}

#[test]
fn a_days_absence_is_made_up_at_once() {
    let (start, mut desk) = (Instant::now(), desk(Limits::default(), true));
    let day = after(start, 24 * 3600);
    let long = |n: u64| {
        let entry = note(1, n * 10, "while you were away");
        let saying = entry.saying.clone();
        let key = crate::core::board::holdings::tests::key(1);
        let swarm = protocol::names::SwarmName::public();
        let expires = at(7 * 24 * 3600);
        Entry::sign(&key, &swarm, saying, entry.written, expires).unwrap()
    };
    for n in 0..2000 {
        assert_eq!(take(&mut desk, &long(n), Way::Reconciled, day), Ok(()));
    }
    // By gossip the same would be a flood.
    let mut late = self::desk(Limits::default(), true);
    let took = (0..20)
        .filter(|n| take(&mut late, &long(*n), Way::Gossip, day).is_ok())
        .count();
    assert_eq!(took, 5);
}

#[test]
fn written_times_bound_what_is_made_up() {
    let (start, mut desk) = (Instant::now(), desk(Limits::default(), true));
    let now = after(start, 1000);
    let took = (0..500).filter(|n| {
        let entry = note(1, 500, &format!("flood {n}"));
        take(&mut desk, &entry, Way::Reconciled, now).is_ok()
    });
    assert_eq!(took.count(), 5);
    let refused = note(1, 500, "flood 499");
    assert!(desk.lacks(vec![refused.id], now.instant).is_empty());
    let later = now.instant + REFUSED_FOR;
    assert_eq!(desk.lacks(vec![refused.id], later), [refused.id]);
}

#[test]
fn gossip_is_held_to_the_rate_by_arrival() {
    let (start, mut desk) = (Instant::now(), desk(Limits::default(), true));
    // Written far apart, sent at once.
    let entries: Vec<Entry> = (0..8).map(|n| note(1, n * 100, "old news")).collect();
    let now = after(start, 800);
    for entry in &entries[..5] {
        assert_eq!(take(&mut desk, entry, Way::Gossip, now), Ok(()));
    }
    let refused = take(&mut desk, &entries[5], Way::Gossip, now);
    assert!(is_too_fast(refused));
    // It may still be made up for.
    assert_eq!(
        desk.lacks(vec![entries[5].id], now.instant),
        [entries[5].id]
    );
    assert_eq!(take(&mut desk, &entries[5], Way::Reconciled, now), Ok(()));
    let soon = after(start, 811);
    assert_eq!(take(&mut desk, &entries[6], Way::Gossip, soon), Ok(()));
}

#[test]
fn the_own_node_is_told_how_long_to_wait() {
    let (start, mut desk) = (Instant::now(), desk(Limits::default(), true));
    for n in 0..5 {
        let now = after(start, n);
        assert_eq!(take(&mut desk, &note(1, n, "mine"), Way::Own, now), Ok(()));
    }
    let sixth = take(&mut desk, &note(1, 5, "mine"), Way::Own, after(start, 5));
    assert_eq!(sixth, Err(Refusal::TooFast(Duration::from_secs(5))));
    let tenth = take(&mut desk, &note(1, 10, "mine"), Way::Own, after(start, 10));
    assert_eq!(tenth, Ok(()));
    // What was said in haste can be taken back in haste.
    let haste = note(1, 4, "mine");
    let back = withdrawal(1, &haste, 11);
    assert_eq!(take(&mut desk, &back, Way::Own, after(start, 11)), Ok(()));
}

#[test]
fn alone_there_is_no_rate() {
    let (start, mut desk) = (Instant::now(), desk(Limits::default(), false));
    for n in 0..200 {
        let entry = note(1, 0, &n.to_string());
        assert_eq!(take(&mut desk, &entry, Way::Own, after(start, 0)), Ok(()));
    }
}

#[test]
fn muted_authors_are_not_taken_until_they_are_heard_again() {
    let (start, mut desk) = (Instant::now(), desk(Limits::default(), true));
    let (now, entry) = (after(start, 10), note(1, 0, "noise"));
    desk.standings.set(author(1), Some(Standing::Muted));
    assert_eq!(
        take(&mut desk, &entry, Way::Gossip, now),
        Err(Refusal::Muted)
    );
    assert!(desk.lacks(vec![entry.id], now.instant).is_empty());
    desk.standings.set(author(1), None);
    desk.reconsider();
    assert_eq!(desk.lacks(vec![entry.id], now.instant), [entry.id]);
    assert_eq!(take(&mut desk, &entry, Way::Reconciled, now), Ok(()));
}

#[test]
fn what_went_for_want_of_room_is_not_asked_for_at_once() {
    let limits = Limits {
        board_notes: 8,
        shares: 4,
        ..Limits::default()
    };
    let (start, mut desk) = (Instant::now(), desk(limits, true));
    let entries: Vec<Entry> = (0..4).map(|n| note(1, n * 10, "x")).collect();
    let now = after(start, 60);
    for entry in &entries[1..] {
        take(&mut desk, entry, Way::Reconciled, now).unwrap();
    }
    let ids = vec![entries[0].id, entries[1].id];
    assert_eq!(desk.lacks(ids.clone(), now.instant), [entries[0].id]);
    let share = Err(Refusal::Holdings(Share));
    assert_eq!(take(&mut desk, &entries[0], Way::Reconciled, now), share);
    assert!(desk.lacks(ids, now.instant).is_empty());
}

#[test]
fn boards_that_are_followed_later_are_made_up_for() {
    let (start, board) = (Instant::now(), "b".parse().unwrap());
    let mut desk = desk(Limits::default(), true);
    desk.holdings.follow(&board, false);
    let (now, entry) = (after(start, 1), note(1, 0, "x"));
    let refused = take(&mut desk, &entry, Way::Reconciled, now);
    assert_eq!(refused, Err(Refusal::Holdings(NotFollowed)));
    desk.holdings.follow(&board, true);
    assert_eq!(desk.lacks(vec![entry.id], now.instant), [entry.id]);
    assert_eq!(take(&mut desk, &entry, Way::Reconciled, now), Ok(()));
    let again = take(&mut desk, &entry, Way::Reconciled, now);
    assert_eq!(again, Err(Refusal::Holdings(Known)));
}

#[test]
fn refusals_are_bounded() {
    let (now, mut refused) = (Instant::now(), Refused::default());
    for n in 0..MAX_REFUSED + 10 {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        refused.note(NoteId::from_bytes(&bytes).unwrap(), now);
    }
    assert_eq!(refused.order.len(), MAX_REFUSED);
    assert_eq!(refused.until.len(), MAX_REFUSED);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// However a hostile author writes and sends, it has no more than anybody in any span, and no
    /// more than its share; others are not kept out.
    #[test]
    fn nobody_owns_a_board(
        sent in vec((0_u64..400, any::<bool>()), 1..100),
    ) {
        let limits = Limits { board_notes: 40, shares: 4, ..Limits::default() };
        let (start, mut desk) = (Instant::now(), desk(limits, true));
        let now = after(start, 400);
        for (n, (seconds, is_gossip)) in sent.into_iter().enumerate() {
            let way = if is_gossip { Way::Gossip } else { Way::Reconciled };
            let _ = take(&mut desk, &note(1, seconds, &n.to_string()), way, now);
        }
        let items = desk.holdings.items(&"b".parse().unwrap(), NOW);
        prop_assert!(items.len() <= 10);
        for (i, (from, _)) in items.iter().enumerate() {
            for (count, (to, _)) in items[i..].iter().enumerate() {
                let span = to.saturating_since(*from).as_millis();
                prop_assert!((u128::try_from(count).unwrap() + 1) * 10_000 <= 50_000 + span);
            }
        }
        prop_assert_eq!(take(&mut desk, &note(2, 1, "honest"), Way::Gossip, now), Ok(()));
    }
}
