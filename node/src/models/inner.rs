//! What all handles of the store share: the table and its upkeep, adopting and removing. It
//! holds no lock while it waits for the disk or for anything else.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use llama_sys::gguf::{Model, ModelError, ModelFacts};
use web::manage::StoredModel;

use super::core::catalog::Catalog;
use super::core::path::{Part, stem};
use super::core::record::{Record, Source, StoredFile};
use super::core::table::{Found, Table};
use super::disk::Disk;
use super::download::blocking;
use super::error::{OpenError, PullError, RemoveError, ResolveError};
use super::flight::Flights;
use super::hub::Hub;
use super::{Config, Registry};

/// Seconds between two writes of a model's last use.
const TOUCH_EVERY: u64 = 60;

pub(super) struct Inner {
    pub(super) config: Config,
    pub(super) disk: Disk,
    pub(super) hub: Hub,
    pub(super) registry: Box<dyn Registry>,
    pub(super) flights: Arc<Flights>,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) table: Table,
    pub(super) facts: BTreeMap<String, CachedFacts>,
    pub(super) holds: BTreeMap<String, usize>,
    pub(super) pulls: usize,
}

/// How files are: their sizes, times and inodes.
pub(super) type Stamp = Vec<(u64, Option<SystemTime>, u64)>;

/// Facts and the files that they were read from.
pub(super) struct CachedFacts {
    pub(super) stamp: Stamp,
    pub(super) facts: Arc<ModelFacts>,
}

impl Inner {
    /// The store over a folder with these whole models in it.
    pub(super) fn new(
        config: Config,
        disk: Disk,
        hub: Hub,
        registry: Box<dyn Registry>,
        manifests: &[Record],
    ) -> Result<Self, OpenError> {
        let table = reconcile(manifests, registry.as_ref())?;
        let state = Mutex::new(State {
            table,
            ..State::default()
        });
        let flights = Arc::default();
        Ok(Self {
            config,
            disk,
            hub,
            registry,
            flights,
            state,
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, name: &str) -> Result<Record, ResolveError> {
        match self.state().table.find(name, Catalog::builtin()) {
            Found::One(record) => Ok(record.clone()),
            Found::Several(models) => Err(ResolveError::Ambiguous {
                name: name.to_owned(),
                models,
            }),
            Found::None => Err(ResolveError::NotFound(name.to_owned())),
        }
    }

    pub(super) fn paths(&self, record: &Record) -> Vec<PathBuf> {
        record
            .files
            .iter()
            .map(|file| self.disk.file(&record.source, &file.name))
            .collect()
    }

    /// What the header says, and a number for the files as they are.
    pub(super) async fn facts(
        &self,
        record: &Record,
        files: &[PathBuf],
    ) -> Result<(Arc<ModelFacts>, u64), ResolveError> {
        let stamp = stamp(files);
        let version = version(&stamp);
        if let Some(cached) = self.state().facts.get(&record.name)
            && cached.stamp == stamp
        {
            return Ok((cached.facts.clone(), version));
        }
        let first = files[0].clone();
        let read = blocking(move || Ok(Model::open(first))).await;
        let name = record.name.clone();
        let model = match read {
            Ok(Ok(model)) => model,
            Ok(Err(cause)) => {
                return Err(ResolveError::Broken {
                    name,
                    cause: Box::new(cause),
                });
            }
            Err(_) => return Err(ResolveError::NotFound(name)),
        };
        let facts = Arc::new(model.facts);
        let cached = CachedFacts {
            stamp,
            facts: facts.clone(),
        };
        self.state().facts.insert(name, cached);
        Ok((facts, version))
    }

    /// Takes in a file of this machine. Waits for the disk.
    pub(super) fn adopt(&self, path: &Path) -> Result<Record, PullError> {
        let cannot = |cause| PullError::File {
            path: path.to_owned(),
            cause,
        };
        let path = path.canonicalize().map_err(cannot)?;
        let what = path.display().to_string();
        let model = Model::open(&path).map_err(|cause| not_a_model(what, cause))?;
        let source = Source::File {
            path: model.files[0].clone(),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let wanted = Part::parse(&name).map_or_else(|| stem(&name).to_owned(), |part| part.base);
        let known = self.state().table.by_source(&source).cloned();
        let name = known.as_ref().map_or_else(
            || self.state().table.free_name(&wanted, &source),
            |record| record.name.clone(),
        );
        let mut record = record_of(name, source, &model).map_err(cannot)?;
        record.added = known.map_or(record.added, |known| known.added);
        self.keep(&record)?;
        Ok(record)
    }

    /// Writes a record down, then shows it.
    pub(super) fn keep(&self, record: &Record) -> Result<(), PullError> {
        self.registry.put(&record.source.folder(), record)?;
        self.state().table.insert(record.clone());
        Ok(())
    }

    /// Waits for the disk.
    pub(super) fn remove(&self, name: &str) -> Result<u64, RemoveError> {
        let record = match self.find(name) {
            Ok(record) => record,
            Err(error) => return self.remove_partial(name)?.ok_or(error.into()),
        };
        if self.state().holds.contains_key(&record.name) {
            return Err(RemoveError::InUse(record.name));
        }
        if !record.source.is_external() {
            self.disk.remove(&record.source)?;
        }
        self.registry.delete(&record.source.folder())?;
        let mut state = self.state();
        state.table.remove(&record.name);
        state.facts.remove(&record.name);
        Ok(record.owned_size())
    }

    /// `None`: there is none of that name.
    fn remove_partial(&self, name: &str) -> Result<Option<u64>, RemoveError> {
        let partials = self.disk.partials()?;
        let Some(partial) = partials
            .into_iter()
            .find(|p| p.name.eq_ignore_ascii_case(name))
        else {
            return Ok(None);
        };
        if self.disk.remove_partial(&partial.folder)? {
            return Ok(Some(partial.bytes));
        }
        Err(RemoveError::BeingPulled(partial.name))
    }

    /// Notes that a model is used now.
    pub(super) fn touch(&self, name: &str) {
        let now = unix_now();
        let mut state = self.state();
        let Some(record) = state.table.record_mut(name) else {
            return;
        };
        if now < record.last_used.saturating_add(TOUCH_EVERY) {
            return;
        }
        record.last_used = now;
        let record = record.clone();
        drop(state);
        // Losing this costs no more than a worse choice of what to remove.
        if let Err(error) = self.registry.put(&record.source.folder(), &record) {
            tracing::warn!(%error, model = name, "the last use of a model was not written down");
        }
    }
}

/// The table as it should be: kept records whose files are there (external ones in any case,
/// their disk may come back), and models whose folder is there without a record.
fn reconcile(manifests: &[Record], registry: &dyn Registry) -> Result<Table, OpenError> {
    let mut records = registry.all()?;
    records.retain(Record::is_sound);
    let is_there = |record: &Record| manifests.iter().any(|m| m.source == record.source);
    let (kept, gone): (Vec<_>, Vec<_>) = records
        .into_iter()
        .partition(|r| r.source.is_external() || is_there(r));
    for record in gone {
        tracing::warn!(
            model = record.name,
            "the files of a model are gone; it is forgotten"
        );
        registry.delete(&record.source.folder())?;
    }
    let mut table = Table::new(kept);
    for manifest in manifests {
        if table.by_source(&manifest.source).is_none() {
            let mut record = manifest.clone();
            record.name = table.free_name(&record.name, &record.source);
            registry.put(&record.source.folder(), &record)?;
            table.insert(record);
        }
    }
    Ok(table)
}

pub(super) fn stored_model(record: &Record, disk: &Disk) -> StoredModel {
    let external = record.source.is_external();
    StoredModel {
        name: record.name.clone(),
        size_bytes: record.size(),
        architecture: record.architecture.clone(),
        quantization: record.quantization.clone(),
        context_length: record.context_length,
        added: record.added,
        external_path: external.then(|| disk.file(&record.source, &record.files[0].name)),
    }
}

pub(super) fn record_of(name: String, source: Source, model: &Model) -> std::io::Result<Record> {
    let now = unix_now();
    let files = model.files.iter().map(|path| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let size = std::fs::metadata(path)?.len();
        Ok(StoredFile {
            name,
            size,
            sha256: None,
        })
    });
    Ok(Record {
        name,
        source,
        files: files.collect::<std::io::Result<_>>()?,
        architecture: model.facts.architecture.clone(),
        quantization: model.facts.quantization.clone(),
        context_length: u64::from(model.facts.context_length),
        added: now,
        last_used: now,
    })
}

pub(super) fn not_a_model(what: String, cause: ModelError) -> PullError {
    PullError::NotAModel {
        what,
        cause: Box::new(cause),
    }
}

fn stamp(files: &[PathBuf]) -> Stamp {
    let stamp = |path: &PathBuf| {
        let found = std::fs::metadata(path);
        found.map_or((0, None, 0), |m| (m.len(), m.modified().ok(), m.ino()))
    };
    files.iter().map(stamp).collect()
}

/// Of files that differ, this differs: by chance alone it does not, once in 2^64.
fn version(stamp: &Stamp) -> u64 {
    let mut hasher = DefaultHasher::new();
    stamp.hash(&mut hasher);
    hasher.finish()
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
