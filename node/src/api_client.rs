//! A client of a node's HTTP: the command line's way to the running node. It knows no command
//! and prints nothing.

mod boards;
mod chat;
mod events;
mod remote;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use web::manage::{
    DemandReport, DeviceStatus, LoadedModel, NodeStatus, PlacementReport, PlanReport, PullEvent,
    StoredModel, SwarmStatus,
};

pub use self::chat::{Chunk, Question, Turn};
pub use self::events::Events;
pub use self::remote::RemoteBoards;
use crate::config::{Effective, Origin, Secret};
use crate::data_dir::Layout;

/// Bytes of an answer that is read whole, at most: a list of ten thousand models.
const MAX_BODY_BYTES: usize = 16 << 20;

/// Why the node gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody says where a node is.
    #[error(
        "no node is running over {0}: start one with `shoal up`, or say where it is with --api"
    )]
    NoNode(String),
    /// Nobody answers there.
    #[error("no node answers at {url} ({cause}): start one with `shoal up`")]
    Unreachable {
        /// Where it was sought.
        url: String,
        /// What the system says.
        cause: String,
    },
    /// The node refused.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The error's stable code.
        code: Option<String>,
        /// The node's words.
        message: String,
    },
    /// The answer is none that a node gives.
    #[error("{url} does not answer like a shoal node: {cause}")]
    Strange {
        /// Who answered.
        url: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The connection broke in mid-answer.
    #[error("the connection to the node broke: {0}")]
    Broken(String),
}

impl ClientError {
    /// Whether there is no node.
    pub fn is_no_node(&self) -> bool {
        matches!(self, Self::NoNode(_) | Self::Unreachable { .. })
    }

    /// Whether the node has no such model, or no such note.
    pub fn is_not_found(&self) -> bool {
        let absent = ["model_not_found", "note_not_found"];
        matches!(self, Self::Refused { code: Some(code), .. } if absent.contains(&code.as_str()))
    }
}

/// A node, seen from outside.
#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    key: Option<Secret>,
    http: reqwest::Client,
}

impl Client {
    /// The node at `api` (`ADDR:PORT` or an http address), else at `SHOAL_API`, else the one that
    /// runs over the data directory.
    ///
    /// # Errors
    /// [`ClientError::NoNode`]: nobody says where one is.
    pub fn find(api: Option<&str>, effective: &Effective) -> Result<Self, ClientError> {
        let config = &effective.config;
        let from_environment = matches!(effective.origin("api"), Origin::Environment(_));
        let named = Some(config.api.addr).filter(|addr| from_environment && addr.port() != 0);
        let base = match api {
            Some(text) => base_of(text),
            None => {
                let running = || Layout::new(&config.data_dir).api_addr();
                let addr = named.or_else(running).map(reachable);
                let addr =
                    addr.ok_or_else(|| ClientError::NoNode(config.data_dir.display().to_string()))?;
                format!("http://{addr}")
            }
        };
        Ok(Self::at(base, config.api.key.clone()))
    }

    fn at(base: String, key: Option<Secret>) -> Self {
        // Without it no client with TLS can be made; a second call finds it there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || reqwest::Client::builder().no_proxy();
        // A machine without certificates still reaches nodes without TLS.
        let http = builder()
            .build()
            .or_else(|_| builder().tls_certs_only([]).build());
        Self {
            base,
            key,
            http: http.expect("a client without certificates or proxies reads no file"),
        }
    }

    /// `http://ADDR:PORT`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The node in one view.
    ///
    /// # Errors
    /// See [`ClientError`]; so for all that follow.
    pub async fn status(&self) -> Result<NodeStatus, ClientError> {
        self.json(self.request(Method::GET, "/api/status")).await
    }

    /// Models on disk.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stored(&self) -> Result<Vec<StoredModel>, ClientError> {
        self.json(self.request(Method::GET, "/api/models")).await
    }

    /// Models with a worker.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn loaded(&self) -> Result<Vec<LoadedModel>, ClientError> {
        self.json(self.request(Method::GET, "/api/loaded")).await
    }

    /// The swarm as the node sees it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn peers(&self) -> Result<SwarmStatus, ClientError> {
        self.json(self.request(Method::GET, "/api/peers")).await
    }

    /// How a model would be spread over peers.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn plan(&self, model: &str) -> Result<PlanReport, ClientError> {
        // What is safe in a path is safe in a query, too.
        let path = format!("/api/plan?model={}", escape(model));
        self.json(self.request(Method::GET, &path)).await
    }

    /// What the node takes on for the swarm, and why.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn placement(&self) -> Result<PlacementReport, ClientError> {
        self.json(self.request(Method::GET, "/api/placement")).await
    }

    /// Removes a model; answers the bytes freed.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn remove(&self, name: &str) -> Result<u64, ClientError> {
        #[derive(Deserialize)]
        struct Removed {
            freed_bytes: u64,
        }
        let path = format!("/api/models/{}", escape(name));
        let removed: Removed = self.json(self.request(Method::DELETE, &path)).await?;
        Ok(removed.freed_bytes)
    }

    /// Has the node read the files of its private swarm again, and spread what is new.
    ///
    /// # Errors
    /// See [`ClientError`]; a node that is in no swarm refuses.
    pub async fn reload_swarm(&self) -> Result<(), ClientError> {
        let request = self.request(Method::POST, "/api/swarm/reload");
        self.send(request).await.map(|_| ())
    }

    /// What the swarm asks for.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn demand(&self) -> Result<DemandReport, ClientError> {
        self.json(self.request(Method::GET, "/api/demand")).await
    }

    /// Measures the devices.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn bench(&self) -> Result<Vec<DeviceStatus>, ClientError> {
        self.json(self.request(Method::POST, "/api/bench")).await
    }

    /// Begins to fetch a model.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn pull(&self, name: &str) -> Result<Events<PullEvent>, ClientError> {
        let request = self
            .request(Method::POST, "/api/pull")
            .json(&json!({ "name": name }));
        Ok(Events::new(self.send(request).await?, self.base.clone()))
    }

    /// Asks a model; its answer streams.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn chat(&self, question: &Question) -> Result<Events<Chunk>, ClientError> {
        let request = self
            .request(Method::POST, "/v1/chat/completions")
            .json(&question.body());
        Ok(Events::new(self.send(request).await?, self.base.clone()))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.bearer_auth(key.reveal()),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request
            .send()
            .await
            .map_err(|error| ClientError::Unreachable {
                url: self.base.clone(),
                cause: innermost(&error),
            })?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status => Err(self.refusal(status, response).await),
        }
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let body = self.body(self.send(request).await?).await?;
        serde_json::from_slice(&body).map_err(|error| self.strange(error.to_string()))
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(broken)? {
            if body.len() + part.len() > MAX_BODY_BYTES {
                return Err(self.strange("its answer is too large".into()));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }

    async fn refusal(&self, status: StatusCode, response: Response) -> ClientError {
        let body = self.body(response).await.unwrap_or_default();
        let Ok(value) = serde_json::from_slice::<Value>(&body) else {
            return self.strange(format!("status {status}"));
        };
        let error = &value["error"];
        let text = |field: &str| error[field].as_str().map(str::to_owned);
        ClientError::Refused {
            status: status.as_u16(),
            code: text("code"),
            message: one_line(&text("message").unwrap_or_else(|| status.to_string())),
        }
    }

    fn strange(&self, cause: String) -> ClientError {
        let url = self.base.clone();
        ClientError::Strange { url, cause }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn broken(error: reqwest::Error) -> ClientError {
    ClientError::Broken(innermost(&error))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The words of the first cause: the outer ones only say that a request failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn base_of(text: &str) -> String {
    let text = text.trim_end_matches('/');
    match text.starts_with("http://") || text.starts_with("https://") {
        true => text.to_owned(),
        false => format!("http://{text}"),
    }
}

/// An address that listens everywhere is reached on loopback.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// Percent-encodes what a path segment must not hold; a model's slashes stay.
fn escape(name: &str) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte);
    name.bytes()
        .map(|byte| match safe(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_reachable_bases() {
        assert_eq!(base_of("127.0.0.1:1"), "http://127.0.0.1:1");
        assert_eq!(base_of("https://node.example/"), "https://node.example");
        let listening: SocketAddr = "0.0.0.0:9337".parse().unwrap();
        assert_eq!(reachable(listening).to_string(), "127.0.0.1:9337");
        let listening: SocketAddr = "[::]:9337".parse().unwrap();
        assert_eq!(reachable(listening).to_string(), "[::1]:9337");
    }

    #[test]
    fn names_are_escaped_for_paths() {
        assert_eq!(escape("org/repo:Q4_K_M"), "org/repo:Q4_K_M");
        assert_eq!(escape("a b?c#d%"), "a%20b%3Fc%23d%25");
    }
}
