//! The data directory: who owns it, where what lies in it, and the address of the node that
//! runs over it. It knows neither the database nor the API.
//!
//! ```text
//! DATA_DIR/identity.key   the node's key
//! DATA_DIR/state/         the database
//! DATA_DIR/models/        the model store
//! DATA_DIR/weights/       parts of models that came from peers, and manifests
//! DATA_DIR/experts/       what is known of models' experts
//! DATA_DIR/swarms/NAME/   a private swarm: its root key, certificates, invites
//! DATA_DIR/history        what was typed in `shoal run`
//! DATA_DIR/run/lock       held by the running node; its process id
//! DATA_DIR/run/api.addr   the running node's API: `ADDR:PORT` and a line feed
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes that are read of a file in `run/`: an address or a number takes fewer.
const MAX_RUN_FILE_BYTES: u64 = 256;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// Another node runs over it.
    #[error(
        "a node already runs over {}{}: stop it, or give another --data-dir",
        path.display(),
        running(.pid, .api)
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other node's process.
        pid: Option<u32>,
        /// The other node's API.
        api: Option<SocketAddr>,
    },
    /// It cannot be made or written.
    #[error("cannot use the data directory {}: {cause}", path.display())]
    Io {
        /// The file or folder at fault.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

fn running(pid: &Option<u32>, api: &Option<SocketAddr>) -> String {
    let pid = pid.map(|pid| format!("process {pid}"));
    let api = api.map(|api| format!("http://{api}"));
    let facts: Vec<String> = pid.into_iter().chain(api).collect();
    match facts.is_empty() {
        true => String::new(),
        false => format!(" ({})", facts.join(", ")),
    }
}

/// Where what lies in a data directory, owned or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout under this folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The node's key.
    pub fn identity(&self) -> PathBuf {
        self.root.join("identity.key")
    }

    /// The database.
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Parts of models.
    pub fn weights(&self) -> PathBuf {
        self.root.join("weights")
    }

    /// Slices of models, made to be loaded.
    pub fn slices(&self) -> PathBuf {
        self.root.join("slices")
    }

    /// What is known of models' experts.
    pub fn experts(&self) -> PathBuf {
        self.root.join("experts")
    }

    /// The private swarms.
    pub fn swarms(&self) -> PathBuf {
        self.root.join("swarms")
    }

    /// What was typed in `shoal run`.
    pub fn history(&self) -> PathBuf {
        self.root.join("history")
    }

    fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    fn lock(&self) -> PathBuf {
        self.run().join("lock")
    }

    fn api(&self) -> PathBuf {
        self.run().join("api.addr")
    }

    /// The address that the last node left; it need not run any more.
    pub fn api_addr(&self) -> Option<SocketAddr> {
        read_start(&self.api())?.trim().parse().ok()
    }
}

fn read_start(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(MAX_RUN_FILE_BYTES)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}

/// A data directory that this process owns until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    layout: Layout,
    // Held for its lock, which the system releases even after `kill -9`.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if need be, and owns it.
    ///
    /// # Errors
    /// Another node owns it, or the system refuses.
    pub fn claim(root: &Path) -> Result<Self, DataDirError> {
        let layout = Layout::new(root);
        let failed = |path: &Path, cause| DataDirError::Io {
            path: path.to_path_buf(),
            cause,
        };
        let run = layout.run();
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&run);
        made.map_err(|cause| failed(&run, cause))?;
        let path = layout.lock();
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let mut lock = options.open(&path).map_err(|cause| failed(&path, cause))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(&layout)),
            Err(TryLockError::Error(cause)) => return Err(failed(&path, cause)),
        }
        write_pid(&mut lock).map_err(|cause| failed(&path, cause))?;
        // Left by a node that was killed: nobody answers there.
        remove(&layout.api()).map_err(|cause| failed(&layout.api(), cause))?;
        Ok(Self {
            layout,
            _lock: lock,
        })
    }

    /// Where what lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Says where the API listens, in one step: readers see the whole address or none.
    ///
    /// # Errors
    /// The system refuses.
    pub fn publish_api(&self, api: SocketAddr) -> Result<(), DataDirError> {
        let path = self.layout.api();
        let new = path.with_extension("new");
        let written = fs::write(&new, format!("{api}\n")).and_then(|()| fs::rename(&new, &path));
        written.map_err(|cause| DataDirError::Io { path, cause })
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // A file left behind is only an address where nobody answers.
        let _ = remove(&self.layout.api());
    }
}

fn in_use(layout: &Layout) -> DataDirError {
    DataDirError::InUse {
        path: layout.root.clone(),
        pid: read_start(&layout.lock()).and_then(|text| text.trim().parse().ok()),
        api: layout.api_addr(),
    }
}

fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_owner_at_a_time_and_the_second_learns_who() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        let owner = DataDir::claim(&root).unwrap();
        owner.publish_api(([127, 0, 0, 1], 4711).into()).unwrap();
        let text = DataDir::claim(&root).unwrap_err().to_string();
        assert!(text.contains(&std::process::id().to_string()), "{text}");
        assert!(text.contains("http://127.0.0.1:4711"), "{text}");
        drop(owner);
        assert_eq!(Layout::new(&root).api_addr(), None);
        DataDir::claim(&root).unwrap();
    }

    #[test]
    fn the_address_of_a_killed_node_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("run")).unwrap();
        fs::write(dir.path().join("run/api.addr"), "127.0.0.1:1\n").unwrap();
        fs::write(
            dir.path().join("run/lock"),
            "999999999\nlonger than a new pid\n",
        )
        .unwrap();
        let owner = DataDir::claim(dir.path()).unwrap();
        assert_eq!(owner.layout().api_addr(), None);
        let pid = format!("{}\n", std::process::id());
        assert_eq!(
            fs::read_to_string(dir.path().join("run/lock")).unwrap(),
            pid
        );
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("file");
        fs::write(&root, "").unwrap();
        let text = DataDir::claim(&root).unwrap_err().to_string();
        assert!(text.contains("file/run"), "{text}");
    }
}
