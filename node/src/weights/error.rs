//! What goes wrong with models' files.

use std::io;

use protocol::weights::{LayoutError, ManifestError};

use crate::core::fetch::{Failure, NoSuchRange};
use crate::store::StoreError;

/// Why there are no weights at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder cannot be used.
    #[error("the folder for parts of models cannot be used: {0}")]
    Folder(#[source] io::Error),
    /// The state cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a model has no manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// A file cannot be read.
    #[error("a file of the model cannot be read")]
    Read(#[source] io::Error),
    /// The manifest cannot be kept.
    #[error("the model's manifest cannot be written")]
    Keep(#[source] io::Error),
    /// A file changed while it was hashed.
    #[error("a file of the model changed while it was read; try again")]
    Changed,
    /// The files are no model's.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// What was found cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node is ending.
    #[error("the node is ending")]
    Ended,
}

/// Why a part of a model is not here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// It is being fetched already.
    #[error("this model is being fetched already")]
    UnderWay,
    /// Nobody gave the manifest.
    #[error("nobody who can be reached has this model's manifest")]
    NoManifest,
    /// A manifest that is kept here is damaged.
    #[error("the manifest that is kept here is damaged")]
    Manifest(#[source] ManifestError),
    /// What is wanted is not in the model.
    #[error(transparent)]
    Range(#[from] NoSuchRange),
    /// There is not as much room.
    #[error("{missing} bytes are missing and there is room for {room}")]
    NoRoom {
        /// What is to be fetched.
        missing: u64,
        /// What may be.
        room: u64,
    },
    /// The disk failed.
    #[error("the disk failed")]
    Disk(#[source] io::Error),
    /// Not enough came. What did stays here.
    #[error(transparent)]
    Failed(#[from] Failure),
}
