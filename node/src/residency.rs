//! The loaded models: a task that owns the decisions of [`crate::core::residency`] and the
//! engines behind them. It starts engines through [`Loader`] and knows neither files nor
//! llama.cpp.
//!
//! Whoever wants a model holds a [`Lease`]: while it is out the model is not evicted.

mod actor;
mod lease;
mod life;
mod view;

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use llama_sys::engine::Engine;
use llama_sys::gguf::ModelFacts;
use protocol::ModelName;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use web::manage::LoadedModel;

pub use self::lease::Lease;
use self::lease::{Note, Notes};
pub use self::view::{Seen, View};
use crate::core::ranking::Level;
pub use crate::core::residency::Version;
use crate::core::residency::{Policy, Refusal, Ticket};
use crate::speeds::Speeds;

/// Commands that wait for the task at most: beyond it whoever asks waits to ask.
const COMMANDS: usize = 256;

/// What is known of a model before it is loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Examined {
    /// Its full name, whatever it was asked for by.
    pub name: ModelName,
    /// Memory that it will take, bytes.
    pub need_bytes: u64,
    /// What its header says.
    pub facts: Arc<ModelFacts>,
    /// Who may see the text of its requests: peers too where it runs as a chain over them, since
    /// hidden states tell it.
    pub seen_by: Level,
    /// The files that its name means now.
    pub version: Version,
}

/// Why a model is not even tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExamineError {
    /// There is no such model here.
    #[error("no model `{0}` here")]
    NotFound(ModelName),
    /// Its files are broken or of a kind that no engine knows.
    #[error("the files of `{model}` cannot be used: {cause}")]
    Unusable {
        /// The model.
        model: ModelName,
        /// What is wrong.
        cause: String,
    },
    /// The name means several models.
    #[error("{0}")]
    Ambiguous(String),
    /// This node loads no models.
    #[error("this node loads no models: {0}")]
    NoEngine(&'static str),
}

/// An engine that starts, and what must stay while it runs.
pub struct Starting {
    /// The engine; its state says when it is ready.
    pub engine: Arc<dyn Engine>,
    /// Dropped when the engine has ended: keeps the model's files from being removed.
    pub held: Box<dyn Any + Send>,
}

/// Makes engines. The node's own starts worker processes; tests' make fakes.
#[async_trait]
pub trait Loader: Send + Sync + 'static {
    /// What a model is and takes. Called for every request: quick for a model seen before.
    ///
    /// # Errors
    /// See [`ExamineError`].
    async fn examine(&self, model: &ModelName) -> Result<Examined, ExamineError>;

    /// Starts an engine.
    ///
    /// # Errors
    /// Why it cannot even start, in one line.
    async fn start(&self, model: &Examined) -> Result<Starting, String>;
}

/// Why a request gets no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// It cannot be tried.
    #[error(transparent)]
    Examine(#[from] ExamineError),
    /// It is not to be had now.
    #[error("the model `{model}` {refusal}")]
    Refused {
        /// The model.
        model: ModelName,
        /// Why.
        refusal: Refusal,
    },
}

impl AcquireError {
    /// After how long a retry is worth it; `None`: the same request will fail again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { refusal, .. } => match refusal {
                Refusal::LoadFailed { retry_after, .. } => Some(*retry_after),
                Refusal::NoRoom | Refusal::StillLoading => Some(Duration::from_secs(10)),
                Refusal::Overloaded | Refusal::Unloaded => Some(Duration::from_secs(1)),
                Refusal::Stopping => Some(Duration::from_secs(5)),
                _ => None,
            },
            Self::Examine(_) => None,
        }
    }
}

/// How the residency is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What stays loaded.
    pub policy: Policy,
    /// Models that stay once they are loaded.
    pub pinned: Vec<ModelName>,
    /// What a model's running answers get to finish when it is unloaded.
    pub drain: Duration,
}

/// For whom a model is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patron {
    /// The node's own user.
    Owner,
    /// Another peer's request.
    Guest,
    /// The swarm, by the placement.
    Swarm,
}

enum Command {
    Acquire {
        ticket: Ticket,
        examined: Examined,
        patron: Patron,
        reply: oneshot::Sender<Result<Lease, Refusal>>,
    },
    Unload {
        model: ModelName,
        done: oneshot::Sender<()>,
    },
    Pin(ModelName),
    Keep(BTreeSet<ModelName>),
    Lent(u64),
    Loaded(oneshot::Sender<Vec<LoadedModel>>),
}

/// A handle to the loaded models. Clones share them.
#[derive(Clone)]
pub struct Residency {
    commands: mpsc::Sender<Command>,
    notes: Notes,
    loader: Arc<dyn Loader>,
    view: watch::Receiver<View>,
}

impl Residency {
    /// The handle, and the task that runs until `stop` is cancelled and every model is gone.
    pub fn new(
        setup: Setup,
        loader: Arc<dyn Loader>,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (commands, received) = mpsc::channel(COMMANDS);
        let (notes, noted) = lease::notes();
        let (shown, view) = watch::channel(View {
            pinned: setup.pinned.iter().cloned().collect(),
            ..View::default()
        });
        let outside = actor::Outside {
            loader: Arc::clone(&loader),
            notes: notes.clone(),
            shown,
        };
        let actor = actor::Actor::new(setup, outside, stop);
        let handle = Self {
            commands,
            notes,
            loader,
            view,
        };
        (handle, actor.run(received, noted))
    }

    /// A lease on the model, loaded if need be. Dropping the future gives up the wait.
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub async fn acquire(&self, model: &ModelName) -> Result<Lease, AcquireError> {
        self.acquire_as(model, Patron::Owner).await
    }

    /// The same for another peer's request: it evicts nothing, and an absent model is loaded only
    /// into free memory, and not often.
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub async fn acquire_for_guest(&self, model: &ModelName) -> Result<Lease, AcquireError> {
        self.acquire_as(model, Patron::Guest).await
    }

    /// The same for the swarm, by the placement: without a gap to guests' loads.
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub async fn acquire_for_swarm(&self, model: &ModelName) -> Result<Lease, AcquireError> {
        self.acquire_as(model, Patron::Swarm).await
    }

    async fn acquire_as(&self, model: &ModelName, patron: Patron) -> Result<Lease, AcquireError> {
        let examined = self.loader.examine(model).await?;
        let name = examined.name.clone();
        let refused = |refusal| AcquireError::Refused {
            model: name.clone(),
            refusal,
        };
        let (reply, answer) = oneshot::channel();
        let wait = self.notes.ticket();
        let command = Command::Acquire {
            ticket: wait.ticket(),
            examined,
            patron,
            reply,
        };
        let sent = self.commands.send(command).await;
        sent.map_err(|_| refused(Refusal::Stopping))?;
        let answer = answer.await.unwrap_or(Err(Refusal::Stopping));
        wait.answered();
        answer.map_err(refused)
    }

    /// Keeps the model from its next use on, as if it had been pinned from the start.
    pub async fn pin(&self, model: &ModelName) {
        // Without the task no model is kept anyway.
        let _ = self.commands.send(Command::Pin(model.clone())).await;
    }

    /// These models are not let go for age from now on, and for room only after all others.
    pub async fn keep(&self, models: BTreeSet<ModelName>) {
        // Without the task nothing is let go anyway.
        let _ = self.commands.send(Command::Keep(models)).await;
    }

    /// Stages for other peers' chains take so many bytes of the same memory from now on.
    pub async fn set_lent(&self, bytes: u64) {
        // Without the task nothing is loaded anyway.
        let _ = self.commands.send(Command::Lent(bytes)).await;
    }

    /// Drains and unloads a model, and returns when its memory is free. Nothing to do if it is
    /// not loaded.
    pub async fn unload(&self, model: &ModelName) {
        let model = model.clone();
        let (done, gone) = oneshot::channel();
        if self
            .commands
            .send(Command::Unload { model, done })
            .await
            .is_ok()
        {
            // A closed channel means that the task ended, and with it every model.
            let _ = gone.await;
        }
    }

    /// The models that take memory, by name.
    pub async fn loaded(&self) -> Vec<LoadedModel> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Loaded(reply)).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// The loaded models and how they are used, always the newest.
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// How fast the models answer.
    pub fn speeds(&self) -> &Speeds {
        self.notes.speeds()
    }

    /// What a model is, loaded or not.
    ///
    /// # Errors
    /// See [`ExamineError`].
    pub async fn examine(&self, model: &ModelName) -> Result<Examined, ExamineError> {
        self.loader.examine(model).await
    }
}

impl std::fmt::Debug for Residency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Residency").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
