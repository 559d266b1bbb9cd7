//! Models' files between peers: what this node can give of them, giving it, and fetching the part of
//! a model that it lacks. [`Weights`] is the handle; whom to ask for what is decided in
//! [`crate::core::fetch`].
//!
//! A model is known by the hash of its manifest. What is given lies in files that this node hashed
//! or fetched itself, looked up by that hash: no name and no path ever comes from the network.
//!
//! ```text
//! DIR/manifests/ID        the manifest of files that lie elsewhere
//! DIR/slices/ID/manifest  the manifest of what was fetched
//! DIR/slices/ID/model     the model's name
//! DIR/slices/ID/held      which chunks are there: one bit each
//! DIR/slices/ID/0 …       the model's files, with holes
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::weights::Manifest;
use protocol::{ManifestId, ModelName, NodeId, UnixMillis};
use tokio::sync::Notify;

use crate::store::{Store, StoreError};

mod asking;
mod error;
mod fetching;
mod giver;
mod giving;
mod hashed;
mod held;
mod hub;
mod slice;
#[cfg(test)]
mod tests;

pub use self::error::{FetchError, HashError, OpenError};
pub use self::fetching::{Fetched, Givers, Progress, Want};
pub use self::giver::{GiveError, Giver, Incoming, PeerGiver};
pub use self::giving::{Gate, Giving, MAX_STREAMS, MAX_STREAMS_OF_ONE, Pieces};
use self::hashed::Hashed;
use self::held::Held;
pub use self::hub::HubGiver;
pub use self::slice::Kept;
use crate::core::fetch::distrust::Distrusted;

/// What this node has of models' files. Clones share it.
#[derive(Clone)]
pub struct Weights {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    hashed: Hashed,
    state: Mutex<State>,
    /// Told when a slice is no longer being fetched.
    let_go: Notify,
    received: Received,
}

/// Bytes of models that came from elsewhere since the start, those in vain included. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Received(Arc<AtomicU64>);

impl Received {
    /// So many.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct State {
    held: BTreeMap<ManifestId, Held>,
    /// Models that peers may fetch because a chain of ours needs them, and how many chains do.
    shared: BTreeMap<ManifestId, usize>,
    /// Slices that are being fetched.
    fetching: BTreeSet<ManifestId>,
    distrusted: Distrusted,
}

/// While it lives, peers may fetch a model whatever is loaded here: a chain of this node needs them to.
pub struct Share {
    weights: Weights,
    id: ManifestId,
}

/// Marks a slice as being fetched.
struct Claim {
    weights: Weights,
    id: ManifestId,
}

impl Weights {
    /// Opens what is in the folder. Waits for the disk. Slices that are damaged are passed over.
    ///
    /// # Errors
    /// The folder or the state cannot be used.
    pub fn open(dir: PathBuf, store: &Store) -> Result<Self, OpenError> {
        for folder in ["manifests", "slices"] {
            std::fs::create_dir_all(dir.join(folder)).map_err(OpenError::Folder)?;
        }
        let hashed = Hashed::open(&dir.join("manifests"), store)?;
        let mut state = State {
            distrusted: hashed.distrusted(now())?,
            ..State::default()
        };
        let slices = slice::read_all(&dir.join("slices")).map_err(OpenError::Folder)?;
        for held in slices.into_iter().chain(hashed.held()?) {
            state.hold(held);
        }
        let state = Mutex::new(state);
        let shared = Shared {
            dir,
            hashed,
            state,
            let_go: Notify::new(),
            received: Received::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The manifest of a model that is here whole. Its files are hashed the first time, and again
    /// when they changed; from then on peers can be given them. `progress` hears the bytes hashed so
    /// far, on another thread.
    ///
    /// # Errors
    /// They cannot be read, or change meanwhile.
    pub async fn manifest_of(
        &self,
        model: ModelName,
        files: Vec<PathBuf>,
        progress: impl Fn(u64) + Send + 'static,
    ) -> Result<ManifestId, HashError> {
        let weights = self.clone();
        let hashing = tokio::task::spawn_blocking(move || {
            let held = weights.shared.hashed.hash(model, &files, &progress)?;
            let id = held.id;
            weights.state().hold(held);
            Ok(id)
        });
        hashing.await.map_err(|_| HashError::Ended)?
    }

    /// A manifest that is here.
    pub fn manifest(&self, id: &ManifestId) -> Option<Arc<Manifest>> {
        let state = self.state();
        state.held.get(id).map(|held| Arc::clone(&held.manifest))
    }

    /// Lets peers fetch a model until the answer is dropped.
    #[must_use]
    pub fn share(&self, id: ManifestId) -> Share {
        *self.state().shared.entry(id).or_default() += 1;
        Share {
            weights: self.clone(),
            id,
        }
    }

    /// Bytes that came so far.
    pub fn received(&self) -> Received {
        self.shared.received.clone()
    }

    /// What was fetched of models and nobody needs now: no chain, and no fetch under way. Waits for
    /// the disk.
    ///
    /// # Errors
    /// The disk fails.
    pub fn removable(&self) -> std::io::Result<Vec<Kept>> {
        let kept = slice::kept(&self.shared.dir.join("slices"))?;
        let state = self.state();
        let is_needed =
            |id: &ManifestId| state.shared.contains_key(id) || state.fetching.contains(id);
        let free = kept.into_iter().filter(|kept| !is_needed(&kept.id));
        Ok(free.collect())
    }

    /// Bytes of the disk that all that was fetched takes. Waits for the disk.
    ///
    /// # Errors
    /// The disk fails.
    pub fn kept_bytes(&self) -> std::io::Result<u64> {
        let kept = slice::kept(&self.shared.dir.join("slices"))?;
        Ok(kept.iter().map(|kept| kept.bytes).sum())
    }

    /// Removes what was fetched of a model. Files that lie elsewhere stay. Waits for the disk.
    ///
    /// # Errors
    /// It is being fetched, or the disk fails.
    pub fn remove(&self, id: ManifestId) -> Result<(), FetchError> {
        let _claim = self.claim(id)?;
        let mut state = self.state();
        if state.held.get(&id).is_some_and(|held| held.is_slice) {
            state.held.remove(&id);
        }
        drop(state);
        slice::remove(&self.shared.dir.join("slices"), id).map_err(FetchError::Disk)
    }

    /// Whether nothing is fetched from a peer now, for it sent wrong bytes.
    pub fn is_distrusted(&self, peer: &NodeId) -> bool {
        self.state().distrusted.contains(peer, now())
    }

    /// Remembers that a peer sent wrong bytes. Waits for the disk.
    fn distrust(&self, peer: NodeId) -> Result<(), StoreError> {
        let now = now();
        let distrusted = {
            let mut state = self.state();
            state.distrusted.add(peer, now);
            state.distrusted.clone()
        };
        self.shared.hashed.keep_distrusted(&distrusted)
    }

    fn claim(&self, id: ManifestId) -> Result<Claim, FetchError> {
        if !self.state().fetching.insert(id) {
            return Err(FetchError::UnderWay);
        }
        let weights = self.clone();
        Ok(Claim { weights, id })
    }

    /// The same once nobody else fetches it.
    async fn claim_in_turn(&self, id: ManifestId) -> Claim {
        loop {
            let mut let_go = std::pin::pin!(self.shared.let_go.notified());
            // What ends from here on is heard.
            let_go.as_mut().enable();
            match self.claim(id) {
                Ok(claim) => return claim,
                Err(_) => let_go.await,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.shared.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whole files are better than a slice of them, whenever they came.
    fn hold(&mut self, held: Held) {
        let known = self.held.get(&held.id);
        if held.is_slice && known.is_some_and(|known| !known.is_slice && known.is_unchanged()) {
            return;
        }
        self.held.insert(held.id, held);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.weights.state();
        if let Some(count) = state.shared.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                state.shared.remove(&self.id);
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.weights.state().fetching.remove(&self.id);
        self.weights.shared.let_go.notify_waiters();
    }
}

fn now() -> UnixMillis {
    UnixMillis::from(std::time::SystemTime::now())
}
