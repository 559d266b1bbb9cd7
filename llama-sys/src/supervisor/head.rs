//! The head of a chain in a worker process: a [`WorkerEngine`] like any other, and beside it the
//! way to and from its ring. It does not carry payloads.

use std::ffi::OsString;
use std::path::PathBuf;

use tokio::sync::mpsc;

use super::{Assignment, Command, Launch, Order, WORKER_COMMAND, WorkerEngine};
use crate::core::restart::RestartPolicy;
use crate::stage::{FromHead, HeadConfig, MAX_IN_FLIGHT, ToHead};

/// What head of a chain is wanted.
#[derive(Debug, Clone)]
pub struct HeadWorkerConfig {
    /// The program; [`std::env::current_exe`] as a rule.
    pub program: PathBuf,
    /// Its arguments: `["worker"]`.
    pub args: Vec<OsString>,
    /// The model's name, for logs.
    pub name: String,
    /// How the head is loaded.
    pub head: HeadConfig,
    /// How patient the supervisor is.
    pub restart: RestartPolicy,
}

impl HeadWorkerConfig {
    /// This program's worker command for a head, with the default patience.
    pub fn new(program: impl Into<PathBuf>, name: impl Into<String>, head: HeadConfig) -> Self {
        Self {
            program: program.into(),
            args: vec![WORKER_COMMAND.into()],
            name: name.into(),
            head,
            restart: RestartPolicy::default(),
        }
    }
}

/// Messages of a head that wait to be carried: what it sends before it hears of any, twice, for
/// those of a ring that was just lost.
pub(super) const RING_CHANNEL: usize = 2 * (MAX_IN_FLIGHT + 1);

/// The ring of a head, from the side that carries payloads.
#[derive(Debug)]
pub struct RingPort {
    commands: mpsc::Sender<Command>,
    said: mpsc::Receiver<FromHead>,
}

impl RingPort {
    /// What the head says next; `None` once its supervisor has ended. When the head's process is
    /// started again, its ring is [`FromHead::Broken`], and it is to be told of another.
    pub async fn next(&mut self) -> Option<FromHead> {
        self.said.recv().await
    }

    /// A way to tell the head.
    #[must_use]
    pub fn teller(&self) -> RingTeller {
        RingTeller(self.commands.clone())
    }
}

/// Tells a head of its ring.
#[derive(Debug, Clone)]
pub struct RingTeller(mpsc::Sender<Command>);

impl RingTeller {
    /// Tells it. Lost if the head's process is not there; its engine's state says so.
    pub async fn tell(&self, event: ToHead) {
        let _ = self.0.send(Command::ToHead(event)).await;
    }
}

impl WorkerEngine {
    /// As [`WorkerEngine::spawn`], for the head of a chain, with its ring.
    pub fn spawn_head(config: HeadWorkerConfig) -> (Self, RingPort) {
        let launch = Launch {
            program: config.program,
            args: config.args,
            name: config.name,
        };
        let order = Order {
            launch,
            load: Assignment::Head(config.head),
            restart: config.restart,
        };
        let (engine, said) = Self::start(order);
        let commands = engine.shared.commands.clone();
        (engine, RingPort { commands, said })
    }
}
