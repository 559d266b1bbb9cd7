//! What is known of the experts of a model that is here: measured by reading texts with it, in the
//! process that asks, and kept in a folder of records; the shards that are cut out of it, and how good
//! they are. Everything here waits for the disk or computes for seconds to minutes.
//!
//! It runs in a command's own process, beside a node or without one: should llama.cpp abort, that
//! costs the command. Which peer holds what is decided by [`core::shards`](crate::core::shards).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use llama_sys::gguf::slice::{self, Materialising, Sliceable};
use llama_sys::gguf::{self, ExpertSets, Model};
use llama_sys::local::{Chunks, ExamError, Examiner, LoadError, Reading};

use crate::core::shards::reference::{Measured, Reference};
use crate::core::shards::score::{Sample, Score, ScoreError, score};

mod records;
mod texts;

pub use self::records::Records;
pub use self::texts::Texts;

/// How texts are cut: as llama.cpp's `perplexity` does by default, and a few minutes' work at most for
/// a large model.
const CHUNKS: Chunks = Chunks {
    tokens: 512,
    most: 20,
};

/// How the name of a layer's router ends.
const ROUTER: &str = ".ffn_gate_inp.weight";

/// Why nothing is known of a model's experts, or no shard could be made or scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpertsError {
    /// The files are no model.
    #[error(transparent)]
    Model(#[from] gguf::ModelError),
    /// The model cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The model could not read a text.
    #[error("{text}: {cause}")]
    Exam {
        /// The text's name.
        text: String,
        /// Why.
        cause: ExamError,
    },
    /// A text cannot be used.
    #[error("{}: {cause}", path.display())]
    Text {
        /// Its file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// More texts than a reference has, or two of one name.
    #[error("{0}")]
    Texts(String),
    /// A file of the model, or a record, cannot be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Nothing was measured yet.
    #[error("the experts of this model were not ranked yet: `shoal experts rank` it first")]
    NotRanked,
    /// It was ranked on other texts than it is to be scored on.
    #[error("the model was ranked on other texts: give the same --text, or rank it again")]
    OtherTexts,
    /// The experts are none that the model could keep.
    #[error(transparent)]
    Sets(#[from] gguf::ExpertsError),
    /// The model's experts cannot be parted.
    #[error(transparent)]
    Slice(#[from] slice::SliceError),
    /// A shard's file cannot be made.
    #[error(transparent)]
    Materialise(#[from] slice::MaterialiseError),
    /// The figures do not fit one another.
    #[error(transparent)]
    Score(#[from] ScoreError),
}

/// A mixture on this machine.
#[derive(Debug)]
pub struct Mixture {
    name: String,
    model: Model,
    fingerprint: String,
    threads: Option<u32>,
}

impl Mixture {
    /// Opens the model whose first file this is. `threads`: those to compute with; `None`: the
    /// physical cores.
    ///
    /// # Errors
    /// [`ExpertsError`] if it is no model, or cannot be read.
    pub fn open(name: String, file: &Path, threads: Option<u32>) -> Result<Self, ExpertsError> {
        let model = Model::open(file)?;
        let fingerprint = fingerprint(&model)?;
        Ok(Self {
            name,
            model,
            fingerprint,
            threads,
        })
    }

    /// By what its record is found: its header and its routers.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Reads texts and measures how the router uses the experts. `report` hears each text's name
    /// before it is read.
    ///
    /// # Errors
    /// [`ExpertsError`] if the model has no experts, or cannot read them.
    pub fn rank(
        &self,
        texts: &Texts,
        report: &mut dyn FnMut(&str),
    ) -> Result<Reference, ExpertsError> {
        let read = self.read(&self.model.files[0], None, texts, report)?;
        let measured = read.into_iter().map(|(name, reading)| Measured {
            sample: sample(name, &reading),
            usage: reading.usage,
        });
        Ok(Reference {
            model: self.name.clone(),
            fingerprint: self.fingerprint.clone(),
            texts_digest: texts.digest(CHUNKS),
            used: self.model.facts.experts.map_or(0, |experts| experts.used),
            texts: measured.collect(),
        })
    }

    /// The most used experts of each layer, by what was measured.
    ///
    /// # Errors
    /// [`ExpertsError::Sets`] if there are not so many.
    pub fn most_used(&self, known: &Reference, count: u32) -> Result<ExpertSets, ExpertsError> {
        let overall = known.overall().ok_or(ExpertsError::NotRanked)?;
        Ok(overall.top(count)?)
    }

    /// How good the model is with these experts only.
    ///
    /// # Errors
    /// [`ExpertsError`] if it cannot be measured as the reference was.
    pub fn score(
        &self,
        known: &Reference,
        kept: &ExpertSets,
        texts: &Texts,
        report: &mut dyn FnMut(&str),
    ) -> Result<Score, ExpertsError> {
        self.score_file(known, &self.model.files[0], Some(kept), texts, report)
    }

    /// How good a shard of the model is, by its own file.
    ///
    /// # Errors
    /// [`ExpertsError`] if it cannot be measured as the reference was.
    pub fn score_shard(
        &self,
        known: &Reference,
        file: &Path,
        texts: &Texts,
        report: &mut dyn FnMut(&str),
    ) -> Result<Score, ExpertsError> {
        self.score_file(known, file, None, texts, report)
    }

    /// Writes the file of a shard with these experts. Answers its length.
    ///
    /// # Errors
    /// [`ExpertsError`] if the model's experts cannot be parted, or the disk fails.
    pub fn cut(&self, kept: &ExpertSets, to: &Path) -> Result<u64, ExpertsError> {
        let plan = Arc::new(Sliceable::of(&self.model.headers)?.shard(kept)?);
        let bytes = plan.bytes();
        let order = Materialising {
            plan,
            files: &self.model.files,
            to,
            budget_bytes: u64::MAX,
        };
        slice::materialise(&order, &mut |_, _| true)?;
        Ok(bytes)
    }

    fn score_file(
        &self,
        known: &Reference,
        file: &Path,
        kept: Option<&ExpertSets>,
        texts: &Texts,
        report: &mut dyn FnMut(&str),
    ) -> Result<Score, ExpertsError> {
        if known.texts_digest != texts.digest(CHUNKS) {
            return Err(ExpertsError::OtherTexts);
        }
        let read = self.read(file, kept, texts, report)?;
        let read = read
            .into_iter()
            .map(|(name, reading)| sample(name, &reading));
        Ok(score(&known.samples(), &read.collect::<Vec<_>>())?)
    }

    fn read(
        &self,
        file: &Path,
        kept: Option<&ExpertSets>,
        texts: &Texts,
        report: &mut dyn FnMut(&str),
    ) -> Result<Vec<(String, Reading)>, ExpertsError> {
        let mut examiner = Examiner::load(file, CHUNKS, self.threads)?;
        let held_back = examiner.hold_back(kept);
        held_back.map_err(|cause| exam(&self.name, cause))?;
        let mut all = Vec::new();
        for (name, text) in texts.iter() {
            report(name);
            let reading = examiner.read(text).map_err(|cause| exam(name, cause))?;
            all.push((name.to_owned(), reading));
        }
        Ok(all)
    }
}

fn exam(text: &str, cause: ExamError) -> ExpertsError {
    ExpertsError::Exam {
        text: text.to_owned(),
        cause,
    }
}

fn sample(name: String, reading: &Reading) -> Sample {
    Sample {
        name,
        tokens: reading.tokens,
        nats: reading.nats,
        likeliest: reading.likeliest.clone(),
    }
}

/// Of a model's headers and its routers, which is what experts are ranked by; hashing all of it would
/// take as long as reading texts with it.
fn fingerprint(model: &Model) -> Result<String, ExpertsError> {
    let mut hasher = blake3::Hasher::new();
    for (path, header) in model.files.iter().zip(&model.headers) {
        let routers = header.tensors().iter().filter(|t| t.name.ends_with(ROUTER));
        let ranges = routers.map(|router| (header.data_offset() + router.offset, router.bytes));
        let ranges = std::iter::once((0, header.data_offset())).chain(ranges);
        let hashed = File::open(path).and_then(|mut file| {
            hasher.update(&header.file_bytes().to_le_bytes());
            for (start, bytes) in ranges {
                file.seek(SeekFrom::Start(start))?;
                io::copy(&mut (&file).take(bytes), &mut hasher)?;
            }
            Ok(())
        });
        hashed.map_err(|cause| ExpertsError::File {
            path: path.clone(),
            cause,
        })?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests;
