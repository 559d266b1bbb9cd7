//! The boards' part of the store.

use protocol::NodeId;
use protocol::board::{Entry, NoteId};
use protocol::names::SwarmName;
use tracing::warn;

use super::State;
use super::settings::Settings;
use crate::core::board::standing::Standing;
use crate::store::{Rows, Store, StoreError, Table};

/// The tables and rows.
pub(super) struct Disk {
    entries: Rows,
    attachments: Rows,
    settings: Table<Settings>,
    authors: Table<Standing>,
    /// The key of this swarm's settings.
    swarm: String,
}

impl Disk {
    pub(super) fn open(store: &Store, swarm: &SwarmName) -> Result<Self, StoreError> {
        Ok(Self {
            entries: store.rows(&format!("board_entries/{swarm}"))?,
            attachments: store.rows(&format!("board_attachments/{swarm}"))?,
            settings: store.table()?,
            authors: store.table()?,
            swarm: swarm.to_string(),
        })
    }

    pub(super) fn settings(&self) -> Result<Settings, StoreError> {
        Ok(self.settings.read(&self.swarm)?.unwrap_or_default())
    }

    pub(super) fn put_settings(&self, settings: &Settings) -> Result<(), StoreError> {
        self.settings.put(&self.swarm, settings)
    }

    pub(super) fn authors(&self) -> Result<Vec<(NodeId, Standing)>, StoreError> {
        let all = self.authors.all()?.into_iter();
        let known = all.filter_map(|(author, standing)| Some((author.parse().ok()?, standing)));
        Ok(known.collect())
    }

    pub(super) fn put_author(
        &self,
        author: &NodeId,
        standing: Option<&Standing>,
    ) -> Result<(), StoreError> {
        let key = author.to_string();
        match standing {
            Some(standing) => self.authors.put(&key, standing),
            None => self.authors.remove(&key).map(|_| ()),
        }
    }

    /// Reads everything. A row that is no entry is erased: it can be had again.
    pub(super) fn load(&self, swarm: &SwarmName, state: &mut State) -> Result<(), StoreError> {
        for row in self.attachments.iter() {
            let (key, bytes) = row?;
            match <[u8; 32]>::try_from(key.as_slice()) {
                Ok(digest) => {
                    let bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    state.attachments.insert(digest, bytes);
                }
                Err(_) => self.attachments.remove(&key)?,
            }
        }
        for row in self.entries.iter() {
            let (key, bytes) = row?;
            match Entry::stored(&bytes, swarm) {
                Ok(entry) if key == entry.id.as_bytes() => self.restore(&entry, state)?,
                _ => {
                    warn!(key = hex::encode(&key), "a note was damaged on the disk");
                    self.entries.remove(&key)?;
                }
            }
        }
        Ok(())
    }

    fn restore(&self, entry: &Entry, state: &mut State) -> Result<(), StoreError> {
        if state.desk.holdings.is_withdrawn(&entry.id) {
            return self.entries.remove(entry.id.as_bytes());
        }
        for id in state.desk.holdings.insert(entry) {
            self.entries.remove(id.as_bytes())?;
        }
        Ok(())
    }

    pub(super) fn put(&self, entry: &Entry) -> Result<(), StoreError> {
        self.entries.put(entry.id.as_bytes(), &entry.bytes)
    }

    pub(super) fn read(&self, id: &NoteId) -> Result<Option<Vec<u8>>, StoreError> {
        self.entries.read(id.as_bytes())
    }

    /// What stays for want of a working disk goes at the next start, or with the next try.
    pub(super) fn erase(&self, id: &NoteId) {
        if let Err(error) = self.entries.remove(id.as_bytes()) {
            warn!(%error, "a note that is over stays on the disk");
        }
    }

    pub(super) fn put_attachment(&self, digest: &[u8; 32], bytes: &[u8]) -> Result<(), StoreError> {
        self.attachments.put(digest, bytes)
    }

    pub(super) fn attachment(&self, digest: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        self.attachments.read(digest)
    }

    pub(super) fn erase_attachment(&self, digest: &[u8; 32]) {
        if let Err(error) = self.attachments.remove(digest) {
            warn!(%error, "an attachment that no note has stays on the disk");
        }
    }

    pub(super) fn flush(&self) -> Result<(), StoreError> {
        // One log for all trees: whichever is flushed, everything is.
        self.attachments.flush()?;
        self.entries.flush()
    }
}
