//! A partial file: appended to, hashed as it grows, hashed again from the disk when it is found
//! again. Its calls wait for the disk and belong on a blocking thread.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use sha2::Digest as _;

use super::core::digest::Sha256;

/// Bytes read at once when a partial file is hashed again.
const REHASH_BLOCK: usize = 1 << 20;
/// What every model file begins with.
const MAGIC: [u8; 4] = *b"GGUF";

/// A partial file that is being written. It shares the staging folder's lock, so that nobody
/// else takes the folder while a write is still under way on its thread.
#[derive(Debug)]
pub(super) struct PartFile {
    file: File,
    hasher: sha2::Sha256,
    beginning: Vec<u8>,
    len: u64,
    _lock: Arc<File>,
}

impl PartFile {
    /// Opens or makes it and hashes what is there. One longer than `max_len` is emptied.
    pub(super) fn open(path: &Path, max_len: u64, lock: Arc<File>) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut part = Self {
            file,
            hasher: sha2::Sha256::new(),
            beginning: Vec::with_capacity(MAGIC.len()),
            len: 0,
            _lock: lock,
        };
        if part.file.metadata()?.len() > max_len {
            part.clear()?;
        }
        part.rehash()?;
        Ok(part)
    }

    fn rehash(&mut self) -> io::Result<()> {
        let mut block = vec![0; REHASH_BLOCK];
        loop {
            let count = self.file.read(&mut block)?;
            if count == 0 {
                return Ok(());
            }
            self.count(&block[..count]);
        }
    }

    fn count(&mut self, bytes: &[u8]) {
        let missing = MAGIC.len() - self.beginning.len();
        self.beginning.extend(bytes.iter().take(missing));
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
    }

    /// Bytes that it has.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether what is there may be the beginning of a model.
    pub(super) fn may_be_gguf(&self) -> bool {
        MAGIC.starts_with(&self.beginning)
    }

    /// Appends.
    pub(super) fn append(&mut self, chunks: &[Bytes]) -> io::Result<()> {
        for chunk in chunks {
            self.file.write_all(chunk)?;
            self.count(chunk);
        }
        Ok(())
    }

    /// Drops every byte.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hasher = sha2::Sha256::new();
        self.beginning.clear();
        self.len = 0;
        Ok(())
    }

    /// The digest of all bytes, after they are safe on the disk.
    pub(super) fn digest(&mut self) -> io::Result<Sha256> {
        self.file.sync_all()?;
        Ok(Sha256::new(self.hasher.clone().finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reopened_part_has_the_digest_of_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.part");
        let lock = Arc::new(File::open(folder.path()).unwrap());
        let open = |max| PartFile::open(&path, max, lock.clone()).unwrap();
        open(99)
            .append(&[Bytes::from_static(b"GG"), Bytes::from_static(b"UF")])
            .unwrap();
        let mut part = open(99);
        assert_eq!((part.len(), part.may_be_gguf()), (4, true));
        part.append(&[Bytes::from_static(b" and more")]).unwrap();
        let whole: [u8; 32] = sha2::Sha256::digest(b"GGUF and more").into();
        assert_eq!(part.digest().unwrap(), Sha256::new(whole));
        assert_eq!(open(5).len(), 0, "longer than the file can be: emptied");
        let mut part = open(99);
        part.append(&[Bytes::from_static(b"<html>")]).unwrap();
        assert!(!part.may_be_gguf());
        part.clear().unwrap();
        assert!(part.may_be_gguf());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }
}
