//! The store's folder: one folder for each model with its files and a manifest, staging folders
//! for pulls under way, and a trash that is emptied when it can be. It decides nothing about
//! models; its calls wait for the disk.
//!
//! A model appears by one rename of its whole, synced folder, and goes by one rename into the
//! trash: a crash at any point leaves the model there or not there. What it leaves in the
//! staging and trash folders is resumed by the next pull or swept at a start.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::core::path::is_plain_file_name;
use super::core::plan::{StagedFile, StagedPlan};
use super::core::record::{Record, Source};

const STAGING: &str = ".partial";
const TRASH: &str = ".trash";
const MANIFEST: &str = "model.json";
const PLAN: &str = "plan.json";
/// Largest manifest or plan, bytes: a thousand files fit.
const MAX_MANIFEST: u64 = 1 << 20;
/// How long a partial download waits for its resume.
const KEEP_PARTIAL: Duration = Duration::from_secs(14 * 24 * 3600);

/// The store's folder.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    root: PathBuf,
}

/// The staging folder of one pull, locked against every other process and task.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    folder: PathBuf,
    lock: Arc<File>,
}

/// A pull that was not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Partial {
    /// The name of its staging folder.
    pub(super) folder: String,
    /// The model's name.
    pub(super) name: String,
    /// Bytes on disk.
    pub(super) bytes: u64,
}

impl Disk {
    /// Opens or makes the folder.
    pub(super) fn open(root: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(root.join(STAGING))?;
        fs::create_dir_all(root.join(TRASH))?;
        Ok(Self { root })
    }

    /// Where a model's file is.
    pub(super) fn file(&self, source: &Source, name: &str) -> PathBuf {
        match source {
            Source::File { path } => path.with_file_name(name),
            source => self.root.join(source.folder()).join(name),
        }
    }

    /// Bytes that this user may still write.
    pub(super) fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// The models that are whole: their manifests, those that make no sense passed over.
    pub(super) fn manifests(&self) -> io::Result<Vec<Record>> {
        let folders = subfolders(&self.root)?;
        let read = |name: String| {
            let record: Record = read_json(&self.root.join(&name).join(MANIFEST))?;
            (record.is_sound() && record.source.folder() == name).then_some(record)
        };
        Ok(folders.into_iter().filter_map(read).collect())
    }

    /// Locks (and makes) a staging folder. `None`: somebody else has it.
    pub(super) fn stage(&self, folder: &str) -> io::Result<Option<Stage>> {
        let path = self.root.join(STAGING).join(folder);
        fs::create_dir_all(&path)?;
        let lock = File::open(&path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Another may have renamed the folder away between our open and our lock.
        if !is_same_file(&lock, &path)? {
            return Ok(None);
        }
        Ok(Some(Stage {
            folder: path,
            lock: Arc::new(lock),
        }))
    }

    /// The pulls that were not finished.
    pub(super) fn partials(&self) -> io::Result<Vec<Partial>> {
        let staging = self.root.join(STAGING);
        let describe = |folder: String| {
            let path = staging.join(&folder);
            let plan: Option<StagedPlan> = read_json(&path.join(PLAN));
            let name = plan.map_or_else(String::new, |plan| plan.name);
            Partial {
                bytes: bytes_below(&path),
                folder,
                name,
            }
        };
        Ok(subfolders(&staging)?.into_iter().map(describe).collect())
    }

    /// Makes the staged model a model: manifest, sync, one rename. A folder that is there
    /// already (a crash came before its record was kept) is replaced.
    pub(super) fn place(&self, stage: &Stage, record: &Record) -> io::Result<()> {
        write_json(&stage.folder, MANIFEST, record)?;
        remove_if_there(&stage.folder.join(PLAN))?;
        sync_folder(&stage.folder)?;
        let target = self.root.join(record.source.folder());
        if target.exists() {
            self.discard(&target)?;
        }
        fs::rename(&stage.folder, &target)?;
        sync_folder(&self.root)
    }

    /// Removes a whole model.
    pub(super) fn remove(&self, source: &Source) -> io::Result<()> {
        self.discard(&self.root.join(source.folder()))
    }

    /// Removes what a pull left. `false`: it is under way.
    pub(super) fn remove_partial(&self, folder: &str) -> io::Result<bool> {
        let Some(stage) = self.stage(folder)? else {
            return Ok(false);
        };
        self.discard(&stage.folder)?;
        Ok(true)
    }

    /// Drops a staging folder that turned out to hold no model.
    pub(super) fn abandon(&self, stage: &Stage) -> io::Result<()> {
        self.discard(&stage.folder)
    }

    /// Renames into the trash, then deletes; what a crash leaves of it is swept.
    fn discard(&self, path: &Path) -> io::Result<()> {
        if !path.exists() {
            return Ok(());
        }
        let name = path.file_name().unwrap_or(OsStr::new("x")).to_owned();
        let trash = self.root.join(TRASH);
        let free = (0u32..).map(|n| {
            let mut name = name.clone();
            name.push(format!(".{n}"));
            trash.join(name)
        });
        let target = free
            .into_iter()
            .find(|path| !path.exists())
            .expect("numbers do not end");
        fs::rename(path, &target)?;
        sync_folder(&self.root)?;
        fs::remove_dir_all(&target)
    }

    /// Empties the trash and drops partial downloads that nobody resumed for
    /// [`KEEP_PARTIAL`] or that no longer say what they are. Answers the bytes freed.
    pub(super) fn sweep(&self, now: SystemTime) -> io::Result<u64> {
        let trash = self.root.join(TRASH);
        let mut freed = 0;
        for name in subfolders(&trash)? {
            freed += bytes_below(&trash.join(&name));
            fs::remove_dir_all(trash.join(name))?;
        }
        for partial in self.partials()? {
            let path = self.root.join(STAGING).join(&partial.folder);
            let old = newest_change(&path).is_none_or(|changed| {
                now.duration_since(changed)
                    .is_ok_and(|age| age > KEEP_PARTIAL)
            });
            if (old || partial.name.is_empty()) && self.remove_partial(&partial.folder)? {
                freed += partial.bytes;
            }
        }
        Ok(freed)
    }
}

impl Stage {
    /// A verified file's place.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A partial file's place.
    pub(super) fn part(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.part"))
    }

    /// The lock, for writers that outlive the task that began them.
    pub(super) fn lock(&self) -> Arc<File> {
        self.lock.clone()
    }

    /// Keeps of an earlier attempt what belongs to this plan, drops the rest, and writes the
    /// plan down. The bytes there were of an unfinished file keep their entity tag.
    pub(super) fn prepare(&self, plan: &StagedPlan) -> io::Result<()> {
        let old: Option<StagedPlan> = read_json(&self.folder.join(PLAN));
        let kept = |file: &&StagedFile| old.as_ref().is_some_and(|old| old.vouches_for(file));
        let good: Vec<_> = plan.files.iter().filter(kept).collect();
        for name in all_entries(&self.folder)? {
            let is_good = |file: &&&StagedFile| {
                name == file.name || name.strip_suffix(".part") == Some(&file.name)
            };
            if name != PLAN && !good.iter().any(|file| is_good(&file)) {
                remove_entry(&self.folder.join(name))?;
            }
        }
        self.remember(plan)
    }

    /// Writes the plan down.
    pub(super) fn remember(&self, plan: &StagedPlan) -> io::Result<()> {
        write_json(&self.folder, PLAN, plan)
    }

    /// Bytes that are there.
    pub(super) fn bytes(&self) -> u64 {
        bytes_below(&self.folder)
    }

    /// Whether a file is there whole; only verified ones have their own name.
    pub(super) fn has(&self, file: &StagedFile) -> bool {
        fs::metadata(self.file(&file.name)).is_ok_and(|m| m.is_file() && m.len() == file.size)
    }

    /// Gives a verified file its name.
    pub(super) fn accept(&self, name: &str) -> io::Result<()> {
        fs::rename(self.part(name), self.file(name))?;
        sync_folder(&self.folder)
    }
}

fn is_same_file(open: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let open = open.metadata()?;
    Ok(
        fs::metadata(path)
            .is_ok_and(|there| (there.dev(), there.ino()) == (open.dev(), open.ino())),
    )
}

/// Folders in a folder with names that we could have given; hidden and odd ones are passed over.
fn subfolders(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = all_entries(folder)?;
    names.retain(|name| is_plain_file_name(name) && folder.join(name).is_dir());
    Ok(names)
}

fn all_entries(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| entry.metadata().ok());
    sizes
        .filter(fs::Metadata::is_file)
        .fold(0, |sum, m| sum.saturating_add(m.len()))
}

fn newest_change(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let changes = entries.filter_map(|entry| entry.metadata().ok()?.modified().ok());
    changes
        .chain(fs::metadata(folder).ok()?.modified().ok())
        .max()
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let small = fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() <= MAX_MANIFEST);
    let bytes = small.then(|| fs::read(path).ok()).flatten()?;
    serde_json::from_slice(&bytes).ok()
}

/// Writes whole or not at all: a new file beside it, synced, renamed over it.
fn write_json<T: serde::Serialize>(folder: &Path, name: &str, value: &T) -> io::Result<()> {
    let new = folder.join(format!("{name}.new"));
    fs::write(&new, serde_json::to_vec_pretty(value)?)?;
    File::open(&new)?.sync_all()?;
    fs::rename(&new, folder.join(name))
}

fn remove_entry(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
