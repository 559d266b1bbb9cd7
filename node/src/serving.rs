//! Answers to other peers: what they may ask here, in which order they are answered, and how much
//! of the line they get. The node's own requests do not come by here, they go before.
//!
//! A request's way: the owner's rules and the request's size, a place in the fair queue of
//! [`crate::core::fairness`], a guest's lease on the model, the local head, the upload limit.
//! Local heads are all it can ask, so a request never goes on to a third peer. It knows neither
//! connections nor frames: whoever reads `/shoal/generate/1` calls it with the peer that the
//! connection proved.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use protocol::generate::{EmbedRequest, EmbedResponse, Failure, GenerateRequest, Privacy};
use protocol::{ModelName, NodeId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use web::backend::GenerateStream;

mod answer;
mod config;
mod desk;
mod metrics;
mod refusal;
#[cfg(test)]
mod tests;
pub(crate) mod upload;

use self::answer::Answer;
pub use self::config::ServingConfig;
use self::desk::{Desk, Place, Turn};
pub use self::upload::Upload;
use crate::core::fairness::{Room, Rooms};
use crate::core::guests::{self, Presence, Rules};
use crate::core::ranking::Level;
use crate::residency::{Lease, Residency, View};
use crate::weights::{Gate, Giving, Received, Weights};

/// Events that wait for a peer's stream before the engine is held back.
const EVENT_CHANNEL: usize = 64;

/// The heads of this node, for a request that has its model already.
#[async_trait]
pub trait Local: Send + Sync + 'static {
    /// Begins an answer; dropping the stream cancels it.
    async fn generate(
        &self,
        request: GenerateRequest,
        lease: Lease,
    ) -> Result<GenerateStream, Failure>;

    /// Embeds each input.
    async fn embed(&self, request: EmbedRequest, lease: Lease) -> Result<EmbedResponse, Failure>;
}

/// What serving peers needs.
pub struct Parts {
    /// The heads.
    pub local: Arc<dyn Local>,
    /// The models.
    pub residency: Residency,
    /// What the owner set.
    pub config: ServingConfig,
    /// The owner's limit of upload.
    pub upload: Upload,
    /// What came of models.
    pub received: Received,
    /// Once this is cancelled new requests are refused; answers that run go on.
    pub stop: CancellationToken,
}

/// The serving of other peers. Clones share it.
#[derive(Clone)]
pub struct Serving {
    shared: Arc<Shared>,
}

struct Shared {
    local: Arc<dyn Local>,
    residency: Residency,
    rules: Rules,
    stop: CancellationToken,
    desk: Desk,
    upload: Upload,
    received: Received,
    taken: AtomicU64,
    refused: AtomicU64,
}

impl Serving {
    /// The handle, and the task that follows the loaded models until the residency ends. Without
    /// the task nobody is served but by models' first requests.
    pub fn new(parts: Parts) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let desk = Desk::new(parts.config.policy());
        let following = follow(parts.residency.clone(), desk.clone());
        let shared = Shared {
            rules: parts.config.rules(),
            upload: parts.upload,
            received: parts.received,
            local: parts.local,
            residency: parts.residency,
            stop: parts.stop,
            desk,
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        let shared = Arc::new(shared);
        (Self { shared }, following)
    }

    /// Answers a peer: `peer` is who the connection proved to be, `is_trusted` that the owner
    /// knows it (a member of the same private swarm, or named by the owner). The request waits
    /// for its turn in the stream; dropping that frees its place wherever it is.
    ///
    /// # Errors
    /// What is known at once: the request is wrong, the owner's rules, too many requests.
    pub async fn serve(
        &self,
        peer: NodeId,
        is_trusted: bool,
        mut request: GenerateRequest,
    ) -> Result<GenerateStream, Failure> {
        let entered = async {
            self.check_peer(is_trusted)?;
            request.validate().map_err(|e| refusal::invalid(&e))?;
            guests::fit(&mut request).map_err(refusal::denied)?;
            let model = self.model(&request.model, request.privacy()).await?;
            let place = self.place(peer, &model, guests::estimate(&request))?;
            Ok((model, place))
        };
        let (model, place) = self.count(entered.await)?;
        let (sender, receiver) = mpsc::channel(EVENT_CHANNEL);
        let shared = Arc::clone(&self.shared);
        let answer = Answer {
            shared,
            place,
            model,
            request,
            sender,
        };
        tokio::spawn(answer.run());
        Ok(receiver)
    }

    /// Embeds for a peer; see [`Serving::serve`]. Dropping the future frees its place.
    ///
    /// # Errors
    /// The same, and what the head says.
    pub async fn embed(
        &self,
        peer: NodeId,
        is_trusted: bool,
        mut request: EmbedRequest,
    ) -> Result<EmbedResponse, Failure> {
        let entered = async {
            self.check_peer(is_trusted)?;
            request.validate().map_err(|e| refusal::invalid(&e))?;
            guests::check_embed(&request).map_err(refusal::denied)?;
            let model = self.model(&request.model, request.privacy()).await?;
            let place = self.place(peer, &model, guests::estimate_embed(&request))?;
            Ok((model, place))
        };
        let (model, mut place) = self.count(entered.await)?;
        wait(&mut place).await?;
        let lease = answer::lease(&self.shared, &model).await?;
        request.request_id = answer::unique_id(&request.request_id, place.number());
        request.privacy = Privacy::Local.into();
        let embedded = self.shared.local.embed(request, lease).await;
        let response = embedded.map_err(refusal::outward)?;
        place.spend(response.prompt_tokens.into());
        drop(place);
        let bytes = answer::encoded_bytes(&response);
        self.shared.upload.send(bytes).await;
        Ok(response)
    }

    /// Gives peers the parts of models that they may use here, within the same limit of upload.
    pub fn giving(&self, weights: Weights) -> Giving {
        let gate = Arc::new(self.clone());
        Giving::new(weights, gate, self.shared.upload.clone())
    }

    /// Requests of peers that wait for this model.
    pub fn waiting_for(&self, model: &ModelName) -> usize {
        self.shared.desk.waiting_for(model)
    }

    /// Whether peers may use this model as the loaded models are now.
    pub fn offers(&self, model: &ModelName, view: &View) -> bool {
        let presence = presence(model, view);
        self.shared.rules.check_model(model, presence).is_ok()
    }

    /// Whether peers may use this model once it is loaded.
    pub fn would_offer(&self, model: &ModelName) -> bool {
        let presence = Presence {
            is_loaded: true,
            is_pinned: false,
        };
        self.shared.rules.check_model(model, presence).is_ok()
    }

    /// Whether peers are served that the owner trusts, or does not know.
    pub fn serves_peers(&self, is_trusted: bool) -> bool {
        self.shared.rules.check_peer(is_trusted).is_ok()
    }

    /// Appends the metrics in the OpenMetrics text format, without `# EOF`.
    pub fn write_metrics(&self, out: &mut String) {
        let crowd = self.shared.desk.crowd();
        let figures = metrics::Figures {
            crowd,
            taken: self.shared.taken.load(Ordering::Relaxed),
            refused: self.shared.refused.load(Ordering::Relaxed),
            sent_bytes: self.shared.upload.sent_bytes(),
            given_bytes: self.shared.upload.given_bytes(),
            staged_bytes: self.shared.upload.staged_bytes(),
            received_bytes: self.shared.received.bytes(),
        };
        figures.write(out);
    }

    fn check_peer(&self, is_trusted: bool) -> Result<(), Failure> {
        if self.shared.stop.is_cancelled() {
            return Err(refusal::stopping());
        }
        let checked = self.shared.rules.check_peer(is_trusted);
        checked.map_err(refusal::denied)
    }

    /// The full name of a model that peers may use. Whom a peer's owner trusts is known there
    /// alone: what may be seen by them only goes to nobody from here.
    async fn model(&self, name: &str, privacy: Privacy) -> Result<ModelName, Failure> {
        let unknown = || refusal::denied(guests::Denial::Model);
        let name: ModelName = name.parse().map_err(|_| unknown())?;
        let examined = self.shared.residency.examine(&name).await;
        let examined = examined.map_err(|_| unknown())?;
        if privacy == Privacy::Trusted && examined.seen_by > Level::Trusted {
            return Err(unknown());
        }
        let model = examined.name;
        let presence = presence(&model, &self.shared.residency.view().borrow());
        let checked = self.shared.rules.check_model(&model, presence);
        checked.map_err(refusal::denied)?;
        Ok(model)
    }

    fn place(&self, peer: NodeId, model: &ModelName, estimate: u64) -> Result<Place, Failure> {
        let asked = self.shared.desk.ask(peer, model, estimate);
        asked.map_err(refusal::full)
    }

    fn count<T>(&self, entered: Result<T, Failure>) -> Result<T, Failure> {
        let counter = match &entered {
            Ok(_) => &self.shared.taken,
            Err(_) => &self.shared.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        entered
    }
}

impl Gate for Serving {
    fn serves(&self, is_trusted: bool) -> bool {
        self.check_peer(is_trusted).is_ok()
    }

    fn offers(&self, model: &ModelName) -> bool {
        let view = self.shared.residency.view();
        let view = view.borrow();
        Serving::offers(self, model, &view)
    }
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").finish_non_exhaustive()
    }
}

fn presence(model: &ModelName, view: &View) -> Presence {
    Presence {
        is_loaded: view.models.contains_key(model),
        is_pinned: view.pinned.contains(model),
    }
}

async fn wait(place: &mut Place) -> Result<(), Failure> {
    let mut turn = place.turn().await;
    loop {
        match turn {
            Turn::Go => return Ok(()),
            Turn::Refused(full) => return Err(refusal::full(full)),
            Turn::Waits(_) | Turn::Asked => turn = place.next_turn().await,
        }
    }
}

/// Tells the desk of every change of the loaded models.
async fn follow(residency: Residency, desk: Desk) {
    let mut view = residency.view();
    // The handle would keep the residency's task alive.
    drop(residency);
    loop {
        let rooms = rooms(&view.borrow_and_update());
        desk.look(rooms);
        if view.changed().await.is_err() {
            return;
        }
    }
}

fn rooms(view: &View) -> Rooms {
    let known = view.models.iter().filter(|(_, seen)| seen.parallel > 0);
    let rooms = known.map(|(name, seen)| {
        let room = Room {
            parallel: seen.parallel,
            leases: seen.leases,
            guests: seen.guests,
        };
        (name.clone(), room)
    });
    Rooms {
        models: rooms.collect(),
        own_waits: view.owner_waits,
    }
}
