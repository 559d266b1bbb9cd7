//! The manifest: lengths and chunks' hashes, in one fixed form.
//!
//! ```text
//! "shoal/weights/1" 0   16 bytes
//! number of files        4 bytes, big-endian
//! length of each file    8 bytes each, big-endian
//! hash of each chunk    32 bytes each, in the order of the chunks' numbers
//! ```
//!
//! The lengths say how many chunks there are, so no two texts mean the same and nothing can follow.

use std::fmt;

use super::layout::{Layout, LayoutError};
use crate::{
    ids::ManifestId,
    limits::{MAX_MANIFEST_BYTES, MAX_MODEL_FILES},
};

const MARK: &[u8; 16] = b"shoal/weights/1\0";

/// BLAKE3 of a chunk's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkHash([u8; 32]);

/// What a model's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    layout: Layout,
    hashes: Box<[ChunkHash]>,
}

/// Why bytes are no manifest, or not the one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Over the limit; nothing was decoded.
    #[error("a manifest of {0} bytes, the limit is {MAX_MANIFEST_BYTES}")]
    TooLarge(usize),
    /// It begins with something else.
    #[error("this is no manifest of this version")]
    Mark,
    /// It is shorter than it says itself, or longer.
    #[error("a manifest of the wrong length")]
    Length,
    /// Its files are no model's.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Its hash is not the id.
    #[error("the manifest of another model")]
    Other,
}

impl ChunkHash {
    /// The hash of a chunk.
    pub fn of(chunk: &[u8]) -> Self {
        Self(blake3::hash(chunk).into())
    }
}

impl fmt::Debug for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkHash({})", hex::encode(&self.0[..4]))
    }
}

impl Manifest {
    /// The manifest of files with this layout, and a hash for each of its chunks.
    ///
    /// # Errors
    /// [`ManifestError::Length`] for another number of hashes.
    pub fn new(layout: Layout, hashes: Vec<ChunkHash>) -> Result<Self, ManifestError> {
        if usize::try_from(layout.chunk_count()) != Ok(hashes.len()) {
            return Err(ManifestError::Length);
        }
        let hashes = hashes.into_boxed_slice();
        Ok(Self { layout, hashes })
    }

    /// Reads bytes that claim to be the manifest with this id.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn read(id: ManifestId, bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        if blake3::hash(bytes).as_bytes() != id.as_bytes() {
            return Err(ManifestError::Other);
        }
        Self::decode(bytes)
    }

    /// Reads a manifest, whatever its id.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        let rest = bytes.strip_prefix(MARK).ok_or(ManifestError::Mark)?;
        let (count, rest) = rest.split_first_chunk().ok_or(ManifestError::Length)?;
        let count = u32::from_be_bytes(*count);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        // Before anything is multiplied by it.
        if count > MAX_MODEL_FILES {
            return Err(LayoutError::Files(count).into());
        }
        let split = rest.split_at_checked(8 * count);
        let (lengths, rest) = split.ok_or(ManifestError::Length)?;
        let (lengths, _) = lengths.as_chunks::<8>();
        let lengths: Vec<u64> = lengths.iter().map(|l| u64::from_be_bytes(*l)).collect();
        let (hashes, []) = rest.as_chunks::<32>() else {
            return Err(ManifestError::Length);
        };
        let hashes = hashes.iter().copied().map(ChunkHash).collect();
        Self::new(Layout::new(&lengths)?, hashes)
    }

    /// The manifest's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let lengths = self.layout.lengths();
        let count = u32::try_from(lengths.len()).expect("the number of files is limited");
        let size = 20 + 8 * lengths.len() + 32 * self.hashes.len();
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(MARK);
        bytes.extend_from_slice(&count.to_be_bytes());
        lengths.for_each(|length| bytes.extend_from_slice(&length.to_be_bytes()));
        let hashes = self.hashes.iter();
        hashes.for_each(|hash| bytes.extend_from_slice(&hash.0));
        bytes
    }

    /// The model's id.
    pub fn id(&self) -> ManifestId {
        ManifestId::new(blake3::hash(&self.encode()).into())
    }

    /// How the files are cut.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whether these are a chunk's bytes.
    pub fn is_chunk(&self, chunk: u32, bytes: &[u8]) -> bool {
        let index = usize::try_from(chunk).ok();
        let expected = index.and_then(|index| self.hashes.get(index));
        let length = self.layout.span(chunk).map(|span| span.length);
        length == u64::try_from(bytes.len()).ok() && expected == Some(&ChunkHash::of(bytes))
    }
}
