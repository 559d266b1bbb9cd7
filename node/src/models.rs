//! The model store: the models on this machine, where new ones come from, and what a request's
//! name means. [`Models`] is the handle; the decisions are in [`core`], the table is kept by a
//! [`Registry`]. It loads no model and knows neither the API nor the command line.
//!
//! A pull goes: name → plan (`resolve`) → one download for all who ask ([`flight`]) → files in
//! a staging folder (`download`, resumed after anything) → header read → one rename (`disk`)
//! → table. Files of this machine are used in place and never written to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use llama_sys::gguf::ModelFacts;
use protocol::ModelName;
use reqwest::Url;
use tokio::sync::mpsc;
use web::manage::{PullEvent, StoredModel};

use self::disk::Disk;
pub(crate) use self::download::blocking;
use self::hub::{Hub, HubConfig};
use self::inner::{Inner, stored_model};
use self::resolve::Wanted;

pub mod core;
mod disk;
mod download;
mod error;
pub mod fetch;
pub mod flight;
pub mod hub;
mod inner;
mod part;
pub mod progress;
mod pull;
pub mod registry;
mod resolve;

pub use self::download::DownloadError;
#[cfg(feature = "llama")]
pub(crate) use self::error::causes;
pub use self::error::{OpenError, PullError, RemoveError, ResolveError};
pub use self::registry::Registry;

/// Pulls that may be under way or waiting at once: a person starts a few.
pub const MAX_PULLS: usize = 32;
/// Events that a pull may be ahead of its reader.
const EVENTS: usize = 8;

/// What the store needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its folder.
    pub dir: PathBuf,
    /// The hub.
    pub hub: HubConfig,
    /// No network at all.
    pub offline: bool,
    /// Bytes that its own models and partial downloads may take; `None`: the disk's free space.
    pub budget_bytes: Option<u64>,
    /// Bytes of the disk that stay free whatever the budget says.
    pub reserve_bytes: u64,
    /// A pull without room removes the least recently used models that nobody holds. Without
    /// it, it is refused and says what to remove.
    pub evict_unused: bool,
}

impl Config {
    /// A store in this folder with the defaults: the public hub, no budget, 1 GiB left free,
    /// nothing removed by itself.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            hub: HubConfig::default(),
            offline: false,
            budget_bytes: None,
            reserve_bytes: 1 << 30,
            evict_unused: false,
        }
    }
}

/// A model whose files are here and sound.
#[derive(Debug, Clone)]
pub struct LocalModel {
    /// The name that requests use.
    pub name: String,
    /// Its files in order; the first is what is loaded.
    pub files: Vec<PathBuf>,
    /// What its header says.
    pub facts: Arc<ModelFacts>,
    /// Whether the files are used outside the store.
    pub external: bool,
    /// Bytes of all files.
    pub size_bytes: u64,
    /// Another number after the files were replaced.
    pub version: u64,
}

/// The first file of a model that the store in this folder owns, by its full name. It looks at the
/// folder only, so a node may run over it.
///
/// # Errors
/// The folder cannot be read.
pub fn owned_file(dir: &Path, name: &str) -> std::io::Result<Option<PathBuf>> {
    let disk = Disk::open(dir.to_owned())?;
    let mut records = disk.manifests()?.into_iter();
    let record = records.find(|record| record.name == name);
    let first = |record: &core::record::Record| {
        let file = record.files.first()?;
        Some(disk.file(&record.source, &file.name))
    };
    Ok(record.as_ref().and_then(first))
}

/// What the store takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Models known here, external ones included.
    pub models: usize,
    /// Bytes of the store's own models.
    pub model_bytes: u64,
    /// Bytes of unfinished downloads.
    pub partial_bytes: u64,
    /// What both may take.
    pub budget_bytes: Option<u64>,
    /// Bytes free on the disk; 0 if it cannot be asked.
    pub free_bytes: u64,
}

/// The store's handle. Clones share it.
#[derive(Clone)]
pub struct Models {
    inner: Arc<Inner>,
}

/// While it lives, its model counts as in use: it is neither removed nor made to make room.
pub struct Hold {
    inner: Arc<Inner>,
    name: String,
}

/// Counts one pull under way.
struct PullTicket(Arc<Inner>);

impl Models {
    /// Opens the store: sweeps what crashes left, reads the table and brings it in line with
    /// the folders that are there. It waits for the disk; call it before serving begins.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(config: Config, registry: Box<dyn Registry>) -> Result<Self, OpenError> {
        let folder = |cause| OpenError::Folder {
            path: config.dir.clone(),
            cause,
        };
        let disk = Disk::open(config.dir.clone()).map_err(folder)?;
        match disk.sweep(SystemTime::now()) {
            Ok(0) => {}
            Ok(freed) => tracing::info!(freed, "removed what earlier runs left in the model store"),
            Err(error) => tracing::warn!(%error, "the model store could not be swept"),
        }
        let manifests = disk.manifests().map_err(folder)?;
        let hub = Hub::new(config.hub.clone())?;
        let inner = Inner::new(config, disk, hub, registry, &manifests)?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The models known here, sorted by name.
    #[must_use]
    pub fn list(&self) -> Vec<StoredModel> {
        self.inner
            .state()
            .table
            .records()
            .map(|r| stored_model(r, &self.inner.disk))
            .collect()
    }

    /// The model that a request's name means, with what its header says. The header is read
    /// the first time, and again when the files changed.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn resolve(&self, name: &str) -> Result<LocalModel, ResolveError> {
        let record = self.inner.find(name)?;
        let files = self.inner.paths(&record);
        let (facts, version) = self.inner.facts(&record, &files).await?;
        Ok(LocalModel {
            name: record.name.clone(),
            files,
            facts,
            external: record.source.is_external(),
            size_bytes: record.size(),
            version,
        })
    }

    /// The full name of the model that a request's name means.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub fn full_name(&self, name: &str) -> Result<String, ResolveError> {
        self.inner.find(name).map(|record| record.name)
    }

    /// Begins to fetch a model, or joins the fetching of it that is under way. The last event
    /// is `Done` or `Failed`. Dropping every receiver of a model stops its download and keeps
    /// what came so far for a resume.
    ///
    /// # Errors
    /// [`PullError`] for what is clear at once: the name, offline, too many pulls.
    pub fn pull(&self, name: &str) -> Result<mpsc::Receiver<PullEvent>, PullError> {
        let wanted = Wanted::parse(name)?;
        if self.inner.config.offline && !matches!(wanted, Wanted::File(_)) {
            return Err(PullError::Offline);
        }
        let ticket = PullTicket::new(&self.inner)?;
        let (sender, events) = mpsc::channel(EVENTS);
        tokio::spawn(pull::run(self.clone(), wanted, sender, ticket));
        Ok(events)
    }

    /// A model's files where it is published, for whoever fetches ranges of them: the client,
    /// and each one's address and size. Only names of repositories and of the catalog count: the name
    /// may come from a peer, and a peer names no path and no address.
    ///
    /// # Errors
    /// [`PullError`]: there is no such model at the hub, or it cannot be asked.
    pub async fn published(&self, name: &ModelName) -> Result<(Hub, Vec<(Url, u64)>), PullError> {
        if self.inner.config.offline {
            return Err(PullError::Offline);
        }
        let files = resolve::published(&self.inner.hub, name.as_str()).await?;
        Ok((self.inner.hub.clone(), files))
    }

    /// Takes in a file of this machine (or, by any part, a split model) in place. It keeps the
    /// name that it had if it was known already; a new one is called as its file without
    /// `.gguf`, with a number if that name is taken.
    ///
    /// # Errors
    /// [`PullError`]: it cannot be read or is no model.
    pub async fn add_file(&self, path: &Path) -> Result<LocalModel, PullError> {
        let inner = self.inner.clone();
        let path = path.to_owned();
        let task = tokio::task::spawn_blocking(move || inner.adopt(&path));
        let record = task.await.map_err(|_| PullError::Ended)??;
        let files = self.inner.paths(&record);
        let facts = self.inner.facts(&record, &files).await;
        let (facts, version) = facts.map_err(|error| PullError::Shared(error.to_string()))?;
        let (external, size_bytes) = (true, record.size());
        Ok(LocalModel {
            name: record.name,
            files,
            facts,
            external,
            size_bytes,
            version,
        })
    }

    /// Removes a model (an external one is only forgotten) or an unfinished download of that
    /// exact name. Answers the bytes freed.
    ///
    /// # Errors
    /// [`RemoveError`].
    pub async fn remove(&self, name: &str) -> Result<u64, RemoveError> {
        let inner = self.inner.clone();
        let name = name.to_owned();
        let task = tokio::task::spawn_blocking(move || inner.remove(&name));
        task.await.map_err(std::io::Error::other)?
    }

    /// What the store takes.
    pub async fn usage(&self) -> Usage {
        let disk = self.inner.disk.clone();
        let measured = blocking(move || Ok((disk.partials()?, disk.free()?))).await;
        let (partials, free_bytes) = measured.unwrap_or_default();
        let state = self.inner.state();
        Usage {
            models: state.table.records().count(),
            model_bytes: state.table.owned_bytes(),
            partial_bytes: partials.iter().map(|partial| partial.bytes).sum(),
            budget_bytes: self.inner.config.budget_bytes,
            free_bytes,
        }
    }

    /// Marks a model, by its full name, as in use until the answer is dropped, and as used now.
    #[must_use]
    pub fn hold(&self, name: &str) -> Hold {
        self.inner.touch(name);
        *self.inner.state().holds.entry(name.to_owned()).or_default() += 1;
        Hold {
            inner: self.inner.clone(),
            name: name.to_owned(),
        }
    }

    /// Ends every download; the next pull resumes it.
    pub fn stop(&self) {
        self.inner.flights.stop();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        if let Some(count) = state.holds.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                state.holds.remove(&self.name);
            }
        }
    }
}

impl PullTicket {
    fn new(inner: &Arc<Inner>) -> Result<Self, PullError> {
        let mut state = inner.state();
        if state.pulls == MAX_PULLS {
            return Err(PullError::TooMany);
        }
        state.pulls += 1;
        Ok(Self(inner.clone()))
    }
}

impl Drop for PullTicket {
    fn drop(&mut self) {
        self.0.state().pulls -= 1;
    }
}
