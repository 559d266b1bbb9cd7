//! The headers of a model's files out of their beginnings, which is all that is needed to plan a
//! slice of it. The files may be anybody's: they are read as any file is, by
//! [`llama_sys::gguf`], and never beyond what is known to be here.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use llama_sys::gguf::{GgufError, Header, Model};
use protocol::weights::Span;

use super::SliceError;
use crate::weights::Fetched;

/// Bytes of all headers of one model: the longest known ones have about 60 MiB.
const MAX_BYTES: u64 = 64 << 20;

/// The least that is asked of a file at first.
const MIN_FIRST_BYTES: u64 = 16 << 10;

/// The most that is: the header of a large vocabulary.
const MAX_FIRST_BYTES: u64 = 8 << 20;

/// Of the other files of a model, which have tables of tensors only.
const MAX_OTHER_BYTES: u64 = 256 << 10;

/// Of a large file so much is asked at first: what comes beyond the header is lost for a slice
/// that does not begin there, and each further question costs a round trip.
const FIRST_SHARE: u64 = 512;

/// How much of each file's beginning is read, file after file; of the first alone until that says
/// how many there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Beginnings(Vec<u64>);

/// What they say.
pub(super) enum Reading {
    /// All of the headers.
    Whole(Box<Model>),
    /// More is needed.
    More(Beginnings),
}

impl Beginnings {
    /// The least of a model of which not even the files' lengths are known.
    pub(super) fn least() -> Self {
        Self(vec![1])
    }

    /// As ranges of the model's files.
    pub(super) fn ranges(&self) -> Vec<Span> {
        let spans = (0..).zip(&self.0).map(|(file, length)| Span {
            file,
            offset: 0,
            length: *length,
        });
        spans.collect()
    }

    /// Reads what is here. Waits for the disk.
    pub(super) fn read(&self, here: &Fetched) -> Result<Reading, SliceError> {
        let lengths: Vec<u64> = here.manifest.layout().lengths().collect();
        let mut wider = self.clone();
        let mut headers = Vec::new();
        let files = wider.0.iter_mut().zip(&lengths).zip(&here.files);
        for (file, ((known, length), path)) in files.enumerate() {
            match read_header(path, *known, *length)? {
                Some(header) => headers.push(header),
                None => *known = widened(file, *known, *length),
            }
        }
        let is_first_read = headers.len() == 1 && self.0.len() == 1;
        if is_first_read && lengths.len() > 1 {
            let says = headers[0].unsigned("split.count").unwrap_or(1);
            if says != lengths.len() as u64 {
                return Err(unusable("it has another number of files than it says"));
            }
            let others = lengths.iter().enumerate().skip(1);
            let others = others.map(|(file, length)| widened(file, 1, *length));
            wider.0.extend(others);
        }
        if wider == *self {
            let model = Model::of(here.files.clone(), headers);
            let model = model.map_err(|error| unusable(&error.to_string()))?;
            return Ok(Reading::Whole(Box::new(model)));
        }
        let all = wider.0.iter().copied().fold(0, u64::saturating_add);
        if all > MAX_BYTES {
            return Err(unusable("its headers are too long to be fetched"));
        }
        Ok(Reading::More(wider))
    }
}

/// What is asked next of a file (its place among the model's) of which so much was not enough.
fn widened(file: usize, known: u64, length: u64) -> u64 {
    let most = if file == 0 {
        MAX_FIRST_BYTES
    } else {
        MAX_OTHER_BYTES
    };
    let first = (length / FIRST_SHARE).clamp(MIN_FIRST_BYTES, most);
    known.saturating_add(known / 2).max(first).min(length)
}

/// `None`: the header is longer than what is known of the file.
fn read_header(path: &Path, known: u64, length: u64) -> Result<Option<Header>, SliceError> {
    let file = File::open(path).map_err(|error| unusable(&error.to_string()))?;
    let mut beginning = Beginning {
        file,
        at: 0,
        end: known,
    };
    match Header::read_prefix(&mut beginning, length) {
        Ok(header) => Ok(Some(header)),
        Err(GgufError::Truncated { .. }) if known < length => Ok(None),
        Err(error) => Err(unusable(&error.to_string())),
    }
}

fn unusable(cause: &str) -> SliceError {
    SliceError::Unusable(cause.to_owned())
}

/// A file up to a place: what lies beyond may be a hole.
struct Beginning {
    file: File,
    at: u64,
    end: u64,
}

impl Read for Beginning {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let count = self.file.read(&mut buffer[..most])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Beginning {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.end.checked_add_signed(by),
        };
        let to = to.ok_or(io::ErrorKind::InvalidInput)?;
        self.at = self.file.seek(SeekFrom::Start(to))?;
        Ok(self.at)
    }
}
