//! Models' files that lie elsewhere, hashed: each once, for the result is kept with how the files
//! were. It also keeps who sent wrong bytes. Its calls wait for the disk.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::weights::{ChunkHash, ChunkSet, Layout, Manifest};
use protocol::{ManifestId, ModelName, NodeId, UnixMillis};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::error::HashError;
use super::held::{Files, Held, Stamp};
use crate::core::fetch::distrust::Distrusted;
use crate::store::{Record, Store, StoreError, Table};

/// The key of the only record of its table.
const DISTRUSTED: &str = "peers";

/// Files that were hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct HashedFiles {
    model: ModelName,
    files: Vec<Stamp>,
    manifest: ManifestId,
}

impl Record for HashedFiles {
    const TABLE: &'static str = "weights_hashed";
}

/// Peers that sent wrong bytes, and until when that counts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct WrongBytes {
    peers: Vec<(NodeId, UnixMillis)>,
}

impl Record for WrongBytes {
    const TABLE: &'static str = "weights_distrusted";
}

/// What was hashed.
pub(super) struct Hashed {
    dir: PathBuf,
    table: Table<HashedFiles>,
    wrong: Table<WrongBytes>,
}

impl Hashed {
    pub(super) fn open(dir: &Path, store: &Store) -> Result<Self, StoreError> {
        Ok(Self {
            dir: dir.to_owned(),
            table: store.table()?,
            wrong: store.table()?,
        })
    }

    /// What was hashed before, as far as the files are the same. The rest is forgotten.
    pub(super) fn held(&self) -> Result<Vec<Held>, StoreError> {
        let mut all = Vec::new();
        for (key, record) in self.table.all()? {
            match self.read(&record) {
                Some(held) => all.push(held),
                None => {
                    self.table.remove(&key)?;
                    // Nobody else may need it; if somebody does it is written again.
                    let _ = fs::remove_file(self.manifest_path(record.manifest));
                }
            }
        }
        Ok(all)
    }

    /// Hashes files, unless that was done.
    pub(super) fn hash(
        &self,
        model: ModelName,
        files: &[PathBuf],
        progress: &dyn Fn(u64),
    ) -> Result<Held, HashError> {
        let stamp = |path: &PathBuf| Stamp::of(path).map_err(HashError::Read);
        let stamps = files.iter().map(stamp).collect::<Result<Vec<_>, _>>()?;
        let key = key(files);
        if let Some(record) = self.table.read(&key)?
            && record.files == stamps
            && record.model == model
            && let Some(held) = self.read(&record)
        {
            return Ok(held);
        }
        let manifest = hash_all(&stamps, progress)?;
        if !stamps.iter().all(Stamp::is_current) {
            return Err(HashError::Changed);
        }
        let id = manifest.id();
        write_whole(&self.manifest_path(id), &manifest.encode()).map_err(HashError::Keep)?;
        let record = HashedFiles {
            model,
            files: stamps,
            manifest: id,
        };
        self.table.put(&key, &record)?;
        Ok(held(&record, manifest))
    }

    /// Who sent wrong bytes. A record that is broken is as good as none.
    pub(super) fn distrusted(&self, now: UnixMillis) -> Result<Distrusted, StoreError> {
        let record = match self.wrong.read(DISTRUSTED) {
            Ok(record) => record.unwrap_or_default(),
            Err(error @ StoreError::BadRecord { .. }) => {
                warn!(%error, "peers that sent wrong bytes are forgotten");
                WrongBytes::default()
            }
            Err(error) => return Err(error),
        };
        Ok(Distrusted::of(record.peers, now))
    }

    pub(super) fn keep_distrusted(&self, distrusted: &Distrusted) -> Result<(), StoreError> {
        let peers = distrusted.peers().collect();
        self.wrong.put(DISTRUSTED, &WrongBytes { peers })
    }

    fn read(&self, record: &HashedFiles) -> Option<Held> {
        if !record.files.iter().all(Stamp::is_current) {
            return None;
        }
        let bytes = fs::read(self.manifest_path(record.manifest)).ok()?;
        let manifest = Manifest::read(record.manifest, &bytes).ok()?;
        Some(held(record, manifest))
    }

    fn manifest_path(&self, id: ManifestId) -> PathBuf {
        self.dir.join(id.to_string())
    }
}

fn held(record: &HashedFiles, manifest: Manifest) -> Held {
    Held {
        id: record.manifest,
        model: record.model.clone(),
        chunks: ChunkSet::all(manifest.layout().chunk_count()),
        manifest: Arc::new(manifest),
        files: Files::Stamped(record.files.clone()),
        is_slice: false,
    }
}

/// A path may be longer than a key.
fn key(files: &[PathBuf]) -> String {
    let first = files
        .first()
        .map(|path| path.as_os_str().as_encoded_bytes());
    blake3::hash(first.unwrap_or_default()).to_string()
}

fn hash_all(stamps: &[Stamp], progress: &dyn Fn(u64)) -> Result<Manifest, HashError> {
    let lengths: Vec<u64> = stamps.iter().map(Stamp::size).collect();
    let layout = Layout::new(&lengths)?;
    let size = usize::try_from(layout.chunk_bytes()).expect("chunks are small");
    let mut hashes = Vec::new();
    let mut done = 0;
    let mut chunk = vec![0; size];
    for stamp in stamps {
        let mut file = File::open(&stamp.path).map_err(HashError::Read)?;
        let mut left = stamp.size();
        while left > 0 {
            let count = usize::try_from(left).map_or(size, |left| left.min(size));
            let read = file.read_exact(&mut chunk[..count]);
            read.map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => HashError::Changed,
                _ => HashError::Read(error),
            })?;
            hashes.push(ChunkHash::of(&chunk[..count]));
            left -= count as u64;
            done += count as u64;
            progress(done);
        }
    }
    Ok(Manifest::new(layout, hashes).expect("a hash for each chunk"))
}

/// Writes a file that is there whole or not at all, whenever the machine stops.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
