//! How a command ends: exit codes and the errors behind them. The list of codes is part of
//! `shoal --help`.

use std::io;
use std::process::ExitCode;

use bootstrap::memberships::SwarmError;

use crate::api_client::ClientError;
use crate::config::ConfigError;
use crate::data_dir::DataDirError;
use crate::identity::IdentityError;
use crate::shelf::ShelfError;
use crate::store::StoreError;
use crate::up::UpError;

/// A process's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed; the reason was printed.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// No node answers there.
    NoNode = 3,
    /// No such model, or no such note.
    NoModel = 4,
    /// Another node uses this data directory.
    DataDirInUse = 5,
    /// Stopped before every running answer was finished.
    CutShort = 6,
    /// Interrupted by the user.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed. Each is one line: what happened and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The node does not start.
    #[error(transparent)]
    Up(#[from] UpError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The state cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The model store cannot be opened.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// The node's key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The private swarm.
    #[error(transparent)]
    Swarm(#[from] SwarmError),
    /// A command's argument is wrong.
    #[error("{0}")]
    Argument(String),
    /// The node did not do it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Standard output is gone.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
    /// Standard input cannot be read.
    #[error("cannot read the prompt: {0}")]
    Input(String),
    /// There is nothing to ask.
    #[error("the prompt is empty: give one after the model's name, or write it to stdin")]
    NoPrompt,
    /// A note has no text.
    #[error("the note is empty: give its text after the board's name, or write it to stdin")]
    NoText,
    /// A note's text cannot be read.
    #[error("cannot read the note's text: {0}")]
    Text(String),
    /// The node ended a watch.
    #[error("the watch has ended: watch again, and read what came meanwhile with a search")]
    WatchEnded,
    /// An agent on stdio.
    #[error("{0}")]
    Mcp(String),
    /// A download failed; the node's words.
    #[error("{0}")]
    Pull(String),
    /// The devices could not be measured.
    #[error("no figures: {0}")]
    Bench(String),
    /// A mixture's experts could not be measured or parted.
    #[error("{0}")]
    Experts(String),
    /// There is no such model.
    #[error("{0}")]
    NoModel(String),
    /// The system gives no runtime.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    /// This build leaves the command out.
    #[error("this build of shoal runs no models itself; build it with default features")]
    NotBuilt,
}

impl CliError {
    /// The exit code that stands for it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::NoPrompt | Self::NoText | Self::Argument(_) => Exit::Usage,
            Self::Swarm(error) | Self::Up(UpError::Swarm(error)) if error.is_usage() => Exit::Usage,
            Self::Client(error) if error.is_no_node() => Exit::NoNode,
            Self::Client(error) if error.is_not_found() => Exit::NoModel,
            Self::NoModel(_) => Exit::NoModel,
            Self::DataDir(DataDirError::InUse { .. })
            | Self::Up(UpError::DataDir(DataDirError::InUse { .. })) => Exit::DataDirInUse,
            Self::Up(UpError::Pin(error)) if error.is_absent() => Exit::NoModel,
            Self::Output(_) if self.is_silent() => Exit::Done,
            _ => Exit::Failed,
        }
    }

    /// Whether there is nobody to tell (the reader of a pipe went away).
    pub fn is_silent(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
