//! How the server is configured, and the rule who may bind where. It reads no file and no
//! environment: the node fills it in.

use std::{fmt, net::SocketAddr, time::Duration};

use subtle::ConstantTimeEq;

/// A secret that clients present as `Authorization: Bearer …` or `x-api-key: …`.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// A key; `None` for an empty one, which would open the door to everybody.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Option<Self> {
        let key = key.into();
        (!key.trim().is_empty()).then(|| Self(key.trim().to_owned()))
    }

    /// Compares in constant time; only the length can be learnt from the time taken.
    pub(crate) fn matches(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

/// Policy of the HTTP server. Protocol facts are constants beside their code.
#[derive(Debug, Clone)]
pub struct WebConfig {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The key that every route but `/healthz` asks for; `None`: no key.
    pub api_key: Option<ApiKey>,
    /// Allows a non-loopback address without a key.
    pub allow_no_key: bool,
    /// Origins (`https://app.example`) that browsers may call from; empty: CORS is off.
    pub cors_origins: Vec<String>,
    /// Further names that `Host` may carry on loopback (a reverse proxy's name), without port.
    pub allowed_hosts: Vec<String>,
    /// Largest request body, bytes.
    pub max_body_bytes: usize,
    /// Bodies over 64 KiB that are read and parsed at the same time, bytes in all. The worst
    /// body of a hostile client takes about 20 times its size once it is parsed.
    pub max_body_memory_bytes: usize,
    /// Largest request head (names and values of all headers), bytes.
    pub max_header_bytes: usize,
    /// Connections at the same time; further ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// Answers in progress at the same time.
    pub max_running: usize,
    /// Requests that may wait for one of those places; further ones get 503.
    pub max_waiting: usize,
    /// Most choices (`n`, times the prompts of a completion) of one request.
    pub max_choices: u32,
    /// A connection that has not sent a whole head by then is closed; idle ones too.
    pub header_timeout: Duration,
    /// A body that has not arrived by then is refused with 408.
    pub body_timeout: Duration,
    /// A client that takes nothing of what is sent to it for so long is cut off: it would hold
    /// its place among the running answers for ever.
    pub write_timeout: Duration,
    /// How long a stream waits for its first event before it answers 200: what fails by then
    /// still gets a fitting status (no such model, a prompt too long, no place).
    pub stream_grace: Duration,
    /// Silence after which a stream gets a comment.
    pub keep_alive: Duration,
    /// What running requests get to finish after the shutdown began.
    pub drain_timeout: Duration,
}

impl Default for WebConfig {
    /// Loopback, port 9337, no key.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9337)),
            api_key: None,
            allow_no_key: false,
            cors_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            max_body_bytes: 32 << 20,
            max_body_memory_bytes: 64 << 20,
            max_header_bytes: 32 << 10,
            max_connections: 1024,
            max_running: 256,
            max_waiting: 256,
            max_choices: 128,
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            stream_grace: Duration::from_secs(5),
            keep_alive: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl WebConfig {
    /// Whether only this machine can reach the server.
    pub(crate) fn is_loopback(&self) -> bool {
        self.listen.ip().to_canonical().is_loopback()
    }

    /// Checks what a server can be started with.
    pub(crate) fn check(&self) -> Result<(), BindError> {
        if !self.is_loopback() && self.api_key.is_none() && !self.allow_no_key {
            return Err(BindError::KeyNeeded {
                address: self.listen,
            });
        }
        if let Some(origin) = self.cors_origins.iter().find(|o| !is_origin(o)) {
            return Err(BindError::BadOrigin {
                origin: origin.clone(),
            });
        }
        Ok(())
    }
}

/// `scheme://host[:port]`, printable, without a path; `*` is refused: name the origins.
fn is_origin(text: &str) -> bool {
    let visible = text.bytes().all(|b| b.is_ascii_graphic());
    text.split_once("://")
        .is_some_and(|(scheme, host)| visible && !scheme.is_empty() && is_authority(host))
}

fn is_authority(host: &str) -> bool {
    !host.is_empty() && !host.contains(['/', '*', '?', '#', '@'])
}

/// Why the server could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address is not loopback, there is no key, and nobody said that none is wanted.
    #[error(
        "{address} can be reached from other machines: set an API key, or say that none is wanted"
    )]
    KeyNeeded {
        /// The address asked for.
        address: SocketAddr,
    },
    /// An allowed origin is not of the form `scheme://host[:port]`.
    #[error("`{origin}` is no origin; write it as scheme://host or scheme://host:port")]
    BadOrigin {
        /// What was configured.
        origin: String,
    },
    /// The address is taken, not of this machine, or not permitted.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> WebConfig {
        WebConfig {
            listen: address.parse().unwrap(),
            ..WebConfig::default()
        }
    }

    #[test]
    fn an_open_address_needs_a_key_or_the_flag() {
        assert!(at("127.0.0.1:0").check().is_ok());
        assert!(at("[::1]:0").check().is_ok());
        assert!(at("127.8.0.1:0").check().is_ok());
        for open in ["0.0.0.0:0", "[::]:0", "192.0.2.7:80"] {
            let mut config = at(open);
            assert!(matches!(config.check(), Err(BindError::KeyNeeded { .. })));
            config.allow_no_key = true;
            assert!(config.check().is_ok());
            config.allow_no_key = false;
            config.api_key = ApiKey::new("secret");
            assert!(config.check().is_ok());
        }
    }

    #[test]
    fn an_empty_key_is_no_key() {
        assert!(ApiKey::new("").is_none());
        assert!(ApiKey::new("  ").is_none());
        let key = ApiKey::new("k").unwrap();
        assert!(key.matches(b"k") && !key.matches(b"") && !key.matches(b"kk"));
        assert_eq!(format!("{key:?}"), "ApiKey(hidden)");
    }

    #[test]
    fn origins_are_checked() {
        let mut config = at("127.0.0.1:0");
        for bad in ["*", "app.example", "https://", "https://a/b", "https://*.a"] {
            config.cors_origins = vec![bad.to_owned()];
            assert!(matches!(config.check(), Err(BindError::BadOrigin { .. })));
        }
        config.cors_origins = vec!["https://app.example:8443".to_owned()];
        assert!(config.check().is_ok());
    }
}
