//! Files of one model that are here, whole or with holes, and reading ranges of them.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::weights::{ChunkSet, Manifest, Span};
use protocol::{ManifestId, ModelName};
use serde::{Deserialize, Serialize};

/// How a file was when it was hashed. Another one at its place is not taken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) path: PathBuf,
    size: u64,
    modified: (i64, i64),
    inode: u64,
}

/// What is here of a model.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) id: ManifestId,
    pub(super) model: ModelName,
    pub(super) manifest: Arc<Manifest>,
    pub(super) chunks: ChunkSet,
    pub(super) files: Files,
    /// Fetched, not hashed.
    pub(super) is_slice: bool,
}

/// Where a model's files are.
#[derive(Debug, Clone)]
pub(super) enum Files {
    /// Whole, and elsewhere.
    Stamped(Vec<Stamp>),
    /// Ours alone: nobody else writes them.
    Own(Vec<PathBuf>),
}

impl Stamp {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let found = std::fs::metadata(path)?;
        Ok(Self::new(path, &found))
    }

    fn new(path: &Path, found: &Metadata) -> Self {
        Self {
            path: path.to_owned(),
            size: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            inode: found.ino(),
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn is_current(&self) -> bool {
        Self::of(&self.path).is_ok_and(|now| now == *self)
    }
}

impl Held {
    /// Whether the files are still those that were hashed.
    pub(super) fn is_unchanged(&self) -> bool {
        match &self.files {
            Files::Stamped(stamps) => stamps.iter().all(Stamp::is_current),
            Files::Own(_) => true,
        }
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        match &self.files {
            Files::Stamped(stamps) => stamps.iter().map(|stamp| stamp.path.clone()).collect(),
            Files::Own(paths) => paths.clone(),
        }
    }

    /// Whether every byte of a range is here.
    pub(super) fn covers(&self, span: Span) -> bool {
        let chunks = self.manifest.layout().chunks_of(span);
        chunks.is_some_and(|chunks| self.chunks.contains_run(chunks))
    }

    /// Opens the file of a range. `None`: it is another one by now.
    pub(super) fn open(&self, file: u32) -> io::Result<Option<File>> {
        let index = usize::try_from(file).unwrap_or(usize::MAX);
        let (path, stamp) = match &self.files {
            Files::Stamped(stamps) => {
                let stamp = stamps.get(index);
                (stamp.map(|stamp| &stamp.path), stamp)
            }
            Files::Own(paths) => (paths.get(index), None),
        };
        let Some(path) = path else { return Ok(None) };
        let file = File::open(path)?;
        // Of the opened file itself: the name may mean another one a moment later.
        let found = Stamp::new(path, &file.metadata()?);
        let is_same = stamp.is_none_or(|stamp| *stamp == found);
        Ok(is_same.then_some(file))
    }
}

/// Reads bytes of a file.
pub(super) fn read_at(file: &File, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    file.read_exact_at(&mut buffer, offset)?;
    Ok(buffer)
}
