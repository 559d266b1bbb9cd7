//! What a person may write where a model is wanted, parsed strictly into what it means. It
//! looks nothing up: whether the repository, entry or file exists is for others to find out.

use std::fmt;
use std::path::PathBuf;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::path::{RepoPath, UnsafePath, has_gguf_extension, is_plain_file_name};

/// Longest name, bytes: a URL or a path of that length is no typing mistake any more.
pub const MAX_NAME: usize = 2048;
/// Longest half of `org/repo`, bytes: the hub's own limit.
pub const MAX_REPO_HALF: usize = 96;
/// Longest name without a slash, bytes.
pub const MAX_SHORT_NAME: usize = 200;

/// A repository on the hub, `org/repo`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoId(String);

/// What is wanted of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// A quantization (`Q4_K_M`), in any case.
    Quant(String),
    /// A file, by its path or by its name alone.
    File(RepoPath),
}

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelRef {
    /// `org/repo`, `org/repo:quant`, `org/repo:file.gguf`.
    Hub {
        /// The repository.
        repo: RepoId,
        /// What of it; `None`: the best default.
        select: Option<Selector>,
    },
    /// A name without a slash: an entry of the catalog (or of the local table).
    Short(String),
    /// An `http` or `https` address of one `.gguf` file.
    Url(Url),
    /// A file of this machine, used in place.
    Path(PathBuf),
}

/// Why a name means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing was written.
    #[error("the name is empty")]
    Empty,
    /// More than [`MAX_NAME`] bytes.
    #[error("the name is longer than {MAX_NAME} bytes")]
    TooLong,
    /// Line breaks, NUL and the like.
    #[error("the name has control characters")]
    Control,
    /// Not `org/repo`, or signs that the hub does not allow there.
    #[error("`{0}` is not a repository: write org/repo, letters, digits, `.`, `_` and `-`")]
    Repo(String),
    /// After the colon stands neither a quantization nor a plain `.gguf` path.
    #[error("`{0}` is neither a quantization (Q4_K_M) nor a .gguf file of the repository")]
    Selector(String),
    /// A URL of another scheme.
    #[error("only http:// and https:// addresses can be fetched")]
    Scheme,
    /// Not a URL, or one with a name or password in it, which logs would repeat.
    #[error("not a usable address (no user name or password may stand in it)")]
    Url,
    /// A URL of something else than a model file.
    #[error("the address must end in the name of a .gguf file")]
    UrlFile,
    /// A short name with signs that no catalog entry has.
    #[error("`{0}` is not a model name: org/repo:quant, a catalog name, a URL, or ./FILE.gguf")]
    Short(String),
}

impl RepoId {
    /// Checks `org/repo`.
    ///
    /// # Errors
    /// [`NameError::Repo`].
    pub fn new(text: &str) -> Result<Self, NameError> {
        let half = |half: &str| {
            half.len() <= MAX_REPO_HALF
                && is_plain_file_name(half)
                && half
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
                && !half.contains("..")
        };
        match text.split_once('/') {
            Some((org, repo)) if half(org) && half(repo) => Ok(Self(text.to_owned())),
            _ => Err(NameError::Repo(text.to_owned())),
        }
    }

    /// `org/repo`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The organisation and the repository.
    #[must_use]
    pub fn halves(&self) -> (&str, &str) {
        self.0.split_once('/').unwrap_or((&self.0, ""))
    }
}

impl TryFrom<String> for RepoId {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<RepoId> for String {
    fn from(repo: RepoId) -> Self {
        repo.0
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ModelRef {
    /// Reads a name. A text that begins with `/`, `./` or `../`, or ends in `.gguf` without a
    /// colon before it, is a path; one with `://` is a URL; one with a slash is a repository.
    ///
    /// # Errors
    /// [`NameError`], with what to write instead.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(NameError::Control);
        }
        if text.contains("://") {
            return parse_url(text).map(Self::Url);
        }
        if ["/", "./", "../"]
            .iter()
            .any(|start| text.starts_with(start))
            || (has_gguf_extension(text) && !text.contains(':'))
        {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        if text.contains('/') {
            return parse_hub(text);
        }
        parse_short(text)
    }
}

fn parse_hub(text: &str) -> Result<ModelRef, NameError> {
    let (repo, select) = match text.split_once(':') {
        Some((repo, select)) => (repo, Some(Selector::parse(select)?)),
        None => (text, None),
    };
    let repo = RepoId::new(repo)?;
    Ok(ModelRef::Hub { repo, select })
}

impl Selector {
    /// Reads what stands after the colon.
    ///
    /// # Errors
    /// [`NameError::Selector`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let refused = || NameError::Selector(text.to_owned());
        if has_gguf_extension(text) {
            let path = RepoPath::new(text).map_err(|UnsafePath| refused())?;
            return Ok(Self::File(path));
        }
        let plain = text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if text.is_empty() || text.len() > MAX_SHORT_NAME || !plain {
            return Err(refused());
        }
        Ok(Self::Quant(text.to_owned()))
    }
}

fn parse_url(text: &str) -> Result<Url, NameError> {
    let url = Url::parse(text).map_err(|_| NameError::Url)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(NameError::Scheme);
    }
    if url.host_str().is_none() || !url.username().is_empty() || url.password().is_some() {
        return Err(NameError::Url);
    }
    url_file_name(&url).ok_or(NameError::UrlFile)?;
    Ok(url)
}

/// The model file that a URL names; `None`: its path ends in something else.
#[must_use]
pub fn url_file_name(url: &Url) -> Option<RepoPath> {
    let last = url.path_segments()?.next_back()?;
    let path = RepoPath::new(last).ok()?;
    path.is_gguf().then_some(path)
}

fn parse_short(text: &str) -> Result<ModelRef, NameError> {
    let (base, tag) = text.split_once(':').unwrap_or((text, "_"));
    let half = |half: &str| {
        half.len() <= MAX_SHORT_NAME && is_plain_file_name(half) && !half.contains(' ')
    };
    if half(base) && half(tag) {
        Ok(ModelRef::Short(text.to_owned()))
    } else {
        Err(NameError::Short(text.to_owned()))
    }
}

#[cfg(test)]
mod tests;
