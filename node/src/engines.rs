//! The node's engines: models of the store, each in a worker process, or, where the memory of
//! this machine is too small, as a chain over peers. Behind
//! [`residency::Loader`](crate::residency::Loader); it decides neither when nor which.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use llama_sys::supervisor::{WorkerConfig, WorkerEngine};
use llama_sys::worker::LoadOptions;
use protocol::ModelName;
use tracing::warn;

use crate::chain::Chains;
use crate::core::ranking::Level;
use crate::core::sizing::{Size, Wish, size};
use crate::drafts::{Draft, Drafts};
use crate::models::{LocalModel, Models, ResolveError};
use crate::planning::HEAD_BYTES;
use crate::residency::{ExamineError, Examined, Loader, Starting, Version};

/// Requests that wait for a sequence of one model, at most: what a machine answers within some
/// minutes. Beyond it clients get 503 and try again.
pub const QUEUE_LIMIT: u32 = 256;

/// A worker may take this much beyond its model's need before it is stopped: the estimate is
/// rough, and what it guards against (a leak, a hostile file) is far beyond it.
const MEMORY_SLACK_BYTES: u64 = 1 << 30;

/// Starts workers for models of the store.
pub struct Engines {
    /// The store.
    pub models: Models,
    /// What the owner wants of a context.
    pub wish: Wish,
    /// Threads of a worker; `None`: the physical cores.
    pub threads: Option<u32>,
    /// What models draft with.
    pub drafts: Drafts,
    /// Memory of all models, bytes.
    pub budget_bytes: u64,
    /// The program whose hidden command is the worker: this one.
    pub program: PathBuf,
    /// Chains over peers, once the node has joined a swarm.
    pub chains: Arc<OnceLock<Chains>>,
}

impl Engines {
    fn size(&self, model: &LocalModel) -> Size {
        size(&model.facts, self.wish, self.budget_bytes)
    }

    /// The chains, for a model that this machine's memory is too small for.
    fn chains(&self, size: &Size) -> Option<&Chains> {
        let chains = self.chains.get();
        chains.filter(|_| size.need_bytes > self.budget_bytes)
    }

    fn options(&self, model: &LocalModel, file: PathBuf, draft: &Draft) -> LoadOptions {
        let size = self.size(model);
        let limit = size.need_bytes.saturating_mul(2);
        let limit = limit.saturating_add(draft.memory_bytes);
        LoadOptions {
            model: file,
            context_length: Some(size.context),
            parallel: size.parallel,
            cells: Some(size.cells),
            threads: self.threads,
            gpu_layers: None,
            memory_limit_bytes: Some(limit.saturating_add(MEMORY_SLACK_BYTES)),
            queue_limit: QUEUE_LIMIT,
            speculate: draft.speculate,
            draft: draft.file.clone(),
        }
    }
}

#[async_trait]
impl Loader for Engines {
    async fn examine(&self, model: &ModelName) -> Result<Examined, ExamineError> {
        let found = self.models.resolve(model.as_str()).await;
        let found = found.map_err(|error| unusable(model, &error))?;
        let name = found.name.parse().map_err(|error| ExamineError::Unusable {
            model: model.clone(),
            cause: format!("its full name is none: {error}"),
        })?;
        let size = self.size(&found);
        let (need_bytes, seen_by) = match self.chains(&size) {
            Some(chains) => (HEAD_BYTES, chains.seen_by()),
            None => (size.need_bytes, Level::Local),
        };
        let draft = self.drafts.find(&found.name, &self.models).await;
        let need_bytes = need_bytes.saturating_add(draft.memory_bytes);
        Ok(Examined {
            name,
            need_bytes,
            facts: found.facts,
            seen_by,
            version: Version(found.version),
        })
    }

    async fn start(&self, model: &Examined) -> Result<Starting, String> {
        // Held before it is looked up: what is found then is not removed while it starts.
        let held = self.models.hold(model.name.as_str());
        let found = self.models.resolve(model.name.as_str()).await;
        let found = found.map_err(|error| error.to_string())?;
        let draft = self.drafts.find(&found.name, &self.models).await;
        if let Some(trouble) = &draft.trouble {
            warn!("{trouble}");
        }
        if let Some(chains) = self.chains(&self.size(&found)) {
            let (engine, share) = chains.start(&model.name, &draft).await?;
            let held = Box::new((held, draft, share));
            return Ok(Starting { engine, held });
        }
        let file = found.files.first().ok_or("it has no files")?.clone();
        let options = self.options(&found, file, &draft);
        let worker = WorkerConfig::new(&self.program, &found.name, options);
        let engine = WorkerEngine::spawn(worker);
        Ok(Starting {
            engine: Arc::new(engine),
            held: Box::new((held, draft)),
        })
    }
}

fn unusable(model: &ModelName, error: &ResolveError) -> ExamineError {
    let model = model.clone();
    match error {
        ResolveError::NotFound(_) => ExamineError::NotFound(model),
        ResolveError::Ambiguous { .. } => ExamineError::Ambiguous(error.to_string()),
        _ => ExamineError::Unusable {
            model,
            cause: error.to_string(),
        },
    }
}

/// For nodes that load no models, and builds that cannot.
pub struct NoEngines {
    /// Why, and what to do.
    pub reason: &'static str,
}

#[async_trait]
impl Loader for NoEngines {
    async fn examine(&self, _: &ModelName) -> Result<Examined, ExamineError> {
        Err(ExamineError::NoEngine(self.reason))
    }

    async fn start(&self, _: &Examined) -> Result<Starting, String> {
        Err(self.reason.into())
    }
}
