//! The blackboard of this node: keeps notes on the disk, hands them to the network and to whoever
//! reads them here. What is taken, kept and found is decided in [`crate::core::board`].
//!
//! What a crash may lose: nothing that a post or a withdrawal was answered for. Peers' notes are
//! written as they come and flushed once a second: those of the last second are made up for by
//! reconciling.
//!
//! ```text
//! board_entries/SWARM      id      → the entry as it travels
//! board_attachments        digest  → the bytes
//! board_settings           SWARM   → what is followed, whether posting is on
//! board_authors            NODE    → name and standing
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use dht::network::Network;
use ed25519_dalek::SigningKey;
use protocol::board::{BoardName, Entry, NoteId};
use protocol::names::SwarmName;
use protocol::{NodeId, UnixMillis};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use web::boards::NoteView;

use crate::core::board::desk::{Desk, Now};
use crate::core::board::holdings::Limits;
use crate::core::board::standing::Standings;
use crate::store::{Store, StoreError};

mod boards;
mod disk;
mod ledger;
mod posting;
mod reading;
mod settings;
#[cfg(test)]
mod tests;
mod view;

use self::disk::Disk;
use self::settings::Settings;

/// How often peers' notes are flushed, and what is over is let go.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// Bytes of all attachments here: 256 of the longest. A node without room gives those that it
/// fetches to whoever asked, and keeps none.
const MAX_ATTACHMENTS_BYTES: u64 = 64 << 20;

/// Who follows notes as they come, at most: each is a connection.
const MAX_WATCHERS: usize = 64;

/// Notes that wait for one of them: more than a board sees in a minute. Beyond it it is cut off.
const WATCH_QUEUE: usize = 256;

/// How boards are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardConfig {
    /// Boards that are followed from the start. Default: `general`, so that there is one that
    /// everybody has.
    pub follow: Vec<BoardName>,
    /// How much is kept.
    pub limits: Limits,
}

impl Default for BoardConfig {
    fn default() -> Self {
        Self {
            follow: vec!["general".parse().expect("a board's name")],
            limits: Limits::default(),
        }
    }
}

/// Whose boards they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Everybody's: a person of this machine turns posting on.
    Public,
    /// The members' of a private swarm.
    Members,
    /// This machine's alone: nobody has to be held to a rate.
    Alone,
}

/// What a keeper is made with.
pub struct Setup {
    /// The swarm whose boards they are; every note is signed for it.
    pub swarm: SwarmName,
    /// Whose boards they are.
    pub reach: Reach,
    /// The node's key.
    pub key: SigningKey,
    /// What is followed and how much is kept.
    pub config: BoardConfig,
}

/// The node's blackboard. Clones share it.
#[derive(Clone)]
pub struct Keeper(Arc<Inner>);

struct Inner {
    swarm: SwarmName,
    reach: Reach,
    key: SigningKey,
    own: NodeId,
    disk: Disk,
    network: OnceLock<Network>,
    state: Mutex<State>,
}

/// What is behind the lock.
struct State {
    desk: Desk,
    settings: Settings,
    /// The attachments that are here, and their bytes.
    attachments: BTreeMap<[u8; 32], u64>,
    watchers: Vec<Watcher>,
    /// When this node wrote last: each of its notes has a time of its own.
    last_written: UnixMillis,
    is_unflushed: bool,
}

/// Who follows notes as they come.
struct Watcher {
    board: Option<BoardName>,
    notes: mpsc::Sender<NoteView>,
}

impl Keeper {
    /// Opens what is kept. The notes are read by a thread of its own, for which the first caller
    /// waits.
    ///
    /// # Errors
    /// The disk failed.
    pub fn open(setup: Setup, store: &Store) -> Result<Self, StoreError> {
        let disk = Disk::open(store, &setup.swarm)?;
        let settings = disk.settings()?;
        let standings = Standings::new(disk.authors()?);
        let is_rated = setup.reach != Reach::Alone;
        let mut desk = Desk::new(setup.config.limits, standings, is_rated);
        for board in settings.followed(&setup.config.follow) {
            if !desk.holdings.follow(&board, true) {
                warn!(%board, "too many boards are followed: this one is not");
            }
        }
        let keeper = Self(Arc::new(Inner {
            own: NodeId::from(&setup.key),
            swarm: setup.swarm,
            reach: setup.reach,
            key: setup.key,
            disk,
            network: OnceLock::new(),
            state: Mutex::new(State {
                desk,
                settings,
                attachments: BTreeMap::new(),
                watchers: Vec::new(),
                last_written: UnixMillis(0),
                is_unflushed: false,
            }),
        }));
        keeper.load_aside();
        Ok(keeper)
    }

    /// Hands over the network, and follows in it what is followed here.
    pub async fn connect(&self, network: Network) {
        if self.0.network.set(network.clone()).is_err() {
            return;
        }
        let followed = self.blocking(|keeper| {
            let state = keeper.state();
            state.desk.holdings.followed().cloned().collect::<Vec<_>>()
        });
        for board in followed.await.unwrap_or_default() {
            if let Err(error) = network.follow(board.clone()).await {
                warn!(%board, %error, "a board is not followed");
            }
        }
    }

    /// Flushes peers' notes and lets go what is over, until the node stops.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(TIDY_EVERY) => {}
            }
            if self.blocking(|keeper| keeper.tidy()).await.is_none() || stop.is_cancelled() {
                return;
            }
        }
    }

    /// Takes the lock before anybody else can, and reads the notes under it.
    fn load_aside(&self) {
        let keeper = self.clone();
        let (locked, has_lock) = std::sync::mpsc::channel();
        let load = move || {
            let mut state = keeper.state();
            // Whoever opened it waits for this.
            let _ = locked.send(());
            keeper.load(&mut state);
        };
        match thread::Builder::new().name("boards".into()).spawn(load) {
            Ok(_) => {
                // An error: the thread has ended already, so everything was read.
                let _ = has_lock.recv();
            }
            Err(error) => {
                warn!(%error, "the boards are read by the thread that starts the node");
                self.load(&mut self.state());
            }
        }
    }

    fn load(&self, state: &mut State) {
        let begun = Instant::now();
        match self.0.disk.load(&self.0.swarm, state) {
            Ok(()) => {}
            Err(error) => warn!(%error, "notes of earlier runs are missing"),
        }
        self.let_go(state);
        let (notes, bytes) = (state.desk.holdings.len(), state.desk.holdings.bytes());
        info!(swarm = %self.0.swarm, notes, bytes, took = ?begun.elapsed(), "boards were read");
    }

    fn tidy(&self) {
        let mut state = self.state();
        self.let_go(&mut state);
        if std::mem::take(&mut state.is_unflushed) {
            drop(state);
            if let Err(error) = self.0.disk.flush() {
                warn!(%error, "notes of peers are not on the disk");
                self.state().is_unflushed = true;
            }
        }
    }

    /// Removes what is over, and attachments that no note has any more.
    fn let_go(&self, state: &mut State) {
        let gone = state.desk.holdings.expire(now().unix);
        self.erase(state, &gone);
    }

    fn erase(&self, state: &mut State, gone: &[NoteId]) {
        for id in gone {
            self.0.disk.erase(id);
        }
        let holdings = &state.desk.holdings;
        let unused = state
            .attachments
            .keys()
            .filter(|digest| !holdings.refers_to(digest));
        let unused: Vec<_> = unused.copied().collect();
        for digest in unused {
            state.attachments.remove(&digest);
            self.0.disk.erase_attachment(&digest);
        }
        state.is_unflushed |= !gone.is_empty();
    }

    /// Keeps an entry that is on the disk, and tells who watches.
    fn keep(&self, state: &mut State, entry: &Entry, warnings: &[String]) {
        let gone = state.desk.keep(entry, Instant::now());
        self.erase(state, &gone);
        self.tell(state, entry, warnings);
    }

    /// Whoever is gone or too slow is let go.
    fn tell(&self, state: &mut State, entry: &Entry, warnings: &[String]) {
        if state.watchers.is_empty() {
            return;
        }
        let mut watchers = std::mem::take(&mut state.watchers);
        let view = self.view(state, entry, warnings.to_vec());
        watchers.retain(|watcher| {
            let wants = watcher
                .board
                .as_ref()
                .is_none_or(|board| board == entry.saying.board());
            !watcher.notes.is_closed() && (!wants || watcher.notes.try_send(view.clone()).is_ok())
        });
        state.watchers = watchers;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs what may wait for the disk or the lock; `None`: it panicked or the node ends.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let keeper = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&keeper)).await;
        if let Err(error) = &done {
            warn!(%error, "work on the boards was not done");
        }
        done.ok()
    }
}

fn now() -> Now {
    Now {
        instant: Instant::now(),
        unix: UnixMillis::from(std::time::SystemTime::now()),
    }
}
