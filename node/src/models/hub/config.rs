//! Where the hub is, with what token, and how patiently it is asked. It reads no environment.

use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;

use super::super::core::transfer::Patience;

/// Where models come from unless the configuration says otherwise.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// An access token of the hub; `Debug` hides it.
#[derive(Clone)]
pub struct HubToken(pub(super) HeaderValue);

/// A token with signs that no HTTP header can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the hub's token has characters that no token has")]
pub struct BadToken;

impl HubToken {
    /// Takes the token as the hub gave it.
    ///
    /// # Errors
    /// [`BadToken`].
    pub fn new(token: &str) -> Result<Self, BadToken> {
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(|_| BadToken)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl std::fmt::Debug for HubToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HubToken(hidden)")
    }
}

/// How the hub is reached.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// Its address; files and listings lie below it.
    pub endpoint: Url,
    /// The token for it.
    pub token: Option<HubToken>,
    /// How long a connection may take.
    pub connect: Duration,
    /// How long no byte may come.
    pub stall: Duration,
    /// How failures are repeated.
    pub patience: Patience,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            endpoint: Url::parse(DEFAULT_ENDPOINT).expect("the default is an address"),
            token: None,
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            patience: Patience::default(),
        }
    }
}
