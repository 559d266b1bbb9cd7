//! A part of a model that was fetched: its files with holes, and which chunks are there. What is
//! noted as there is on the disk before: the files are synced, then the note is replaced by one
//! rename. So a stop at any point costs what came since the last note, and nothing is ever half there.
//! Its calls wait for the disk.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use protocol::weights::{ChunkSet, Layout, Manifest};
use protocol::{ManifestId, ModelName};
use tracing::warn;

use super::hashed::write_whole;
use super::held::{Files, Held};

const MANIFEST: &str = "manifest";
const MODEL: &str = "model";
const HELD: &str = "held";

/// What a file system counts a file's space in, whatever its own blocks are.
const BLOCK_BYTES: u64 = 512;

/// What was fetched of one model, as it lies on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Of which.
    pub id: ManifestId,
    /// What it takes: holes take nothing.
    pub bytes: u64,
    /// When something came for it last.
    pub changed_at: SystemTime,
}

/// One slice.
pub(super) struct Slice {
    dir: PathBuf,
    id: ManifestId,
    model: ModelName,
    writer: Arc<Writer>,
    noted: ChunkSet,
}

/// Its files, open, for whoever brings chunks.
pub(super) struct Writer {
    manifest: Arc<Manifest>,
    files: Vec<File>,
}

impl Slice {
    /// Opens or makes it.
    pub(super) fn open(
        slices: &Path,
        id: ManifestId,
        model: ModelName,
        manifest: Arc<Manifest>,
    ) -> io::Result<Self> {
        let dir = slices.join(id.to_string());
        fs::create_dir_all(&dir)?;
        let noted = read_noted(&dir, &manifest);
        if noted.is_none() {
            // A note of files that are gone must not count for those that are made now.
            remove_if_there(&dir.join(HELD))?;
            write_whole(&dir.join(MANIFEST), &manifest.encode())?;
            write_whole(&dir.join(MODEL), model.as_str().as_bytes())?;
        }
        let count = manifest.layout().chunk_count();
        let open = |(index, length)| open_sparse(&dir.join(file_name(index)), length);
        let files = manifest.layout().lengths().enumerate().map(open);
        let files = files.collect::<io::Result<_>>()?;
        Ok(Self {
            dir,
            id,
            model,
            writer: Arc::new(Writer { manifest, files }),
            noted: noted.unwrap_or_else(|| ChunkSet::none(count)),
        })
    }

    /// What is noted as there.
    pub(super) fn noted(&self) -> &ChunkSet {
        &self.noted
    }

    /// Its files.
    pub(super) fn writer(&self) -> Arc<Writer> {
        Arc::clone(&self.writer)
    }

    /// Which model it is of.
    pub(super) fn id(&self) -> ManifestId {
        self.id
    }

    /// How the model's files are cut.
    pub(super) fn layout(&self) -> &Layout {
        self.writer.manifest.layout()
    }

    /// Bytes of chunks.
    pub(super) fn bytes_of(&self, chunks: &ChunkSet) -> u64 {
        let spans = chunks.runs().flatten();
        let spans = spans.filter_map(|chunk| self.layout().span(chunk));
        spans.map(|span| span.length).sum()
    }

    /// Notes chunks that were put as there, beside those that are; what is called waits for the disk
    /// and answers what is noted then.
    pub(super) fn note(&self, chunks: &ChunkSet) -> impl FnOnce() -> io::Result<ChunkSet> + use<> {
        let fresh = chunks.without(&self.noted);
        let noted = self.noted.with(&fresh);
        let writer = self.writer();
        let path = self.dir.join(HELD);
        move || {
            if !fresh.is_empty() {
                writer.sync(&fresh)?;
                write_whole(&path, &noted.to_bytes())?;
            }
            Ok(noted)
        }
    }

    /// What [`Slice::note`] answered.
    pub(super) fn noted_are(&mut self, noted: ChunkSet) {
        self.noted = noted;
    }

    /// What can be given of it.
    pub(super) fn held(&self) -> Held {
        let files = (0..self.writer.files.len()).map(|index| self.dir.join(file_name(index)));
        Held {
            id: self.id,
            model: self.model.clone(),
            manifest: Arc::clone(&self.writer.manifest),
            chunks: self.noted.clone(),
            files: Files::Own(files.collect()),
            is_slice: true,
        }
    }
}

impl Writer {
    /// Waits until chunks are on the disk.
    fn sync(&self, chunks: &ChunkSet) -> io::Result<()> {
        let layout = self.manifest.layout();
        // A run may go over files' ends.
        let files = chunks.runs().filter_map(|run| {
            let (first, last) = (layout.span(run.start)?, layout.span(run.end - 1)?);
            Some(first.file..=last.file)
        });
        let files: BTreeSet<u32> = files.flatten().collect();
        files
            .into_iter()
            .try_for_each(|file| self.files[index(file)].sync_data())
    }

    /// Checks a chunk, and writes it if it is right; whether it is.
    pub(super) fn put(&self, chunk: u32, bytes: &[u8]) -> io::Result<bool> {
        if !self.manifest.is_chunk(chunk, bytes) {
            return Ok(false);
        }
        let span = self.manifest.layout().span(chunk);
        let span = span.expect("it has a hash");
        let file = &self.files[index(span.file)];
        file.write_all_at(bytes, span.offset)?;
        Ok(true)
    }
}

/// The slices in a folder; what is none is passed over.
pub(super) fn read_all(slices: &Path) -> io::Result<Vec<Held>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(slices)? {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.parse().ok());
        let Some(id) = id else { continue };
        match read(slices, id) {
            Some(slice) => all.push(slice.held()),
            None => warn!(slice = %id, "a part of a model is not usable; it is fetched anew"),
        }
    }
    Ok(all)
}

/// What was fetched of each model.
pub(super) fn kept(slices: &Path) -> io::Result<Vec<Kept>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(slices)? {
        let entry = entry?;
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.parse().ok());
        let Some(id) = id else { continue };
        let mut kept = Kept {
            id,
            bytes: 0,
            changed_at: entry.metadata()?.modified()?,
        };
        for file in fs::read_dir(entry.path())? {
            let found = file?.metadata()?;
            kept.bytes += found.blocks() * BLOCK_BYTES;
            kept.changed_at = kept.changed_at.max(found.modified()?);
        }
        all.push(kept);
    }
    Ok(all)
}

/// The manifest of a slice that was begun.
pub(super) fn read_manifest(slices: &Path, id: ManifestId) -> Option<Manifest> {
    let bytes = fs::read(slices.join(id.to_string()).join(MANIFEST)).ok()?;
    Manifest::read(id, &bytes).ok()
}

/// Removes what was fetched of a model.
pub(super) fn remove(slices: &Path, id: ManifestId) -> io::Result<()> {
    let dir = slices.join(id.to_string());
    // First what says that something is there.
    remove_if_there(&dir.join(HELD))?;
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn read(slices: &Path, id: ManifestId) -> Option<Slice> {
    let manifest = Arc::new(read_manifest(slices, id)?);
    let model = fs::read_to_string(slices.join(id.to_string()).join(MODEL)).ok()?;
    Slice::open(slices, id, model.parse().ok()?, manifest).ok()
}

/// `None`: it was not begun, or its note is damaged. Without files nothing is there.
fn read_noted(dir: &Path, manifest: &Manifest) -> Option<ChunkSet> {
    let layout = manifest.layout();
    let is_there = |(index, length)| {
        let found = fs::metadata(dir.join(file_name(index)));
        found.is_ok_and(|found| found.len() == length)
    };
    let all_there = layout.lengths().enumerate().all(is_there);
    let bytes = fs::read(dir.join(HELD)).ok().filter(|_| all_there)?;
    ChunkSet::from_bytes(layout.chunk_count(), &bytes)
}

fn open_sparse(path: &Path, length: u64) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.open(path)?;
    if file.metadata()?.len() != length {
        file.set_len(length)?;
    }
    Ok(file)
}

fn file_name(index: usize) -> String {
    index.to_string()
}

fn index(file: u32) -> usize {
    usize::try_from(file).expect("files are few")
}
