//! What slices, and parts of models that were fetched for them, take of the disk: together they
//! stay below one budget, and the oldest goes first. Its calls wait for the disk.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::SliceError;
use crate::weights::{FetchError, Weights};

/// The folder of slices.
#[derive(Clone)]
pub(super) struct Folder {
    pub(super) dir: PathBuf,
    pub(super) weights: Weights,
    pub(super) budget: u64,
}

/// Something that may be removed.
enum Old {
    Slice(PathBuf),
    Part(protocol::ManifestId),
}

impl Folder {
    /// Whether a slice is there, with this length; then it counts as used now.
    pub(super) fn has(&self, file: &Path, bytes: u64) -> Result<bool, SliceError> {
        if fs::metadata(file).is_ok_and(|found| found.len() == bytes) {
            touch(file).map_err(SliceError::Folder)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Removes what was not used for longest until so many bytes more fit the budget; nothing, where
    /// they do not fit at all. A slice that is loaded keeps its file until its process ends: the name
    /// is gone, the bytes are not.
    pub(super) fn make_room(&self, wanted: u64) -> Result<(), SliceError> {
        let room = self.remove_for(wanted).map_err(SliceError::Folder)?;
        if wanted > room {
            return Err(SliceError::NoRoom { wanted, room });
        }
        Ok(())
    }

    /// What may be taken after that.
    fn remove_for(&self, wanted: u64) -> io::Result<u64> {
        fs::create_dir_all(&self.dir)?;
        let mut old = self.slices()?;
        for part in self.weights.removable()? {
            old.push((part.changed_at, part.bytes, Old::Part(part.id)));
        }
        old.sort_by_key(|(used, ..)| *used);
        let slices = old.iter().filter(|(.., old)| matches!(old, Old::Slice(_)));
        let slices: u64 = slices.map(|(_, bytes, _)| bytes).sum();
        let mut taken = self.weights.kept_bytes()?.saturating_add(slices);
        let removable: u64 = old.iter().map(|(_, bytes, _)| bytes).sum();
        let most = self.budget.saturating_sub(taken.saturating_sub(removable));
        if wanted > most {
            return Ok(most);
        }
        for (_, bytes, old) in old {
            if taken.saturating_add(wanted) <= self.budget {
                break;
            }
            if self.remove(old)? {
                taken = taken.saturating_sub(bytes);
            }
        }
        Ok(self.budget.saturating_sub(taken))
    }

    fn slices(&self) -> io::Result<Vec<(SystemTime, u64, Old)>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let found = entry.metadata()?;
            if found.is_file() {
                all.push((found.modified()?, found.len(), Old::Slice(entry.path())));
            }
        }
        Ok(all)
    }

    /// Whether it is gone: somebody may have begun to fetch it meanwhile.
    fn remove(&self, old: Old) -> io::Result<bool> {
        match old {
            Old::Slice(path) => fs::remove_file(path).map(|()| true),
            Old::Part(id) => match self.weights.remove(id) {
                Ok(()) => Ok(true),
                Err(FetchError::Disk(error)) => Err(error),
                Err(_) => Ok(false),
            },
        }
    }
}

/// The slice was used now.
fn touch(file: &Path) -> io::Result<()> {
    File::open(file)?.set_modified(SystemTime::now())
}
