//! A model on its way to the thread: file, context, first computation.

use std::sync::Arc;

use super::config::{LoadError, LocalConfig};
use super::draft::{DraftModel, Drafting, Room};
use super::embedder::{Embedder, Method};
use super::head::EXTRA_OUTPUTS;
use super::ring::Ring;
use super::stage::Stage;
use crate::core::governor::Governor;
use crate::core::holdings::Bounds;
use crate::core::scheduler::{Cut, Limits, Scheduler};
use crate::core::slots::Reuse;
use crate::core::speculation::Pace;
use crate::engine::ModelInfo;
use crate::ffi::backend::Backend;
use crate::ffi::batch::Batch;
use crate::ffi::context::{Context, ContextParams, Pause, Tap};
use crate::ffi::model::Model;
use crate::gguf::PARKED_PART;

/// Why a model that ranks texts is refused.
const RERANKER: &str = "rerankers are not served: the model gives a score, no text, no vector";

/// A model that is loaded and has computed a token.
pub(super) struct Loaded {
    backend: Backend,
    model: Arc<Model>,
    context: Option<Context>,
    /// How it embeds; `None`: not at all.
    embeds: Option<Method>,
    params: ContextParams,
    context_length: u32,
    parallel: u32,
    queue: usize,
    /// The number of threads may follow the machine's load.
    adapts: bool,
    drafting: Drafting,
}

impl Loaded {
    pub(super) fn load(
        config: &LocalConfig,
        progress: &mut dyn FnMut(f32) -> bool,
    ) -> Result<Self, LoadError> {
        std::fs::File::open(&config.model).map_err(LoadError::File)?;
        let backend = Backend::init();
        let model = Model::load(backend, &config.model, config.gpu_layers(), progress)?;
        if model.has_encoder() {
            let message = "encoder-decoder models are not served";
            return Err(LoadError::Unsupported(message.into()));
        }
        let model = Arc::new(model);
        let affordable = LocalConfig::affordable_cells(model.cell_bytes());
        let context_length = config.context(model.context_trained(), affordable);
        let threads = config.threads();
        let params = ContextParams {
            cells: config.cells(context_length, affordable),
            batch_tokens: config.batch(),
            micro_batch_tokens: config.micro_batch(),
            outputs: config.sequences() + EXTRA_OUTPUTS,
            sequences: config.sequences_kept(model.is_recurrent()),
            threads,
            pause: Pause::Spin,
            embeddings: None,
            tap: Tap::None,
        };
        let made = Context::new(backend, Arc::clone(&model), params);
        let context = made.ok_or_else(|| LoadError::Context {
            cells: params.cells,
            cause: backend.take_error().unwrap_or_default(),
        })?;
        let embeds = Method::of(&model, context.has_memory());
        if embeds.is_none() && !context.has_memory() {
            return Err(LoadError::Unsupported(RERANKER.into()));
        }
        let room = Room {
            cells: params.cells,
            sequences: config.sequences(),
            threads,
        };
        let draft = config.draft.as_deref().filter(|_| context.has_memory());
        let drafting = Drafting::new(config.speculate, draft, |file| {
            DraftModel::load(file, &model, room, context.threads())
        });
        let mut loaded = Self {
            backend,
            model,
            // Without a memory the model can embed, but not generate.
            context: context.has_memory().then_some(context),
            embeds,
            params,
            context_length,
            parallel: config.sequences(),
            queue: config.queue_limit as usize,
            adapts: config.threads.is_none(),
            drafting,
        };
        loaded.warm_up()?;
        Ok(loaded)
    }

    /// Computes a token, so that the first request finds pages and buffers in place.
    fn warm_up(&mut self) -> Result<(), LoadError> {
        let Some(context) = &mut self.context else {
            return Ok(());
        };
        let mut batch = Batch::default();
        batch.push(self.model.bos().unwrap_or(0), 0, 0, true);
        let decoded = context.decode(&mut batch);
        decoded.map_err(|e| LoadError::WarmUp(e.to_string()))?;
        context.clear();
        Ok(())
    }

    pub(super) fn model(&self) -> Arc<Model> {
        Arc::clone(&self.model)
    }

    pub(super) fn generates(&self) -> bool {
        self.context.is_some()
    }

    pub(super) fn embedding_tokens(&self) -> u32 {
        self.embeds
            .map_or(0, |method| method.most_tokens(self.context_length))
    }

    pub(super) fn info(&self) -> ModelInfo {
        ModelInfo {
            vocab_size: self.model.vocab_size(),
            embedding_length: self.model.embedding_length(),
            context_length: self.context_length,
            parallel: self.parallel,
            model_bytes: self.model.tensor_bytes(),
            infill: self.model.infill_tokens().is_some(),
            embeddings: self.embeds.is_some(),
        }
    }

    fn limits(&self) -> Limits {
        let cells = self.context.as_ref().map_or(0, Context::cells);
        Limits {
            parallel: self.parallel,
            sequences: self.params.sequences,
            cells,
            parked_tokens: (u64::from(cells) / PARKED_PART) as usize,
            batch_tokens: self.params.batch_tokens as usize,
            prompts: Cut::Full,
            batch_outputs: self.params.outputs as usize,
            queue: self.queue,
            reuse: if self.model.is_recurrent() {
                Reuse::Whole
            } else {
                Reuse::Any
            },
        }
    }

    /// What the thread works with.
    pub(super) fn into_parts(self) -> Parts {
        let limits = self.limits();
        let params = ContextParams {
            cells: self.context_length,
            ..self.params
        };
        let embedder = self
            .embeds
            .map(|method| Embedder::new(self.backend, Arc::clone(&self.model), method, params));
        let governor = self.adapts.then(|| Governor::new(self.params.threads));
        let ring = match self.context {
            Some(context) => {
                let bounds = Bounds {
                    sequences: limits.sequences,
                    cells: limits.cells as usize,
                    // What is parked comes before what is given up for it.
                    parked_tokens: limits.parked_tokens * 2,
                };
                let stage = Stage::new(context, self.model, bounds, true, governor);
                Ring::Whole(Box::new(stage))
            }
            None => Ring::None,
        };
        Parts {
            scheduler: Scheduler::new(limits),
            embedder,
            cells: limits.cells,
            ring,
            drafting: self.drafting,
            pace: Pace::default(),
        }
    }
}

/// What the thread works with.
pub(super) struct Parts {
    pub(super) scheduler: Scheduler,
    /// `None`: the model does not embed.
    pub(super) embedder: Option<Embedder>,
    /// What computes.
    pub(super) ring: Ring,
    /// Cells of the cache.
    pub(super) cells: u32,
    /// Where drafts come from.
    pub(super) drafting: Drafting,
    /// What is known of the engine's speed.
    pub(super) pace: Pace,
}
