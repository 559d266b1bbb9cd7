//! Entries: golden bytes, what is refused, whose notes can be withdrawn, garbage.

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use proptest::{collection::vec, option, prelude::*};
use prost::Message;

use super::*;
use crate::{
    envelope::{Signed, VerifyError},
    ids::{NodeId, Sequence, UnixMillis},
    limits::{MAX_ENTRY_BYTES, MAX_NOTE_BODY_BYTES, NOTE_LIFETIME},
};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn swarm() -> SwarmName {
    "lab".parse().unwrap()
}

fn expires() -> UnixMillis {
    NOW.saturating_add(NOTE_LIFETIME)
}

fn note() -> Note {
    Note {
        board: "rust".parse().unwrap(),
        kind: Kind::Finding,
        parent: Some(NoteId::from_bytes(&[7; 32]).unwrap()),
        body: "sled flushes before it acknowledges\n\tsince 0.34".into(),
        agent: Some("claude".parse().unwrap()),
        attachments: vec![Attachment::of(b"log", Some("build.log".into()))],
    }
}

fn largest() -> Note {
    let named = |n: u8| Attachment::of(&[n], Some("n".repeat(128)));
    Note {
        board: "b".repeat(48).parse().unwrap(),
        body: "x".repeat(MAX_NOTE_BODY_BYTES),
        agent: Some("a".repeat(48).parse().unwrap()),
        attachments: (0..4).map(named).collect(),
        ..note()
    }
}

fn signed(note: Note) -> Result<Entry, EntryError> {
    Entry::sign(&key(1), &swarm(), Saying::Note(note), NOW, expires())
}

fn withdrawn(entry: &Entry, by: &SigningKey) -> Result<Entry, EntryError> {
    let saying = Saying::Withdrawal(entry.withdrawal().unwrap());
    let written = NOW.saturating_add(Duration::from_secs(60));
    Entry::sign(by, &swarm(), saying, written, entry.expires)
}

fn decode(bytes: &[u8]) -> Result<Entry, EntryError> {
    Entry::decode(bytes, &swarm(), NOW)
}

/// What is made of a message that [`Entry::sign`] would not sign.
fn forged(change: impl FnOnce(&mut wire::Saying)) -> Result<Entry, EntryError> {
    let mut message = write::write(&Saying::Note(note()), &swarm());
    change(&mut message);
    let signed = Signed::sign(&key(1), Sequence(NOW.0), expires(), &message).unwrap();
    decode(&signed.encode())
}

fn forged_note(change: impl FnOnce(&mut wire::Note)) -> Result<Entry, EntryError> {
    forged(|saying| match &mut saying.what {
        Some(wire::saying::What::Note(note)) => change(note),
        _ => panic!("a note"),
    })
}

fn field(result: Result<Entry, EntryError>) -> &'static str {
    match result {
        Err(EntryError::Field { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn bytes_are_golden() {
    let entry = signed(note()).unwrap();
    let withdrawal = withdrawn(&entry, &key(1)).unwrap();
    let lines = [
        entry.id.to_string(),
        hex::encode(&entry.bytes),
        withdrawal.id.to_string(),
        hex::encode(&withdrawal.bytes),
    ];
    let golden: Vec<&str> = include_str!("golden.txt").lines().collect();
    assert_eq!(lines.to_vec(), golden, "{}", lines.join("\n"));
}

#[test]
fn topics_are_golden() {
    let board = "llama.cpp".parse().unwrap();
    assert_eq!(topic(&swarm(), &board), "/shoal/lab/board/llama.cpp/1");
}

#[test]
fn the_largest_note_fits_and_survives() {
    let entry = signed(largest()).unwrap();
    assert!(
        entry.bytes.len() <= MAX_ENTRY_BYTES,
        "{}",
        entry.bytes.len()
    );
    assert!(entry.bytes.len() + 1500 <= 8 << 10);
    assert_eq!(decode(&entry.bytes), Ok(entry.clone()));
    assert_eq!(Entry::stored(&entry.bytes, &swarm()), Ok(entry));
}

#[test]
fn times_are_held_to() {
    let entry =
        |written, expires| Entry::sign(&key(1), &swarm(), Saying::Note(note()), written, expires);
    let month = NOW.saturating_add(MAX_NOTE_LIFETIME);
    assert!(entry(NOW, month).is_ok());
    let late = month.saturating_add(Duration::from_millis(1));
    assert_eq!(entry(NOW, late), Err(EntryError::Lifetime));
    assert_eq!(entry(NOW, NOW), Err(EntryError::Lifetime));

    let ahead = NOW.saturating_add(MAX_NOTE_AHEAD);
    let long = entry(ahead, ahead.saturating_add(MAX_NOTE_LIFETIME)).unwrap();
    assert_eq!(decode(&long.bytes), Ok(long), "clocks differ");
    let ahead = ahead.saturating_add(Duration::from_millis(1));
    let early = entry(ahead, ahead.saturating_add(NOTE_LIFETIME)).unwrap();
    assert_eq!(decode(&early.bytes), Err(EntryError::Ahead));

    let old = entry(UnixMillis(NOW.0 - 10), NOW).unwrap();
    let expired = decode(&old.bytes).unwrap_err();
    assert_eq!(expired, EntryError::Verify(VerifyError::Expired));
    assert!(!expired.blames_sender() && !EntryError::Ahead.blames_sender());
}

#[test]
fn a_note_of_one_swarm_is_none_of_another() {
    let entry = signed(note()).unwrap();
    let other = SwarmName::public();
    let refused = Entry::decode(&entry.bytes, &other, NOW).unwrap_err();
    assert_eq!(refused, EntryError::Swarm(other));
    assert!(refused.blames_sender());
}

#[test]
fn what_a_third_adds_makes_no_second_note() {
    let entry = signed(note()).unwrap();
    // A field that no version knows, at the envelope's end.
    let padded = [entry.bytes.as_ref(), &[0xfa, 0x3e, 1, 0]].concat();
    assert_eq!(decode(&padded), Ok(entry));
}

#[test]
fn only_the_author_takes_a_note_back() {
    let entry = signed(note()).unwrap();
    let withdrawal = withdrawn(&entry, &key(1)).unwrap();
    let known = decode(&withdrawal.bytes).unwrap();
    assert_eq!(known, withdrawal);
    let Saying::Withdrawal(told) = &known.saying else {
        panic!("a withdrawal");
    };
    assert_eq!((told.note, told.kind), (entry.id, Kind::Finding));
    assert_eq!(known.expires, entry.expires);
    assert_eq!(withdrawal.withdrawal(), None);
    assert_eq!(withdrawn(&entry, &key(2)), Err(EntryError::Altered));

    // What another signs all the same is about a note of his own that nobody wrote.
    let message = write::write(&known.saying, &swarm());
    let signed = Signed::sign(&key(2), Sequence(NOW.0), entry.expires, &message).unwrap();
    let other = decode(&signed.encode()).unwrap();
    assert_eq!(other.author, NodeId::from(&key(2)));
    let Saying::Withdrawal(told) = other.saying else {
        panic!("a withdrawal");
    };
    assert_ne!(told.note, entry.id);
}

#[test]
fn a_withdrawal_is_not_older_than_its_note() {
    let entry = signed(note()).unwrap();
    let saying = Saying::Withdrawal(entry.withdrawal().unwrap());
    let early = UnixMillis(NOW.0 - 1);
    let result = Entry::sign(&key(1), &swarm(), saying, early, entry.expires);
    assert_eq!(field(result), "written");
}

#[test]
fn fields_out_of_bounds_are_refused() {
    let bodies = ["", " \n", "a\u{1b}[2J", "a\rb", "\0", &"x".repeat(4097)];
    for body in bodies {
        assert_eq!(field(forged_note(|n| n.body = body.into())), "body");
    }
    let attachment =
        |change: fn(&mut wire::Attachment)| field(forged_note(|n| change(&mut n.attachments[0])));
    assert_eq!(attachment(|a| a.digest.truncate(31)), "digest");
    assert_eq!(attachment(|a| a.bytes = 0), "bytes");
    assert_eq!(attachment(|a| a.bytes = (256 << 10) + 1), "bytes");
    assert_eq!(attachment(|a| a.name = "../x".into()), "name");
    assert_eq!(attachment(|a| a.name = "..".into()), "name");
    assert_eq!(attachment(|a| a.name = "a\\b".into()), "name");
    assert_eq!(attachment(|a| a.name = "x".repeat(129)), "name");
    let five = |n: &mut wire::Note| n.attachments = vec![n.attachments[0].clone(); 5];
    assert_eq!(field(forged_note(five)), "attachments");
    assert_eq!(field(forged_note(|n| n.parent = vec![1; 31])), "parent");
    let agent = forged_note(|n| n.agent = "a\n".into());
    assert!(matches!(agent, Err(EntryError::Agent(_))));
    let board = forged(|s| s.board = "../x".into());
    assert!(matches!(board, Err(EntryError::Board(_))));
}

#[test]
fn later_kinds_blame_nobody() {
    let unknown = [
        forged_note(|n| n.kind = 99),
        forged_note(|n| n.kind = 0),
        forged(|s| s.what = None),
    ];
    for result in unknown {
        let error = result.unwrap_err();
        assert_eq!(error, EntryError::Unknown);
        assert!(!error.blames_sender());
    }
}

#[test]
fn unsigned_and_oversized_entries_are_refused() {
    let entry = signed(note()).unwrap();
    let mut altered = entry.bytes.to_vec();
    *altered.last_mut().unwrap() ^= 1;
    let error = decode(&altered).unwrap_err();
    assert_eq!(error, EntryError::Verify(VerifyError::Signature));
    assert!(error.blames_sender());
    let error = decode(&vec![0; MAX_ENTRY_BYTES + 1]).unwrap_err();
    assert!(matches!(error, EntryError::Envelope(_)));
}

#[test]
fn attachments_are_known_by_their_bytes() {
    let attachment = Attachment::of(b"log", None);
    assert!(attachment.is_of(b"log") && !attachment.is_of(b"lag"));
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(Kind::ALL.to_vec())
}

fn notes() -> impl Strategy<Value = Note> {
    let attachments = vec(
        (vec(any::<u8>(), 1..50), option::of("[a-zA-Z0-9_]{1,20}")),
        0..5,
    );
    let ids = option::of(any::<[u8; 32]>());
    (
        "[a-z0-9]{1,20}",
        kinds(),
        ids,
        "[a-zß語\n\t]{0,300}x",
        option::of("[a-zA-Zü]{1,20}"),
        attachments,
    )
        .prop_map(|(board, kind, parent, body, agent, attachments)| Note {
            board: board.parse().unwrap(),
            kind,
            parent: parent.map(|bytes| NoteId::from_bytes(&bytes).unwrap()),
            body,
            agent: agent.map(|name| name.parse().unwrap()),
            attachments: (attachments.into_iter().take(4))
                .map(|(bytes, name)| Attachment::of(&bytes, name))
                .collect(),
        })
}

proptest! {
    #[test]
    fn notes_survive_the_wire(note in notes()) {
        let entry = signed(note).unwrap();
        prop_assert_eq!(decode(&entry.bytes), Ok(entry.clone()));
        let withdrawal = withdrawn(&entry, &key(1)).unwrap();
        prop_assert_eq!(decode(&withdrawal.bytes), Ok(withdrawal));
    }

    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        let _ = decode(&bytes);
        let _ = Entry::stored(&bytes, &swarm());
        let signed = wire::Saying::decode(bytes.as_slice())
            .map(|message| Signed::sign(&key(1), Sequence(NOW.0), expires(), &message));
        if let Ok(Ok(signed)) = signed {
            let _ = decode(&signed.encode());
        }
    }

    #[test]
    fn damaged_entries_are_refused_or_the_same(at: prop::sample::Index, bit in 0..8_u32) {
        let entry = signed(note()).unwrap();
        let mut bytes = entry.bytes.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(accepted) = decode(&bytes) {
            prop_assert_eq!(accepted, entry);
        }
        let _ = Entry::stored(&Bytes::from(bytes), &swarm());
    }
}
