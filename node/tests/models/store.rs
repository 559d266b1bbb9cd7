//! A store in a folder of its own, small models to put into it, and pulls run to their end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use llama_sys::gguf::{Builder, specimen};
use node::models::core::transfer::Patience;
use node::models::hub::{HubConfig, HubToken};
use node::models::registry::InMemory;
use node::models::{Config, Models, PullError};
use tokio::sync::mpsc;
use web::manage::{PullEvent, StoredModel};

use crate::hub::FakeHub;

/// Longer than any pull here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A model of about 600 KiB; models of different seeds differ.
pub(crate) fn model(seed: u32) -> Vec<u8> {
    specimen::tiny_llama().unsigned("test.seed", seed).bytes()
}

/// A model in parts.
pub(crate) fn parts(count: u32) -> Vec<(String, Vec<u8>)> {
    // The specimen's tensors and one more in each part.
    let tensors = 20 + count;
    let part = |no: u32| {
        let start = if no == 0 {
            specimen::tiny_llama()
        } else {
            Builder::default()
        };
        let part = start
            .unsigned("split.no", no)
            .unsigned("split.count", count)
            .value("split.tensors.count", 5, &tensors.to_le_bytes())
            .tensor_f32(&format!("extra.{no}"), &[4], &[0.0; 4]);
        (
            format!("Q8_0/m-Q8_0-{:05}-of-{count:05}.gguf", no + 1),
            part.bytes(),
        )
    };
    (0..count).map(part).collect()
}

/// A folder and how the store in it is set up.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: Config,
}

impl Place {
    /// Quick to try again, quick to see a stall, nothing kept free.
    pub(crate) fn new(hub: &FakeHub) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path(), hub.endpoint());
        config.hub.token = Some(HubToken::new("hf_secret").unwrap());
        Self { folder, config }
    }

    pub(crate) fn open(&self) -> Models {
        Models::open(self.config.clone(), Box::new(InMemory::default())).unwrap()
    }

    pub(crate) fn root(&self) -> &Path {
        &self.config.dir
    }

    /// Every file of the store, without the manifests.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path)
                } else {
                    files.push(path)
                }
            }
        }
        files.retain(|path| path.extension().is_none_or(|end| end != "json"));
        files.sort();
        files
    }
}

pub(crate) fn config(folder: &Path, endpoint: reqwest::Url) -> Config {
    let mut config = Config::new(folder.join("models"));
    config.reserve_bytes = 0;
    config.hub = HubConfig {
        endpoint,
        stall: Duration::from_millis(400),
        patience: Patience {
            tries: 5,
            backoff: Duration::from_millis(1),
            backoff_max: Duration::from_millis(5),
        },
        ..HubConfig::default()
    };
    config
}

/// All events until the last.
pub(crate) async fn events(mut receiver: mpsc::Receiver<PullEvent>) -> Vec<PullEvent> {
    let mut events = Vec::new();
    let all = async {
        while let Some(event) = receiver.recv().await {
            events.push(event);
        }
    };
    tokio::time::timeout(PATIENCE, all)
        .await
        .expect("a pull ends");
    events
}

/// Pulls to the end: the model, or the message.
pub(crate) async fn pull(models: &Models, name: &str) -> Result<StoredModel, String> {
    let receiver = models
        .pull(name)
        .map_err(|error: PullError| error.to_string())?;
    match events(receiver)
        .await
        .pop()
        .expect("a pull has a last event")
    {
        PullEvent::Done { model } => Ok(model),
        PullEvent::Failed { message } => Err(message),
        other => panic!("the last event is {other:?}"),
    }
}

/// The bytes of a model's files.
pub(crate) async fn bytes(models: &Models, name: &str) -> Vec<Vec<u8>> {
    let model = models.resolve(name).await.unwrap();
    model
        .files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect()
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}
