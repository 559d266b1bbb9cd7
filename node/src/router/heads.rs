//! Every head in reach, the own and the peers', for one request or in all. It holds what the node
//! remembers of them (failures, the budget of second requests) and decides nothing itself.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use protocol::generate::{EmbedRequest, EmbedResponse, GenerateRequest};
use protocol::{ModelName, NodeId};
use tokio::time::Instant;
use web::backend::GenerateStream;

use super::Rivals;
use super::own::OwnHeads;
use crate::core::hedging::HedgeBudget;
use crate::core::ranking::{Ask, Choice, Failures, NobodyLeft, Offer, Target, rank};
use crate::peers::{OpenError, Path, Peers, RemoteHead};

/// An answer that begins.
pub(super) type Opening = BoxFuture<'static, Result<GenerateStream, OpenError>>;

/// All heads.
#[derive(Clone)]
pub(super) struct Heads {
    own: Arc<OwnHeads>,
    peers: Arc<dyn Peers>,
    memory: Arc<Memory>,
}

/// What is remembered between requests. The locks are held for a look-up only.
#[derive(Default)]
struct Memory {
    failures: Mutex<Failures>,
    hedges: Mutex<HedgeBudget>,
}

impl Heads {
    pub(super) fn new(own: Arc<OwnHeads>, peers: Arc<dyn Peers>) -> Self {
        Self {
            own,
            peers,
            memory: Arc::default(),
        }
    }

    /// The models that peers serve.
    pub(super) fn models(&self) -> Vec<ModelName> {
        self.peers.models()
    }

    /// The heads of a model on peers.
    pub(super) fn heads(&self, model: &ModelName) -> Vec<RemoteHead> {
        self.peers.candidates(model)
    }

    /// Looks for peers that serve a model of which nobody here has heard.
    pub(super) async fn find(&self, model: &ModelName) {
        self.peers.find(model).await;
    }

    /// What peers offer of a model.
    pub(super) fn offers(&self, model: &ModelName, trusted: &BTreeSet<NodeId>) -> Vec<Offer> {
        let heads = self.peers.candidates(model);
        heads.iter().map(|head| offer(head, trusted)).collect()
    }

    /// The heads as one request sees them.
    pub(super) fn reach(&self, ask: Ask, rivals: Rivals) -> Reach {
        Reach {
            heads: self.clone(),
            ask,
            rivals,
        }
    }
}

fn offer(head: &RemoteHead, trusted: &BTreeSet<NodeId>) -> Offer {
    Offer {
        target: Target::Peer(head.node),
        context_tokens: Some(head.context_tokens),
        parallel: head.parallel,
        running: head.running,
        queued: head.queued,
        prefill_tokens_per_second: head.prefill_tokens_per_second,
        decode_tokens_per_second: head.decode_tokens_per_second,
        rtt: head.rtt,
        is_relayed: head.path == Path::Relayed,
        is_trusted: head.is_member || trusted.contains(&head.node),
        is_loaded: true,
    }
}

/// The heads in reach of one request.
pub(super) struct Reach {
    heads: Heads,
    ask: Ask,
    rivals: Rivals,
}

impl Reach {
    /// Ranks them by what is known now.
    pub(super) fn rank(&self) -> Result<Vec<Choice>, NobodyLeft> {
        let mut offers = self.heads.offers(&self.rivals.model, &self.rivals.trusted);
        offers.extend(self.rivals.own);
        let now = Instant::now().into_std();
        rank(&self.ask, &offers, &self.failures(), now)
    }

    /// No peer is left to go on elsewhere.
    pub(super) fn is_own_alone(&self, choices: &[Choice]) -> bool {
        matches!(choices, [only] if only.target == Target::Own)
    }

    /// A request goes out.
    pub(super) fn note_request(&self) {
        self.hedges().earn();
    }

    /// Whether a second request may go out now.
    pub(super) fn may_hedge(&self) -> bool {
        self.hedges().take()
    }

    pub(super) fn blame(&self, target: &Target) {
        self.failures().blame(target, Instant::now().into_std());
    }

    pub(super) fn praise(&self, target: &Target) {
        self.failures().praise(target, Instant::now().into_std());
    }

    /// Sends a request to a head.
    pub(super) fn open(&self, target: Target, request: GenerateRequest) -> Opening {
        match target {
            Target::Own => {
                let own = Arc::clone(&self.heads.own);
                async move { own.generate(request).await.map_err(OpenError::Refused) }.boxed()
            }
            Target::Peer(node) => {
                let peers = Arc::clone(&self.heads.peers);
                async move { peers.open(node, request).await }.boxed()
            }
        }
    }

    /// Asks a head for embeddings.
    pub(super) async fn embed(
        &self,
        target: Target,
        request: EmbedRequest,
    ) -> Result<EmbedResponse, OpenError> {
        match target {
            Target::Own => {
                let own = self.heads.own.embed(request).await;
                own.map_err(OpenError::Refused)
            }
            Target::Peer(node) => self.heads.peers.embed(node, request).await,
        }
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        let failures = self.heads.memory.failures.lock();
        failures.unwrap_or_else(PoisonError::into_inner)
    }

    fn hedges(&self) -> MutexGuard<'_, HedgeBudget> {
        let hedges = self.heads.memory.hedges.lock();
        hedges.unwrap_or_else(PoisonError::into_inner)
    }
}
