//! The task over fake engines, under paused time.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Cursor;

use async_trait::async_trait;
use llama_sys::fake::{FakeConfig, FakeEngine};
use llama_sys::gguf::{Header, ModelFacts, specimen};
use protocol::ModelName;
use protocol::generate::{EmbedRequest, EmbedResponse, ErrorCode, Failure, GenerateRequest};
use web::backend::GenerateStream;

use super::*;
use crate::core::ranking::Level;
use crate::core::residency::Policy;
use crate::core::speed::Answered;
use crate::head::Hold;
use crate::residency::{ExamineError, Examined, Lease, Loader, Setup, Starting, Version};
use crate::serving::{Local, Parts};
use crate::store::Store;

struct Models(Arc<ModelFacts>);

#[async_trait]
impl Loader for Models {
    async fn examine(&self, model: &ModelName) -> Result<Examined, ExamineError> {
        Ok(Examined {
            name: model.clone(),
            need_bytes: 1,
            facts: Arc::clone(&self.0),
            seen_by: Level::Local,
            version: Version::default(),
        })
    }

    async fn start(&self, _: &Examined) -> Result<Starting, String> {
        let config = FakeConfig::default().with_parallel(4);
        Ok(Starting {
            engine: Arc::new(FakeEngine::new(config)),
            held: Box::new(()),
        })
    }
}

struct Nobody;

#[async_trait]
impl Local for Nobody {
    async fn generate(&self, _: GenerateRequest, _: Lease) -> Result<GenerateStream, Failure> {
        Err(Failure::new(ErrorCode::NoPeer, "nobody"))
    }

    async fn embed(&self, _: EmbedRequest, _: Lease) -> Result<EmbedResponse, Failure> {
        Err(Failure::new(ErrorCode::NoPeer, "nobody"))
    }
}

fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

fn sources(dir: &std::path::Path, stop: &CancellationToken) -> Sources {
    let bytes = specimen::tiny_llama().bytes();
    let header = Header::read(&mut Cursor::new(bytes)).unwrap();
    let facts = Arc::new(ModelFacts::from_header(&header).unwrap());
    let setup = Setup {
        policy: Policy {
            budget_bytes: 10,
            keep_alive: Duration::from_secs(300),
            wait: Duration::from_secs(60),
        },
        pinned: Vec::new(),
        drain: Duration::ZERO,
    };
    let (residency, task) = Residency::new(setup, Arc::new(Models(facts)), stop.clone());
    tokio::spawn(task);
    let config = ServingConfig {
        models: Some(vec![name("z"), name("pinned")]),
        upload_bytes_per_second: Some(1000),
        ..ServingConfig::default()
    };
    let (serving, following) = Serving::new(Parts {
        local: Arc::new(Nobody),
        residency: residency.clone(),
        upload: crate::serving::Upload::new(config.upload_bytes_per_second),
        received: crate::weights::Received::default(),
        config: config.clone(),
        stop: stop.clone(),
    });
    tokio::spawn(following);
    let store = Store::open(dir).unwrap();
    let devices = Arc::new(Devices::new(&store, "/nowhere".into(), None).unwrap());
    Sources {
        swarm: SwarmName::public(),
        role: NodeRole::Server,
        memory_bytes: Some(10),
        config,
        residency,
        serving,
        devices,
        moving: tokio::sync::watch::channel(crate::placement::Moving::default()).1,
    }
}

#[tokio::test]
async fn the_profile_follows_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let sources = sources(dir.path(), &stop);
    let residency = sources.residency.clone();
    let (mut profile, task) = sources.follow(stop.clone());
    let task = tokio::spawn(task);
    assert_eq!(profile.borrow().limits.memory_bytes, Some(10));
    profile
        .wait_for(|said| !said.devices.is_empty())
        .await
        .unwrap();

    let _other = residency.acquire(&name("other")).await.unwrap();
    let lease = residency.acquire(&name("z")).await.unwrap();
    residency.pin(&name("pinned")).await;
    drop(residency.acquire(&name("pinned")).await.unwrap());
    lease.on_answered(&Answered {
        prompt_tokens: 100,
        prefill_micros: 1_000_000,
        answer_tokens: 11,
        decode_micros: 1_000_000,
    });
    let said = profile.wait_for(|said| {
        let measured = |d: &protocol::advert::Deployed| d.decode_tokens_per_second.is_some();
        said.deployments.len() == 2 && said.deployments.iter().any(measured)
    });
    let said = said.await.unwrap().clone();
    let names: Vec<_> = said.deployments.iter().map(|d| d.model.as_str()).collect();
    assert_eq!(names, ["pinned", "z"], "what is not for peers is not said");
    let z = said.deployment(&name("z")).unwrap();
    assert_eq!((z.parallel, z.running), (3, 0));
    assert_eq!(z.prefill_tokens_per_second, Some(100.0));
    residency.unload(&name("z")).await;
    let gone = profile.wait_for(|said| said.deployments.len() == 1).await;
    assert!(gone.is_ok());
    drop(gone);
    stop.cancel();
    task.await.unwrap();
}
