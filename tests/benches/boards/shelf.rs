//! What a node of the benchmark keeps of a board: in memory, with when it came.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use anyhow::Result;
use bytes::Bytes;
use dht::board::{Item, Ledger, Verdict, Way};
use ed25519_dalek::SigningKey;
use protocol::{
    NodeId, UnixMillis,
    board::{BoardName, Entry, Kind, Note, NoteId, Saying},
    limits::NOTE_LIFETIME,
    names::SwarmName,
};

/// The entries by id, each with when it came.
#[derive(Default)]
pub(super) struct Shelf {
    kept: Mutex<BTreeMap<NoteId, (Entry, Instant)>>,
}

pub(super) fn board() -> BoardName {
    "bench".parse().expect("a board's name")
}

fn now() -> UnixMillis {
    UnixMillis::from(SystemTime::now())
}

/// A note that was written so long ago.
pub(super) fn note(key: &SigningKey, body: &str, age: Duration) -> Result<Entry> {
    let note = Note {
        board: board(),
        kind: Kind::Tip,
        parent: None,
        body: body.to_owned(),
        agent: None,
        attachments: Vec::new(),
    };
    let age = u64::try_from(age.as_millis())?;
    let written = UnixMillis(now().0.saturating_sub(age));
    let expires = written.saturating_add(NOTE_LIFETIME);
    let (swarm, saying) = (SwarmName::public(), Saying::Note(note));
    Ok(Entry::sign(key, &swarm, saying, written, expires)?)
}

impl Shelf {
    pub(super) fn with(entries: &[Entry]) -> Arc<Self> {
        let shelf = Self::default();
        entries.iter().for_each(|entry| shelf.put(entry.clone()));
        Arc::new(shelf)
    }

    pub(super) fn put(&self, entry: Entry) {
        self.kept().insert(entry.id, (entry, Instant::now()));
    }

    pub(super) fn len(&self) -> usize {
        self.kept().len()
    }

    pub(super) fn came(&self, id: &NoteId) -> Option<Instant> {
        self.kept().get(id).map(|(_, came)| *came)
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<NoteId, (Entry, Instant)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger for Shelf {
    fn take(&self, _: &BoardName, _: NodeId, bytes: Bytes, _: Way) -> Verdict {
        match Entry::decode(&bytes, &SwarmName::public(), now()) {
            Ok(entry) if self.kept().contains_key(&entry.id) => Verdict::Known,
            Ok(entry) => {
                self.put(entry);
                Verdict::New
            }
            Err(_) => Verdict::Invalid,
        }
    }

    fn floor(&self, _: &BoardName) -> UnixMillis {
        UnixMillis(0)
    }

    fn items(&self, _: &BoardName, since: UnixMillis) -> Vec<Item> {
        let kept = self.kept();
        let items = kept.values().map(|(entry, _)| Item {
            written: entry.written,
            id: entry.id,
        });
        let mut items: Vec<Item> = items.filter(|item| item.written >= since).collect();
        items.sort_unstable();
        items
    }

    fn entries(&self, _: &BoardName, ids: &[NoteId]) -> Vec<Bytes> {
        let kept = self.kept();
        let wanted = ids.iter().filter_map(|id| kept.get(id));
        wanted.map(|(entry, _)| entry.bytes.clone()).collect()
    }

    fn lacks(&self, _: &BoardName, mut ids: Vec<NoteId>) -> Vec<NoteId> {
        let kept = self.kept();
        ids.retain(|id| !kept.contains_key(id));
        ids
    }

    fn attachment(&self, _: &[u8; 32]) -> Option<Bytes> {
        None
    }
}
