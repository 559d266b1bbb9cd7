//! What one swarm's folder holds, each thing in a file of its own, and how it is read: whatever
//! is there was written whole, so anything else is damage and is said. Whether it holds now is
//! not known here.
//!
//! ```text
//! root.id             the root's public key: with the folder's name it is the swarm
//! root.key            the root key, mode 0600, where the swarm was made
//! pass                the node's certificate, and its delegation if it has one
//! invite              the token that is still to be redeemed
//! bootstrap           addresses to begin at, one a line
//! issued.json         certificates that were given by hand here
//! revocations/ISSUER  the newest list of revocations of each issuer
//! ledger/INVITE.json  who redeemed an invite here
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use crate::list::{self, Address};
use dht::core::membership::{Grant, InviteLedger, LedgerEntry, MAX_GRANTS};
use ed25519_dalek::SigningKey;
use prost::Message;
use protocol::limits::{MAX_ENVELOPE_OVERHEAD_BYTES, MAX_REVOCATIONS_BYTES};
use protocol::membership::{Chain, InviteId, JoinToken, Pass, Swarm, wire};
use protocol::{NodeId, UnixMillis};

use super::{SwarmError, disk};
use dht::identity::{Identity, IdentityError};

/// Bytes of a token, a pass or an id as text: several times the longest.
const MAX_TEXT_BYTES: usize = 16 << 10;

/// Bytes of the list of addresses: 64 lines of 400 characters.
const MAX_BOOTSTRAP_BYTES: usize = 32 << 10;

/// Bytes of a list of revocations with its delegation.
const MAX_LIST_BYTES: usize = MAX_REVOCATIONS_BYTES + 4 * MAX_ENVELOPE_OVERHEAD_BYTES;

/// Bytes of the JSON of grants, about 150 for each.
const MAX_GRANTS_BYTES: usize = 256 * MAX_GRANTS;

/// One swarm's folder.
#[derive(Debug, Clone)]
pub struct SwarmFiles {
    folder: PathBuf,
    swarm: Swarm,
}

impl SwarmFiles {
    pub(super) fn new(folder: PathBuf, swarm: Swarm) -> Self {
        Self { folder, swarm }
    }

    /// The swarm in this folder.
    pub(super) fn open(folder: PathBuf, name: &str) -> Result<Self, SwarmError> {
        let path = folder.join("root.id");
        let damaged = |cause: String| SwarmError::damaged(&path, cause);
        let text = disk::read_text(&path, MAX_TEXT_BYTES)?;
        let text = text.ok_or_else(|| damaged("it is missing".into()))?;
        let root = text.trim().parse().map_err(|_| damaged("no key".into()))?;
        let name = name
            .parse()
            .map_err(|_| damaged("no swarm's name".into()))?;
        Ok(Self::new(folder, Swarm { name, root }))
    }

    /// Which swarm.
    pub fn swarm(&self) -> &Swarm {
        &self.swarm
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn save_root_id(&self) -> Result<(), SwarmError> {
        let text = format!("{}\n", self.swarm.root);
        disk::write(&self.folder.join("root.id"), text.as_bytes())
    }

    /// Where the root key is, if it is here.
    pub fn root_key_path(&self) -> PathBuf {
        self.folder.join("root.key")
    }

    /// The root key, if it is here.
    ///
    /// # Errors
    /// Others can read it, it is damaged, or it is another key.
    pub fn root_key(&self) -> Result<Option<SigningKey>, SwarmError> {
        let path = self.root_key_path();
        let swarm = self.swarm.name.clone();
        let other = |path| SwarmError::RootKey { path, swarm };
        match Identity::load(&path) {
            Ok(None) => Ok(None),
            Ok(Some(key)) if key.id() == self.swarm.root => Ok(Some(key.signing_key().clone())),
            Ok(Some(_)) => Err(other(path)),
            Err(IdentityError::NoKey(path)) => Err(other(path)),
            Err(error) => Err(SwarmError::Key(error)),
        }
    }

    /// The node's certificate and delegation as they were given, not checked.
    ///
    /// # Errors
    /// The file is damaged or cannot be read; so for all that follow.
    pub fn pass(&self) -> Result<Option<Pass>, SwarmError> {
        let path = self.folder.join("pass");
        let text = disk::read_text(&path, MAX_TEXT_BYTES)?;
        let pass = text.map(|text| text.parse());
        pass.transpose()
            .map_err(|error: protocol::membership::PassError| {
                SwarmError::damaged(&path, error.to_string())
            })
    }

    pub(super) fn save_pass(&self, pass: &Pass) -> Result<(), SwarmError> {
        disk::write(&self.folder.join("pass"), format!("{pass}\n").as_bytes())
    }

    /// The token that is still to be redeemed.
    ///
    /// # Errors
    /// See [`SwarmFiles::pass`].
    pub fn invite(&self) -> Result<Option<JoinToken>, SwarmError> {
        let path = self.folder.join("invite");
        let text = disk::read_text(&path, MAX_TEXT_BYTES)?;
        let token = text.map(|text| text.parse());
        token
            .transpose()
            .map_err(|error: protocol::membership::TokenError| {
                SwarmError::damaged(&path, error.to_string())
            })
    }

    pub(super) fn save_invite(&self, token: &JoinToken) -> Result<(), SwarmError> {
        disk::write(&self.folder.join("invite"), format!("{token}\n").as_bytes())
    }

    pub(super) fn remove_invite(&self) -> Result<(), SwarmError> {
        disk::remove(&self.folder.join("invite"))
    }

    /// Addresses to begin at.
    ///
    /// # Errors
    /// See [`SwarmFiles::pass`].
    pub fn bootstrap(&self) -> Result<Vec<Address>, SwarmError> {
        let path = self.folder.join("bootstrap");
        let text = disk::read_text(&path, MAX_BOOTSTRAP_BYTES)?.unwrap_or_default();
        list::parse(&text).map_err(|error| SwarmError::damaged(&path, error.to_string()))
    }

    pub(super) fn save_bootstrap(&self, addresses: &[Address]) -> Result<(), SwarmError> {
        let lines = addresses.iter().map(|address| format!("{address}\n"));
        let text: String = lines.collect();
        disk::write(&self.folder.join("bootstrap"), text.as_bytes())
    }

    /// The lists of revocations that are known, not checked, each with its file.
    ///
    /// # Errors
    /// See [`SwarmFiles::pass`].
    pub fn lists(&self) -> Result<Vec<(PathBuf, Chain<wire::Revocations>)>, SwarmError> {
        let folder = self.folder.join("revocations");
        let names = disk::names(&folder)?;
        let read = names.iter().map(|name| {
            let path = folder.join(name);
            let bytes = disk::read(&path, MAX_LIST_BYTES)?.unwrap_or_default();
            let damaged = |cause: String| SwarmError::damaged(&path, cause);
            let chain = wire::Chain::decode(bytes.as_slice())
                .map_err(|error| damaged(error.to_string()))?;
            let chain = Chain::decode(&chain).map_err(|error| damaged(error.to_string()))?;
            Ok((path, chain))
        });
        read.collect()
    }

    /// Keeps the list of an issuer, in place of its older one. The roster says which is newer.
    ///
    /// # Errors
    /// The disk.
    pub fn save_list(
        &self,
        issuer: NodeId,
        list: &Chain<wire::Revocations>,
    ) -> Result<(), SwarmError> {
        let folder = self.folder.join("revocations");
        disk::make_folder(&folder)?;
        let bytes = list.encode().encode_to_vec();
        disk::write(&folder.join(issuer.to_string()), &bytes)
    }

    pub(super) fn remove_list(&self, path: &Path) -> Result<(), SwarmError> {
        disk::remove(path)
    }

    /// The uses of invites that were redeemed here.
    ///
    /// # Errors
    /// See [`SwarmFiles::pass`]: better no start than an invite that counts from nothing.
    pub fn ledger(&self) -> Result<InviteLedger, SwarmError> {
        let folder = self.folder.join("ledger");
        let names = disk::names(&folder)?;
        let entries = names.iter().map(|name| self.entry(&folder.join(name)));
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        InviteLedger::restore(entries).map_err(|cause| SwarmError::Ledger {
            path: folder,
            cause,
        })
    }

    fn entry(&self, path: &Path) -> Result<LedgerEntry, SwarmError> {
        let bytes = disk::read(path, MAX_GRANTS_BYTES)?.unwrap_or_default();
        serde_json::from_slice(&bytes).map_err(|error| SwarmError::damaged(path, error.to_string()))
    }

    /// Writes an invite's uses down; they are on disk when it returns.
    pub(super) fn save_entry(&self, entry: &LedgerEntry) -> Result<(), SwarmError> {
        let folder = self.folder.join("ledger");
        disk::make_folder(&folder)?;
        let path = folder.join(format!("{}.json", InviteId(entry.invite)));
        let bytes = serde_json::to_vec(entry).expect("an entry has plain fields only");
        disk::write(&path, &bytes)
    }

    /// Forgets the uses of invites that expired.
    pub(super) fn sweep_ledger(&self, now: UnixMillis) -> Result<(), SwarmError> {
        let folder = self.folder.join("ledger");
        for name in disk::names(&folder)? {
            let path = folder.join(name);
            if self.entry(&path)?.expires <= now {
                disk::remove(&path)?;
            }
        }
        Ok(())
    }

    /// Certificates that were given by hand here.
    ///
    /// # Errors
    /// See [`SwarmFiles::pass`].
    pub fn issued(&self) -> Result<Vec<Grant>, SwarmError> {
        let path = self.folder.join("issued.json");
        let Some(bytes) = disk::read(&path, MAX_GRANTS_BYTES)? else {
            return Ok(Vec::new());
        };
        serde_json::from_slice(&bytes)
            .map_err(|error| SwarmError::damaged(&path, error.to_string()))
    }

    /// Adds one to them, in place of the peer's older one.
    pub(super) fn save_issued(&self, grant: Grant) -> Result<(), SwarmError> {
        let mut issued = self.issued()?;
        issued.retain(|other| other.peer != grant.peer);
        if issued.len() >= MAX_GRANTS {
            return Err(SwarmError::TooManyIssued(MAX_GRANTS));
        }
        issued.push(grant);
        let bytes = serde_json::to_vec(&issued).expect("a grant has plain fields only");
        disk::write(&self.folder.join("issued.json"), &bytes)
    }

    pub(super) fn delete(&self) -> Result<(), SwarmError> {
        // Renamed first: a crash in the middle leaves no half swarm under its name.
        let gone = disk::unfinished(&self.folder);
        fs::rename(&self.folder, &gone).map_err(disk::failed(&self.folder))?;
        fs::remove_dir_all(&gone).map_err(disk::failed(&gone))
    }
}
