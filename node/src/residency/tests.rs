//! The shell over fake engines, under paused time.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use llama_sys::engine::EngineState;
use llama_sys::fake::{FakeConfig, FakeEngine};
use llama_sys::gguf::specimen;

use super::*;

/// Ten bytes fit; a model takes as many as its name has letters.
struct FakeLoader {
    starts: AtomicUsize,
    broken: Mutex<BTreeSet<String>>,
    engines: Mutex<Vec<FakeEngine>>,
    /// How often the files were replaced.
    version: AtomicU64,
    /// Engines begin in this state.
    first_state: Option<EngineState>,
}

impl Default for FakeLoader {
    fn default() -> Self {
        Self {
            starts: AtomicUsize::new(0),
            broken: Mutex::default(),
            engines: Mutex::default(),
            version: AtomicU64::new(0),
            first_state: None,
        }
    }
}

fn facts() -> Arc<ModelFacts> {
    let bytes = specimen::tiny_llama().bytes();
    let header = llama_sys::gguf::Header::read(&mut std::io::Cursor::new(bytes)).unwrap();
    Arc::new(ModelFacts::from_header(&header).unwrap())
}

#[async_trait]
impl Loader for FakeLoader {
    async fn examine(&self, model: &ModelName) -> Result<Examined, ExamineError> {
        if model.as_str() == "missing" {
            return Err(ExamineError::NotFound(model.clone()));
        }
        Ok(Examined {
            name: model.clone(),
            need_bytes: model.as_str().len() as u64,
            facts: facts(),
            seen_by: Level::Local,
            version: Version(self.version.load(Ordering::SeqCst)),
        })
    }

    async fn start(&self, model: &Examined) -> Result<Starting, String> {
        self.starts.fetch_add(1, Ordering::SeqCst);
        if self.broken.lock().unwrap().contains(model.name.as_str()) {
            return Err("broken".into());
        }
        let engine = FakeEngine::new(FakeConfig::default());
        if let Some(state) = &self.first_state {
            engine.become_state(state.clone());
        }
        self.engines.lock().unwrap().push(engine.clone());
        Ok(Starting {
            engine: Arc::new(engine),
            held: Box::new(()),
        })
    }
}

struct Bench {
    residency: Residency,
    loader: Arc<FakeLoader>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn bench(loader: FakeLoader, pinned: &[&str]) -> Bench {
    let loader = Arc::new(loader);
    let stop = CancellationToken::new();
    let setup = Setup {
        policy: Policy {
            budget_bytes: 10,
            keep_alive: Duration::from_secs(300),
            wait: Duration::from_secs(60),
        },
        pinned: pinned.iter().map(|text| name(text)).collect(),
        drain: Duration::from_secs(30),
    };
    let shared: Arc<dyn Loader> = Arc::<FakeLoader>::clone(&loader);
    let (residency, task) = Residency::new(setup, shared, stop.clone());
    Bench {
        residency,
        loader,
        stop,
        task: tokio::spawn(task),
    }
}

fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

impl Bench {
    async fn names(&self) -> Vec<String> {
        let loaded = self.residency.loaded().await;
        loaded.into_iter().map(|model| model.name).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn many_requests_share_one_engine() {
    let bench = bench(FakeLoader::default(), &[]);
    let model = name("model");
    let acquiring = (0..50).map(|_| bench.residency.acquire(&model));
    let leases = futures::future::join_all(acquiring).await;
    assert!(leases.iter().all(Result::is_ok));
    assert_eq!(bench.loader.starts.load(Ordering::SeqCst), 1);
    let lease = leases.into_iter().next().unwrap().unwrap();
    let tokens = lease.tokenize("abc".into(), false).await.unwrap();
    assert_eq!(tokens.len(), 3);
    assert_eq!(lease.facts().architecture, "llama");
}

#[tokio::test(start_paused = true)]
async fn idle_models_are_unloaded_after_the_keep_alive_and_pinned_ones_stay() {
    let bench = bench(FakeLoader::default(), &[]);
    bench.residency.pin(&name("kept")).await;
    drop(bench.residency.acquire(&name("kept")).await.unwrap());
    let held = bench.residency.acquire(&name("held")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(bench.names().await, ["held", "kept"]);
    drop(held);
    tokio::time::sleep(Duration::from_secs(299)).await;
    assert_eq!(bench.names().await, ["held", "kept"]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.names().await, ["kept"]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_model_makes_room_and_a_busy_one_does_not() {
    let bench = bench(FakeLoader::default(), &[]);
    let first = bench.residency.acquire(&name("first-one")).await.unwrap();
    let error = bench.residency.acquire(&name("second")).await.unwrap_err();
    assert_eq!(
        error,
        AcquireError::Refused {
            model: name("second"),
            refusal: Refusal::NoRoom
        }
    );
    drop(first);
    let second = bench.residency.acquire(&name("second")).await.unwrap();
    assert_eq!(bench.names().await, ["second"]);
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn failures_name_their_cause_and_are_tried_again_later() {
    let bench = bench(FakeLoader::default(), &[]);
    bench.loader.broken.lock().unwrap().insert("m".into());
    for _ in 0..5 {
        let error = bench.residency.acquire(&name("m")).await.unwrap_err();
        assert!(
            error.to_string().contains("could not be loaded: broken"),
            "{error}"
        );
        assert!(error.retry_after().is_some());
    }
    assert_eq!(bench.loader.starts.load(Ordering::SeqCst), 1);
    bench.loader.broken.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_secs(11)).await;
    bench.residency.acquire(&name("m")).await.unwrap();
    let error = bench.residency.acquire(&name("missing")).await.unwrap_err();
    assert_eq!(error.retry_after(), None);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_gives_up_is_made_anew() {
    let bench = bench(FakeLoader::default(), &[]);
    drop(bench.residency.acquire(&name("m")).await.unwrap());
    let engine = bench.loader.engines.lock().unwrap()[0].clone();
    engine.become_state(EngineState::Failed("it died ten times".into()));
    tokio::time::sleep(Duration::from_secs(11)).await;
    bench.residency.acquire(&name("m")).await.unwrap();
    assert_eq!(bench.loader.starts.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_takes_too_long_is_not_waited_for() {
    let loader = FakeLoader {
        first_state: Some(EngineState::Loading(0.0)),
        ..FakeLoader::default()
    };
    let bench = bench(loader, &[]);
    let error = bench.residency.acquire(&name("m")).await.unwrap_err();
    assert!(error.to_string().contains("still being loaded"), "{error}");
    let loaded = bench.residency.loaded().await;
    assert_eq!(loaded[0].state, "loading");
    bench.residency.unload(&name("m")).await;
    assert_eq!(bench.names().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_waiting_is_forgotten() {
    let bench = bench(FakeLoader::default(), &[]);
    let held = bench.residency.acquire(&name("0123456789")).await.unwrap();
    let other = name("other");
    let waiting = bench.residency.acquire(&other);
    let gone = tokio::time::timeout(Duration::from_secs(5), waiting).await;
    assert!(gone.is_err());
    drop(held);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.names().await, ["0123456789"]);
}

#[tokio::test(start_paused = true)]
async fn stopping_drains_and_ends() {
    let bench = bench(FakeLoader::default(), &[]);
    let lease = bench.residency.acquire(&name("m")).await.unwrap();
    bench.stop.cancel();
    bench.task.await.unwrap();
    let error = bench.residency.acquire(&name("m")).await.unwrap_err();
    assert!(error.to_string().contains("stopping"), "{error}");
    drop(lease);
}

#[tokio::test(start_paused = true)]
async fn replaced_files_are_loaded_beside_and_what_runs_goes_on() {
    let bench = bench(FakeLoader::default(), &[]);
    let old = bench.residency.acquire(&name("abc")).await.unwrap();
    bench.loader.version.store(1, Ordering::SeqCst);
    // Whoever asks gets whichever is ready.
    drop(bench.residency.acquire(&name("abc")).await.unwrap());
    while bench.names().await.len() < 2 {
        tokio::task::yield_now().await;
    }
    let is_new = |lease: &Lease| !Arc::ptr_eq(&**lease, &*old);
    let new = loop {
        let lease = bench.residency.acquire(&name("abc")).await.unwrap();
        if is_new(&lease) {
            break lease;
        }
    };
    assert_eq!(bench.loader.starts.load(Ordering::SeqCst), 2);
    assert_eq!(bench.names().await, ["abc", "abc"]);
    drop(old);
    while bench.names().await.len() > 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(new);
    bench.stop.cancel();
    bench.task.await.unwrap();
}
