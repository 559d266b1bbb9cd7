//! What the placement has done: lookups, downloads, loads, ends. Each ends with one answer, whatever
//! happens.

use std::sync::Arc;
use std::time::Duration;

use dht::network::Network;
use dht::weights::{CallError, ask_have};
use futures::future::join_all;
use protocol::names::Protocol;
use protocol::{ManifestId, ModelName, NodeId};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::info;
use web::manage::{Fetching, PullEvent};

use super::silent::Silent;
use crate::core::placement::{Errand, Input, Output};
use crate::models::{Models, ResolveError};
use crate::residency::Residency;

/// Whom a lookup has not found by then is not waited for: whoever lacks a model waits meanwhile.
const FIND_TIMEOUT: Duration = Duration::from_secs(2);

/// A peer that has not answered one short question by then is taken for gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Peers that are asked whether they are there, of those who say that they serve a model.
const MOST_ASKED: usize = 8;

/// What does it.
#[derive(Clone)]
pub(super) struct Hands {
    pub(super) network: Network,
    pub(super) residency: Residency,
    pub(super) models: Models,
    pub(super) fetching: Arc<watch::Sender<Option<Fetching>>>,
    pub(super) silent: Silent,
}

impl Hands {
    /// Does what is to be done, and says how it ended.
    pub(super) async fn run(self, output: Output) -> Input {
        match output {
            Output::Find { errand, model } => self.find(errand, &model).await,
            Output::Take { errand, model, why } => {
                info!(%model, why, "taking on a model for the swarm");
                let cause = self.take(&model).await.err();
                self.fetching.send_replace(None);
                Input::Taken { errand, cause }
            }
            Output::Drop { errand, model, why } => {
                info!(%model, why, "letting a model go");
                self.residency.unload(&model).await;
                Input::Dropped(errand)
            }
        }
    }

    async fn find(&self, errand: Errand, model: &ModelName) -> Input {
        // Whoever was found is in the view now, however it ended.
        let finding = timeout(FIND_TIMEOUT, self.network.find(model));
        let view = self.network.view();
        let heads = view.heads(model).map(|head| head.node).take(MOST_ASKED);
        let asking = join_all(heads.map(|node| async move {
            let answers = timeout(ANSWER_TIMEOUT, self.answers(node)).await;
            (node, answers.unwrap_or(false))
        }));
        let (_, asked) = tokio::join!(finding, asking);
        for (node, answers) in asked {
            let now = tokio::time::Instant::now().into_std();
            self.silent.note(node, answers, now);
        }
        Input::Found(errand)
    }

    /// Whether a peer answers anything at all: it is asked whether it has a part of no model.
    async fn answers(&self, node: NodeId) -> bool {
        let Ok(stream) = self.network.open(node, Protocol::Weights).await else {
            return false;
        };
        match ask_have(stream, ManifestId::new([0; 32])).await {
            Ok(_) => true,
            Err(error) => matches!(error, CallError::Refused(_) | CallError::Unsupported),
        }
    }

    async fn take(&self, model: &ModelName) -> Result<(), String> {
        if let Err(ResolveError::NotFound(_)) = self.models.full_name(model.as_str()) {
            self.fetch(model).await?;
        }
        let lease = self.residency.acquire_for_swarm(model).await;
        lease.map(drop).map_err(|error| error.to_string())
    }

    async fn fetch(&self, model: &ModelName) -> Result<(), String> {
        let events = self.models.pull(model.as_str());
        let mut events = events.map_err(|error| error.to_string())?;
        while let Some(event) = events.recv().await {
            match event {
                PullEvent::Done { .. } => return Ok(()),
                PullEvent::Failed { message } => return Err(message),
                PullEvent::Resolved { total_bytes, .. } => {
                    info!(%model, total_bytes, "fetching");
                    self.show(model, 0, total_bytes);
                }
                PullEvent::Progress {
                    done_bytes,
                    total_bytes,
                } => self.show(model, done_bytes, total_bytes),
                PullEvent::Verifying => {}
            }
        }
        Err("the download ended; it goes on another time".into())
    }

    fn show(&self, model: &ModelName, done_bytes: u64, total_bytes: u64) {
        self.fetching.send_replace(Some(Fetching {
            model: model.to_string(),
            done_bytes,
            total_bytes,
        }));
    }
}
