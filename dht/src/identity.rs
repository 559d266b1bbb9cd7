//! The node's key: made once, kept in a file that only its owner can read. It knows no message
//! and no peer.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use protocol::NodeId;

/// Bits of the mode that nobody but the owner may have.
const FORBIDDEN_MODE: u32 = 0o077;

/// Bytes of the file at most: 64 digits, and white space that an editor left.
const MAX_FILE_BYTES: u64 = 128;

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Others can read or write the key.
    #[error(
        "the key {0} can be read by others (mode {mode:o}): chmod 600 '{0}'",
        path.display()
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file holds no key.
    #[error("{} holds no key: restore it, or remove it to get a new identity", .0.display())]
    NoKey(PathBuf),
    /// The file cannot be read or made.
    #[error("cannot use the key {}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

/// The node's key pair.
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
}

impl Identity {
    /// Reads the key, or makes one if there is none: atomically, so that a crash leaves either
    /// no key or a whole one.
    ///
    /// # Errors
    /// See [`IdentityError`]. A key that others could read is never used.
    pub fn load_or_create(path: &Path) -> Result<Self, IdentityError> {
        match Self::load(path)? {
            Some(identity) => Ok(identity),
            None => Self::create(path),
        }
    }

    /// Reads the key; `None`: there is none.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn load(path: &Path) -> Result<Option<Self>, IdentityError> {
        let failed = |cause| io_error(path, cause);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mode = file.metadata().map_err(failed)?.mode() & 0o777;
        if mode & FORBIDDEN_MODE != 0 {
            let path = path.to_path_buf();
            return Err(IdentityError::TooOpen { path, mode });
        }
        let mut text = Vec::new();
        file.take(MAX_FILE_BYTES)
            .read_to_end(&mut text)
            .map_err(failed)?;
        let mut secret = [0u8; 32];
        hex::decode_to_slice(text.trim_ascii(), &mut secret)
            .map_err(|_| IdentityError::NoKey(path.to_path_buf()))?;
        let key = SigningKey::from_bytes(&secret);
        Ok(Some(Self { key }))
    }

    fn create(path: &Path) -> Result<Self, IdentityError> {
        let failed = |cause| io_error(path, cause);
        let mut secret = [0u8; 32];
        getrandom::fill(&mut secret).map_err(|error| failed(io::Error::other(error)))?;
        let new = path.with_extension("new");
        write_private(&new, hex::encode(secret).as_bytes()).map_err(failed)?;
        fs::rename(&new, path).map_err(failed)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed)?;
        let key = SigningKey::from_bytes(&secret);
        Ok(Self { key })
    }

    /// The public half.
    pub fn id(&self) -> NodeId {
        NodeId::from(&self.key)
    }

    /// The key itself, to sign with.
    pub fn signing_key(&self) -> &SigningKey {
        &self.key
    }
}

fn io_error(path: &Path, cause: io::Error) -> IdentityError {
    let path = path.to_path_buf();
    IdentityError::Io { path, cause }
}

/// Writes a file that only its owner can read, to the disk.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    // An earlier attempt may have left the file with another mode.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        let first = Identity::load_or_create(&path).unwrap();
        let again = Identity::load_or_create(&path).unwrap();
        assert_eq!(first.id(), again.id());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let text = first.id().to_string();
        assert_eq!(text.parse::<NodeId>().unwrap(), first.id());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_command_to_fix_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        Identity::load_or_create(&path).unwrap();
        for mode in [0o640, 0o604, 0o622, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Identity::load_or_create(&path).err().unwrap();
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn a_damaged_key_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        for text in [
            "",
            "abc",
            &"0".repeat(63),
            &"g".repeat(64),
            &"0".repeat(500),
        ] {
            write_private(&path, text.as_bytes()).unwrap();
            let error = Identity::load_or_create(&path).err().unwrap();
            assert!(matches!(error, IdentityError::NoKey(_)), "{error}");
        }
    }

    #[test]
    fn a_crash_before_the_rename_leaves_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        fs::write(path.with_extension("new"), "half").unwrap();
        Identity::load_or_create(&path).unwrap();
        assert!(Identity::load(&path).unwrap().is_some());
    }
}
