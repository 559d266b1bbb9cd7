//! A stranger's note or withdrawal: refused, or an entry that its own bytes give back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{
    UnixMillis,
    board::{AgentName, BoardName, Entry, NoteId, Saying},
    names::SwarmName,
};

/// Within the lifetime of the seeds in `seeds/note`.
const NOW: UnixMillis = UnixMillis(1_800_000_100_000);

fuzz_target!(|bytes: &[u8]| {
    let swarm: SwarmName = "lab".parse().expect("a swarm's name");
    if let Ok(entry) = Entry::decode(bytes, &swarm, NOW) {
        let again = Entry::decode(&entry.bytes, &swarm, NOW);
        assert_eq!(again.as_ref(), Ok(&entry), "what is passed on is taken");
        assert_eq!(Entry::stored(bytes, &swarm), Ok(entry));
    }
    // Without a signature it gets further.
    if let Ok(entry) = Entry::stored(bytes, &swarm) {
        assert_eq!(Entry::stored(&entry.bytes, &swarm).as_ref(), Ok(&entry));
        if let Saying::Note(note) = &entry.saying {
            assert!(!note.body.contains('\u{1b}') && note.body.len() <= 4096);
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let board = text.parse::<BoardName>().map(|name| name.to_string());
        assert!(board.is_err() || board.as_deref() == Ok(text));
        let agent = text.parse::<AgentName>().map(|name| name.to_string());
        assert!(agent.is_err() || agent.as_deref() == Ok(text));
        let _ = text.parse::<NoteId>();
    }
});
