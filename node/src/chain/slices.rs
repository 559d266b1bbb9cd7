//! Slices on the disk: cut out of a model that is here, or out of what is fetched of it, kept for
//! the next time under a budget. Which layers or experts are wanted is decided elsewhere.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use llama_sys::gguf::slice::{self, Materialising, Scales, SlicePlan, Sliceable};
use llama_sys::gguf::{ExpertSets, Model};
use protocol::weights::Span;
use protocol::{ManifestId, ModelName};
use tokio::sync::{Mutex, watch};
use tracing::info;

use self::disk::Folder;
use self::headers::{Beginnings, Reading};
use super::holders::{Holders, Reach, Wanted};
use crate::models::Models;
use crate::weights::{FetchError, Fetched, Progress, Share, Want, Weights};

mod disk;
mod headers;
#[cfg(test)]
mod tests;

/// What slices may take of the disk where the owner sets no limit: a few large ones.
const DEFAULT_BUDGET_BYTES: u64 = 200 << 30;

/// How much of getting a slice is fetching it, for people.
const FETCHING: f32 = 0.9;

/// Which part of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Metadata, tokenizer and embeddings.
    Head,
    /// Layers.
    Layers(Range<u32>),
    /// All layers, with some of their experts: a model by itself.
    Experts(ExpertSets),
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
    /// Its files cannot be read.
    #[error("the files of the model cannot be used: {0}")]
    Unusable(String),
    /// Its bytes did not come.
    #[error("a part of the model was not fetched: {0}")]
    Fetch(#[from] FetchError),
    /// The budget has no room for it.
    #[error("{wanted} bytes are wanted for a slice, and there is room for {room}")]
    NoRoom {
        /// What it takes.
        wanted: u64,
        /// What it may.
        room: u64,
    },
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

/// A model as slices are made of it.
#[derive(Debug, Clone)]
pub struct Source {
    /// Which.
    pub manifest: ManifestId,
    /// Its headers and files.
    pub model: Arc<Model>,
    /// By what its files are fetched, of which only parts are here; `None`: they are whole.
    fetched_as: Option<Wanted>,
}

/// What a slice will be.
struct Planned {
    plan: Arc<SlicePlan>,
    slice: Slice,
}

/// The slices of this node. Clones share them.
#[derive(Clone)]
pub struct Slices {
    dir: PathBuf,
    models: Models,
    weights: Weights,
    holders: Arc<dyn Holders>,
    /// What the owner lets models and slices together take.
    budget_bytes: Option<u64>,
    /// One is written at a time: the disk is no faster for two, and the budget is looked at once.
    writing: Arc<Mutex<()>>,
}

impl Slices {
    /// In this folder.
    pub fn new(
        dir: PathBuf,
        models: Models,
        weights: Weights,
        holders: Arc<dyn Holders>,
        budget_bytes: Option<u64>,
    ) -> Self {
        Self {
            dir,
            models,
            weights,
            holders,
            budget_bytes,
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
            fetched_as: None,
        })
    }

    /// The model with this manifest, whose layers a head wants held here: this machine's own, or as
    /// the beginnings of its files say, which are fetched where they are not here.
    ///
    /// # Errors
    /// Nobody gives it, or it is no model.
    pub async fn source_of(&self, wanted: &Wanted) -> Result<Source, SliceError> {
        let own = self.source(&wanted.name, |_| {}).await;
        // Another file of this name is no reason to do without the one that is meant.
        if let Ok(source) = own
            && source.manifest == wanted.manifest
        {
            return Ok(source);
        }
        let mut beginnings = Beginnings::least();
        loop {
            let ranges = beginnings.ranges();
            let here = self.bring(wanted, ranges, Reach::Known, &|_| {}).await?;
            match blocking(move || beginnings.read(&here)).await? {
                Reading::More(wider) => beginnings = wider,
                Reading::Whole(model) => {
                    return Ok(Source {
                        manifest: wanted.manifest,
                        model: Arc::from(model),
                        fetched_as: Some(wanted.clone()),
                    });
                }
            }
        }
    }

    /// Lets peers fetch a model, as far as it is here, until the answer is dropped.
    #[must_use]
    pub fn share(&self, manifest: ManifestId) -> Share {
        self.weights.share(manifest)
    }

    /// The slice, made if it is not there, of bytes that are fetched if they are not here.
    /// `progress` is told 0..=1, also on another thread.
    ///
    /// # Errors
    /// The model cannot be cut so, its bytes do not come, or the disk fails.
    pub async fn make(
        &self,
        source: &Source,
        part: Part,
        progress: impl Fn(f32) + Send + Sync + 'static,
    ) -> Result<Slice, SliceError> {
        let folder = self.folder().await;
        let (of, dir) = (source.clone(), folder.clone());
        let planning = move || {
            let planned = plan(&of, &part, &dir)?;
            let is_there = dir.has(&planned.slice.file, planned.plan.bytes())?;
            Ok((planned, is_there))
        };
        let (planned, is_there) = blocking(planning).await?;
        if is_there {
            return Ok(planned.slice);
        }
        if let Some(wanted) = &source.fetched_as {
            let ranges = ranges(&planned.plan, source.model.files.len());
            let fetching = |done| progress(done * FETCHING);
            self.bring(wanted, ranges, Reach::All, &fetching).await?;
        }
        let begun = source.fetched_as.as_ref().map_or(0.0, |_| FETCHING);
        let progress = move |done| progress(begun + done * (1.0 - begun));
        let _one = self.writing.lock().await;
        let model = Arc::clone(&source.model);
        blocking(move || write(planned, &model, &folder, &progress)).await
    }

    /// Ranges of a model's files, here; what is not is fetched.
    async fn bring(
        &self,
        wanted: &Wanted,
        ranges: Vec<Span>,
        reach: Reach,
        progress: &(dyn Fn(f32) + Sync),
    ) -> Result<Fetched, SliceError> {
        if let Some(here) = self.weights.find(wanted.manifest, &ranges).await? {
            return Ok(here);
        }
        let bytes = ranges.iter().map(|range| range.length).sum();
        let folder = self.folder().await;
        blocking(move || folder.make_room(bytes)).await?;
        let found = self.holders.find(wanted, reach);
        let want = Want {
            id: wanted.manifest,
            model: wanted.name.clone(),
            ranges,
            // Chunks around the ranges come along.
            room_bytes: None,
        };
        let (sender, mut seen) = watch::channel(Progress::default());
        let mut fetching = std::pin::pin!(self.weights.fetch(want, found.givers.clone(), sender));
        let fetched = loop {
            tokio::select! {
                biased;
                fetched = &mut fetching => break fetched?,
                Ok(()) = seen.changed() => progress(seen.borrow_and_update().share()),
            }
        };
        info!(
            model = %wanted.name,
            bytes = fetched.came_bytes,
            of = fetched.manifest.layout().bytes(),
            "fetched a part of a model"
        );
        Ok(fetched)
    }

    /// The folder, with what the owner's own models leave of the budget.
    async fn folder(&self) -> Folder {
        let budget = match self.budget_bytes {
            Some(limit) => {
                let used = self.models.usage().await;
                limit.saturating_sub(used.model_bytes.saturating_add(used.partial_bytes))
            }
            None => DEFAULT_BUDGET_BYTES,
        };
        Folder {
            dir: self.dir.clone(),
            weights: self.weights.clone(),
            budget,
        }
    }
}

/// What of the model's files a slice is made of.
fn ranges(plan: &SlicePlan, files: usize) -> Vec<Span> {
    let of_file = |(number, file): (u32, usize)| {
        let needed = plan.needed(file).into_iter();
        needed.map(move |range| Span {
            file: number,
            offset: range.start,
            length: range.end - range.start,
        })
    };
    (0..).zip(0..files).flat_map(of_file).collect()
}

fn plan(source: &Source, part: &Part, folder: &Folder) -> Result<Planned, SliceError> {
    let sliceable = Sliceable::of(&source.model.headers)?;
    let (plan, name) = match part {
        Part::Head => (sliceable.head()?, "head".to_owned()),
        Part::Layers(layers) => {
            let name = format!("{}-{}", layers.start, layers.end);
            (sliceable.stage(layers.clone())?, name)
        }
        Part::Experts(sets) => (sliceable.shard(sets)?, name_of(sets)),
    };
    let is_last = match part {
        Part::Head => false,
        Part::Layers(layers) => layers.end == sliceable.facts().layers,
        Part::Experts(_) => true,
    };
    let file = folder.dir.join(format!("{}-{name}.gguf", source.manifest));
    let slice = Slice {
        file,
        scales: sliceable.scales(),
        is_last,
    };
    Ok(Planned {
        plan: Arc::new(plan),
        slice,
    })
}

/// A file's name for some experts: they are too many to be spelled out.
fn name_of(sets: &ExpertSets) -> String {
    let mut hasher = blake3::Hasher::new();
    // Each layer has as many, so nothing needs to part them.
    for expert in sets.layers().iter().flatten() {
        hasher.update(&expert.to_le_bytes());
    }
    format!("x{}-{}", sets.kept(), hasher.finalize().to_hex())
}

fn write(
    planned: Planned,
    model: &Model,
    folder: &Folder,
    progress: &dyn Fn(f32),
) -> Result<Slice, SliceError> {
    let Planned { plan, slice } = planned;
    // Somebody else may have made it meanwhile.
    if folder.has(&slice.file, plan.bytes())? {
        return Ok(slice);
    }
    folder.make_room(plan.bytes())?;
    let report = |done: u64, all: u64| {
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        progress(done as f32 / all.max(1) as f32);
        true
    };
    let order = Materialising {
        plan,
        files: &model.files,
        to: &slice.file,
        budget_bytes: folder.budget,
    };
    slice::materialise(&order, &mut { report })?;
    Ok(slice)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SliceError> + Send + 'static,
) -> Result<T, SliceError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(SliceError::Stopping))
}
