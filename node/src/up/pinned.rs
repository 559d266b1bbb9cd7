//! The models that `--model` names: taken into the store before the API answers, loaded after.
//! It knows neither HTTP nor engines.

use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use protocol::ModelName;
use tracing::{info, warn};
use web::manage::PullEvent;

use crate::config::Config;
use crate::core::residency::Refusal;
use crate::models::{Models, PullError, ResolveError};
use crate::residency::{AcquireError, Residency};

/// Why a model cannot be kept ready.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// The file is no model or cannot be read.
    #[error("--model {text}: {cause}")]
    File {
        /// What was given.
        text: String,
        /// Why.
        cause: Box<PullError>,
    },
    /// There is no such model, and it cannot be fetched.
    #[error("--model {text} is not here: {cause}")]
    Absent {
        /// What was given.
        text: String,
        /// Why it cannot be fetched.
        cause: Box<PullError>,
    },
    /// The name means several models, or its files are broken.
    #[error("--model {text}: {cause}")]
    Unusable {
        /// What was given.
        text: String,
        /// Why.
        cause: Box<ResolveError>,
    },
}

impl PinError {
    /// Whether there is no such model.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }
}

/// A model to keep ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pinned {
    /// It is here, under this name.
    Here(ModelName),
    /// It is to be fetched first.
    ToFetch(String),
}

/// Finds each model, taking files in. What is not here is fetched later, unless the node is to
/// keep off the network.
pub(super) async fn find(config: &Config, models: &Models) -> Result<Vec<Pinned>, PinError> {
    let mut found = Vec::with_capacity(config.pinned.len());
    for text in &config.pinned {
        let model = find_one(text, models).await?;
        if config.offline && matches!(model, Pinned::ToFetch(_)) {
            return Err(PinError::Absent {
                text: text.clone(),
                cause: Box::new(PullError::Offline),
            });
        }
        found.push(model);
    }
    Ok(found)
}

async fn find_one(text: &str, models: &Models) -> Result<Pinned, PinError> {
    if is_path(text) {
        let added = models.add_file(Path::new(text)).await;
        let file = |cause| PinError::File {
            text: text.into(),
            cause: Box::new(cause),
        };
        return name(&added.map_err(file)?.name).map_err(file);
    }
    match models.full_name(text) {
        Ok(full) => name(&full).map_err(|cause| PinError::Absent {
            text: text.into(),
            cause: Box::new(cause),
        }),
        Err(ResolveError::NotFound(_)) => Ok(Pinned::ToFetch(text.into())),
        Err(cause) => Err(PinError::Unusable {
            text: text.into(),
            cause: Box::new(cause),
        }),
    }
}

fn name(full: &str) -> Result<Pinned, PullError> {
    let parsed = full.parse();
    let parsed = parsed.map_err(|_| PullError::Shared(format!("`{full}` is no model's name")));
    parsed.map(Pinned::Here)
}

/// A path is what is there, or what could only be one.
fn is_path(text: &str) -> bool {
    let path = Path::new(text);
    path.is_absolute() || text.starts_with("./") || text.starts_with("../") || path.is_file()
}

/// The first pause after a model could not be loaded; it doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// The longest pause: peers that could hold a model come and go within minutes.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// Loads the models one after the other, fetching what is not here. Failures are logged. The models
/// that are to be kept ready from then on.
pub(super) async fn preload(
    pinned: Vec<Pinned>,
    models: Models,
    residency: Residency,
) -> Vec<ModelName> {
    let mut here = Vec::new();
    for model in pinned {
        let name = match model {
            Pinned::Here(name) => Some(name),
            Pinned::ToFetch(text) => fetch(&text, &models).await,
        };
        if let Some(name) = name {
            residency.pin(&name).await;
            load(&name, &residency).await;
            here.push(name);
        }
    }
    here
}

/// Loads the models again when they failed, for as long as their owner does not unload them: a
/// chain of peers may be possible at any time.
pub(super) async fn keep(models: Vec<ModelName>, residency: Residency) {
    let keeping = models.into_iter().map(|model| keep_one(model, &residency));
    join_all(keeping).await;
}

async fn keep_one(model: ModelName, residency: &Residency) {
    let (mut pause, mut is_tried) = (FIRST_PAUSE, false);
    let mut view = residency.view();
    loop {
        let gone = view.wait_for(|view| !view.models.contains_key(&model));
        let Ok(has_failed) = gone.await.map(|view| view.failed.contains(&model)) else {
            return;
        };
        if !has_failed && !is_tried {
            // Its owner unloaded it.
            return;
        }
        tokio::time::sleep(pause).await;
        let acquired = residency.acquire(&model).await;
        is_tried = acquired.is_err();
        pause = match acquired {
            Ok(_) => FIRST_PAUSE,
            Err(AcquireError::Examine(_)) => return,
            Err(AcquireError::Refused {
                refusal: Refusal::Unloaded | Refusal::Stopping,
                ..
            }) => return,
            Err(error) => {
                warn!(%model, %error, "model not loaded");
                let asked = error.retry_after().unwrap_or_default();
                (2 * pause).max(asked).min(LONGEST_PAUSE)
            }
        };
    }
}

async fn fetch(text: &str, models: &Models) -> Option<ModelName> {
    let mut events = match models.pull(text) {
        Ok(events) => events,
        Err(error) => {
            warn!(model = text, %error, "model not fetched");
            return None;
        }
    };
    while let Some(event) = events.recv().await {
        match event {
            PullEvent::Resolved { total_bytes, .. } => info!(model = text, total_bytes, "fetching"),
            PullEvent::Done { model } => return model.name.parse().ok(),
            PullEvent::Failed { message } => warn!(model = text, message, "model not fetched"),
            _ => {}
        }
    }
    None
}

async fn load(name: &ModelName, residency: &Residency) {
    if let Err(error) = residency.acquire(name).await {
        warn!(model = %name, %error, "model not loaded");
    }
}

#[cfg(test)]
mod tests;
