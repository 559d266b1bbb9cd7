//! Models that are kept ready although they cannot be loaded at first, under paused time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use llama_sys::fake::{FakeConfig, FakeEngine};
use llama_sys::gguf::{Header, ModelFacts, specimen};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::core::ranking::Level;
use crate::core::residency::Policy;
use crate::residency::{ExamineError, Examined, Loader, Setup, Starting, Version};

/// Says of each start whether it succeeds, the last for ever, and keeps when they were.
struct Moody {
    facts: Arc<ModelFacts>,
    moods: Mutex<VecDeque<bool>>,
    starts: Mutex<Vec<Instant>>,
}

#[async_trait]
impl Loader for Moody {
    async fn examine(&self, model: &ModelName) -> Result<Examined, ExamineError> {
        Ok(Examined {
            name: model.clone(),
            need_bytes: 1,
            facts: Arc::clone(&self.facts),
            seen_by: Level::Local,
            version: Version::default(),
        })
    }

    async fn start(&self, _: &Examined) -> Result<Starting, String> {
        self.starts.lock().unwrap().push(Instant::now());
        let mut moods = self.moods.lock().unwrap();
        let is_good = match moods.len() {
            1 => moods[0],
            _ => moods.pop_front().unwrap(),
        };
        if !is_good {
            return Err("no chain".into());
        }
        Ok(Starting {
            engine: Arc::new(FakeEngine::new(FakeConfig::default())),
            held: Box::new(()),
        })
    }
}

fn moody(moods: &[bool]) -> (Arc<Moody>, Residency, CancellationToken) {
    let bytes = specimen::tiny_llama().bytes();
    let header = Header::read(&mut std::io::Cursor::new(bytes)).unwrap();
    let loader = Arc::new(Moody {
        facts: Arc::new(ModelFacts::from_header(&header).unwrap()),
        moods: Mutex::new(moods.iter().copied().collect()),
        starts: Mutex::default(),
    });
    let stop = CancellationToken::new();
    let setup = Setup {
        policy: Policy {
            budget_bytes: 10,
            keep_alive: Duration::from_secs(300),
            wait: Duration::from_secs(60),
        },
        pinned: Vec::new(),
        drain: Duration::from_secs(30),
    };
    let shared: Arc<dyn Loader> = Arc::<Moody>::clone(&loader);
    let (residency, task) = Residency::new(setup, shared, stop.clone());
    tokio::spawn(task);
    (loader, residency, stop)
}

fn model() -> ModelName {
    "org/model".parse().unwrap()
}

async fn until_ready(residency: &Residency) {
    let mut view = residency.view();
    let is_ready = |view: &crate::residency::View| {
        let seen = view.models.get(&model());
        seen.is_some_and(|seen| seen.ready)
    };
    view.wait_for(is_ready).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_model_that_cannot_be_loaded_is_tried_again_less_and_less_often_until_it_can() {
    let failures = 8;
    let moods: Vec<bool> = (0..=failures).map(|n| n == failures).collect();
    let (loader, residency, _stop) = moody(&moods);
    residency.pin(&model()).await;
    load(&model(), &residency).await;
    let keeping = tokio::spawn({
        let residency = residency.clone();
        async move { keep(vec![model()], residency).await }
    });
    until_ready(&residency).await;
    let starts = loader.starts.lock().unwrap().clone();
    assert_eq!(starts.len(), failures + 1);
    let pauses: Vec<Duration> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.is_sorted(), "{pauses:?}");
    let longest = LONGEST_PAUSE + Duration::from_secs(1);
    let within = |pause: &Duration| (FIRST_PAUSE..=longest).contains(pause);
    assert!(pauses.iter().all(within), "{pauses:?}");
    assert!(pauses[failures - 1] >= LONGEST_PAUSE, "{pauses:?}");
    // It is ready: nothing is tried any more, and it stays.
    tokio::time::sleep(10 * LONGEST_PAUSE).await;
    assert_eq!(loader.starts.lock().unwrap().len(), failures + 1);
    assert!(!keeping.is_finished());
}

#[tokio::test(start_paused = true)]
async fn what_its_owner_unloads_is_not_loaded_again() {
    let (loader, residency, _stop) = moody(&[true]);
    residency.pin(&model()).await;
    load(&model(), &residency).await;
    let keeping = tokio::spawn({
        let residency = residency.clone();
        async move { keep(vec![model()], residency).await }
    });
    until_ready(&residency).await;
    residency.unload(&model()).await;
    keeping.await.unwrap();
    tokio::time::sleep(10 * LONGEST_PAUSE).await;
    assert_eq!(loader.starts.lock().unwrap().len(), 1);
}
