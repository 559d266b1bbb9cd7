//! The head of a chain in this process: a model's vocabulary and embeddings, without its layers.
//! It answers as a whole model does; the layers are stages elsewhere.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::chain::{Chain, ChainSetup, RING_BUFFER};
use super::config::{LoadError, MAX_SEQUENCES, default_threads};
use super::draft::{DraftModel, Drafting, Room};
use super::loaded::Parts;
use super::ring::Ring;
use crate::core::scheduler::{Cut, Limits, Scheduler};
use crate::core::slots::Reuse;
use crate::core::speculation::Pace;
use crate::engine::ModelInfo;
use crate::ffi::backend::Backend;
use crate::ffi::model::Model;
use crate::ffi::table::EmbeddingTable;
use crate::gguf::PARKED_PART;
use crate::stage::{FromHead, HeadConfig, rows_that_fit};

/// Rows of logits beyond one for each sequence: what prompts with log-probabilities compute at
/// once. Each takes four bytes for each token of the vocabulary.
pub(super) const EXTRA_OUTPUTS: u32 = 64;

/// A head on its way to the thread.
pub(super) struct Head {
    pub(super) model: Arc<Model>,
    pub(super) info: ModelInfo,
    pub(super) parts: Parts,
}

/// Loads a head. What it says to its ring comes out of the receiver.
pub(super) fn load(config: &HeadConfig) -> Result<(Head, mpsc::Receiver<FromHead>), LoadError> {
    std::fs::File::open(&config.file).map_err(LoadError::File)?;
    let model = Model::load_vocabulary(Backend::init(), &config.file)?;
    let table = EmbeddingTable::open(&config.file);
    let table = table.map_err(|error| LoadError::Unsupported(error.to_string()))?;
    let vocabulary = model.vocab_size();
    if table.rows() != u64::from(vocabulary) {
        let rows = table.rows();
        let message = format!("{rows} embeddings for a vocabulary of {vocabulary} tokens");
        return Err(LoadError::Unsupported(message));
    }
    let model = Arc::new(model);
    let info = ModelInfo {
        vocab_size: vocabulary,
        embedding_length: u32::try_from(table.width()).unwrap_or(0),
        context_length: config.context_length,
        parallel: config.parallel,
        model_bytes: 0,
        infill: model.infill_tokens().is_some(),
        embeddings: false,
    };
    let room = Room {
        cells: config.cells,
        sequences: config.parallel.clamp(1, MAX_SEQUENCES),
        threads: default_threads(),
    };
    let drafting = Drafting::new(config.speculate, config.draft.as_deref(), |file| {
        DraftModel::load(file, &model, room, None)
    });
    let limits = limits(config, table.width());
    let (out, messages) = mpsc::channel(RING_BUFFER);
    let setup = ChainSetup {
        table,
        scale: config.embedding_scale,
        precision: config.precision,
        out,
    };
    let parts = Parts {
        scheduler: Scheduler::new(limits),
        embedder: None,
        ring: Ring::Chain(Box::new(Chain::new(setup))),
        cells: config.cells,
        drafting,
        pace: Pace::default(),
    };
    Ok((Head { model, info, parts }, messages))
}

fn limits(config: &HeadConfig, width: usize) -> Limits {
    let fit = rows_that_fit(config.precision, width);
    let batch_tokens = (config.batch_tokens as usize).min(fit);
    Limits {
        parallel: config.parallel,
        sequences: config.sequences.max(config.parallel),
        cells: config.cells.max(config.context_length),
        parked_tokens: (u64::from(config.cells) / PARKED_PART) as usize,
        batch_tokens: batch_tokens.max(config.parallel as usize),
        prompts: Cut::Parts,
        batch_outputs: (config.parallel + EXTRA_OUTPUTS) as usize,
        queue: config.queue_limit as usize,
        reuse: Reuse::Any,
    }
}
