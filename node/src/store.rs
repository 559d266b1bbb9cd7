//! The node's small state in one embedded database: typed records by key, and rows of bytes. It
//! alone knows sled; it knows no record's meaning. Models' files are not in it.
//!
//! What a crash may lose: nothing acknowledged. [`Table::put`], [`Table::remove`] and
//! [`Rows::flush`] return after the change is on disk; a change that was not acknowledged is there
//! or not, whole.
//! They wait for the disk: call them outside the async threads.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version of the records that this build writes.
pub const SCHEMA: u32 = 1;

const _: () = assert!(
    MIGRATIONS.len() + 1 == SCHEMA as usize,
    "each schema after the first has its migration"
);

/// `MIGRATIONS[n]` brings a database of schema `n + 1` to `n + 2`. Each must bear to be run
/// again on its own result: a crash may come between it and the new version number.
const MIGRATIONS: [Migration; 0] = [];

/// Page cache, bytes: the records are few and small, and an idle node stays small.
const CACHE_BYTES: u64 = 4 << 20;

/// Bytes of a key: longer than any name that is valid elsewhere.
pub const MAX_KEY_BYTES: usize = 512;

/// Bytes of a record: a list of a thousand files fits.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// sled's own threads may hold a database for a moment after it was dropped, on a busy machine for
/// longer: it is tried again for two seconds. A second node on the folder is refused before.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

const META: &str = "meta";
const SCHEMA_KEY: &str = "schema";

type Migration = fn(&sled::Db) -> sled::Result<()>;

/// A kind of record, kept as JSON under a key of its own tree.
pub trait Record: Serialize + DeserializeOwned {
    /// The tree's name. Never reused for another kind.
    const TABLE: &'static str;
}

/// Why the state cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database does not open.
    #[error(
        "the state in {} cannot be opened ({cause}): restore a copy, or move the folder away to \
         begin anew (models on disk are kept)",
        path.display()
    )]
    Broken {
        /// Its folder.
        path: PathBuf,
        /// The database's words.
        cause: String,
    },
    /// A newer build wrote it.
    #[error(
        "the state in {} has schema {found}, this build knows up to {SCHEMA}: use the newer build",
        path.display()
    )]
    Newer {
        /// Its folder.
        path: PathBuf,
        /// Its schema.
        found: u32,
    },
    /// A record that is not what its table holds.
    #[error("the record `{key}` of `{table}` is broken: {cause}")]
    BadRecord {
        /// The table.
        table: &'static str,
        /// The record's key.
        key: String,
        /// What is wrong.
        cause: String,
    },
    /// A key or record over its limit.
    #[error("a record of `{table}` is too large: {bytes} bytes")]
    TooLarge {
        /// The table.
        table: &'static str,
        /// Bytes of the key or of the record.
        bytes: usize,
    },
    /// The disk is full or failed.
    #[error("the state cannot be written: {0}")]
    Io(String),
}

/// The open database. Clones share it.
#[derive(Clone)]
pub struct Store {
    db: sled::Db,
}

impl Store {
    /// Opens or makes the database in this folder and brings it to [`SCHEMA`].
    ///
    /// # Errors
    /// It is broken, or from a newer build.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, &MIGRATIONS)
    }

    fn open_with(path: &Path, migrations: &[Migration]) -> Result<Self, StoreError> {
        let broken = |cause: String| StoreError::Broken {
            path: path.to_path_buf(),
            cause,
        };
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            // Every change is flushed before it is acknowledged; no thread need do it later.
            .flush_every_ms(None);
        let mut opened = open(&config);
        for _ in 0..LOCK_TRIES {
            if !is_locked(&opened) {
                break;
            }
            thread::sleep(LOCK_PAUSE);
            opened = open(&config);
        }
        let db = opened
            .map_err(|_| broken("its files are damaged".into()))?
            .map_err(|error| broken(error.to_string()))?;
        let store = Self { db };
        let known = u32::try_from(migrations.len() + 1).expect("migrations are few");
        let found = store.schema().map_err(broken)?;
        if found > known {
            let path = path.to_path_buf();
            return Err(StoreError::Newer { path, found });
        }
        for version in found..known {
            let index = usize::try_from(version - 1).expect("schemas begin at 1");
            let migrated = migrations[index](&store.db);
            migrated.map_err(|error| broken(error.to_string()))?;
            store.write_schema(version + 1)?;
        }
        Ok(store)
    }

    /// The records of one kind.
    ///
    /// # Errors
    /// The disk failed.
    pub fn table<T: Record>(&self) -> Result<Table<T>, StoreError> {
        Ok(Table {
            tree: self.db.open_tree(T::TABLE).map_err(io)?,
            kind: PhantomData,
        })
    }

    /// Rows of bytes: many and small ones that have a form of their own, or large ones.
    ///
    /// # Errors
    /// The disk failed.
    pub fn rows(&self, name: &str) -> Result<Rows, StoreError> {
        let tree = self.db.open_tree(name).map_err(io)?;
        Ok(Rows { tree })
    }

    /// The database's schema. One without is new and gets the first, which the migrations raise.
    fn schema(&self) -> Result<u32, String> {
        let meta = self.db.open_tree(META).map_err(|e| e.to_string())?;
        let stored = meta.get(SCHEMA_KEY).map_err(|e| e.to_string())?;
        match stored {
            Some(bytes) => match <[u8; 4]>::try_from(bytes.as_ref()) {
                Ok(bytes) => Ok(u32::from_be_bytes(bytes)).and_then(nonzero),
                Err(_) => Err("its version is unreadable".into()),
            },
            None if self.db.tree_names().len() > 2 => Err("its version is missing".into()),
            None => {
                self.write_schema(1).map_err(|error| error.to_string())?;
                Ok(1)
            }
        }
    }

    fn write_schema(&self, version: u32) -> Result<(), StoreError> {
        let meta = self.db.open_tree(META).map_err(io)?;
        meta.insert(SCHEMA_KEY, &version.to_be_bytes())
            .map_err(io)?;
        meta.flush().map_err(io)?;
        Ok(())
    }
}

fn nonzero(version: u32) -> Result<u32, String> {
    (version > 0)
        .then_some(version)
        .ok_or_else(|| "its version is zero".into())
}

/// sled answers some broken files with a panic instead of an error.
fn open(config: &sled::Config) -> thread::Result<sled::Result<sled::Db>> {
    catch_unwind(AssertUnwindSafe(|| config.open()))
}

/// sled names the lock in its text only.
fn is_locked(opened: &thread::Result<sled::Result<sled::Db>>) -> bool {
    let error = opened
        .as_ref()
        .ok()
        .and_then(|opened| opened.as_ref().err());
    error.is_some_and(|error| error.to_string().contains("could not acquire lock"))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn io(error: sled::Error) -> StoreError {
    StoreError::Io(error.to_string())
}

/// The records of one kind.
#[derive(Clone)]
pub struct Table<T> {
    tree: sled::Tree,
    kind: PhantomData<fn() -> T>,
}

impl<T: Record> Table<T> {
    /// The record under this key.
    ///
    /// # Errors
    /// The disk failed, or the record is broken.
    pub fn read(&self, key: &str) -> Result<Option<T>, StoreError> {
        let bytes = self.tree.get(key).map_err(io)?;
        bytes.map(|bytes| parse(key.as_bytes(), &bytes)).transpose()
    }

    /// Every record, by key.
    ///
    /// # Errors
    /// The disk failed, or a record is broken.
    pub fn all(&self) -> Result<Vec<(String, T)>, StoreError> {
        let entries = self.tree.iter();
        let parsed = entries.map(|entry| {
            let (key, bytes) = entry.map_err(io)?;
            let record = parse(&key, &bytes)?;
            Ok((String::from_utf8_lossy(&key).into_owned(), record))
        });
        parsed.collect()
    }

    /// Puts a record, and returns when it is on disk.
    ///
    /// # Errors
    /// It is too large, or the disk failed.
    pub fn put(&self, key: &str, record: &T) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(record).map_err(|error| StoreError::BadRecord {
            table: T::TABLE,
            key: key.into(),
            cause: error.to_string(),
        })?;
        let table = T::TABLE;
        for (bytes, limit) in [(key.len(), MAX_KEY_BYTES), (bytes.len(), MAX_RECORD_BYTES)] {
            if bytes > limit {
                return Err(StoreError::TooLarge { table, bytes });
            }
        }
        self.tree.insert(key, bytes).map_err(io)?;
        self.tree.flush().map_err(io)?;
        Ok(())
    }

    /// Removes a record, and returns when that is on disk; whether there was one.
    ///
    /// # Errors
    /// The disk failed.
    pub fn remove(&self, key: &str) -> Result<bool, StoreError> {
        let removed = self.tree.remove(key).map_err(io)?.is_some();
        self.tree.flush().map_err(io)?;
        Ok(removed)
    }
}

/// Bytes under keys of bytes. A change is on disk after [`Rows::flush`]: whoever acknowledges it
/// flushes first, and what others can give again is flushed with the next.
#[derive(Clone)]
pub struct Rows {
    tree: sled::Tree,
}

impl Rows {
    /// The row under this key.
    ///
    /// # Errors
    /// The disk failed.
    pub fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let row = self.tree.get(key).map_err(io)?;
        Ok(row.map(|bytes| bytes.to_vec()))
    }

    /// Every row, by key.
    pub fn iter(&self) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), StoreError>> + use<> {
        let rows = self.tree.iter();
        rows.map(|row| {
            row.map(|(key, row)| (key.to_vec(), row.to_vec()))
                .map_err(io)
        })
    }

    /// Puts a row.
    ///
    /// # Errors
    /// It is too large, or the disk failed.
    pub fn put(&self, key: &[u8], row: &[u8]) -> Result<(), StoreError> {
        for (bytes, limit) in [(key.len(), MAX_KEY_BYTES), (row.len(), MAX_RECORD_BYTES)] {
            if bytes > limit {
                let table = "rows";
                return Err(StoreError::TooLarge { table, bytes });
            }
        }
        self.tree.insert(key, row).map_err(io)?;
        Ok(())
    }

    /// Removes a row, if it is there.
    ///
    /// # Errors
    /// The disk failed.
    pub fn remove(&self, key: &[u8]) -> Result<(), StoreError> {
        self.tree.remove(key).map_err(io)?;
        Ok(())
    }

    /// Returns when every change so far is on disk.
    ///
    /// # Errors
    /// The disk failed.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.tree.flush().map_err(io)?;
        Ok(())
    }
}

fn parse<T: Record>(key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::BadRecord {
        table: T::TABLE,
        key: String::from_utf8_lossy(key).into_owned(),
        cause: error.to_string(),
    })
}

#[cfg(test)]
mod tests;
