//! Room, expiry, withdrawals, search: examples, and histories in which every index stays in step.

use ed25519_dalek::SigningKey;
use proptest::{collection::vec, prelude::*};
use protocol::board::{Kind, Note};
use protocol::names::SwarmName;

use super::*;
use crate::core::board::query::Query;

pub(in crate::core::board) const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

pub(in crate::core::board) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(in crate::core::board) fn author(seed: u8) -> NodeId {
    NodeId::from(&key(seed))
}

pub(in crate::core::board) fn at(seconds: u64) -> UnixMillis {
    NOW.saturating_add(Duration::from_secs(seconds))
}

/// A note of the board `b`, written so many seconds from now, for an hour.
pub(in crate::core::board) fn note(seed: u8, seconds: u64, body: &str) -> Entry {
    signed(
        seed,
        seconds,
        Note {
            board: "b".parse().unwrap(),
            kind: Kind::Tip,
            parent: None,
            body: body.into(),
            agent: None,
            attachments: Vec::new(),
        },
    )
}

fn signed(seed: u8, seconds: u64, note: Note) -> Entry {
    let expires = at(seconds + 3600);
    Entry::sign(
        &key(seed),
        &SwarmName::public(),
        Saying::Note(note),
        at(seconds),
        expires,
    )
    .unwrap()
}

pub(in crate::core::board) fn withdrawal(seed: u8, entry: &Entry, seconds: u64) -> Entry {
    let saying = Saying::Withdrawal(entry.withdrawal().unwrap());
    Entry::sign(
        &key(seed),
        &SwarmName::public(),
        saying,
        at(seconds),
        entry.expires,
    )
    .unwrap()
}

pub(in crate::core::board) fn holdings(limits: Limits) -> Holdings {
    let mut holdings = Holdings::new(limits);
    assert!(holdings.follow(&"b".parse().unwrap(), true));
    holdings
}

fn small() -> Limits {
    Limits {
        board_notes: 8,
        board_bytes: 1 << 20,
        total_bytes: 2 << 20,
        shares: 2,
        ..Limits::default()
    }
}

fn ids(entries: &[&Entry]) -> Vec<NoteId> {
    entries.iter().map(|entry| entry.id).collect()
}

fn find(holdings: &Holdings, text: &str) -> Vec<NoteId> {
    holdings.search(&Filter {
        text: Query::parse(text).unwrap(),
        limit: 100,
        ..Filter::default()
    })
}

fn search(holdings: &Holdings, filter: Filter) -> Vec<NoteId> {
    holdings.search(&Filter {
        limit: 100,
        ..filter
    })
}

/// A note, its answer, and another in between.
fn conversation(holdings: &mut Holdings) -> [Entry; 3] {
    let old = note(1, 0, "the hole punch works");
    let answer = signed(
        2,
        20,
        Note {
            kind: Kind::Answer,
            parent: Some(old.id),
            ..old.saying.note().unwrap().clone()
        },
    );
    let other = note(1, 10, "hole in the punch card");
    for entry in [&old, &answer, &other] {
        assert_eq!(holdings.check(entry, at(30)), Ok(()));
        assert!(holdings.insert(entry).is_empty());
        assert_eq!(holdings.check(entry, at(30)), Err(Refusal::Known));
    }
    [old, answer, other]
}

#[test]
fn notes_are_found_by_words_the_newest_first() {
    let mut holdings = holdings(Limits::default());
    let [old, answer, other] = conversation(&mut holdings);
    assert_eq!(find(&holdings, "punch hole"), ids(&[&answer, &other, &old]));
    assert_eq!(find(&holdings, "\"hole punch\""), ids(&[&answer, &old]));
    let few = holdings.search(&Filter {
        limit: 2,
        ..Filter::default()
    });
    assert_eq!(few, ids(&[&answer, &other]));
}

#[test]
fn notes_are_found_by_what_they_are() {
    let mut holdings = holdings(Limits::default());
    let [old, answer, other] = conversation(&mut holdings);
    let found = |change: &dyn Fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        search(&holdings, filter)
    };
    assert_eq!(found(&|f| f.author = Some(author(2))), ids(&[&answer]));
    assert_eq!(found(&|f| f.kind = Some(Kind::Answer)), ids(&[&answer]));
    assert_eq!(found(&|f| f.since = Some(at(10))), ids(&[&answer, &other]));
    for note in [old.id, answer.id] {
        assert_eq!(found(&|f| f.thread = Some(note)), ids(&[&answer, &old]));
    }
    let board = |name: &str| Some(name.parse().unwrap());
    assert_eq!(
        found(&|f| f.board = board("b")),
        ids(&[&answer, &other, &old])
    );
    assert_eq!(found(&|f| f.board = board("c")), []);
    assert_eq!(found(&|f| f.muted = [author(1)].into()), ids(&[&answer]));
}

#[test]
fn a_withdrawal_keeps_its_note_out() {
    let mut holdings = holdings(Limits::default());
    let (one, two) = (note(1, 0, "one"), note(1, 1, "two"));
    let (no_one, no_two) = (withdrawal(1, &one, 5), withdrawal(1, &two, 6));
    holdings.insert(&one);
    assert_eq!(holdings.insert(&no_one), ids(&[&one]));
    // Before the note itself.
    assert_eq!(holdings.insert(&no_two), []);
    for gone in [&one, &two] {
        assert_eq!(holdings.check(gone, at(10)), Err(Refusal::Known));
        assert!(holdings.insert(gone).is_empty() && !holdings.has(&gone.id));
    }
    assert_eq!(find(&holdings, "one"), []);
    let board = "b".parse().unwrap();
    let items = holdings.items(&board, NOW);
    assert_eq!(items, [(at(5), no_one.id), (at(6), no_two.id)]);
    let again = withdrawal(1, &one, 7);
    assert_eq!(holdings.check(&again, at(10)), Err(Refusal::Known));
    assert_eq!(
        holdings.named(&one.id.to_string()).unwrap().entry,
        no_one.id
    );
    assert_eq!(holdings.named(&no_one.id.to_string()), Err(NameError::None));
    // Both are over at the same time.
    let gone = holdings.expire(at(3600));
    assert_eq!(gone, ids(&[&no_one]));
    assert!(!holdings.is_withdrawn(&one.id));
    assert_eq!(holdings.check(&one, at(3600)), Err(Refusal::Old));
}

#[test]
fn an_author_has_a_share_and_the_board_an_end() {
    let mut holdings = holdings(small());
    let mine: Vec<Entry> = (0..6).map(|n| note(1, n * 10, "mine")).collect();
    for entry in &mine[1..5] {
        assert!(holdings.insert(entry).is_empty());
    }
    assert_eq!(holdings.check(&mine[0], at(60)), Err(Refusal::Share));
    assert_eq!(holdings.insert(&mine[5]), ids(&[&mine[1]]));
    let others: Vec<Entry> = (2..7).map(|seed| note(seed, 100, "theirs")).collect();
    for entry in &others[..4] {
        assert!(holdings.insert(entry).is_empty());
    }
    assert_eq!(holdings.len(), 8);
    assert_eq!(holdings.insert(&others[4]), ids(&[&mine[2]]));
    let board = "b".parse().unwrap();
    assert_eq!(
        holdings.floor(&board, at(110)),
        UnixMillis(mine[2].written.0 + 1)
    );
    assert_eq!(holdings.check(&mine[2], at(110)), Err(Refusal::Old));
    assert_eq!(holdings.check(&mine[1], at(110)), Err(Refusal::Old));
}

#[test]
fn boards_share_what_there_is_in_all() {
    let body = "x".repeat(4000);
    let total = 5 * size_of(&note(1, 0, &body)) + 10;
    let mut holdings = holdings(Limits {
        total_bytes: total,
        ..Limits::default()
    });
    assert!(holdings.follow(&"c".parse().unwrap(), true));
    let elsewhere = |n: u64| {
        let saying = note(1, n, &body).saying.note().unwrap().clone();
        signed(
            1,
            n,
            Note {
                board: "c".parse().unwrap(),
                ..saying
            },
        )
    };
    let small = elsewhere(0);
    holdings.insert(&small);
    let large: Vec<Entry> = (1..7).map(|n| note(2, n, &body)).collect();
    let gone: Vec<NoteId> = large
        .iter()
        .flat_map(|entry| holdings.insert(entry))
        .collect();
    // The larger board's oldest go, though the other's is older.
    assert_eq!(gone, ids(&[&large[0], &large[1]]));
    assert!(holdings.has(&small.id) && holdings.bytes() <= total);
}

#[test]
fn what_is_over_or_old_goes() {
    let limits = Limits {
        age: Duration::from_secs(100),
        ..Limits::default()
    };
    let mut holdings = holdings(limits);
    let (old, new) = (note(1, 0, "old"), note(1, 60, "new"));
    holdings.insert(&old);
    holdings.insert(&new);
    assert_eq!(holdings.expire(at(100)), []);
    assert_eq!(holdings.expire(at(101)), ids(&[&old]));
    assert_eq!(holdings.floor(&"b".parse().unwrap(), at(101)), at(1));
    assert_eq!(holdings.check(&old, at(101)), Err(Refusal::Old));
    assert_eq!(holdings.remove_author(&author(1)), ids(&[&new]));
    assert!(holdings.is_empty() && holdings.bytes() == 0);
}

#[test]
fn boards_that_nobody_follows_are_forgotten_when_empty() {
    let mut holdings = holdings(Limits::default());
    let board: BoardName = "b".parse().unwrap();
    let one = note(1, 0, "one");
    holdings.insert(&one);
    assert!(holdings.follow(&board, false));
    assert_eq!(
        holdings.check(&note(1, 1, "two"), NOW),
        Err(Refusal::NotFollowed)
    );
    let summary = &holdings.summaries()[0];
    assert_eq!((summary.notes, summary.is_followed), (1, false));
    holdings.remove(&one.id);
    assert!(holdings.summaries().is_empty());
    for n in 0..MAX_FOLLOWED {
        assert!(holdings.follow(&format!("b{n}").parse().unwrap(), true));
    }
    assert!(!holdings.follow(&board, true), "one too many");
    assert!(
        holdings.follow(&"b0".parse().unwrap(), true),
        "it is followed"
    );
    assert_eq!(holdings.summaries().len(), MAX_FOLLOWED);
}

#[test]
fn ids_are_named_by_their_beginning() {
    let mut holdings = holdings(Limits::default());
    let entries: Vec<Entry> = (0..40).map(|n| note(1, n * 10, "x")).collect();
    for entry in &entries {
        holdings.insert(entry);
    }
    let name = entries[7].id.to_string();
    assert_eq!(holdings.named(&name[..9]).unwrap().note, entries[7].id);
    assert_eq!(holdings.named(""), Err(NameError::Several));
    for none in ["zz", &"0".repeat(65), "é", &name.to_uppercase()] {
        assert_eq!(holdings.named(none), Err(NameError::None), "{none}");
    }
}

#[test]
fn removed_notes_leave_the_index() {
    let mut holdings = holdings(Limits::default());
    let entries: Vec<Entry> = (0..2500).map(|n| note(1, n, "word")).collect();
    for entry in &entries {
        holdings.insert(entry);
    }
    for entry in &entries[..2400] {
        assert!(holdings.remove(&entry.id) && !holdings.remove(&entry.id));
    }
    assert!(holdings.held.len() < 1500, "{}", holdings.held.len());
    let found = find(&holdings, "word");
    assert_eq!(found.len(), 100);
    assert_eq!(found[0], entries[2499].id);
    assert!(holdings.insert(&note(2, 9, "word again")).is_empty());
    assert_eq!(find(&holdings, "again").len(), 1);
}

/// What happens in a history.
#[derive(Debug, Clone)]
enum Step {
    Write { seed: u8, seconds: u64, word: u8 },
    Withdraw { of: prop::sample::Index },
    Remove { of: prop::sample::Index },
    Expire { seconds: u64 },
    Mute { seed: u8 },
}

fn steps() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => (1_u8..4, 0_u64..5000, 0_u8..3)
            .prop_map(|(seed, seconds, word)| Step::Write { seed, seconds, word }),
        2 => index().prop_map(|of| Step::Withdraw { of }),
        1 => index().prop_map(|of| Step::Remove { of }),
        1 => (0_u64..6000).prop_map(|seconds| Step::Expire { seconds }),
        1 => (1_u8..4).prop_map(|seed| Step::Mute { seed }),
    ]
}

/// Every index says the same, and nothing is over its limit.
fn check_steps(holdings: &Holdings) {
    let board = "b".parse().unwrap();
    let items = holdings.items(&board, UnixMillis(0));
    assert!(items.is_sorted());
    assert_eq!(items.len(), holdings.len());
    assert_eq!(holdings.expiries.len(), holdings.len());
    let streams: usize = holdings.streams.values().map(BTreeSet::len).sum();
    assert_eq!(streams, holdings.len());
    let held: Vec<&Held> = holdings.held.iter().flatten().collect();
    assert_eq!(held.len(), holdings.len());
    let bytes: u64 = held.iter().map(|held| held.bytes).sum();
    assert_eq!(bytes, holdings.bytes());
    assert!(items.len() <= 8 && bytes <= 2 << 20);
    let notes = held.iter().filter(|held| held.is_note()).count();
    assert_eq!(holdings.summaries()[0].notes, notes);
    assert_eq!(holdings.withdrawn.len(), held.len() - notes);
    for seed in 1..4 {
        let of = held.iter().filter(|held| held.author == author(seed));
        assert!(of.count() <= 4, "a share");
    }
    for (note, withdrawal) in &holdings.withdrawn {
        assert!(holdings.has(withdrawal) && !holdings.has(note));
    }
    let all = holdings.search(&Filter {
        limit: 100,
        ..Filter::default()
    });
    assert_eq!(all.len(), notes);
    let by_word: usize = ["w0", "w1", "w2"]
        .map(|word| find(holdings, word).len())
        .iter()
        .sum();
    assert_eq!(by_word, notes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_index_stays_in_step(history in vec(steps(), 1..60)) {
        let mut holdings = holdings(small());
        let mut written: Vec<(u8, Entry)> = Vec::new();
        let mut now = NOW;
        for step in history {
            match step {
                Step::Write { seed, seconds, word } => {
                    let entry = note(seed, seconds, &format!("w{word}"));
                    if holdings.check(&entry, now).is_ok() {
                        let gone = holdings.insert(&entry);
                        prop_assert!(gone.iter().all(|id| !holdings.has(id)));
                        prop_assert_eq!(holdings.has(&entry.id), !gone.contains(&entry.id));
                    }
                    written.push((seed, entry));
                }
                Step::Withdraw { of } if !written.is_empty() => {
                    let (seed, entry) = of.get(&written);
                    let seconds = entry.written.saturating_since(NOW).as_secs() + 60;
                    let withdrawal = withdrawal(*seed, entry, seconds);
                    if holdings.check(&withdrawal, now).is_ok() {
                        holdings.insert(&withdrawal);
                    }
                }
                Step::Remove { of } if !written.is_empty() => {
                    holdings.remove(&of.get(&written).1.id);
                }
                Step::Withdraw { .. } | Step::Remove { .. } => {}
                Step::Expire { seconds } => {
                    now = now.max(at(seconds));
                    holdings.expire(now);
                }
                Step::Mute { seed } => {
                    holdings.remove_author(&author(seed));
                    prop_assert!(!holdings.authors().contains_key(&author(seed)));
                }
            }
            check_steps(&holdings);
        }
    }

    /// In whatever order the same entries come, the newest are kept.
    #[test]
    fn order_does_not_matter(
        times in proptest::collection::btree_map(0_u64..1000, 1_u8..4, 1..30),
        order in any::<u64>(),
    ) {
        let entries: Vec<Entry> =
            times.iter().map(|(seconds, seed)| note(*seed, *seconds, "x")).collect();
        let keep = |entries: &[&Entry]| {
            let mut holdings = holdings(small());
            for entry in entries {
                if holdings.check(entry, at(1000)).is_ok() {
                    holdings.insert(entry);
                }
            }
            holdings.items(&"b".parse().unwrap(), UnixMillis(0))
        };
        let forward: Vec<&Entry> = entries.iter().collect();
        let mut shuffled = forward.clone();
        shuffled.sort_by_key(|entry| {
            protocol::digest::digest("order", &[&order.to_be_bytes(), entry.id.as_bytes()])
        });
        let (one, two) = (keep(&forward), keep(&shuffled));
        // What was evicted for want of room is not taken again, so an early flood may leave one
        // with fewer; the newest of a share's number are the same.
        let both = one.len().min(two.len()).min(4);
        prop_assert_eq!(&one[one.len() - both..], &two[two.len() - both..]);
    }
}
