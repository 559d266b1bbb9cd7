//! The hub over HTTP: listings of repositories and ranged GETs of files, with redirects followed
//! here so that the token never leaves the hub's own origin. It keeps no state, decides nothing
//! about what it reads, and believes no length.

use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, IF_RANGE, LINK, RANGE};
use reqwest::{Client, Response, Url};
use tokio::time::{sleep, timeout};

use super::core::digest::Sha256;
use super::core::listing::{self, ListingError, RepoFile};
use super::core::name::RepoId;
use super::core::path::RepoPath;
use super::core::transfer::{Head, Trouble};
use super::fetch::{Answer, Ask, Fetch};

mod config;
mod http;

pub use self::config::{BadToken, DEFAULT_ENDPOINT, HubConfig, HubToken};

/// The revision that names without one mean.
const REVISION: &str = "main";
/// Redirects in a row: the hub needs two (a renamed repository, then its storage).
const MAX_REDIRECTS: usize = 6;
/// Largest listing that is read, bytes: 20 000 files with their digests.
const MAX_LISTING: usize = 16 << 20;
/// Pages of one listing.
const MAX_PAGES: usize = 40;
/// A listing is small: it has this long in all, so that one that never ends does.
const LISTING_TIME: Duration = Duration::from_secs(60);

/// Why the hub could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The client itself could not be made.
    #[error("no HTTP client: {0}")]
    Client(String),
    /// The hub could not be reached or answered nonsense.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// The listing is none.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// 404 or 401, which the hub also gives for what does not exist.
    #[error("there is no repository `{0}`, or it is private and needs a token (HF_TOKEN)")]
    NoRepository(RepoId),
    /// More than 16 MiB, 40 pages or a minute.
    #[error("the hub's listing of the repository does not end")]
    Endless,
    /// The server says neither size nor range.
    #[error(
        "the server does not say how large the file is; download it by other means and pull it by its path"
    )]
    NoSize,
}

/// A repository's files at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The commit, or the revision where the hub named none.
    pub commit: String,
    /// The files.
    pub files: Vec<RepoFile>,
}

/// What is known of a file before it is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Its size, bytes.
    pub size: u64,
    /// Its digest, where the answer names one.
    pub sha256: Option<Sha256>,
    /// Its strong entity tag.
    pub etag: Option<String>,
}

/// The hub's client.
#[derive(Debug, Clone)]
pub struct Hub {
    client: Client,
    config: HubConfig,
}

impl Hub {
    /// A client that has not connected yet.
    ///
    /// # Errors
    /// [`HubError::Client`].
    pub fn new(config: HubConfig) -> Result<Self, HubError> {
        let client =
            http::client(&config).map_err(|error| HubError::Client(http::describe(&error)))?;
        Ok(Self { client, config })
    }

    /// The files of a repository's main branch, all of one commit.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn files(&self, repo: &RepoId) -> Result<Listing, HubError> {
        timeout(LISTING_TIME, self.list(repo))
            .await
            .map_err(|_| HubError::Endless)?
    }

    async fn list(&self, repo: &RepoId) -> Result<Listing, HubError> {
        let mut url = self.api(repo, &["revision", REVISION]);
        url.set_query(Some("blobs=true"));
        let (commit, files) = match self.page(url).await {
            Ok((body, _)) => {
                let revision = listing::read_revision(&body)?;
                (revision.commit, revision.files)
            }
            // Some mirrors have only the tree.
            Err(HubError::Trouble(Trouble::Missing(_))) => (REVISION.to_owned(), Vec::new()),
            Err(error) => return Err(refusal(error, repo)),
        };
        if !files.is_empty() {
            return Ok(Listing { commit, files });
        }
        let files = self
            .tree(repo, &commit)
            .await
            .map_err(|error| refusal(error, repo))?;
        Ok(Listing { commit, files })
    }

    async fn tree(&self, repo: &RepoId, revision: &str) -> Result<Vec<RepoFile>, HubError> {
        let mut url = self.api(repo, &["tree", revision]);
        url.set_query(Some("recursive=true"));
        let mut files = Vec::new();
        for _ in 0..MAX_PAGES {
            let (body, next) = self.page(url.clone()).await?;
            listing::read_tree(&body, &mut files)?;
            match next.and_then(|next| url.join(&next).ok()) {
                // A listing that sends us elsewhere is none of the hub's.
                Some(next) if next.origin() == url.origin() => url = next,
                _ => return Ok(files),
            }
        }
        Err(HubError::Endless)
    }

    /// One page of JSON and the address of the next.
    async fn page(&self, url: Url) -> Result<(Vec<u8>, Option<String>), HubError> {
        let mut failures = 0;
        loop {
            let (response, _) = self.ask_patiently(&url, &HeaderMap::new()).await?;
            let link = response
                .headers()
                .get(LINK)
                .and_then(|link| link.to_str().ok());
            let next = link.and_then(listing::next_page).map(str::to_owned);
            let trouble = match self.small_body(response).await? {
                Ok(body) => return Ok((body, next)),
                Err(trouble) => trouble,
            };
            failures += 1;
            self.wait(failures, None, trouble).await?;
        }
    }

    /// GETs until the answer is 200 or 206; failures that may pass are repeated.
    async fn ask_patiently(
        &self,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<(Response, Option<Sha256>), HubError> {
        let mut failures = 0;
        loop {
            let (trouble, wish) = match self.follow(url, headers).await {
                Ok((response, linked)) => match response.status().as_u16() {
                    200 | 206 => return Ok((response, linked)),
                    status => {
                        let trouble = Trouble::of_status(status);
                        (trouble, http::head_of(&response, None).retry_after)
                    }
                },
                Err(trouble) => (trouble, None),
            };
            if !trouble.may_pass() {
                return Err(trouble.into());
            }
            failures += 1;
            self.wait(failures, wish, trouble).await?;
        }
    }

    async fn wait(
        &self,
        failures: u32,
        wish: Option<Duration>,
        trouble: Trouble,
    ) -> Result<(), HubError> {
        let wait = self.config.patience.wait(failures, wish, jitter());
        sleep(wait.ok_or(trouble)?).await;
        Ok(())
    }

    async fn small_body(
        &self,
        mut response: Response,
    ) -> Result<Result<Vec<u8>, Trouble>, HubError> {
        let mut body = Vec::new();
        loop {
            let chunk = match timeout(self.config.stall, response.chunk()).await {
                Err(_) => return Ok(Err(Trouble::Stalled(self.config.stall))),
                Ok(Err(error)) => return Ok(Err(http::trouble(&error))),
                Ok(Ok(None)) => return Ok(Ok(body)),
                Ok(Ok(Some(chunk))) => chunk,
            };
            if body.len() + chunk.len() > MAX_LISTING {
                return Err(HubError::Endless);
            }
            body.extend_from_slice(&chunk);
        }
    }

    fn api(&self, repo: &RepoId, rest: &[&str]) -> Url {
        let (org, name) = repo.halves();
        self.below(&["api", "models", org, name], rest)
    }

    /// Where a repository's file lies.
    #[must_use]
    pub fn file_url(&self, repo: &RepoId, commit: &str, path: &RepoPath) -> Url {
        let (org, name) = repo.halves();
        let rest: Vec<_> = path.as_str().split('/').collect();
        self.below(&[org, name, "resolve", commit], &rest)
    }

    fn below(&self, first: &[&str], rest: &[&str]) -> Url {
        let mut url = self.config.endpoint.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(first).extend(rest);
        }
        url
    }

    /// Asks a file's size, digest and tag, with the first byte as a pretext: storage behind
    /// signed addresses refuses `HEAD`.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn probe(&self, url: &Url) -> Result<Probe, HubError> {
        let range = HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=0-0"))]);
        let (response, linked) = self.ask_patiently(url, &range).await?;
        probe_of(http::head_of(&response, linked))
    }

    /// GETs, following redirects. The token goes to the hub's origin only; nothing is followed
    /// from `https` to `http`, nor to another scheme.
    async fn follow(
        &self,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<(Response, Option<Sha256>), Trouble> {
        let mut url = url.clone();
        let mut linked = None;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.get(&url, headers).await?;
            if !http::is_redirect(response.status()) {
                return Ok((response, linked));
            }
            linked = linked.or_else(|| http::linked_sha256(response.headers()));
            url = http::redirect_target(&url, &response)?;
        }
        Err(Trouble::Connection("too many redirects".into()))
    }

    async fn get(&self, url: &Url, headers: &HeaderMap) -> Result<Response, Trouble> {
        let mut request = self.client.get(url.clone()).headers(headers.clone());
        if let Some(token) = &self.config.token
            && url.origin() == self.config.endpoint.origin()
        {
            request = request.header(AUTHORIZATION, token.0.clone());
        }
        let sent = timeout(self.config.stall, request.send()).await;
        let sent = sent.map_err(|_| Trouble::Stalled(self.config.stall))?;
        sent.map_err(|error| http::trouble(&error))
    }
}

#[async_trait]
impl Fetch for Hub {
    async fn open(&self, ask: &Ask) -> Result<Answer, Trouble> {
        let mut headers = HeaderMap::new();
        if ask.from > 0 || ask.until.is_some() {
            let last = ask.until.map(|until| until.saturating_sub(1).to_string());
            let range = format!("bytes={}-{}", ask.from, last.unwrap_or_default());
            headers.insert(
                RANGE,
                HeaderValue::from_str(&range).expect("digits and signs"),
            );
        }
        if let Some(tag) = ask
            .if_range
            .as_deref()
            .and_then(|tag| HeaderValue::from_str(tag).ok())
        {
            headers.insert(IF_RANGE, tag);
        }
        let (response, linked) = self.follow(&ask.url, &headers).await?;
        let head = http::head_of(&response, linked);
        let body = response
            .bytes_stream()
            .map(|chunk| chunk.map_err(|error| http::trouble(&error)));
        Ok(Answer {
            head,
            body: body.boxed(),
        })
    }

    fn stall(&self) -> Duration {
        self.config.stall
    }
}

fn refusal(error: HubError, repo: &RepoId) -> HubError {
    match error {
        HubError::Trouble(Trouble::Missing(_) | Trouble::Denied(_)) => {
            HubError::NoRepository(repo.clone())
        }
        other => other,
    }
}

fn probe_of(head: Head) -> Result<Probe, HubError> {
    let size = match head.status {
        206 => head.content_range.and_then(|range| range.total),
        _ => head.content_length,
    };
    let size = size.filter(|&size| size <= listing::MAX_FILE_BYTES);
    Ok(Probe {
        size: size.ok_or(HubError::NoSize)?,
        sha256: head.linked_sha256,
        etag: head.etag,
    })
}

/// A number in 0..=1 that spreads the retries of many clients; without randomness, the middle.
pub(super) fn jitter() -> f64 {
    getrandom::u32().map_or(0.5, |bits| f64::from(bits) / f64::from(u32::MAX))
}
