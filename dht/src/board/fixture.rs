//! A ledger in memory that checks all that a ledger has to, for tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
    time::SystemTime,
};

use ed25519_dalek::SigningKey;
use protocol::{
    board::{Entry, Kind, Note, Saying},
    limits::NOTE_LIFETIME,
    names::SwarmName,
};
use tokio::sync::watch;

use super::*;

/// What a node keeps in a test.
pub(crate) struct Shelf {
    swarm: SwarmName,
    kept: Mutex<Kept>,
    count: watch::Sender<usize>,
}

#[derive(Default)]
struct Kept {
    entries: BTreeMap<(BoardName, Item), Entry>,
    attachments: BTreeMap<[u8; 32], Bytes>,
    /// Whoever brought what is forged.
    forgers: BTreeSet<NodeId>,
    /// What is said of a note that is not there.
    phantoms: Vec<Item>,
}

pub(crate) fn now() -> UnixMillis {
    UnixMillis::from(SystemTime::now())
}

pub(crate) fn board() -> BoardName {
    "tests".parse().unwrap()
}

/// A note that was written so many milliseconds ago.
pub(crate) fn note(seed: u8, body: &str, age_millis: u64) -> Entry {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let note = Note {
        board: board(),
        kind: Kind::Tip,
        parent: None,
        body: body.to_owned(),
        agent: None,
        attachments: Vec::new(),
    };
    let written = UnixMillis(now().0 - age_millis);
    let expires = written.saturating_add(NOTE_LIFETIME);
    let swarm = SwarmName::public();
    Entry::sign(&key, &swarm, Saying::Note(note), written, expires).unwrap()
}

/// So many notes of one author.
pub(crate) fn notes(seed: u8, count: u64) -> Vec<Entry> {
    let age = |n: u64| 1000 * (count - n) + n % 7;
    (0..count)
        .map(|n| note(seed, &format!("note {n} of {seed}"), age(n)))
        .collect()
}

impl Shelf {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            swarm: SwarmName::public(),
            kept: Mutex::default(),
            count: watch::Sender::new(0),
        })
    }

    /// A shelf with these on it.
    pub(crate) fn with(entries: &[Entry]) -> Arc<Self> {
        let shelf = Self::new();
        entries.iter().for_each(|entry| shelf.put(entry.clone()));
        shelf
    }

    pub(crate) fn put(&self, entry: Entry) {
        let board = entry.saying.board().clone();
        let item = Item {
            written: entry.written,
            id: entry.id,
        };
        let mut kept = self.kept();
        kept.entries.insert((board, item), entry);
        self.count.send_replace(kept.entries.len());
    }

    pub(crate) fn attach(&self, bytes: &[u8]) -> [u8; 32] {
        let digest = *blake3::hash(bytes).as_bytes();
        let bytes = Bytes::copy_from_slice(bytes);
        self.kept().attachments.insert(digest, bytes);
        digest
    }

    /// Says from now on that it has notes that are not there.
    pub(crate) fn pretend(&self, count: u64) {
        let phantom = |n: u64| Item {
            written: UnixMillis(now().0 - n),
            id: NoteId::from_bytes(blake3::hash(&n.to_be_bytes()).as_bytes()).unwrap(),
        };
        self.kept().phantoms = (0..count).map(phantom).collect();
    }

    pub(crate) fn ids(&self) -> BTreeSet<NoteId> {
        let kept = self.kept();
        kept.entries.values().map(|entry| entry.id).collect()
    }

    pub(crate) fn len(&self) -> usize {
        *self.count.borrow()
    }

    pub(crate) fn forgers(&self) -> BTreeSet<NodeId> {
        self.kept().forgers.clone()
    }

    /// Waits until so many are there.
    pub(crate) async fn until(&self, count: usize) {
        let mut counts = self.count.subscribe();
        let come = counts.wait_for(|there| *there >= count);
        let come = tokio::time::timeout(std::time::Duration::from_secs(60), come).await;
        assert!(come.is_ok(), "{} of {count} came", self.len());
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }
}

impl Ledger for Shelf {
    fn take(&self, board: &BoardName, from: NodeId, bytes: Bytes, _: Way) -> Verdict {
        let entry = match Entry::decode(&bytes, &self.swarm, now()) {
            Ok(entry) if entry.saying.board() == board => entry,
            Err(error) if !error.blames_sender() => return Verdict::Ignored,
            _ => {
                self.kept().forgers.insert(from);
                return Verdict::Invalid;
            }
        };
        if self.ids().contains(&entry.id) {
            return Verdict::Known;
        }
        self.put(entry);
        Verdict::New
    }

    fn floor(&self, _: &BoardName) -> UnixMillis {
        UnixMillis(now().0.saturating_sub(30 * 24 * 3600 * 1000))
    }

    fn items(&self, board: &BoardName, since: UnixMillis) -> Vec<Item> {
        let kept = self.kept();
        let of_board = kept.entries.keys().filter(|(of, _)| of == board);
        let items = of_board.map(|(_, item)| *item);
        let all = items.chain(kept.phantoms.iter().copied());
        let mut items: Vec<Item> = all.filter(|item| item.written >= since).collect();
        items.sort_unstable();
        items
    }

    fn entries(&self, board: &BoardName, ids: &[NoteId]) -> Vec<Bytes> {
        let kept = self.kept();
        let of_board = kept.entries.iter().filter(|((of, _), _)| of == board);
        let wanted = of_board.filter(|(_, entry)| ids.contains(&entry.id));
        wanted.map(|(_, entry)| entry.bytes.clone()).collect()
    }

    fn lacks(&self, _: &BoardName, mut ids: Vec<NoteId>) -> Vec<NoteId> {
        let known = self.ids();
        ids.retain(|id| !known.contains(id));
        ids
    }

    fn attachment(&self, digest: &[u8; 32]) -> Option<Bytes> {
        self.kept().attachments.get(digest).cloned()
    }
}
