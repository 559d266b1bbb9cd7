//! A backend that plays scripts, and a server before it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use protocol::generate::{
    Delta, EmbedRequest, EmbedResponse, Embedding, ErrorCode, Failure, FinishReason, Finished,
    GenerateEvent, GenerateRequest, Queued, Started, generate_event::Event,
};
use serde_json::Value;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use web::{
    Backend, Drained, GenerateStream, Management, ModelCard, Readiness, Server, WebConfig,
    manage::{
        DemandReport, DeviceStatus, LoadedModel, ManageError, ModelDemand, NodeStatus,
        PlacementReport, PlanReport, PullEvent, PullRequest, StoredModel, SwarmStatus,
    },
};

use crate::{
    client::{self, Answer},
    pinboard::Pinboard,
};

/// What an answer does.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Event(Event),
    /// Nothing more, until the client is gone.
    Hang,
    /// Nothing until [`Scripted::release`] was called.
    Wait,
}

/// A whole answer's script; `Err`: refused.
pub(crate) type Script = Result<Vec<Step>, Failure>;
type Play = dyn Fn(&GenerateRequest) -> Script + Send + Sync;

/// The scripted backend. Models: `org/one` and `two`.
pub(crate) struct Scripted {
    play: Box<Play>,
    pub(crate) requests: Mutex<Vec<GenerateRequest>>,
    pub(crate) embeds: Mutex<Vec<EmbedRequest>>,
    /// Answers whose client went away.
    cancelled: watch::Sender<usize>,
    released: watch::Sender<bool>,
    pub(crate) ready: watch::Sender<bool>,
}

impl Scripted {
    pub(crate) fn new(play: impl Fn(&GenerateRequest) -> Script + Send + Sync + 'static) -> Self {
        Self {
            play: Box::new(play),
            requests: Mutex::default(),
            embeds: Mutex::default(),
            cancelled: watch::Sender::new(0),
            released: watch::Sender::new(false),
            ready: watch::Sender::new(true),
        }
    }

    pub(crate) fn release(&self) {
        self.released.send_replace(true);
    }

    /// Waits until `count` answers were cancelled.
    pub(crate) async fn cancelled(&self, count: usize) {
        let mut seen = self.cancelled.subscribe();
        let enough = seen.wait_for(|seen| *seen >= count);
        let patience = Duration::from_secs(10);
        timeout(patience, enough).await.expect("cancelled").unwrap();
    }

    pub(crate) fn last(&self) -> GenerateRequest {
        self.requests.lock().unwrap().last().unwrap().clone()
    }
}

async fn perform(
    steps: Vec<Step>,
    out: mpsc::Sender<GenerateEvent>,
    cancelled: watch::Sender<usize>,
    mut released: watch::Receiver<bool>,
) {
    for step in steps {
        let gone = match step {
            Step::Event(event) => out
                .send(GenerateEvent { event: Some(event) })
                .await
                .is_err(),
            Step::Hang => {
                out.closed().await;
                true
            }
            Step::Wait => tokio::select! {
                () = out.closed() => true,
                _ = released.wait_for(|released| *released) => false,
            },
        };
        if gone {
            cancelled.send_modify(|count| *count += 1);
            return;
        }
    }
}

#[async_trait]
impl Backend for Scripted {
    async fn models(&self) -> Vec<ModelCard> {
        let card = |id: &str, owned_by: &str| ModelCard {
            id: id.to_owned(),
            created: 1_700_000_000,
            owned_by: owned_by.to_owned(),
        };
        vec![card("org/one", "org"), card("two", "shoal")]
    }

    async fn generate(&self, request: GenerateRequest) -> Result<GenerateStream, Failure> {
        self.requests.lock().unwrap().push(request.clone());
        if !["org/one", "two"].contains(&request.model.as_str()) {
            let message = format!("The model `{}` is not known here.", request.model);
            return Err(Failure::new(ErrorCode::ModelNotFound, message));
        }
        let steps = (self.play)(&request)?;
        let (send, receive) = mpsc::channel(8);
        let (cancelled, released) = (self.cancelled.clone(), self.released.subscribe());
        tokio::spawn(perform(steps, send, cancelled, released));
        Ok(receive)
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse, Failure> {
        self.embeds.lock().unwrap().push(request.clone());
        if request.model == "two" {
            let message = "This model has no embeddings.";
            return Err(Failure::new(ErrorCode::Unsupported, message).with_param("model"));
        }
        let vectors = request.inputs.iter().map(|_| Embedding {
            values: vec![0.6, -0.8],
        });
        Ok(EmbedResponse {
            embeddings: vectors.collect(),
            prompt_tokens: 9,
            model: "org/one:full".to_owned(),
            served_by: "peer-1".to_owned(),
        })
    }

    fn readiness(&self) -> Readiness {
        match *self.ready.borrow() {
            true => Readiness::Ready,
            false => Readiness::NotReady("no model yet".to_owned()),
        }
    }

    fn write_metrics(&self, _: &mut String) {}
}

/// A management that has nothing.
struct Nothing;

fn nothing() -> ManageError {
    ManageError::NotFound("nothing here".to_owned())
}

#[async_trait]
impl Management for Nothing {
    async fn status(&self) -> NodeStatus {
        NodeStatus {
            version: "0".to_owned(),
            node_id: "id".to_owned(),
            api: "localhost".to_owned(),
            uptime_seconds: 0,
            mode: "offline".to_owned(),
            devices: Vec::new(),
            loaded: Vec::new(),
            stored: 0,
            store_bytes: 0,
            store_budget_bytes: None,
        }
    }
    async fn stored(&self) -> Vec<StoredModel> {
        Vec::new()
    }
    async fn pull(&self, _: PullRequest) -> Result<mpsc::Receiver<PullEvent>, ManageError> {
        Err(nothing())
    }
    async fn remove(&self, _: &str) -> Result<u64, ManageError> {
        Err(nothing())
    }
    async fn loaded(&self) -> Vec<LoadedModel> {
        Vec::new()
    }
    async fn load(&self, _: &str) -> Result<LoadedModel, ManageError> {
        panic!("a panic of the node: its text is nobody's business")
    }
    async fn unload(&self, _: &str) -> Result<(), ManageError> {
        Err(nothing())
    }
    async fn peers(&self) -> SwarmStatus {
        SwarmStatus::default()
    }
    async fn reload_swarm(&self) -> Result<(), ManageError> {
        Err(ManageError::Conflict("this node is in no swarm".into()))
    }
    async fn plan(&self, model: &str) -> Result<PlanReport, ManageError> {
        if model != "org/one:Q4_K_M" {
            return Err(nothing());
        }
        Ok(PlanReport {
            model: model.to_owned(),
            kind: "none".to_owned(),
            missing_bytes: 7,
            ..PlanReport::default()
        })
    }

    async fn placement(&self) -> PlacementReport {
        PlacementReport::default()
    }

    async fn demand(&self) -> DemandReport {
        DemandReport {
            half_life_seconds: 120,
            models: vec![ModelDemand {
                model: "org/one".to_owned(),
                arrivals_per_second: 0.5,
                arrivals_error: 0.0,
                unmet_per_second: 0.25,
                unmet_error: 0.0,
                waiting_ms: 1500.0,
                authors: 2,
                heads: 0,
            }],
        }
    }

    async fn bench(&self) -> Result<Vec<DeviceStatus>, ManageError> {
        Err(nothing())
    }
    async fn config(&self) -> String {
        String::new()
    }
}

/// A server that answers on loopback.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) backend: Arc<Scripted>,
    pub(crate) boards: Arc<Pinboard>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: tokio::task::JoinHandle<Drained>,
}

impl TestServer {
    pub(crate) async fn start(
        play: impl Fn(&GenerateRequest) -> Script + Send + Sync + 'static,
    ) -> Self {
        Self::with(WebConfig::default(), play).await
    }

    /// `config.listen` is taken as it is, but for the port.
    pub(crate) async fn with(
        mut config: WebConfig,
        play: impl Fn(&GenerateRequest) -> Script + Send + Sync + 'static,
    ) -> Self {
        config.listen.set_port(0);
        let backend = Arc::new(Scripted::new(play));
        let boards = Arc::new(Pinboard::default());
        let server = Server::bind(config, backend.clone(), Arc::new(Nothing), boards.clone())
            .await
            .unwrap();
        let shutdown = CancellationToken::new();
        Self {
            address: server.local_addr(),
            backend,
            boards,
            serving: tokio::spawn(server.serve(shutdown.clone())),
            shutdown,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(&format!("GET {path}"), &[], b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, &[], body).await
    }

    pub(crate) async fn post_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/json"));
        let body = body.to_string();
        self.call(&format!("POST {path}"), &headers, body.as_bytes())
            .await
    }

    pub(crate) async fn call(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        client::send(self.address, &client::request(line, headers, body)).await
    }
}

pub(crate) fn queued() -> Step {
    Step::Event(Event::Queued(Queued { position: 3 }))
}

pub(crate) fn started() -> Step {
    Step::Event(Event::Started(Started {
        model: "org/one:full".to_owned(),
        prompt_tokens: 5,
        cached_tokens: 2,
        ..Started::default()
    }))
}

pub(crate) fn text(text: &str) -> Step {
    Step::Event(Event::Delta(Delta {
        text: text.to_owned(),
        tokens: vec![1],
        ..Delta::default()
    }))
}

pub(crate) fn delta(delta: Delta) -> Step {
    Step::Event(Event::Delta(delta))
}

pub(crate) fn finished(reason: FinishReason, completion_tokens: u32) -> Step {
    Step::Event(Event::Finished(Finished {
        reason: reason.into(),
        completion_tokens,
        ..Finished::default()
    }))
}

pub(crate) fn failed(failure: Failure) -> Step {
    Step::Event(Event::Failed(failure))
}

/// `Hello`, in two deltas.
pub(crate) fn hello(_: &GenerateRequest) -> Script {
    Ok(vec![
        queued(),
        started(),
        text("Hel"),
        text("lo"),
        finished(FinishReason::Stop, 2),
    ])
}

/// An answer that does not end.
pub(crate) fn endless(_: &GenerateRequest) -> Script {
    Ok(vec![started(), text("Hel"), Step::Hang])
}
