//! Who is refused before anything is read.

use std::sync::atomic::{AtomicUsize, Ordering};

use ed25519_dalek::SigningKey;
use protocol::chain::{ModelRef, Precision};
use protocol::{DeploymentId, ManifestId};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::chain::holders::{Found, Holders, Reach};
use crate::models::Models;
use crate::models::registry::InMemory;
use crate::store::Store;
use crate::weights::Weights;

/// Has nothing, and counts how often it is asked.
#[derive(Default)]
struct Nobody(AtomicUsize);

impl Holders for Nobody {
    fn find(&self, _: &Wanted, _: Reach) -> Found {
        self.0.fetch_add(1, Ordering::Relaxed);
        Found::only(Vec::new())
    }
}

/// A desk, whoever it would ask for a model, and the requests that come through to the stages.
struct Bench {
    desk: Desk,
    holders: Arc<Nobody>,
    through: mpsc::Receiver<crate::chain::stages::Request>,
    _dir: TempDir,
}

impl Bench {
    fn new(serves_strangers: bool, models: Option<&[&str]>) -> Self {
        let dir = TempDir::new().unwrap();
        let store = Store::open(&dir.path().join("state")).unwrap();
        let weights = Weights::open(dir.path().join("weights"), &store).unwrap();
        let config = crate::models::Config::new(dir.path().join("models"));
        let known = Models::open(config, Box::<InMemory>::default()).unwrap();
        let holders = Arc::new(Nobody::default());
        let shared: Arc<dyn Holders> = Arc::<Nobody>::clone(&holders);
        let slices = Slices::new(dir.path().join("slices"), known, weights, shared, None);
        let (requests, through) = mpsc::channel(8);
        let (_, promised) = watch::channel(0);
        let models = models.map(|models| models.iter().map(|name| name.parse().unwrap()).collect());
        let desk = Desk {
            stages: Stages { requests, promised },
            slices,
            serves_strangers,
            models,
            reading: Arc::new(Semaphore::new(READINGS)),
        };
        Self {
            desk,
            holders,
            through,
            _dir: dir,
        }
    }

    /// What a head is answered at once, and how often anybody was asked for the model.
    async fn ask(&mut self, is_trusted: bool, model: &str) -> (Option<LeaseReply>, usize) {
        let head = NodeId::from(&SigningKey::from_bytes(&[7; 32]));
        let answer = self.desk.answer(head, is_trusted, reserve(model));
        let answer = tokio::select! {
            answer = answer => Some(answer),
            _ = self.through.recv() => None,
        };
        (answer, self.holders.0.load(Ordering::Relaxed))
    }
}

fn reserve(model: &str) -> LeaseRequest {
    LeaseRequest::Reserve(Reserve {
        deployment: DeploymentId([1; 16]),
        model: ModelRef {
            name: model.parse().unwrap(),
            manifest: ManifestId::new([7; 32]),
            layers: 2,
        },
        first_layer: 0,
        last_layer: 1,
        cells: 64,
        sequences: 1,
        batch_tokens: 64,
        precision: Precision::F32,
        is_spare: false,
    })
}

fn not_allowed() -> Option<LeaseReply> {
    Some(LeaseReply::Refused(Refusal::NotAllowed.into()))
}

#[tokio::test]
async fn who_gets_no_lease_anyway_is_refused_before_anything_is_read() {
    let mut bench = Bench::new(false, None);
    assert_eq!(bench.ask(false, "org/model").await, (not_allowed(), 0));
    let mut bench = Bench::new(true, Some(&["org/other"]));
    assert_eq!(bench.ask(false, "org/model").await, (not_allowed(), 0));
    assert_eq!(bench.ask(true, "org/model").await, (not_allowed(), 0));
}

#[tokio::test]
async fn who_may_get_one_has_the_model_looked_for() {
    let mut bench = Bench::new(false, Some(&["org/model"]));
    let (answer, asked) = bench.ask(true, "org/model").await;
    assert_eq!(answer, None, "the stages answer");
    assert!(asked > 0);
}

#[tokio::test]
async fn no_more_models_are_read_at_a_time_than_there_are_places() {
    let mut bench = Bench::new(true, None);
    let reading = Arc::clone(&bench.desk.reading);
    let all = reading.try_acquire_many(u32::try_from(READINGS).unwrap());
    let refused = Some(LeaseReply::Refused(Refusal::TooMany.into()));
    assert_eq!(bench.ask(false, "org/model").await, (refused, 0));
    drop(all);
    let (answer, asked) = bench.ask(false, "org/model").await;
    assert!(answer.is_none() && asked > 0);
}
