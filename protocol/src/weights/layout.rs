//! How a model's files are cut into chunks, which are numbered through all of them. It follows from
//! the files' lengths alone, so everybody who has the same files makes the same chunks.

use std::ops::Range;

use crate::limits::{
    MAX_CHUNK_BYTES, MAX_MODEL_BYTES, MAX_MODEL_FILES, MAX_SMALL_CHUNKS, MIN_CHUNK_BYTES,
};

/// Files in order, each cut from its beginning; a file's last chunk may be short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    files: Vec<File>,
    chunk_bytes: u64,
    chunks: u32,
    bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct File {
    bytes: u64,
    /// Number of its first chunk.
    first: u32,
}

/// Bytes of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The file's place among the files.
    pub file: u32,
    /// The first byte.
    pub offset: u64,
    /// How many.
    pub length: u64,
}

/// Why lengths are no model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// None, or too many.
    #[error("a model has 1 to {MAX_MODEL_FILES} files, not {0}")]
    Files(usize),
    /// A file without a byte.
    #[error("a model has no empty files")]
    Empty,
    /// All files together are too large.
    #[error("a model has at most {MAX_MODEL_BYTES} bytes")]
    TooLarge,
}

impl Layout {
    /// Files of these lengths.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn new(lengths: &[u64]) -> Result<Self, LayoutError> {
        if lengths.is_empty() || lengths.len() > MAX_MODEL_FILES {
            return Err(LayoutError::Files(lengths.len()));
        }
        if lengths.contains(&0) {
            return Err(LayoutError::Empty);
        }
        let sum = |sum: u64, length: &u64| sum.checked_add(*length);
        let bytes = lengths.iter().try_fold(0, sum);
        let bytes = bytes.filter(|bytes| *bytes <= MAX_MODEL_BYTES);
        let bytes = bytes.ok_or(LayoutError::TooLarge)?;
        let chunk_bytes = chunk_bytes(bytes);
        let mut chunks = 0;
        let mut files = Vec::with_capacity(lengths.len());
        for &bytes in lengths {
            let first = chunks;
            files.push(File { bytes, first });
            let count = u32::try_from(bytes.div_ceil(chunk_bytes));
            chunks += count.map_err(|_| LayoutError::TooLarge)?;
        }
        Ok(Self {
            files,
            chunk_bytes,
            chunks,
            bytes,
        })
    }

    /// Bytes of each chunk but a file's last.
    pub fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    /// Chunks of all files.
    pub fn chunk_count(&self) -> u32 {
        self.chunks
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The files' lengths.
    pub fn lengths(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.files.iter().map(|file| file.bytes)
    }

    /// Where a chunk lies.
    pub fn span(&self, chunk: u32) -> Option<Span> {
        self.span_of(chunk..chunk.checked_add(1)?)
    }

    /// Where chunks lie that follow each other in one file.
    pub fn span_of(&self, chunks: Range<u32>) -> Option<Span> {
        if chunks.is_empty() || chunks.end > self.chunks {
            return None;
        }
        let index = self.file_of(chunks.start);
        let file = self.files[index];
        if chunks.end > self.end_of(index) {
            return None;
        }
        let offset = u64::from(chunks.start - file.first) * self.chunk_bytes;
        let end = u64::from(chunks.end - file.first) * self.chunk_bytes;
        Some(Span {
            file: u32::try_from(index).ok()?,
            offset,
            length: end.min(file.bytes) - offset,
        })
    }

    /// The chunks that hold a span, which is rounded out to their borders. `None`: it is empty, or
    /// reaches beyond its file.
    pub fn chunks_of(&self, span: Span) -> Option<Range<u32>> {
        let file = self.files.get(usize::try_from(span.file).ok()?)?;
        let end = span.offset.checked_add(span.length)?;
        if span.length == 0 || end > file.bytes {
            return None;
        }
        let first = u32::try_from(span.offset / self.chunk_bytes).ok()?;
        let last = u32::try_from((end - 1) / self.chunk_bytes).ok()?;
        Some(file.first + first..file.first + last + 1)
    }

    /// Where the file ends to which this chunk belongs: the number of the next one's first chunk.
    pub fn file_end(&self, chunk: u32) -> u32 {
        self.end_of(self.file_of(chunk))
    }

    fn file_of(&self, chunk: u32) -> usize {
        self.files.partition_point(|file| file.first <= chunk) - 1
    }

    fn end_of(&self, file: usize) -> u32 {
        self.files.get(file + 1).map_or(self.chunks, |f| f.first)
    }
}

/// The smallest power of two, within the bounds, that cuts a model into [`MAX_SMALL_CHUNKS`] or
/// fewer.
fn chunk_bytes(bytes: u64) -> u64 {
    let least = bytes.div_ceil(MAX_SMALL_CHUNKS);
    least
        .clamp(MIN_CHUNK_BYTES, MAX_CHUNK_BYTES)
        .next_power_of_two()
}
