//! Small files that are there whole or not at all, and that only their owner can read. It knows
//! no swarm.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::SwarmError;

/// How long a command waits for another one that changes the same swarms. What it waits for are
/// a few writes to the disk.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// How often it looks.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Entries that are read of one folder: more than all that is kept in any.
const MAX_ENTRIES: usize = 4096;

/// What files that are not finished begin with.
const UNFINISHED: &str = ".";

/// Says which file it was.
pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> SwarmError + use<> {
    let path = path.to_path_buf();
    move |cause| SwarmError::Io { path, cause }
}

/// Makes a folder, and those above it, for the owner only.
pub(super) fn make_folder(path: &Path) -> Result<(), SwarmError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(failed(path))
}

/// Reads a file of at most `max` bytes; `None`: there is none.
pub(super) fn read(path: &Path, max: usize) -> Result<Option<Vec<u8>>, SwarmError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path)(error)),
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let read = file.take(limit).read_to_end(&mut bytes);
    read.map_err(failed(path))?;
    if bytes.len() > max {
        return Err(SwarmError::damaged(path, "it is too large"));
    }
    Ok(Some(bytes))
}

/// Reads a file of text.
pub(super) fn read_text(path: &Path, max: usize) -> Result<Option<String>, SwarmError> {
    let Some(bytes) = read(path, max)? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes);
    text.map(Some)
        .map_err(|_| SwarmError::damaged(path, "it is no text"))
}

/// Replaces a file, and returns when the new one is on disk: after a crash there is the old one
/// or the new one, whole.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), SwarmError> {
    let new = unfinished(path);
    let written = write_new(&new, bytes)
        .and_then(|()| fs::rename(&new, path))
        .and_then(|()| sync_folder_of(path));
    written.map_err(failed(path))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Beside the path, under a name that no other process takes.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    let mut name = OsString::from(UNFINISHED);
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

pub(super) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Removes a file; one that is not there is no error.
pub(super) fn remove(path: &Path) -> Result<(), SwarmError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

/// The names in a folder, sorted, unfinished files left out; none where there is no folder.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, SwarmError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        if names.len() == MAX_ENTRIES {
            return Err(SwarmError::damaged(folder, "it has too many files"));
        }
        let name = entry.map_err(failed(folder))?.file_name();
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with(UNFINISHED) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Folders that were made or removed halfway when a process died.
pub(super) fn unfinished_folders(folder: &Path) -> Result<Vec<PathBuf>, SwarmError> {
    let entries = fs::read_dir(folder).map_err(failed(folder))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let begun = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(UNFINISHED) && path.is_dir()
    };
    Ok(paths.filter(begun).take(MAX_ENTRIES).collect())
}

/// Held while files are read and changed; the system lets go of it when the process dies.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for it, but not for ever.
    pub(super) fn take(path: &Path) -> Result<Self, SwarmError> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(failed(path))?;
        let end = Instant::now() + LOCK_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(cause)) => return Err(failed(path)(cause)),
                Err(TryLockError::WouldBlock) if Instant::now() > end => {
                    return Err(SwarmError::Busy(path.to_path_buf()));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_POLL),
            }
        }
    }
}
