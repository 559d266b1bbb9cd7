//! A reader that knows where it is and where it must stop. It knows numbers and lengths, nothing
//! of what they mean.

use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};

use super::error::GgufError;
use super::limits;

/// Bytes read at once: a vocabulary is walked without a system call for each token.
const BUFFER_BYTES: usize = 64 << 10;

/// Reads little-endian numbers and strings between the file's start and the header's limit.
pub(super) struct Cursor<'a, R> {
    source: BufReader<&'a mut R>,
    position: u64,
    file_bytes: u64,
    end: u64,
}

impl<'a, R: Read + Seek> Cursor<'a, R> {
    /// At the start of a file of `file_bytes`.
    pub(super) fn new(source: &'a mut R, file_bytes: u64) -> Result<Self, GgufError> {
        source.seek(SeekFrom::Start(0)).map_err(GgufError::Io)?;
        Ok(Self {
            source: BufReader::with_capacity(BUFFER_BYTES, source),
            position: 0,
            file_bytes,
            end: file_bytes.min(limits::MAX_HEADER_BYTES),
        })
    }

    /// Bytes from the start of the file.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Moves to an absolute place.
    pub(super) fn seek(&mut self, to: u64) -> Result<(), GgufError> {
        if to > self.end {
            return Err(self.overrun());
        }
        self.source
            .seek(SeekFrom::Start(to))
            .map_err(GgufError::Io)?;
        self.position = to;
        Ok(())
    }

    /// Passes over `count` bytes that must exist.
    pub(super) fn skip(&mut self, count: u64) -> Result<(), GgufError> {
        self.check(count)?;
        let step = i64::try_from(count).expect("check() bounds it by MAX_HEADER_BYTES");
        self.source.seek_relative(step).map_err(GgufError::Io)?;
        self.position += count;
        Ok(())
    }

    /// The next `N` bytes.
    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        self.check(N as u64)?;
        let mut bytes = [0; N];
        match self.source.read_exact(&mut bytes) {
            Ok(()) => self.position += N as u64,
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Err(self.truncated()),
            Err(e) => return Err(GgufError::Io(e)),
        }
        Ok(bytes)
    }

    /// The next `count` bytes; memory grows with what the file really holds.
    pub(super) fn take(&mut self, count: u64) -> Result<Vec<u8>, GgufError> {
        self.check(count)?;
        let mut bytes = Vec::new();
        let read = self
            .source
            .by_ref()
            .take(count)
            .read_to_end(&mut bytes)
            .map_err(GgufError::Io)?;
        if read as u64 != count {
            return Err(self.truncated());
        }
        self.position += count;
        Ok(bytes)
    }

    /// A 32-bit number.
    pub(super) fn u32(&mut self) -> Result<u32, GgufError> {
        self.bytes().map(u32::from_le_bytes)
    }

    /// A 64-bit number.
    pub(super) fn u64(&mut self) -> Result<u64, GgufError> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// A string's length, checked against `limit` and against the end.
    pub(super) fn length(&mut self, what: &'static str, limit: u64) -> Result<u64, GgufError> {
        let found = self.u64()?;
        if found > limit {
            return Err(GgufError::TooLong { what, found, limit });
        }
        self.check(found)?;
        Ok(found)
    }

    /// A key or a tensor's name.
    pub(super) fn name(&mut self, what: &'static str, limit: u64) -> Result<String, GgufError> {
        let at = self.position;
        let count = self.length(what, limit)?;
        match String::from_utf8(self.take(count)?) {
            Ok(name) if !name.is_empty() => Ok(name),
            _ => Err(GgufError::BadName { what, at }),
        }
    }

    fn check(&self, count: u64) -> Result<(), GgufError> {
        match self.position.checked_add(count) {
            Some(to) if to <= self.end => Ok(()),
            _ => Err(self.overrun()),
        }
    }

    fn overrun(&self) -> GgufError {
        if self.end < self.file_bytes {
            GgufError::HeaderTooLong {
                limit: limits::MAX_HEADER_BYTES,
            }
        } else {
            self.truncated()
        }
    }

    fn truncated(&self) -> GgufError {
        GgufError::Truncated { at: self.position }
    }
}
