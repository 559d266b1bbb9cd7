//! What a node of the DHT keeps for others: who provides what, and nothing else.
//!
//! Anybody may ask a node of the DHT to keep a record, so all of it is bounded: keys in all,
//! providers of a key, keys of one provider. Value records are refused: nothing of ours is one.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use libp2p::{
    PeerId,
    kad::{
        ProviderRecord, Record, RecordKey,
        store::{Error, RecordStore, Result},
    },
};

/// Keys of others: at 32 bytes and 20 providers each 20 MB at the very most.
pub const MAX_KEYS: usize = 4096;

/// Providers of one key, the closest to it: as many as a lookup brings together.
pub const MAX_PROVIDERS: usize = 20;

/// Keys for which one peer provides: 16 deployments and 32 slices, and room for a change of both.
pub const MAX_KEYS_PER_PEER: usize = 96;

/// Keys for which this node provides.
pub const MAX_OWN_KEYS: usize = 128;

/// Addresses kept with a provider.
const MAX_ADDRESSES: usize = 8;

/// The longest that a record of another is kept, whatever it says.
const MAX_TTL: Duration = Duration::from_secs(30 * 60);

/// The least time between two walks over all records.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Provider records, bounded.
pub struct ProviderStore {
    own: PeerId,
    providers: HashMap<RecordKey, Vec<ProviderRecord>>,
    /// For which keys each other peer provides.
    keys: HashMap<PeerId, HashSet<RecordKey>>,
    provided: HashMap<RecordKey, ProviderRecord>,
    /// When records that are over were last looked for.
    swept: Option<Instant>,
}

impl ProviderStore {
    /// An empty store of this node.
    pub fn new(own: PeerId) -> Self {
        Self {
            own,
            providers: HashMap::new(),
            keys: HashMap::new(),
            provided: HashMap::new(),
            swept: None,
        }
    }

    /// Keys for which others provide.
    pub fn len(&self) -> usize {
        self.providers.len()
    }

    /// Whether nobody else provides anything.
    pub fn is_empty(&self) -> bool {
        self.providers.is_empty()
    }

    fn add(&mut self, record: ProviderRecord, now: Instant) -> Result<()> {
        if !self.has_room(&record) {
            self.drop_expired(now);
            if !self.has_room(&record) {
                return Err(Error::MaxProvidedKeys);
            }
        }
        let keys = self.keys.entry(record.provider).or_default();
        let known = self.providers.entry(record.key.clone()).or_default();
        known.retain(|other| !other.is_expired(now));
        if let Some(same) = known.iter_mut().find(|r| r.provider == record.provider) {
            *same = record;
            return Ok(());
        }
        // Without an order of its own, whoever comes first stays: a flood displaces nobody.
        if known.len() >= MAX_PROVIDERS {
            if keys.is_empty() {
                self.keys.remove(&record.provider);
            }
            return Err(Error::MaxProvidedKeys);
        }
        keys.insert(record.key.clone());
        known.push(record);
        Ok(())
    }

    fn has_room(&self, record: &ProviderRecord) -> bool {
        let has_key = self.providers.contains_key(&record.key) || self.providers.len() < MAX_KEYS;
        let has_share = |keys: &HashSet<RecordKey>| {
            keys.contains(&record.key) || keys.len() < MAX_KEYS_PER_PEER
        };
        has_key && self.keys.get(&record.provider).is_none_or(has_share)
    }

    /// Forgets all records that are over, so that their places are free; not more often than
    /// every [`SWEEP_INTERVAL`], for a flood asks for it with every message.
    fn drop_expired(&mut self, now: Instant) {
        if self.swept.is_some_and(|at| now < at + SWEEP_INTERVAL) {
            return;
        }
        self.swept = Some(now);
        self.providers.retain(|_, records| {
            records.retain(|record| !record.is_expired(now));
            !records.is_empty()
        });
        self.keys.clear();
        for (key, records) in &self.providers {
            for record in records {
                let keys = self.keys.entry(record.provider).or_default();
                keys.insert(key.clone());
            }
        }
    }
}

impl RecordStore for ProviderStore {
    type RecordsIter<'a> = std::iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = std::iter::Map<
        std::collections::hash_map::Values<'a, RecordKey, ProviderRecord>,
        fn(&'a ProviderRecord) -> Cow<'a, ProviderRecord>,
    >;

    fn get(&self, _: &RecordKey) -> Option<Cow<'_, Record>> {
        None
    }

    fn put(&mut self, _: Record) -> Result<()> {
        Err(Error::MaxRecords)
    }

    fn remove(&mut self, _: &RecordKey) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        std::iter::empty()
    }

    fn add_provider(&mut self, mut record: ProviderRecord) -> Result<()> {
        if record.provider == self.own {
            let is_new = !self.provided.contains_key(&record.key);
            if is_new && self.provided.len() >= MAX_OWN_KEYS {
                return Err(Error::MaxProvidedKeys);
            }
            self.provided.insert(record.key.clone(), record);
            return Ok(());
        }
        let now = now();
        record.addresses.truncate(MAX_ADDRESSES);
        let latest = now + MAX_TTL;
        record.expires = Some(record.expires.map_or(latest, |at| at.min(latest)));
        self.add(record, now)
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let others = self.providers.get(key).into_iter().flatten();
        others.chain(self.provided.get(key)).cloned().collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        self.provided.values().map(Cow::Borrowed)
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        if *provider == self.own {
            self.provided.remove(key);
            return;
        }
        if let Some(records) = self.providers.get_mut(key) {
            records.retain(|record| record.provider != *provider);
            if records.is_empty() {
                self.providers.remove(key);
            }
        }
        if let Some(keys) = self.keys.get_mut(provider) {
            keys.remove(key);
            if keys.is_empty() {
                self.keys.remove(provider);
            }
        }
    }
}

/// The trait brings no time in.
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> RecordKey {
        RecordKey::new(&number.to_be_bytes())
    }

    fn record(number: usize, provider: PeerId) -> ProviderRecord {
        ProviderRecord::new(key(number), provider, Vec::new())
    }

    #[test]
    fn one_peer_has_its_share_and_no_more() {
        let mut store = ProviderStore::new(PeerId::random());
        let (greedy, modest) = (PeerId::random(), PeerId::random());
        let taken = (0..10_000).filter(|n| store.add_provider(record(*n, greedy)).is_ok());
        assert_eq!(taken.count(), MAX_KEYS_PER_PEER);
        store.add_provider(record(20_000, modest)).unwrap();
        assert_eq!(store.providers(&key(20_000)).len(), 1);
        store.remove_provider(&key(0), &greedy);
        store.add_provider(record(9_999, greedy)).unwrap();
    }

    #[test]
    fn a_flood_of_identities_is_bounded_and_displaces_nobody() {
        let mut store = ProviderStore::new(PeerId::random());
        let first = PeerId::random();
        store.add_provider(record(0, first)).unwrap();
        for _ in 0..1000 {
            let _ = store.add_provider(record(0, PeerId::random()));
        }
        assert_eq!(store.providers(&key(0)).len(), MAX_PROVIDERS);
        assert_eq!(store.providers(&key(0))[0].provider, first);
        assert!(store.keys.len() <= MAX_PROVIDERS);
        for number in 0..2 * MAX_KEYS {
            let _ = store.add_provider(record(number, PeerId::random()));
        }
        assert_eq!(store.len(), MAX_KEYS);
        assert!(store.keys.len() <= MAX_KEYS + MAX_PROVIDERS);
    }

    #[test]
    fn what_is_over_makes_room() {
        let mut store = ProviderStore::new(PeerId::random());
        let peer = PeerId::random();
        for number in 0..MAX_KEYS {
            store
                .add_provider(record(number, PeerId::random()))
                .unwrap();
        }
        assert!(store.add_provider(record(MAX_KEYS, peer)).is_err());
        let later = now() + MAX_TTL + Duration::from_secs(1);
        store.add(record(MAX_KEYS, peer), later).unwrap();
        assert_eq!((store.len(), store.keys.len()), (1, 1));
    }

    #[test]
    fn its_own_are_apart_and_values_are_refused() {
        let own = PeerId::random();
        let mut store = ProviderStore::new(own);
        store.add_provider(record(1, own)).unwrap();
        assert_eq!(store.provided().count(), 1);
        assert!(store.is_empty());
        store.remove_provider(&key(1), &own);
        assert_eq!(store.provided().count(), 0);
        assert!(store.put(Record::new(key(2), vec![1])).is_err());
    }
}
