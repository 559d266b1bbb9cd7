//! References on the disk: a file of JSON for each model, replaced whole. Nodes and commands may look
//! at the folder at the same time. What lies there may be anybody's, so it is checked when it is read.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::ExpertsError;
use crate::core::shards::reference::Reference;

/// Bytes of a record: a model of 94 layers of 512 experts on 64 texts has 60 MB.
const MAX_RECORD_BYTES: u64 = 128 << 20;

/// A folder of references.
#[derive(Debug, Clone)]
pub struct Records {
    dir: PathBuf,
}

impl Records {
    /// Those in this folder, which need not be there.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where a model's record is.
    #[must_use]
    pub fn path(&self, fingerprint: &str) -> PathBuf {
        self.dir.join(format!("{fingerprint}.json"))
    }

    /// What is known of the model with this fingerprint. A record that makes no sense is none.
    ///
    /// # Errors
    /// [`ExpertsError::NotRanked`] if nothing is, [`ExpertsError::File`] if the system refuses.
    pub fn find(&self, fingerprint: &str) -> Result<Reference, ExpertsError> {
        let path = self.path(fingerprint);
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ExpertsError::NotRanked);
            }
            Err(cause) => return Err(ExpertsError::File { path, cause }),
        };
        let record = serde_json::from_slice::<Reference>(&bytes).ok();
        let sound = |record: &Reference| record.is_sound() && record.fingerprint == fingerprint;
        record.filter(sound).ok_or(ExpertsError::NotRanked)
    }

    /// Keeps what is known of a model; what was known before is forgotten.
    ///
    /// # Errors
    /// [`ExpertsError::File`] if the system refuses.
    pub fn keep(&self, record: &Reference) -> Result<(), ExpertsError> {
        let path = self.path(&record.fingerprint);
        let written = self.write(record, &path);
        written.map_err(|cause| ExpertsError::File { path, cause })
    }

    fn write(&self, record: &Reference, path: &Path) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        let bytes = serde_json::to_vec(record)?;
        // No other process has this name.
        let new = path.with_extension(format!("{}.new", std::process::id()));
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(MAX_RECORD_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}
