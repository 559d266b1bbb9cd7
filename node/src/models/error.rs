//! Why the store refuses: one type for each operation, in words that say what to do.

use std::io;
use std::path::PathBuf;

use llama_sys::gguf::ModelError;

use super::core::choose::ChooseError;
use super::core::name::NameError;
use super::core::room::Shortage;
use super::download::DownloadError;
use super::hub::HubError;
use super::registry::RegistryError;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder cannot be made or read.
    #[error("the model store in {} cannot be used: {cause}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The table cannot be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The HTTP client cannot be made.
    #[error(transparent)]
    Hub(#[from] HubError),
}

/// Why a model cannot be fetched or taken in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The name means nothing.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No catalog entry, and no other meaning.
    #[error(
        "no model `{0}` in the catalog (`shoal models` lists it); write org/repo:quant, a URL, or ./FILE.gguf"
    )]
    Unknown(String),
    /// The node was started with `--offline`.
    #[error("the node is offline: only files of this machine can be added")]
    Offline,
    /// More pulls at once than [`super::MAX_PULLS`].
    #[error("too many pulls are under way; wait for one to end")]
    TooMany,
    /// The hub did not say what there is.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The repository has not what was asked for.
    #[error(transparent)]
    Choose(#[from] ChooseError),
    /// Not enough room.
    #[error("no room: {shortage}; {}", advice(remove, *evict))]
    NoRoom {
        /// What is missing.
        shortage: Shortage,
        /// What would make room.
        remove: Vec<String>,
        /// Whether removing by itself was allowed, and did not suffice.
        evict: bool,
    },
    /// Another process has the staging folder.
    #[error("`{0}` is being pulled by another process")]
    Busy(String),
    /// The bytes could not be fetched or written.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// What was fetched or pointed at is no model.
    #[error("{what} is no model that can be loaded: {}", causes(cause))]
    NotAModel {
        /// A name or a path.
        what: String,
        /// Why.
        cause: Box<ModelError>,
    },
    /// A file of this machine cannot be read.
    #[error("{}: {cause}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The table cannot be written.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The task that fetched it ended without a word.
    #[error("the download was ended")]
    Ended,
    /// Another pull of the same model failed.
    #[error("{0}")]
    Shared(String),
}

/// Why a name means no model that can be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// It means none.
    #[error("no model `{0}` here")]
    NotFound(String),
    /// It means several.
    #[error("`{name}` means several models; write one of: {}", models.join(", "))]
    Ambiguous {
        /// The name.
        name: String,
        /// The models.
        models: Vec<String>,
    },
    /// Its files are gone or no longer a model.
    #[error(
        "the files of `{name}` cannot be used: {}; remove the model and pull it again",
        causes(cause)
    )]
    Broken {
        /// The model.
        name: String,
        /// Why.
        cause: Box<ModelError>,
    },
}

/// Why a model cannot be removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// The name means none or several.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Somebody holds it.
    #[error("`{0}` is in use; unload it first")]
    InUse(String),
    /// It is being pulled.
    #[error("`{0}` is being pulled; stop the pull first")]
    BeingPulled(String),
    /// The folder cannot be changed.
    #[error("the store cannot be written: {0}")]
    Io(#[from] io::Error),
    /// The table cannot be written.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// An error with its sources, in one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

fn advice(remove: &[String], evict: bool) -> String {
    match (remove, evict) {
        ([], false) => {
            "nothing in the store could make it: free the disk or raise the budget".into()
        }
        (_, true) => "even without the models that nobody uses".into(),
        (names, false) => format!("`shoal rm {}` would make it", names.join(" ")),
    }
}
