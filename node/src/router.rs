//! The API's backend: from a request to whoever answers it, this node or a peer.
//!
//! A model that only this node has is answered by its own head. Where peers serve it too, the
//! heads are ranked (`core::ranking`) and the answer is relayed (`core::relay`), which goes on
//! elsewhere when a head is lost. It enforces the privacy level. It knows neither HTTP nor the
//! transport to peers, nor how models are loaded, stored or run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use protocol::generate::{EmbedRequest, EmbedResponse, Failure, GenerateRequest, Privacy};
use protocol::{ModelName, NodeId};
use tokio::sync::{mpsc, watch};
use web::backend::{Backend, GenerateStream, ModelCard, Readiness};
use web::manage::StoredModel;

mod answer;
mod asked;
mod auto;
mod embed;
mod heads;
mod metrics;
mod own;
mod refusal;
#[cfg(test)]
mod tests;

pub use self::asked::Demands;
use self::asked::{Counting, Pending};
use self::heads::Heads;
pub use self::own::OwnHeads;
use crate::core::ranking::{Ask, Level, Offer, PromptSize};
use crate::core::relay::Relay;
use crate::head::Surroundings;
use crate::peers::{NoPeers, Peers};
use crate::residency::Residency;
use crate::serving::Serving;

/// Events of a relayed answer that wait for a slow client before its peer is held back.
const EVENT_CHANNEL: usize = 64;

/// Where the names of the models on disk come from.
#[async_trait]
pub trait Shelf: Send + Sync + 'static {
    /// Every model that could be loaded.
    async fn stored(&self) -> Vec<StoredModel>;
}

/// Who may see requests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PrivacyPolicy {
    /// The level of requests that name none.
    pub default: Level,
    /// Peers that are trusted besides the members of the own private swarm.
    pub trusted: BTreeSet<NodeId>,
}

impl PrivacyPolicy {
    /// Who may see the text of requests to a model that runs over peers: those that the level of
    /// requests that name none lets into plans, and in a private swarm they are all trusted.
    pub fn of_plans(&self, is_private: bool) -> Level {
        match is_private {
            true => self.default.min(Level::Trusted),
            false => self.default,
        }
    }
}

/// The backend over this node and its peers.
pub struct Router {
    own: Arc<OwnHeads>,
    shelf: Arc<dyn Shelf>,
    ready: watch::Receiver<Readiness>,
    heads: Heads,
    privacy: PrivacyPolicy,
    /// What peers are served is counted there.
    serving: Option<Serving>,
    /// Who is told what the users of this node ask for.
    counting: Option<Counting>,
    /// Unix seconds.
    started: u64,
}

impl Router {
    /// A router over these models and no peers; `ready` says whether the node serves at all.
    pub fn new(
        residency: Residency,
        shelf: Arc<dyn Shelf>,
        ready: watch::Receiver<Readiness>,
        surroundings: Surroundings,
    ) -> Self {
        let own = Arc::new(OwnHeads::new(residency, surroundings));
        Self {
            heads: Heads::new(Arc::clone(&own), Arc::new(NoPeers)),
            own,
            shelf,
            ready,
            privacy: PrivacyPolicy::default(),
            serving: None,
            counting: None,
            started: (surroundings.now)(),
        }
    }

    /// The same with a swarm.
    #[must_use]
    pub fn with_peers(self, peers: Arc<dyn Peers>, privacy: PrivacyPolicy) -> Self {
        Self {
            heads: Heads::new(Arc::clone(&self.own), peers),
            privacy,
            ..self
        }
    }

    /// The same with metrics of what peers are served.
    #[must_use]
    pub fn with_serving(self, serving: Serving) -> Self {
        Self {
            serving: Some(serving),
            ..self
        }
    }

    /// The same, telling somebody what the users of this node ask for.
    #[must_use]
    pub fn with_demands(self, demands: Arc<dyn Demands>) -> Self {
        Self {
            counting: Some(Counting::new(demands)),
            ..self
        }
    }

    /// The own heads, for whoever serves peers: what comes from a peer is never sent on.
    pub fn own(&self) -> &Arc<OwnHeads> {
        &self.own
    }

    /// The level of a request.
    fn level(&self, asked: Privacy) -> Level {
        match asked {
            Privacy::Unspecified => self.privacy.default,
            Privacy::Local => Level::Local,
            Privacy::Trusted => Level::Trusted,
            Privacy::Swarm => Level::Swarm,
        }
    }

    /// What peers offer of a model.
    fn remote(&self, model: &ModelName) -> Vec<Offer> {
        self.heads.offers(model, &self.privacy.trusted)
    }

    /// Who can answer besides this node; `None`: nobody, so that it answers alone.
    async fn rivals(&self, name: &str, level: Level) -> Option<Rivals> {
        let model: ModelName = name.parse().ok()?;
        if self.remote(&model).is_empty() {
            if level == Level::Local || self.own.has(&model, level).await {
                return None;
            }
            self.heads.find(&model).await;
            if self.remote(&model).is_empty() {
                return None;
            }
        }
        let own = self.own.offer(&model, level).await;
        if own.is_some() && level == Level::Local {
            return None;
        }
        Some(Rivals {
            own,
            model,
            trusted: self.privacy.trusted.clone(),
        })
    }

    fn ask(&self, prompt: PromptSize, max_tokens: Option<u32>, level: Level) -> Ask {
        Ask {
            prompt,
            max_tokens,
            level,
            salt: (self.own.surroundings().seed)(),
        }
    }

    /// Cards of the models that peers serve to requests of the default level.
    fn remote_cards(&self) -> Vec<ModelCard> {
        let models = match self.privacy.default {
            Level::Local => Vec::new(),
            _ => self.heads.models(),
        };
        let level = self.privacy.default;
        let is_served = |model: &ModelName| {
            level == Level::Swarm || self.remote(model).iter().any(|offer| offer.is_trusted)
        };
        let served = models.into_iter().filter(is_served);
        served
            .map(|model| card(model.to_string(), self.started))
            .collect()
    }
}

/// A model that peers serve, and what this node has of it.
#[derive(Debug, Clone)]
struct Rivals {
    model: ModelName,
    own: Option<Offer>,
    trusted: BTreeSet<NodeId>,
}

#[async_trait]
impl Backend for Router {
    async fn models(&self) -> Vec<ModelCard> {
        let stored = self.shelf.stored().await.into_iter();
        let stored = stored.map(|model| card(model.name, model.added));
        // What is stored here keeps its own date.
        let all = self.remote_cards().into_iter().chain(stored);
        let cards: BTreeMap<String, ModelCard> = all.map(|card| (card.id.clone(), card)).collect();
        cards.into_values().collect()
    }

    async fn generate(&self, mut request: GenerateRequest) -> Result<GenerateStream, Failure> {
        self.name_model(&mut request).await?;
        match self.pending(&request.model, request.privacy()).await {
            None => self.answer(request).await,
            Some(pending) => pending.watch(self.answer(request).await),
        }
    }

    async fn embed(&self, mut request: EmbedRequest) -> Result<EmbedResponse, Failure> {
        self.name_embedder(&mut request).await?;
        let pending = self.pending(&request.model, request.privacy()).await;
        let embedded = self.embedding(request).await;
        if let Some(mut pending) = pending {
            match &embedded {
                Ok(_) => pending.on_served(),
                Err(failure) => pending.on_failure(failure),
            }
        }
        embedded
    }

    fn readiness(&self) -> Readiness {
        self.ready.borrow().clone()
    }

    fn write_metrics(&self, out: &mut String) {
        self.own.write_metrics(out);
        if let Some(serving) = &self.serving {
            serving.write_metrics(out);
        }
        if let Some(counting) = &self.counting {
            counting.write_metrics(out);
        }
    }
}

impl Router {
    /// A request of one of this node's users, if it is counted: whatever stays on this machine is
    /// nobody else's business, not even that it was asked for.
    async fn pending(&self, name: &str, privacy: Privacy) -> Option<Pending> {
        let counting = self.counting.as_ref()?;
        if self.level(privacy) == Level::Local {
            return None;
        }
        let model: ModelName = name.parse().ok()?;
        Some(counting.begin(self.own.full_name(model).await))
    }

    async fn answer(&self, mut request: GenerateRequest) -> Result<GenerateStream, Failure> {
        let level = self.level(request.privacy());
        request.privacy = shown(level).into();
        let Some(rivals) = self.rivals(&request.model, level).await else {
            return self.own.generate(request).await;
        };
        let ask = self.ask(PromptSize::of(&request), request.max_tokens, level);
        let reach = self.heads.reach(ask, rivals);
        let choices = reach
            .rank()
            .map_err(|nobody| refusal::of_nobody(nobody, &request.model))?;
        if reach.is_own_alone(&choices) {
            return self.own.generate(request).await;
        }
        let seed = request.sampling.as_ref().and_then(|s| s.seed);
        let seed = seed.unwrap_or_else(self.own.surroundings().seed);
        let (sender, receiver) = mpsc::channel(EVENT_CHANNEL);
        let relay = Relay::new(request, seed);
        tokio::spawn(answer::run(relay, choices, reach, sender));
        Ok(receiver)
    }

    async fn embedding(&self, mut request: EmbedRequest) -> Result<EmbedResponse, Failure> {
        let level = self.level(request.privacy());
        request.privacy = shown(level).into();
        let Some(rivals) = self.rivals(&request.model, level).await else {
            return self.own.embed(request).await;
        };
        let reach = self
            .heads
            .reach(self.ask(embed::size(&request), Some(0), level), rivals);
        let choices = reach
            .rank()
            .map_err(|nobody| refusal::of_nobody(nobody, &request.model))?;
        embed::run(&reach, choices, request).await
    }
}

/// The level as heads are told it, the own and peers': what was configured here is named there.
fn shown(level: Level) -> Privacy {
    match level {
        Level::Local => Privacy::Local,
        Level::Trusted => Privacy::Trusted,
        Level::Swarm => Privacy::Swarm,
    }
}

fn card(id: String, created: u64) -> ModelCard {
    let owner = id.split_once('/').map(|(owner, _)| owner.to_owned());
    ModelCard {
        created,
        owned_by: owner.unwrap_or_else(|| "shoal".to_owned()),
        id,
    }
}
