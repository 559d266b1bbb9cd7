//! A slice's file on disk: written beside its name, put in its place whole. It takes the bytes of
//! the source in any order, from local files or from elsewhere, and knows nothing of what they
//! mean.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::plan::{Origin, Piece, SlicePlan};

/// Bytes that are copied between two reports: a fraction of a second of a slow disk.
const STEP_BYTES: u64 = 8 << 20;

/// Why a slice's file could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MaterialiseError {
    /// The file would take more than it may.
    #[error("the slice takes {needed} bytes; {budget} may be used")]
    NoRoom {
        /// Bytes on disk.
        needed: u64,
        /// Bytes that it may take.
        budget: u64,
    },
    /// The plan wants a file that is not given.
    #[error("the model's file number {0} is missing")]
    Missing(usize),
    /// A file of the source cannot be read.
    #[error("{} cannot be read", file.display())]
    Source {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the source is shorter than the plan says.
    #[error("{} is shorter than its header says", .0.display())]
    Short(PathBuf),
    /// The slice's file cannot be written.
    #[error("{} cannot be written", file.display())]
    Target {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Bytes cannot be copied from one file to the other; the system does not say which of them
    /// failed.
    #[error("{} cannot be copied from", file.display())]
    Copy {
        /// The file of the source.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The callback asked to stop.
    #[error("making the slice was stopped")]
    Stopped,
}

/// A slice to be made of local files.
#[derive(Debug, Clone)]
pub struct Materialising<'a> {
    /// What it is made of.
    pub plan: Arc<SlicePlan>,
    /// The source's files in order.
    pub files: &'a [PathBuf],
    /// Its place; its folder must exist. A file that is there is replaced.
    pub to: &'a Path,
    /// Bytes of disk that it may take.
    pub budget_bytes: u64,
}

/// Makes a slice's file of local files. `progress` is told the bytes that are done and those of
/// the whole file, and answers whether to go on. The file is there whole or not at all.
///
/// # Errors
/// [`MaterialiseError`] for whatever goes wrong.
pub fn materialise(
    order: &Materialising<'_>,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<(), MaterialiseError> {
    let plan = Arc::clone(&order.plan);
    let total = plan.bytes();
    let target = SliceFile::create(Arc::clone(&plan), order.to, order.budget_bytes)?;
    let mut source: Option<(usize, File)> = None;
    for piece in plan.pieces() {
        let Origin::File { file, offset } = piece.origin else {
            continue;
        };
        let path = order
            .files
            .get(file)
            .ok_or(MaterialiseError::Missing(file))?;
        let opened = match source.take() {
            Some((open, opened)) if open == file => opened,
            _ => File::open(path).map_err(|e| unreadable(path, e))?,
        };
        let mut done = 0;
        while done < piece.bytes {
            if !progress(piece.offset + done, total) {
                return Err(MaterialiseError::Stopped);
            }
            let bytes = STEP_BYTES.min(piece.bytes - done);
            let (from, to) = (offset + done, piece.offset + done);
            let step = Step { from, to, bytes };
            target.copy(&opened, path, step)?;
            done += bytes;
        }
        source = Some((file, opened));
    }
    if !progress(total, total) {
        return Err(MaterialiseError::Stopped);
    }
    target.finish()
}

fn unreadable(file: &Path, source: io::Error) -> MaterialiseError {
    MaterialiseError::Source {
        file: file.to_owned(),
        source,
    }
}

#[derive(Debug, Clone, Copy)]
struct Step {
    from: u64,
    to: u64,
    bytes: u64,
}

/// A slice's file while it is filled. Dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct SliceFile {
    plan: Arc<SlicePlan>,
    file: File,
    beside: PathBuf,
    to: PathBuf,
}

impl SliceFile {
    /// Creates the file beside its place, with all that does not come from the source.
    ///
    /// # Errors
    /// [`MaterialiseError`] if there is no room or the file system refuses.
    pub fn create(
        plan: Arc<SlicePlan>,
        to: &Path,
        budget_bytes: u64,
    ) -> Result<Self, MaterialiseError> {
        let needed = plan.stored_bytes();
        if needed > budget_bytes {
            return Err(MaterialiseError::NoRoom {
                needed,
                budget: budget_bytes,
            });
        }
        let beside = beside(to);
        let options = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .clone();
        let file = options.open(&beside).map_err(|e| unwritable(to, e))?;
        let made = Self {
            plan,
            file,
            beside,
            to: to.to_owned(),
        };
        made.prepare().map_err(|e| unwritable(to, e))?;
        Ok(made)
    }

    /// Takes bytes of the source's file `file`, from `offset` on. What the slice does not need of
    /// them is passed over. Answers how many were needed.
    ///
    /// # Errors
    /// [`MaterialiseError::Target`] if the file system refuses.
    pub fn write(&self, file: usize, offset: u64, bytes: &[u8]) -> Result<u64, MaterialiseError> {
        let end = offset.saturating_add(bytes.len() as u64);
        let mut needed = 0;
        for place in self.plan.placements(file, offset..end) {
            // Within `bytes`: placements lie in the range asked for.
            let start = usize::try_from(place.from - offset).expect("within a buffer");
            let count = usize::try_from(place.bytes).expect("within a buffer");
            let part = &bytes[start..start + count];
            let written = self.file.write_all_at(part, place.to);
            written.map_err(|e| unwritable(&self.to, e))?;
            needed += place.bytes;
        }
        Ok(needed)
    }

    /// Puts the file in its place. That all was written is the caller's to know.
    ///
    /// # Errors
    /// [`MaterialiseError::Target`] if the file system refuses.
    pub fn finish(self) -> Result<(), MaterialiseError> {
        let placed = self.file.sync_all().and_then(|()| {
            std::fs::rename(&self.beside, &self.to)?;
            // The name is safe only with its folder.
            match self.to.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
                _ => Ok(()),
            }
        });
        placed.map_err(|e| unwritable(&self.to, e))
    }

    /// Zeros stay holes.
    fn prepare(&self) -> io::Result<()> {
        self.file.set_len(self.plan.bytes())?;
        for Piece {
            offset,
            bytes,
            origin,
        } in self.plan.pieces()
        {
            if let Origin::Plan { offset: from } = origin {
                let count = usize::try_from(*bytes).expect("as long as what the plan holds");
                let part = &self.plan.written()[*from..from + count];
                self.file.write_all_at(part, *offset)?;
            }
        }
        Ok(())
    }

    /// Copies within the kernel where the file systems can (`copy_file_range`, by `io::copy`).
    fn copy(&self, from: &File, path: &Path, step: Step) -> Result<(), MaterialiseError> {
        let (mut source, mut target) = (from, &self.file);
        let sought = source.seek(SeekFrom::Start(step.from));
        sought.map_err(|e| unreadable(path, e))?;
        let sought = target.seek(SeekFrom::Start(step.to));
        sought.map_err(|e| unwritable(&self.to, e))?;
        let copied = io::copy(&mut source.take(step.bytes), &mut target);
        match copied {
            Ok(bytes) if bytes == step.bytes => Ok(()),
            Ok(_) => Err(MaterialiseError::Short(path.to_owned())),
            Err(source) => Err(MaterialiseError::Copy {
                file: path.to_owned(),
                source,
            }),
        }
    }
}

impl Drop for SliceFile {
    fn drop(&mut self) {
        // After `finish` the name is gone; a file that cannot be removed is no use to anybody.
        let _ = std::fs::remove_file(&self.beside);
    }
}

/// A name that no other file has that is being made, here or in another process.
fn beside(to: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = to.as_os_str().to_owned();
    name.push(format!(".{}-{count}.part", std::process::id()));
    PathBuf::from(name)
}

fn unwritable(file: &Path, source: io::Error) -> MaterialiseError {
    MaterialiseError::Target {
        file: file.to_owned(),
        source,
    }
}
