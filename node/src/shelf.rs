//! Opens the model store as the node is configured. It knows no model.

use reqwest::Url;

use crate::config::Config;
use crate::models::hub::{BadToken, HubConfig, HubToken};
use crate::models::{self, Models};
use crate::store::{Store, StoreError};

/// Why the model store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShelfError {
    /// The state cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its folder or its table cannot be used.
    #[error(transparent)]
    Models(#[from] models::OpenError),
    /// The hub's address is none.
    #[error("hf_endpoint: {0}")]
    Endpoint(String),
    /// The hub's token is none.
    #[error("hf_token: {0}")]
    Token(#[from] BadToken),
}

/// The model store of this configuration, its table in this database. Waits for the disk.
///
/// # Errors
/// See [`ShelfError`].
pub fn open(config: &Config, store: &Store) -> Result<Models, ShelfError> {
    let settings = models::Config {
        hub: hub(config)?,
        offline: config.offline,
        budget_bytes: config.models.disk_budget_bytes,
        ..models::Config::new(config.models_dir())
    };
    Ok(Models::open(settings, Box::new(store.table()?))?)
}

fn hub(config: &Config) -> Result<HubConfig, ShelfError> {
    let defaults = HubConfig::default();
    let endpoint = match &config.models.hub_endpoint {
        Some(text) => Url::parse(text).map_err(|error| ShelfError::Endpoint(error.to_string()))?,
        None => defaults.endpoint.clone(),
    };
    let token = config.models.hub_token.as_ref();
    let token = token.map(|token| HubToken::new(token.reveal()));
    Ok(HubConfig {
        endpoint,
        token: token.transpose()?,
        ..defaults
    })
}
