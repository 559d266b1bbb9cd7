//! The backend over fake engines: names, leases, refusals, metrics.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Cursor;
use std::time::Duration;

use llama_sys::engine::Engine;
use llama_sys::fake::{End, FakeConfig, FakeEngine, Script};
use llama_sys::gguf::{Header, ModelFacts, specimen};
use protocol::generate::ErrorCode;
use protocol::generate::generate_event::Event as Out;
use protocol::generate::generate_request::Prompt;
use tokio_util::sync::CancellationToken;

use super::metrics::Engines;
use super::*;

mod remote;

use crate::core::residency::Policy;
use crate::residency::{ExamineError, Examined, Loader, Setup, Starting, Version};

/// A model of ten bytes under one name; whatever it is asked, it says hello and then no more.
struct Fakes {
    facts: Arc<ModelFacts>,
}

#[async_trait]
impl Loader for Fakes {
    async fn examine(&self, model: &ModelName) -> Result<Examined, ExamineError> {
        let (need_bytes, seen_by) = match model.as_str() {
            "org/tiny" => (10, Level::Local),
            "org/huge" => (1000, Level::Local),
            // Over members of a private swarm, and over anybody.
            "org/shared" => (10, Level::Trusted),
            "org/split" => (10, Level::Swarm),
            _ => return Err(ExamineError::NotFound(model.clone())),
        };
        Ok(Examined {
            name: model.clone(),
            need_bytes,
            facts: Arc::clone(&self.facts),
            seen_by,
            version: Version::default(),
        })
    }

    async fn start(&self, _model: &Examined) -> Result<Starting, String> {
        let config = FakeConfig::default().with_script(|_| Script::say("Hello").ending(End::Hang));
        Ok(Starting {
            engine: Arc::new(FakeEngine::new(config)),
            held: Box::new(()),
        })
    }
}

#[async_trait]
impl Shelf for Fakes {
    async fn stored(&self) -> Vec<StoredModel> {
        ["org/tiny", "alone", "org/tiny"].map(stored).to_vec()
    }
}

fn stored(name: &str) -> StoredModel {
    StoredModel {
        name: name.to_owned(),
        size_bytes: 10,
        architecture: "llama".into(),
        quantization: "F32".into(),
        context_length: 64,
        added: 5,
        external_path: None,
    }
}

/// The models of this node.
fn residency() -> (Residency, Arc<Fakes>) {
    let bytes = specimen::tiny_llama().bytes();
    let header = Header::read(&mut Cursor::new(bytes)).unwrap();
    let facts = Arc::new(ModelFacts::from_header(&header).unwrap());
    let fakes = Arc::new(Fakes { facts });
    let setup = Setup {
        policy: Policy {
            budget_bytes: 100,
            keep_alive: Duration::from_secs(300),
            wait: Duration::from_secs(60),
        },
        pinned: Vec::new(),
        drain: Duration::from_secs(1),
    };
    let loader: Arc<dyn Loader> = Arc::<Fakes>::clone(&fakes);
    let (residency, task) = Residency::new(setup, loader, CancellationToken::new());
    tokio::spawn(task);
    (residency, fakes)
}

/// Chance is the same in every run.
fn surroundings() -> Surroundings {
    Surroundings {
        seed: || 5,
        now: || 1000,
    }
}

pub(super) fn own_heads() -> OwnHeads {
    OwnHeads::new(residency().0, surroundings())
}

fn router() -> Router {
    let (residency, fakes) = residency();
    let (_, ready) = watch::channel(Readiness::Ready);
    Router::new(residency, fakes, ready, surroundings())
}

fn asking(model: &str) -> GenerateRequest {
    GenerateRequest {
        model: model.to_owned(),
        prompt: Some(Prompt::Text("x".into())),
        ..GenerateRequest::default()
    }
}

#[tokio::test]
async fn models_are_listed_once_each() {
    let cards = router().models().await;
    let ids: Vec<_> = cards
        .iter()
        .map(|c| (c.id.as_str(), c.owned_by.as_str()))
        .collect();
    assert_eq!(ids, [("alone", "shoal"), ("org/tiny", "org")]);
    assert_eq!(router().readiness(), Readiness::Ready);
}

#[tokio::test]
async fn a_request_that_leaves_its_model_open_is_given_one_that_fits() {
    let router = router();
    let mut stream = router.generate(asking("auto")).await.unwrap();
    let model = loop {
        if let Some(Out::Started(started)) = stream.recv().await.unwrap().event {
            break started.model;
        }
    };
    assert_eq!(model, "org/tiny");
    let long = GenerateRequest {
        prompt: Some(Prompt::Text("x".repeat(1 << 20))),
        ..asking("auto")
    };
    let failure = router.generate(long).await.unwrap_err();
    assert_eq!(failure.code(), ErrorCode::ContextLengthExceeded);
    let embedding = EmbedRequest {
        model: "auto".into(),
        ..EmbedRequest::default()
    };
    let failure = router.embed(embedding).await.unwrap_err();
    assert_eq!(failure.code(), ErrorCode::ModelNotFound);
    assert!(
        failure.message.contains("embeds text"),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn a_chain_answers_only_who_lets_its_peers_see_the_text() {
    let levels = [
        (Privacy::Local, [true, false, false]),
        (Privacy::Trusted, [true, true, false]),
        (Privacy::Swarm, [true, true, true]),
    ];
    for (privacy, expected) in levels {
        let router = router();
        let answers = ["org/tiny", "org/shared", "org/split"].map(|model| GenerateRequest {
            privacy: privacy.into(),
            ..asking(model)
        });
        for (request, expected) in answers.into_iter().zip(expected) {
            let embedding = EmbedRequest {
                model: request.model.clone(),
                privacy: privacy.into(),
                ..EmbedRequest::default()
            };
            let answered = router.generate(request).await;
            let code = answered.as_ref().err().map(Failure::code);
            assert_eq!(code, (!expected).then_some(ErrorCode::Privacy));
            let embedded = router.embed(embedding).await;
            let code = embedded.err().map(|failure| failure.code());
            assert_eq!(code == Some(ErrorCode::Privacy), !expected);
        }
    }
    // The owner's level holds for requests that name none.
    let private = PrivacyPolicy {
        default: Level::Local,
        ..PrivacyPolicy::default()
    };
    let router = router().with_peers(Arc::new(NoPeers), private);
    let failure = router.generate(asking("org/split")).await.unwrap_err();
    assert_eq!(failure.code(), ErrorCode::Privacy);
}

#[test]
fn plans_reach_as_far_as_the_level_of_requests_that_name_none() {
    let reach = |default, is_private| {
        let policy = PrivacyPolicy {
            default,
            ..PrivacyPolicy::default()
        };
        policy.of_plans(is_private)
    };
    assert_eq!(reach(Level::Swarm, false), Level::Swarm);
    assert_eq!(reach(Level::Swarm, true), Level::Trusted);
    assert_eq!(reach(Level::Trusted, false), Level::Trusted);
    assert_eq!(reach(Level::Local, true), Level::Local);
}

#[tokio::test]
async fn an_answer_holds_its_model_and_counts_in_the_metrics() {
    let router = router();
    let mut stream = router.generate(asking("org/tiny")).await.unwrap();
    let mut text = String::new();
    while text != "Hello" {
        if let Some(Out::Delta(delta)) = stream.recv().await.unwrap().event {
            text.push_str(&delta.text);
        }
    }
    let mut metrics = String::new();
    router.write_metrics(&mut metrics);
    assert!(
        metrics.contains("shoal_requests_running{model=\"org/tiny\"} 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("shoal_decode_tokens_total{model=\"org/tiny\"} 5"),
        "{metrics}"
    );
    assert!(
        metrics.contains("# TYPE shoal_model_resident_memory_bytes gauge"),
        "{metrics}"
    );
    assert!(!metrics.contains("# EOF"), "{metrics}");
    let residency = router.own.residency();
    assert!(
        residency
            .loaded()
            .await
            .iter()
            .all(|m| m.unload_in_seconds.is_none())
    );
    drop(stream);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while residency
        .loaded()
        .await
        .iter()
        .any(|m| m.unload_in_seconds.is_none())
    {
        assert!(tokio::time::Instant::now() < deadline, "the lease is kept");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn refusals_say_what_to_do_and_when_to_come_again() {
    let router = router();
    for unknown in ["nobody", "not a name", ""] {
        let failure = router.generate(asking(unknown)).await.unwrap_err();
        assert_eq!(failure.code(), ErrorCode::ModelNotFound);
        assert_eq!(failure.param, "model");
        assert!(
            failure.message.contains("shoal pull"),
            "{}",
            failure.message
        );
    }
    let huge = router.generate(asking("org/huge")).await.unwrap_err();
    assert_eq!(huge.code(), ErrorCode::LoadFailed);
    let lost = refusal::of_acquire(&crate::residency::AcquireError::Refused {
        model: "a".parse().unwrap(),
        refusal: crate::core::residency::Refusal::StillLoading,
    });
    assert_eq!(
        (lost.code(), lost.retry_after_seconds),
        (ErrorCode::Loading, 10)
    );
}

#[test]
fn metrics_keep_no_engine() {
    let engines = Engines::default();
    let engine: Arc<dyn Engine> = Arc::new(FakeEngine::default());
    engines.note(&"a".parse().unwrap(), &engine);
    let mut out = String::new();
    engines.write(&mut out);
    assert!(
        out.contains("shoal_kv_cache_tokens{model=\"a\"} 16384"),
        "{out}"
    );
    drop(engine);
    out.clear();
    engines.write(&mut out);
    assert!(!out.contains("model=\"a\""), "{out}");
}
