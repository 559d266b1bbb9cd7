//! The private swarms that a node or a server knows: what is kept of them in its data directory,
//! and what commands and the running program do with it.
//!
//! Files are the truth: a command changes them whether a node runs or not, and a running node
//! is told to read them again. Everything is checked when it is loaded; every failure is a
//! [`SwarmError`] of one line. It knows no socket: the network takes what [`Membership::private`]
//! makes of it, and what the network brings is kept by [`keep`].
//!
//! **Backup.** `DATA_DIR/swarms/NAME/root.key` is the swarm: whoever has it can admit and put
//! out anybody. A copy of that one file is a whole backup; `shoal swarm create NAME --root-key
//! COPY` brings the swarm back on any machine. Without it, delegates go on admitting until their
//! delegations end; after that the only way is a new swarm.
//!
//! **Renewal.** A certificate holds for [`CERTIFICATE_LIFETIME`]. Where the root key is, the node
//! renews its own [`RENEWAL_MARGIN`] before its end. Everybody else redeems a new token (`shoal
//! join TOKEN`, the old certificate holds meanwhile), or joins with a pass that the owner made
//! (`shoal swarm renew PEER`), which needs no connection.

mod disk;
mod error;
mod files;
mod issuing;
mod joining;
mod keeping;
mod membership;
mod roll;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::UnixMillis;
use protocol::names::{PUBLIC_SWARM, SwarmName};

use self::disk::Lock;
pub use self::error::SwarmError;
pub use self::files::SwarmFiles;
pub use self::issuing::{InviteWish, May, Revoked};
pub use self::joining::{Created, Joined, Proof, read_proof};
pub use self::keeping::keep;
pub use self::membership::{Membership, OwnCertificate};
pub use self::roll::{Admitted, RollEntry, roll};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long a new certificate holds: a machine that is in use is seen to once a year.
pub const CERTIFICATE_LIFETIME: Duration = DAY.saturating_mul(365);

/// How long a delegate's rights hold: a server that nobody looks after for two years.
pub const DELEGATION_LIFETIME: Duration = DAY.saturating_mul(730);

/// How long a list of revocations holds: longer than any certificate that it voids, and with
/// room below the protocol's limit for receivers whose clocks are behind.
const LIST_LIFETIME: Duration = DAY.saturating_mul(3650);

/// This long before its end a certificate is renewed where the root key is, and the owner is
/// told elsewhere: room for a holiday.
pub const RENEWAL_MARGIN: Duration = DAY.saturating_mul(30);

/// Swarms that one data directory knows: a person belongs to a few.
pub const MAX_SWARMS: usize = 64;

/// The swarms that are kept in one data directory.
#[derive(Debug, Clone)]
pub struct Memberships {
    folder: PathBuf,
}

impl Memberships {
    /// Those in this folder; nothing is read or made yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The names of the swarms, sorted.
    ///
    /// # Errors
    /// The folder cannot be read, or holds more than [`MAX_SWARMS`].
    pub fn names(&self) -> Result<Vec<SwarmName>, SwarmError> {
        let names = disk::names(&self.folder)?;
        let names: Vec<_> = names.iter().filter_map(|name| name.parse().ok()).collect();
        if names.len() > MAX_SWARMS {
            return Err(SwarmError::damaged(&self.folder, "too many swarms"));
        }
        Ok(names)
    }

    /// The swarm that is meant: the one named, else the only one there is.
    ///
    /// # Errors
    /// It is not known, or the only one is not the only one.
    pub fn find(&self, named: Option<&SwarmName>) -> Result<SwarmFiles, SwarmError> {
        let known = self.names()?;
        let name = match (named, known.as_slice()) {
            (Some(name), _) if name.to_string() == PUBLIC_SWARM => return Err(SwarmError::Public),
            (Some(name), _) if known.contains(name) => name.clone(),
            (Some(name), _) => {
                let name = name.clone();
                return Err(SwarmError::Unknown { name, known });
            }
            (None, []) => return Err(SwarmError::NoSwarm),
            (None, [only]) => only.clone(),
            (None, _) => return Err(SwarmError::Several(known)),
        };
        self.open(&name)
    }

    /// The swarm that the node joins: the one configured, else the only private one, else none:
    /// the public mesh.
    ///
    /// # Errors
    /// See [`Memberships::find`].
    pub fn to_join(
        &self,
        configured: Option<&SwarmName>,
    ) -> Result<Option<SwarmFiles>, SwarmError> {
        match self.find(configured) {
            Ok(files) => Ok(Some(files)),
            Err(SwarmError::NoSwarm | SwarmError::Public) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open(&self, name: &SwarmName) -> Result<SwarmFiles, SwarmError> {
        let name = name.to_string();
        SwarmFiles::open(self.folder.join(&name), &name)
    }

    /// The right to change the files, and no leftovers of changes that a crash cut short.
    fn lock(&self) -> Result<Lock, SwarmError> {
        disk::make_folder(&self.folder)?;
        let lock = Lock::take(&self.folder.join(".lock"))?;
        for path in disk::unfinished_folders(&self.folder)? {
            fs::remove_dir_all(&path).map_err(disk::failed(&path))?;
        }
        Ok(lock)
    }
}

/// The time now, for signatures. A clock before 1970 reads as 1970: whatever is checked against
/// it says that the clock is behind.
pub fn unix_now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.unwrap_or_default().as_millis();
    UnixMillis(u64::try_from(millis).unwrap_or(u64::MAX))
}
