//! The API's backend: from a model's name to an answer.
//!
//! It finds the model, holds a lease on it while it answers, and keeps what heads prepare once
//! for a model. It knows neither HTTP nor how models are loaded, stored or run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use llama_sys::gguf::ModelFacts;
use protocol::ModelName;
use protocol::generate::{EmbedRequest, EmbedResponse, ErrorCode, Failure, GenerateRequest};
use tokio::sync::watch;
use web::backend::{Backend, GenerateStream, ModelCard, Readiness};
use web::manage::StoredModel;

mod metrics;
mod refusal;
#[cfg(test)]
mod tests;

use self::metrics::Engines;
use crate::head::{Head, HeadFacts, Profile, Surroundings};
use crate::residency::{Lease, Residency};

/// Models whose templates are kept compiled; some 100 KiB each. Beyond it the first by name goes.
const MAX_PROFILES: usize = 64;

/// Where the names of the models on disk come from.
#[async_trait]
pub trait Shelf: Send + Sync + 'static {
    /// Every model that could be loaded.
    async fn stored(&self) -> Vec<StoredModel>;
}

/// The backend over the models of this node.
pub struct Router {
    residency: Residency,
    shelf: Arc<dyn Shelf>,
    ready: watch::Receiver<Readiness>,
    surroundings: Surroundings,
    profiles: Mutex<BTreeMap<ModelName, Known>>,
    engines: Engines,
}

/// A model's profile, and the facts from which it was made.
struct Known {
    facts: Arc<ModelFacts>,
    profile: Arc<Profile>,
}

impl Router {
    /// A router over these models; `ready` says whether the node serves at all.
    pub fn new(
        residency: Residency,
        shelf: Arc<dyn Shelf>,
        ready: watch::Receiver<Readiness>,
        surroundings: Surroundings,
    ) -> Self {
        Self {
            residency,
            shelf,
            ready,
            surroundings,
            profiles: Mutex::default(),
            engines: Engines::default(),
        }
    }

    /// A lease on the model that a request names, loaded if need be.
    async fn lease(&self, name: &str) -> Result<Lease, Failure> {
        let Ok(model) = name.parse::<ModelName>() else {
            return Err(refusal::not_found(name));
        };
        match self.residency.acquire(&model).await {
            Ok(lease) => {
                self.engines.note(lease.model(), &lease);
                Ok(lease)
            }
            Err(error) if refusal::is_not_found(&error) => Err(refusal::not_found(name)),
            Err(error) => Err(refusal::of_acquire(&error)),
        }
    }

    /// The head over a lease's engine.
    async fn head(&self, lease: &Lease) -> Result<Head, Failure> {
        let profile = match self.known(lease) {
            Some(profile) => profile,
            None => self.prepare(lease).await?,
        };
        Ok(Head::new(profile, Arc::clone(lease), self.surroundings))
    }

    fn known(&self, lease: &Lease) -> Option<Arc<Profile>> {
        let profiles = self.profiles.lock().unwrap_or_else(PoisonError::into_inner);
        let known = profiles.get(lease.model())?;
        // A file that was replaced under the same name has other facts.
        let same = Arc::ptr_eq(&known.facts, lease.facts()) || known.facts == *lease.facts();
        same.then(|| Arc::clone(&known.profile))
    }

    /// Prepares a model off the executor's threads: its template may be a stranger's.
    async fn prepare(&self, lease: &Lease) -> Result<Arc<Profile>, Failure> {
        let facts = HeadFacts::of(lease.model().as_str(), lease.facts());
        let profile = tokio::task::spawn_blocking(move || Arc::new(Profile::new(facts)))
            .await
            .map_err(|_| Failure::new(ErrorCode::Internal, "the model could not be prepared"))?;
        let known = Known {
            facts: Arc::clone(lease.facts()),
            profile: Arc::clone(&profile),
        };
        let mut profiles = self.profiles.lock().unwrap_or_else(PoisonError::into_inner);
        if profiles.len() >= MAX_PROFILES && !profiles.contains_key(lease.model()) {
            profiles.pop_first();
        }
        profiles.insert(lease.model().clone(), known);
        Ok(profile)
    }
}

#[async_trait]
impl Backend for Router {
    async fn models(&self) -> Vec<ModelCard> {
        let mut cards: Vec<ModelCard> = self.shelf.stored().await.into_iter().map(card).collect();
        cards.sort_by(|a, b| a.id.cmp(&b.id));
        cards.dedup_by(|a, b| a.id == b.id);
        cards
    }

    async fn generate(&self, request: GenerateRequest) -> Result<GenerateStream, Failure> {
        let lease = self.lease(&request.model).await?;
        let head = self.head(&lease).await?;
        head.generate(request, lease).await
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse, Failure> {
        let lease = self.lease(&request.model).await?;
        let head = self.head(&lease).await?;
        head.embed(request).await
    }

    fn readiness(&self) -> Readiness {
        self.ready.borrow().clone()
    }

    fn write_metrics(&self, out: &mut String) {
        self.engines.write(out);
    }
}

fn card(model: StoredModel) -> ModelCard {
    let owner = model
        .name
        .split_once('/')
        .map(|(owner, _)| owner.to_owned());
    ModelCard {
        created: model.added,
        owned_by: owner.unwrap_or_else(|| "shoal".to_owned()),
        id: model.name,
    }
}
