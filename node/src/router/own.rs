//! This node's own heads: from a model's name to a head over its loaded engine.
//!
//! It holds a lease on the model while it answers, and keeps what heads prepare once for a model.
//! It knows no other peer; whoever serves peers may share it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use llama_sys::engine::EngineState;
use llama_sys::gguf::ModelFacts;
use protocol::ModelName;
use protocol::generate::{
    EmbedRequest, EmbedResponse, ErrorCode, Failure, GenerateRequest, Privacy,
};
use web::backend::GenerateStream;

mod guest;

use super::metrics::Engines;
use super::refusal;
use crate::core::ranking::{Level, Offer, Target};
use crate::head::{Head, HeadFacts, Profile, Surroundings};
use crate::residency::{Examined, Lease, Residency};

/// Models whose templates are kept compiled; some 100 KiB each. Beyond it the first by name goes.
const MAX_PROFILES: usize = 64;

/// Sessions of a model that is not loaded yet, as engines have them unless told otherwise.
const USUAL_PARALLEL: u32 = 16;

/// The heads of this node's models.
pub struct OwnHeads {
    residency: Residency,
    surroundings: Surroundings,
    profiles: Mutex<BTreeMap<ModelName, Known>>,
    engines: Engines,
}

/// A model's profile, and the facts from which it was made.
struct Known {
    facts: Arc<ModelFacts>,
    profile: Arc<Profile>,
}

impl OwnHeads {
    /// Heads over these models.
    pub fn new(residency: Residency, surroundings: Surroundings) -> Self {
        Self {
            residency,
            surroundings,
            profiles: Mutex::default(),
            engines: Engines::default(),
        }
    }

    /// What the heads take from outside.
    pub fn surroundings(&self) -> Surroundings {
        self.surroundings
    }

    /// The models behind the heads.
    pub fn residency(&self) -> &Residency {
        &self.residency
    }

    /// Begins an answer here, loading the model if need be.
    ///
    /// # Errors
    /// Why there is none, in the words that clients get.
    pub async fn generate(&self, request: GenerateRequest) -> Result<GenerateStream, Failure> {
        let lease = self.permitted(&request.model, request.privacy()).await?;
        let head = self.head(&lease).await?;
        head.generate(request, lease).await
    }

    /// Embeds here, loading the model if need be.
    ///
    /// # Errors
    /// Why not, in the words that clients get.
    pub async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse, Failure> {
        let lease = self.permitted(&request.model, request.privacy()).await?;
        let head = self.head(&lease).await?;
        head.embed(request).await
    }

    /// A model of that name, loaded or not, if requests of this level may go to it.
    async fn allowed(&self, model: &ModelName, level: Level) -> Option<Examined> {
        let examined = self.residency.examine(model).await.ok()?;
        (examined.seen_by <= level).then_some(examined)
    }

    /// A model's full name, if it is one of this node's; else the name that was given.
    pub(super) async fn full_name(&self, model: ModelName) -> ModelName {
        match self.residency.examine(&model).await {
            Ok(examined) => examined.name,
            Err(_) => model,
        }
    }

    /// Whether requests of this level can be answered here.
    pub(super) async fn has(&self, model: &ModelName, level: Level) -> bool {
        self.allowed(model, level).await.is_some()
    }

    /// What this node can offer of a model to requests of this level; `None`: nothing.
    pub(super) async fn offer(&self, model: &ModelName, level: Level) -> Option<Offer> {
        let examined = self.allowed(model, level).await?;
        let loaded = self.residency.loaded().await;
        let loaded = loaded
            .into_iter()
            .find(|loaded| loaded.name == examined.name.as_str());
        let ready = loaded.as_ref().filter(|loaded| loaded.state == "ready");
        Some(Offer {
            target: Target::Own,
            context_tokens: ready.map(|loaded| loaded.context_length),
            parallel: self.parallel(&examined.name),
            running: loaded.as_ref().map_or(0, |loaded| loaded.running),
            queued: loaded.as_ref().map_or(0, |loaded| loaded.waiting),
            prefill_tokens_per_second: None,
            decode_tokens_per_second: None,
            rtt: None,
            is_relayed: false,
            is_trusted: true,
            is_loaded: ready.is_some(),
        })
    }

    fn parallel(&self, model: &ModelName) -> u32 {
        let engine = self.engines.engine(model);
        let state = engine.map(|engine| engine.state().borrow().clone());
        match state {
            Some(EngineState::Ready(info)) => info.parallel.max(1),
            _ => USUAL_PARALLEL,
        }
    }

    /// Appends the metrics of the engines.
    pub(super) fn write_metrics(&self, out: &mut String) {
        self.engines.write(out);
    }

    /// A lease for a request that names who may see it.
    async fn permitted(&self, name: &str, privacy: Privacy) -> Result<Lease, Failure> {
        let level = match privacy {
            Privacy::Unspecified | Privacy::Swarm => Level::Swarm,
            Privacy::Trusted => Level::Trusted,
            Privacy::Local => Level::Local,
        };
        let examined = match name.parse() {
            Ok(model) => self.residency.examine(&model).await.ok(),
            Err(_) => None,
        };
        match examined {
            Some(examined) if examined.seen_by > level => Err(refusal::of_chain(name)),
            // What is wrong with the name or the files is said by the lease.
            _ => self.lease(name).await,
        }
    }

    /// A lease on the model that a request names, loaded if need be.
    pub(super) async fn lease(&self, name: &str) -> Result<Lease, Failure> {
        let Ok(model) = name.parse::<ModelName>() else {
            return Err(refusal::not_found(name));
        };
        match self.residency.acquire(&model).await {
            Ok(lease) => {
                self.engines.note(lease.model(), &lease);
                Ok(lease)
            }
            Err(error) if refusal::is_not_found(&error) => Err(refusal::not_found(name)),
            Err(error) => Err(match self.is_chain(&model).await {
                true => refusal::of_no_chain(&error),
                false => refusal::of_acquire(&error),
            }),
        }
    }

    /// Whether the model runs over peers here.
    async fn is_chain(&self, model: &ModelName) -> bool {
        let examined = self.residency.examine(model).await;
        examined.is_ok_and(|examined| examined.seen_by > Level::Local)
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

impl std::fmt::Debug for OwnHeads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnHeads").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::super::tests::own_heads;
    use super::*;

    #[tokio::test]
    async fn a_profile_is_made_once_and_anew_for_another_file() {
        let own = own_heads();
        let lease = own.lease("org/tiny").await.unwrap();
        assert!(own.known(&lease).is_none());
        let made = own.prepare(&lease).await.unwrap();
        assert!(Arc::ptr_eq(&made, &own.known(&lease).unwrap()));
        let mut other = (**lease.facts()).clone();
        other.layers += 1;
        own.profiles
            .lock()
            .unwrap()
            .get_mut(lease.model())
            .unwrap()
            .facts = Arc::new(other);
        assert!(own.known(&lease).is_none());
    }

    #[tokio::test]
    async fn an_offer_tells_stored_from_loaded() {
        let own = own_heads();
        let model = "org/tiny".parse().unwrap();
        let stored = own.offer(&model, Level::Local).await.unwrap();
        assert!(!stored.is_loaded);
        let _lease = own.lease("org/tiny").await.unwrap();
        let loaded = own.offer(&model, Level::Local).await.unwrap();
        assert!(loaded.is_loaded);
        assert_eq!(loaded.parallel, 4);
        assert!(
            own.offer(&"nobody".parse().unwrap(), Level::Swarm)
                .await
                .is_none()
        );
    }
}
