//! Where the table of models is written down: a trait, the node's database behind it, and one
//! in memory. It knows records only as what is kept under a key.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::core::record::Record;
use crate::store::{self, StoreError, Table};

/// The table could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the table of models: {0}")]
pub struct RegistryError(#[from] StoreError);

/// Keeps records. Its calls wait for the disk.
pub trait Registry: Send + Sync + 'static {
    /// All records.
    ///
    /// # Errors
    /// They cannot be read.
    fn all(&self) -> Result<Vec<Record>, RegistryError>;
    /// Keeps a record under its key, and returns when it is on disk.
    ///
    /// # Errors
    /// It cannot be written.
    fn put(&self, key: &str, record: &Record) -> Result<(), RegistryError>;
    /// Forgets the record of a key.
    ///
    /// # Errors
    /// It cannot be written.
    fn delete(&self, key: &str) -> Result<(), RegistryError>;
}

impl store::Record for Record {
    const TABLE: &'static str = "models";
}

impl Registry for Table<Record> {
    fn all(&self) -> Result<Vec<Record>, RegistryError> {
        let records = Table::all(self)?;
        Ok(records.into_iter().map(|(_, record)| record).collect())
    }

    fn put(&self, key: &str, record: &Record) -> Result<(), RegistryError> {
        Ok(Table::put(self, key, record)?)
    }

    fn delete(&self, key: &str) -> Result<(), RegistryError> {
        Table::remove(self, key)?;
        Ok(())
    }
}

/// A registry that forgets everything at the end of the process.
#[derive(Debug, Default)]
pub struct InMemory(Mutex<BTreeMap<String, Record>>);

impl InMemory {
    fn records(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Record>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Registry for InMemory {
    fn all(&self) -> Result<Vec<Record>, RegistryError> {
        Ok(self.records().values().cloned().collect())
    }

    fn put(&self, key: &str, record: &Record) -> Result<(), RegistryError> {
        self.records().insert(key.to_owned(), record.clone());
        Ok(())
    }

    fn delete(&self, key: &str) -> Result<(), RegistryError> {
        self.records().remove(key);
        Ok(())
    }
}
