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
use crate::residency::{ExamineError, Examined, Loader, Setup, Starting};

/// A model of ten bytes under one name; whatever it is asked, it says hello and then no more.
struct Fakes {
    facts: Arc<ModelFacts>,
}

#[async_trait]
impl Loader for Fakes {
    async fn examine(&self, model: &ModelName) -> Result<Examined, ExamineError> {
        match model.as_str() {
            "org/tiny" => Ok(Examined {
                name: model.clone(),
                need_bytes: 10,
                facts: Arc::clone(&self.facts),
            }),
            "org/huge" => Ok(Examined {
                name: model.clone(),
                need_bytes: 1000,
                facts: Arc::clone(&self.facts),
            }),
            _ => Err(ExamineError::NotFound(model.clone())),
        }
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
