//! Slices on the disk: cut out of a model that is here, or out of what was fetched of it, kept for
//! the next time under a budget. Which layers are wanted is decided elsewhere.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use llama_sys::gguf::Model;
use llama_sys::gguf::slice::{self, Materialising, Scales, Sliceable};
use protocol::{ManifestId, ModelName};
use tokio::sync::Mutex;

use crate::models::Models;
use crate::weights::{Share, Weights};

/// What slices may take of the disk where the owner sets no limit of the store: a few large ones.
const DEFAULT_BUDGET_BYTES: u64 = 200 << 30;

/// Which part of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Metadata, tokenizer and embeddings.
    Head,
    /// Layers.
    Layers(Range<u32>),
}

/// A slice that is on the disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// Its file.
    pub file: PathBuf,
    /// What hidden states are multiplied with on their way.
    pub scales: Scales,
    /// Whether the model ends with it.
    pub is_last: bool,
}

/// Why there is no slice.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SliceError {
    /// The model is not here.
    #[error("the model `{0}` is not on this machine")]
    NotHere(ModelName),
    /// The files here are another model of this name.
    #[error("the files of `{0}` on this machine are of another model than the one that is meant")]
    Other(ModelName),
    /// Its files cannot be read.
    #[error("the files of the model cannot be used: {0}")]
    Unusable(String),
    /// It cannot be cut so.
    #[error(transparent)]
    Cut(#[from] slice::SliceError),
    /// The slice cannot be written.
    #[error(transparent)]
    Write(#[from] slice::MaterialiseError),
    /// The folder cannot be used.
    #[error("the folder of slices cannot be used")]
    Folder(#[source] io::Error),
    /// This node stops.
    #[error("this node stops")]
    Stopping,
}

/// A model that is here, as slices are made of it.
#[derive(Debug, Clone)]
pub struct Source {
    /// Which.
    pub manifest: ManifestId,
    /// Its headers and files.
    pub model: Arc<Model>,
}

/// The slices of this node. Clones share them.
#[derive(Clone)]
pub struct Slices {
    dir: PathBuf,
    models: Models,
    weights: Weights,
    budget_bytes: u64,
    /// One is written at a time: the disk is no faster for two, and the budget is looked at once.
    writing: Arc<Mutex<()>>,
}

impl Slices {
    /// In this folder.
    pub fn new(dir: PathBuf, models: Models, weights: Weights, budget_bytes: Option<u64>) -> Self {
        Self {
            dir,
            models,
            weights,
            budget_bytes: budget_bytes.unwrap_or(DEFAULT_BUDGET_BYTES),
            writing: Arc::default(),
        }
    }

    /// A model that is here, hashed the first time; `progress` hears the bytes hashed so far.
    ///
    /// # Errors
    /// It is not here, or cannot be read.
    pub async fn source(
        &self,
        name: &ModelName,
        progress: impl Fn(u64) + Send + 'static,
    ) -> Result<Source, SliceError> {
        let found = self.models.resolve(name.as_str()).await;
        let found = found.map_err(|_| SliceError::NotHere(name.clone()))?;
        let files = found.files.clone();
        let manifest = self
            .weights
            .manifest_of(name.clone(), files, progress)
            .await;
        let manifest = manifest.map_err(|error| SliceError::Unusable(error.to_string()))?;
        let first = found.files.first().cloned();
        let first = first.ok_or_else(|| SliceError::NotHere(name.clone()))?;
        let model = blocking(move || {
            Model::open(first).map_err(|error| SliceError::Unusable(error.to_string()))
        });
        Ok(Source {
            manifest,
            model: Arc::new(model.await?),
        })
    }

    /// The same, if it is the one with this manifest.
    ///
    /// # Errors
    /// As [`Slices::source`], or it is another.
    pub async fn source_of(
        &self,
        name: &ModelName,
        manifest: ManifestId,
    ) -> Result<Source, SliceError> {
        let source = self.source(name, |_| {}).await?;
        if source.manifest != manifest {
            return Err(SliceError::Other(name.clone()));
        }
        Ok(source)
    }

    /// Lets peers fetch a model until the answer is dropped.
    #[must_use]
    pub fn share(&self, manifest: ManifestId) -> Share {
        self.weights.share(manifest)
    }

    /// The slice, made if it is not there. `progress` is told 0..=1 on another thread.
    ///
    /// # Errors
    /// The model cannot be cut so, or the disk fails.
    pub async fn make(
        &self,
        source: &Source,
        part: Part,
        progress: impl Fn(f32) + Send + 'static,
    ) -> Result<Slice, SliceError> {
        let _one = self.writing.lock().await;
        let (source, dir) = (source.clone(), self.dir.clone());
        let budget = self.budget_bytes;
        blocking(move || make(&source, &part, &Folder { dir, budget }, &progress)).await
    }
}

struct Folder {
    dir: PathBuf,
    budget: u64,
}

fn make(
    source: &Source,
    part: &Part,
    folder: &Folder,
    progress: &dyn Fn(f32),
) -> Result<Slice, SliceError> {
    let model = &source.model;
    let sliceable = Sliceable::of(&model.headers)?;
    let (plan, name) = match part {
        Part::Head => (sliceable.head()?, "head".to_owned()),
        Part::Layers(layers) => {
            let name = format!("{}-{}", layers.start, layers.end);
            (sliceable.stage(layers.clone())?, name)
        }
    };
    let is_last = matches!(part, Part::Layers(layers) if layers.end == sliceable.facts().layers);
    fs::create_dir_all(&folder.dir).map_err(SliceError::Folder)?;
    let file = folder.dir.join(format!("{}-{name}.gguf", source.manifest));
    if fs::metadata(&file).is_ok_and(|found| found.len() == plan.bytes()) {
        touch(&file).map_err(SliceError::Folder)?;
    } else {
        make_room(folder, plan.bytes()).map_err(SliceError::Folder)?;
        let report = |done: u64, all: u64| {
            #[expect(clippy::cast_precision_loss, reason = "a share for people")]
            progress(done as f32 / all.max(1) as f32);
            true
        };
        let order = Materialising {
            plan: Arc::new(plan),
            files: &model.files,
            to: &file,
            budget_bytes: folder.budget,
        };
        slice::materialise(&order, &mut { report })?;
    }
    Ok(Slice {
        file,
        scales: sliceable.scales(),
        is_last,
    })
}

/// The slice was used now: the one that was not for longest is removed first.
fn touch(file: &Path) -> io::Result<()> {
    fs::File::open(file)?.set_modified(SystemTime::now())
}

/// Removes slices until so many bytes more fit the budget. A slice that is loaded keeps its file
/// until its process ends: the name is gone, the bytes are not.
fn make_room(folder: &Folder, wanted: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder.dir)? {
        let entry = entry?;
        let found = entry.metadata()?;
        if found.is_file() {
            files.push((found.modified()?, found.len(), entry.path()));
        }
    }
    files.sort();
    let mut taken: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, bytes, path) in files {
        if taken.saturating_add(wanted) <= folder.budget {
            break;
        }
        fs::remove_file(path)?;
        taken -= bytes;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SliceError> + Send + 'static,
) -> Result<T, SliceError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(SliceError::Stopping))
}
