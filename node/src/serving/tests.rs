//! The shell over scripted heads and fake engines, under paused time.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Cursor;
use std::sync::Mutex;
use std::time::Duration;

use llama_sys::fake::{FakeConfig, FakeEngine};
use llama_sys::gguf::{Header, ModelFacts, specimen};
use protocol::generate::generate_event::Event;
use protocol::generate::generate_request::Prompt;
use protocol::generate::{
    Delta, EmbedInput, ErrorCode, Finished, GenerateEvent, Started, embed_input,
};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::core::residency::Policy as Keeping;
use crate::residency::{ExamineError, Examined, Loader, Setup, Starting, Version};

/// Sequences of every model: three for peers, one for the owner.
const PARALLEL: u32 = 4;

/// Models `m0`, `m1`, … of five bytes each; twelve fit.
struct Models(Arc<ModelFacts>);

#[async_trait]
impl Loader for Models {
    async fn examine(&self, model: &ModelName) -> Result<Examined, ExamineError> {
        if !model.as_str().starts_with('m') {
            return Err(ExamineError::NotFound(model.clone()));
        }
        Ok(Examined {
            name: model.clone(),
            need_bytes: 5,
            facts: Arc::clone(&self.0),
            seen_by: match model.as_str() {
                "m-split" => Level::Swarm,
                _ => Level::Local,
            },
            version: Version::default(),
        })
    }

    async fn start(&self, _: &Examined) -> Result<Starting, String> {
        let config = FakeConfig::default().with_parallel(PARALLEL);
        Ok(Starting {
            engine: Arc::new(FakeEngine::new(config)),
            held: Box::new(()),
        })
    }
}

/// Heads whose answers the test gives event by event.
#[derive(Default)]
struct Heads {
    begun: Mutex<Vec<(GenerateRequest, mpsc::Sender<GenerateEvent>)>>,
    leases: Mutex<Vec<Lease>>,
    failure: Mutex<Option<Failure>>,
}

#[async_trait]
impl Local for Heads {
    async fn generate(
        &self,
        request: GenerateRequest,
        lease: Lease,
    ) -> Result<GenerateStream, Failure> {
        if let Some(failure) = self.failure.lock().unwrap().clone() {
            return Err(failure);
        }
        let (sender, receiver) = mpsc::channel(8);
        self.begun.lock().unwrap().push((request, sender.clone()));
        tokio::spawn(async move {
            sender.closed().await;
            drop(lease);
        });
        Ok(receiver)
    }

    async fn embed(&self, request: EmbedRequest, lease: Lease) -> Result<EmbedResponse, Failure> {
        self.leases.lock().unwrap().push(lease);
        assert_eq!(request.privacy(), Privacy::Local);
        Ok(EmbedResponse {
            prompt_tokens: 3,
            ..EmbedResponse::default()
        })
    }
}

struct World {
    serving: Serving,
    residency: Residency,
    heads: Arc<Heads>,
    stop: CancellationToken,
}

fn world(config: ServingConfig) -> World {
    let bytes = specimen::tiny_llama().bytes();
    let header = Header::read(&mut Cursor::new(bytes)).unwrap();
    let facts = Arc::new(ModelFacts::from_header(&header).unwrap());
    let setup = Setup {
        policy: Keeping {
            budget_bytes: 12,
            keep_alive: Duration::from_secs(100_000),
            wait: Duration::from_secs(60),
        },
        pinned: vec![name("m-pinned")],
        drain: Duration::ZERO,
    };
    let stop = CancellationToken::new();
    let (residency, task) = Residency::new(setup, Arc::new(Models(facts)), stop.clone());
    tokio::spawn(task);
    let heads = Arc::new(Heads::default());
    let (serving, following) = Serving::new(Parts {
        local: Arc::clone(&heads) as _,
        residency: residency.clone(),
        upload: crate::serving::Upload::new(config.upload_bytes_per_second),
        received: crate::weights::Received::default(),
        config,
        stop: stop.clone(),
    });
    tokio::spawn(following);
    World {
        serving,
        residency,
        heads,
        stop,
    }
}

/// A world in which the owner has loaded `m0`.
async fn loaded(config: ServingConfig) -> World {
    let world = world(config);
    drop(world.residency.acquire(&name("m0")).await.unwrap());
    world
}

fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

fn peer(n: u8) -> NodeId {
    NodeId::from(&ed25519_dalek::SigningKey::from_bytes(&[n; 32]))
}

fn asking(model: &str) -> GenerateRequest {
    GenerateRequest {
        request_id: "theirs".into(),
        model: model.into(),
        prompt: Some(Prompt::Text("x".into())),
        ..GenerateRequest::default()
    }
}

fn delta(tokens: usize) -> Event {
    Event::Delta(Delta {
        text: "x".repeat(tokens),
        tokens: vec![7; tokens],
        ..Delta::default()
    })
}

fn event(event: Event) -> GenerateEvent {
    GenerateEvent { event: Some(event) }
}

impl World {
    async fn ask(&self, by: u8, model: &str) -> Result<GenerateStream, Failure> {
        self.serving.serve(peer(by), false, asking(model)).await
    }

    /// Waits until so many answers have begun in all.
    async fn begun(&self, count: usize) {
        self.until(|world| world.heads.begun.lock().unwrap().len() == count)
            .await;
    }

    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !holds(self) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(20), waiting).await.unwrap();
    }

    /// The head's end of the answer that began as the `index`th.
    fn head(&self, index: usize) -> mpsc::Sender<GenerateEvent> {
        self.heads.begun.lock().unwrap()[index].1.clone()
    }

    /// Everything that could happen has.
    async fn settle(&self) {
        sleep(Duration::from_secs(1)).await;
    }
}

async fn next(stream: &mut GenerateStream) -> Event {
    let next = timeout(Duration::from_secs(20), stream.recv()).await;
    next.unwrap().unwrap().event.unwrap()
}

async fn position(stream: &mut GenerateStream) -> u32 {
    match next(stream).await {
        Event::Queued(queued) => queued.position,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_passes_and_stays_local() {
    let world = loaded(ServingConfig::default()).await;
    let mut stream = world.ask(1, "m0").await.unwrap();
    world.begun(1).await;
    {
        let begun = world.heads.begun.lock().unwrap();
        let request = &begun[0].0;
        assert_eq!(request.privacy(), Privacy::Local);
        assert_eq!(request.request_id, "theirs@0");
        assert_eq!(request.max_tokens, Some(guests::MAX_ANSWER_TOKENS));
    }
    let all = [
        Event::Started(Started::default()),
        delta(3),
        Event::Finished(Finished::default()),
    ];
    for one in &all {
        world.head(0).send(event(one.clone())).await.unwrap();
        assert_eq!(next(&mut stream).await, *one);
    }
    assert!(stream.recv().await.is_none());
    world
        .until(|w| w.serving.shared.desk.crowd().running == 0)
        .await;
    let mut metrics = String::new();
    world.serving.write_metrics(&mut metrics);
    assert!(
        metrics.contains("shoal_peers_requests_taken_total 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("shoal_peers_answers_bytes_total"),
        "{metrics}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_only_trusted_peers_may_see_is_not_run_over_others() {
    let world = world(ServingConfig::default());
    let held = world.residency.acquire(&name("m-split")).await.unwrap();
    let at = |privacy: Privacy| GenerateRequest {
        privacy: privacy.into(),
        ..asking("m-split")
    };
    let open = world.serving.serve(peer(1), true, at(Privacy::Swarm)).await;
    assert!(open.is_ok());
    let close = world
        .serving
        .serve(peer(1), true, at(Privacy::Trusted))
        .await;
    assert!(close.unwrap_err().is_retryable(), "another peer may");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn the_owners_rules_come_before_any_work() {
    let closed = ServingConfig {
        public: false,
        ..ServingConfig::default()
    };
    let world = loaded(closed).await;
    let failure = world.ask(1, "m0").await.unwrap_err();
    assert_eq!(failure.code(), ErrorCode::NoPeer);
    assert!(failure.is_retryable(), "another peer may serve it");
    let trusted = world.serving.serve(peer(1), true, asking("m0")).await;
    assert!(trusted.is_ok());
    let absent = world.serving.serve(peer(1), true, asking("m1")).await;
    let missing = world.serving.serve(peer(1), true, asking("x")).await;
    assert_eq!(
        absent.unwrap_err(),
        missing.unwrap_err(),
        "disks are not told"
    );
    let mut large = asking("m0");
    large.prompt = Some(Prompt::Text("x".repeat(guests::MAX_PROMPT_BYTES + 1)));
    let large = world.serving.serve(peer(1), true, large).await;
    assert!(large.unwrap_err().message.contains("bytes"));
    let empty = GenerateRequest::default();
    let invalid = world.serving.serve(peer(1), true, empty).await;
    assert_eq!(invalid.unwrap_err().code(), ErrorCode::InvalidRequest);
    world.stop.cancel();
    let late = world.serving.serve(peer(1), true, asking("m0")).await;
    assert_eq!(late.unwrap_err().code(), ErrorCode::ShuttingDown);
}

#[tokio::test(start_paused = true)]
async fn the_others_wait_and_hear_their_position() {
    let world = loaded(ServingConfig::default()).await;
    let mut streams = Vec::new();
    for by in 1..=5 {
        streams.push(world.ask(by, "m0").await.unwrap());
        world.settle().await;
    }
    world.begun(3).await;
    assert_eq!(position(&mut streams[3]).await, 0);
    assert_eq!(position(&mut streams[4]).await, 1);
    // Whoever leaves while it waits or runs frees its place.
    drop(streams.remove(3));
    assert_eq!(position(&mut streams[3]).await, 0);
    drop(streams.remove(0));
    world.begun(4).await;
    drop(streams);
    world
        .until(|world| {
            let crowd = world.serving.shared.desk.crowd();
            crowd.waiting == 0 && crowd.running == 0
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_owner_goes_first() {
    let world = loaded(ServingConfig::default()).await;
    let mut own = Vec::new();
    for _ in 0..3 {
        own.push(world.residency.acquire(&name("m0")).await.unwrap());
    }
    world.settle().await;
    let _first = world.ask(1, "m0").await.unwrap();
    world.begun(1).await;
    let _second = world.ask(2, "m0").await.unwrap();
    // Five use four sequences: the fifth is the owner's, and waits.
    own.push(world.residency.acquire(&name("m0")).await.unwrap());
    world.settle().await;
    drop(own.pop());
    world.settle().await;
    assert_eq!(world.heads.begun.lock().unwrap().len(), 1);
    drop(own.pop());
    world.begun(2).await;
}

#[tokio::test(start_paused = true)]
async fn peers_wait_while_the_owner_waits_for_room() {
    let world = loaded(ServingConfig::default()).await;
    let _m1 = world.residency.acquire(&name("m1")).await.unwrap();
    let first = world.ask(1, "m0").await.unwrap();
    world.begun(1).await;
    // There is no room for a third model but that of the one that the peer uses.
    let wanted = name("m2");
    let mut wants = Box::pin(world.residency.acquire(&wanted));
    assert!(timeout(Duration::from_secs(1), &mut wants).await.is_err());
    let mut second = world.ask(2, "m0").await.unwrap();
    assert_eq!(position(&mut second).await, 0);
    drop(first);
    assert!(wants.await.is_ok());
    assert_eq!(world.heads.begun.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn peers_load_only_what_the_owner_named_into_free_memory() {
    let named = ["m1", "m2", "m3"].map(name).to_vec();
    let world = loaded(ServingConfig {
        models: Some(named),
        ..ServingConfig::default()
    })
    .await;
    assert_eq!(
        world.ask(1, "m0").await.unwrap_err().code(),
        ErrorCode::NoPeer
    );
    let mut first = world.ask(1, "m1").await.unwrap();
    world.begun(1).await;
    world.head(0).send(event(delta(1))).await.unwrap();
    assert_eq!(next(&mut first).await, delta(1));
    sleep(Duration::from_secs(100)).await;
    let mut none = world.ask(1, "m2").await.unwrap();
    let Event::Failed(failure) = next(&mut none).await else {
        panic!("it was loaded");
    };
    assert_eq!(failure.code(), ErrorCode::NoPeer);
    let loaded = world.residency.loaded().await;
    let loaded: Vec<_> = loaded.into_iter().map(|model| model.name).collect();
    assert_eq!(loaded, ["m0", "m1"]);
}

#[tokio::test(start_paused = true)]
async fn a_pinned_model_is_offered_before_it_is_loaded() {
    let world = world(ServingConfig::default());
    let _stream = world.ask(1, "m-pinned").await.unwrap();
    world.begun(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_says_when_to_come_again() {
    let world = loaded(ServingConfig::default()).await;
    let mut streams = Vec::new();
    let refused = loop {
        match world.ask(1, "m0").await {
            Ok(stream) => streams.push(stream),
            Err(failure) => break failure,
        }
        assert!(streams.len() < 100);
    };
    assert_eq!(refused.code(), ErrorCode::Overloaded);
    assert!(refused.retry_after_seconds >= 1);
    assert!(world.ask(2, "m0").await.is_ok(), "another has its own part");
}

#[tokio::test(start_paused = true)]
async fn the_upload_limit_slows_and_drops_nothing() {
    let world = loaded(ServingConfig {
        upload_bytes_per_second: Some(10_000),
        ..ServingConfig::default()
    })
    .await;
    let mut stream = world.ask(1, "m0").await.unwrap();
    world.begun(1).await;
    let (head, began) = (world.head(0), Instant::now());
    let sending = tokio::spawn(async move {
        for _ in 0..100 {
            head.send(event(delta(500))).await.unwrap();
        }
    });
    for _ in 0..100 {
        assert_eq!(next(&mut stream).await, delta(500));
    }
    sending.await.unwrap();
    // 100 events of a kilobyte, less what may go at once.
    let took = began.elapsed().as_secs_f64();
    assert!((9.0..11.5).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_read_loses_its_seat() {
    let world = loaded(ServingConfig::default()).await;
    let _stream = world.ask(1, "m0").await.unwrap();
    world.begun(1).await;
    let head = world.head(0);
    while timeout(Duration::from_secs(60), head.send(event(delta(1))))
        .await
        .is_ok_and(|sent| sent.is_ok())
    {}
    assert!(head.is_closed(), "the answer was cancelled");
    world
        .until(|w| w.serving.shared.desk.crowd().running == 0)
        .await;
}

#[tokio::test(start_paused = true)]
async fn failures_cross_the_network_without_this_machines_detail() {
    let world = loaded(ServingConfig::default()).await;
    let secret = Failure::new(ErrorCode::Internal, "/home/me/models/x broke");
    *world.heads.failure.lock().unwrap() = Some(secret);
    let mut stream = world.ask(1, "m0").await.unwrap();
    let Event::Failed(failure) = next(&mut stream).await else {
        panic!("it began");
    };
    assert_eq!(failure.code(), ErrorCode::Internal);
    assert!(!failure.message.contains("home"), "{}", failure.message);
    let long = Failure::new(ErrorCode::ContextLengthExceeded, "9 tokens, 8 fit");
    assert_eq!(refusal::outward(long.clone()), long);
}

#[tokio::test(start_paused = true)]
async fn embeddings_take_their_turn() {
    let world = loaded(ServingConfig::default()).await;
    let request = EmbedRequest {
        request_id: "theirs".into(),
        model: "m0".into(),
        inputs: vec![EmbedInput {
            input: Some(embed_input::Input::Text("x".into())),
        }],
        ..EmbedRequest::default()
    };
    let answer = world.serving.embed(peer(1), false, request.clone()).await;
    assert_eq!(answer.unwrap().prompt_tokens, 3);
    let m0 = name("m0");
    let own = [(); 4].map(|()| world.residency.acquire(&m0));
    let own = futures::future::join_all(own).await;
    world.heads.leases.lock().unwrap().clear();
    world.settle().await;
    let waiting = world.serving.embed(peer(1), false, request);
    assert!(timeout(Duration::from_secs(5), waiting).await.is_err());
    assert_eq!(world.serving.shared.desk.crowd().waiting, 0, "it gave up");
    drop(own);
}
