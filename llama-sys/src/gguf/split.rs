//! Models in several files, as `llama-gguf-split` makes them: `NAME-00001-of-00003.gguf`. File
//! names are made from the name of a local file only, never from what a file says.

use std::path::{Path, PathBuf};

use super::error::{GgufError, excerpt};
use super::facts::{FactsError, ModelFacts};
use super::header::Header;
use super::limits;

/// The name of one file of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitName {
    /// What stands before the number.
    pub stem: String,
    /// Which file it is, from 1.
    pub number: u32,
    /// How many there are.
    pub count: u32,
}

impl SplitName {
    /// Reads `STEM-00001-of-00003.gguf`. Names outside the limits are ordinary names.
    #[must_use]
    pub fn parse(file_name: &str) -> Option<Self> {
        let (rest, count) = file_name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let (number, count) = (five_digits(number)?, five_digits(count)?);
        let sound = (1..=count).contains(&number) && u64::from(count) <= limits::MAX_SPLITS;
        (sound && !stem.is_empty()).then(|| Self {
            stem: stem.to_owned(),
            number,
            count,
        })
    }

    /// The name of another file of the same model, counted from 1.
    #[must_use]
    pub fn sibling(&self, number: u32) -> String {
        format!("{}-{number:05}-of-{:05}.gguf", self.stem, self.count)
    }

    /// The names of all files in order.
    pub fn siblings(&self) -> impl Iterator<Item = String> + '_ {
        (1..=self.count).map(|number| self.sibling(number))
    }
}

fn five_digits(text: &str) -> Option<u32> {
    let digits = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// A model on this machine: its files, their headers, and what it is.
#[derive(Debug, Clone)]
pub struct Model {
    /// Its files in order; llama.cpp is given the first.
    pub files: Vec<PathBuf>,
    /// Their headers.
    pub headers: Vec<Header>,
    /// What it is.
    pub facts: ModelFacts,
}

/// Why the files are no model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// One of the files is refused.
    #[error("{} cannot be read as a model", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: GgufError,
    },
    /// The files are sound, but no model.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The file says that it is one of several, its name does not.
    #[error("the file is one of {count}; its name must be like NAME-00001-of-{count:05}.gguf")]
    SplitName {
        /// Files that the model has.
        count: u64,
    },
    /// There is no file.
    #[error("a model has at least one file")]
    NoFiles,
    /// There are more files or fewer than the first one says.
    #[error("there are {found} files of a model that has {count}")]
    SplitCount {
        /// Files that there are.
        found: usize,
        /// Files that the model has.
        count: u64,
    },
    /// A file says that it is another one than its name or its place does.
    #[error("{} is not the file {number} of {count} that its name says", file.display())]
    SplitMismatch {
        /// The file.
        file: PathBuf,
        /// Its number by its name, from 1.
        number: u32,
        /// Files by its name.
        count: u32,
    },
    /// The files together have another number of tensors than they say.
    #[error("the files have {found} tensors together, not {expected}")]
    SplitTensors {
        /// Tensors found.
        found: u64,
        /// Tensors that the first file says.
        expected: u64,
    },
    /// The headers together would take more than [`limits::MAX_RETAINED_BYTES`].
    #[error("the headers of all files would take more than {limit} bytes of memory")]
    TooMuchMemory {
        /// The limit.
        limit: u64,
    },
    /// Two files hold one tensor.
    #[error("the tensor `{0}` is in two files")]
    DuplicateTensor(String),
}

impl Model {
    /// Opens a model by its only file, or by any of its files.
    ///
    /// # Errors
    /// [`ModelError`] for whatever is wrong with them.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let header = open(path)?;
        let count = header.unsigned("split.count").unwrap_or(0);
        if count <= 1 {
            let facts = ModelFacts::from_header(&header)?;
            return Ok(Self {
                files: vec![path.to_owned()],
                headers: vec![header],
                facts,
            });
        }
        let name = path
            .file_name()
            .and_then(|name| SplitName::parse(name.to_str()?));
        let name = name
            .filter(|name| u64::from(name.count) == count)
            .ok_or(ModelError::SplitName { count })?;
        let files: Vec<PathBuf> = name
            .siblings()
            .map(|name| path.with_file_name(name))
            .collect();
        let headers = open_all(&files)?;
        Self::of(files, headers)
    }

    /// A model by its files in order and their headers, which were read before; the files' names say
    /// nothing. So a model can be judged of which only the beginnings are here.
    ///
    /// # Errors
    /// [`ModelError`] for whatever is wrong with them.
    pub fn of(files: Vec<PathBuf>, headers: Vec<Header>) -> Result<Self, ModelError> {
        let first = headers.first().ok_or(ModelError::NoFiles)?;
        let count = first.unsigned("split.count").unwrap_or(0).max(1);
        if count != headers.len() as u64 || files.len() != headers.len() {
            return Err(ModelError::SplitCount {
                found: headers.len(),
                count,
            });
        }
        if count > 1 {
            check_memory(&headers)?;
            check_numbers(&files, &headers)?;
            check_tensors(&headers)?;
        }
        let facts = ModelFacts::from_headers(&headers)?;
        Ok(Self {
            files,
            headers,
            facts,
        })
    }
}

fn open(file: &Path) -> Result<Header, ModelError> {
    Header::open(file).map_err(|source| ModelError::File {
        file: file.to_owned(),
        source,
    })
}

fn open_all(files: &[PathBuf]) -> Result<Vec<Header>, ModelError> {
    let mut headers: Vec<Header> = Vec::new();
    for file in files {
        headers.push(open(file)?);
        check_memory(&headers)?;
    }
    Ok(headers)
}

fn check_memory(headers: &[Header]) -> Result<(), ModelError> {
    let limit = limits::MAX_RETAINED_BYTES;
    let retained: u64 = headers.iter().map(Header::retained_bytes).sum();
    if retained > limit {
        return Err(ModelError::TooMuchMemory { limit });
    }
    Ok(())
}

fn check_numbers(files: &[PathBuf], headers: &[Header]) -> Result<(), ModelError> {
    let count = u32::try_from(files.len()).expect("bounded by MAX_SPLITS");
    for (number, (file, header)) in (1..=count).zip(files.iter().zip(headers)) {
        // `split.no` counts from 0.
        let right = header.unsigned("split.no") == Some(u64::from(number - 1))
            && header.unsigned("split.count") == Some(count.into());
        if !right {
            return Err(ModelError::SplitMismatch {
                file: file.clone(),
                number,
                count,
            });
        }
    }
    Ok(())
}

fn check_tensors(headers: &[Header]) -> Result<(), ModelError> {
    let tensors = || headers.iter().flat_map(Header::tensors);
    let found = tensors().count() as u64;
    let expected = headers[0].unsigned("split.tensors.count").unwrap_or(found);
    if found != expected {
        return Err(ModelError::SplitTensors { found, expected });
    }
    let mut names: Vec<&str> = tensors().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(ModelError::DuplicateTensor(excerpt(pair[0]))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
