//! Fetching the part of a model that is wanted and not here: its manifest, room for it, and then one
//! task for its chunks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use protocol::weights::{ChunkSet, Manifest, Span};
use protocol::{ManifestId, ModelName};
use tokio::sync::watch;
use tokio::time::timeout;

use super::Weights;
use super::error::FetchError;
use super::giver::Giver;
use super::slice::{self, Slice};
use crate::core::fetch::{Source, chunks_of};
use crate::models::blocking;

mod task;

use self::task::Fetching;

/// How long somebody who has the manifest is waited for.
const MANIFEST_PATIENCE: Duration = Duration::from_secs(60);

/// How often a giver that has not all is asked what it has by now, and one that did not answer, again.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// Bytes of the disk that stay free.
const RESERVE_BYTES: u64 = 1 << 30;

/// Those who may be asked, as they come and go.
pub type Givers = watch::Receiver<Vec<Arc<dyn Giver>>>;

/// What is to be here.
#[derive(Debug, Clone)]
pub struct Want {
    /// Of which model.
    pub id: ManifestId,
    /// Its name: what the owner allows or forbids peers goes by it.
    pub model: ModelName,
    /// Ranges of its files; chunks around them come along.
    pub ranges: Vec<Span>,
    /// Bytes that may be fetched; `None`: what the disk has.
    pub room_bytes: Option<u64>,
}

/// How far a fetch is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of all that is wanted, rounded to chunks.
    pub wanted_bytes: u64,
    /// Of these, what is here.
    pub done_bytes: u64,
}

impl Progress {
    /// The part of what is wanted that is here, 0..=1.
    pub fn share(&self) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let share = self.done_bytes as f32 / self.wanted_bytes.max(1) as f32;
        share
    }
}

/// What is here now.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The model's files, as long as the whole ones; what was not wanted may be missing in them.
    pub files: Vec<PathBuf>,
    /// What they are.
    pub manifest: Arc<Manifest>,
    /// Bytes that came for it, those in vain included; none if all was here.
    pub came_bytes: u64,
}

impl Weights {
    /// What is wanted, if all of it is here. Nobody is asked.
    ///
    /// # Errors
    /// The model has no such ranges, or the disk fails.
    pub async fn find(
        &self,
        id: ManifestId,
        ranges: &[Span],
    ) -> Result<Option<Fetched>, FetchError> {
        let Some(manifest) = self.known_manifest(id).await else {
            return Ok(None);
        };
        let wanted = chunks_of(manifest.layout(), ranges)?;
        self.here(id, wanted).await
    }

    /// Fetches parts of a model, as far as they are not here; after whoever fetches of the same
    /// model now. Dropping the future stops it; what came stays for the next one.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(
        &self,
        want: Want,
        mut givers: Givers,
        progress: watch::Sender<Progress>,
    ) -> Result<Fetched, FetchError> {
        if let Some(here) = self.find(want.id, &want.ranges).await? {
            return Ok(here);
        }
        let claim = self.claim_in_turn(want.id).await;
        let manifest = match self.known_manifest(want.id).await {
            Some(manifest) => manifest,
            None => Arc::new(self.ask_manifest(want.id, &mut givers).await?),
        };
        let wanted = chunks_of(manifest.layout(), &want.ranges)?;
        if let Some(here) = self.here(want.id, wanted.clone()).await? {
            return Ok(here);
        }
        let slice = self.open_slice(&want, manifest).await?;
        check_room(&self.shared.dir, &want, &slice, &wanted)?;
        let fetch = Fetching::new(self.clone(), claim, slice, wanted, progress);
        fetch.run(givers).await
    }

    async fn known_manifest(&self, id: ManifestId) -> Option<Arc<Manifest>> {
        if let Some(manifest) = self.manifest(&id) {
            return Some(manifest);
        }
        let slices = self.shared.dir.join("slices");
        let read = blocking(move || Ok(slice::read_manifest(&slices, id))).await;
        read.ok().flatten().map(Arc::new)
    }

    async fn ask_manifest(
        &self,
        id: ManifestId,
        givers: &mut Givers,
    ) -> Result<Manifest, FetchError> {
        let asking = async {
            loop {
                let now: Vec<_> = givers.borrow_and_update().clone();
                for giver in now.iter().filter(|giver| self.trusts(giver.source())) {
                    if let Ok(manifest) = giver.manifest(id).await {
                        self.shared.received.add(manifest.encode().len());
                        return Some(manifest);
                    }
                }
                // The same ones may have it later; nobody else comes once the sender is gone.
                let changed = timeout(LOOK_AGAIN, givers.changed()).await;
                if matches!(changed, Ok(Err(_))) {
                    return None;
                }
            }
        };
        let asked = timeout(MANIFEST_PATIENCE, asking).await;
        asked.ok().flatten().ok_or(FetchError::NoManifest)
    }

    fn trusts(&self, source: Source) -> bool {
        !matches!(source, Source::Peer(peer) if self.is_distrusted(&peer))
    }

    /// What is wanted, if all of it is here.
    async fn here(&self, id: ManifestId, wanted: ChunkSet) -> Result<Option<Fetched>, FetchError> {
        let Some(held) = self.state().held.get(&id).cloned() else {
            return Ok(None);
        };
        let checking = blocking(move || {
            let is_here = held.chunks.contains_all(&wanted) && held.is_unchanged();
            Ok(is_here.then(|| Fetched {
                files: held.paths(),
                manifest: held.manifest,
                came_bytes: 0,
            }))
        });
        checking.await.map_err(FetchError::Disk)
    }

    async fn open_slice(&self, want: &Want, manifest: Arc<Manifest>) -> Result<Slice, FetchError> {
        let slices = self.shared.dir.join("slices");
        let (id, model) = (want.id, want.model.clone());
        let opening = blocking(move || Slice::open(&slices, id, model, manifest));
        opening.await.map_err(FetchError::Disk)
    }
}

fn check_room(dir: &Path, want: &Want, slice: &Slice, wanted: &ChunkSet) -> Result<(), FetchError> {
    let missing = slice.bytes_of(&wanted.without(slice.noted()));
    let stat = rustix::fs::statvfs(dir).map_err(|error| FetchError::Disk(error.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let free = free.saturating_sub(RESERVE_BYTES);
    let room = want.room_bytes.map_or(free, |room| room.min(free));
    if missing > room {
        return Err(FetchError::NoRoom { missing, room });
    }
    Ok(())
}
