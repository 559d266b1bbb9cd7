//! A model in a worker process, seen as an [`Engine`]: started, fed, watched, started again, and
//! ended with its owner. Answers survive the worker: a running one is continued on the next
//! worker from the tokens that were sent, and its client sees a pause.
//!
//! One task (`actor`) owns the worker and decides by two cores, [`crate::core::restart`] and
//! [`crate::core::suspects`]; one task a request (`relay`) carries its events and retries it.
//! It does not know what runs in the worker.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::core::restart::RestartPolicy;
use crate::engine::{Engine, EngineState, Event, Job, JobError, Load, Prompt};
use crate::stage::{FromHead, HeadConfig, ToHead};
use crate::worker::LoadOptions;
use crate::worker::ipc::{Ask, Reply, RequestId};

mod actor;
mod head;
mod life;
mod poison;
mod process;
mod relay;
mod slice;
mod stderr;
mod tally;

use head::RING_CHANNEL;
pub use head::{HeadWorkerConfig, RingPort, RingTeller};
pub(crate) use life::{Life, LifeEvent};
pub(crate) use process::Launch;
pub use slice::{Meter, SliceState, SliceWorker, SliceWorkerConfig};

/// Requests and credits on their way to the actor, which never waits for anybody.
const COMMAND_CHANNEL: usize = 256;

/// Requests beyond slots and queue: embeddings and tokenizing, which take no slot for long.
const SHORT_REQUESTS: u32 = 64;

/// Inputs of one embedding message, so that its vectors fit into a frame.
const EMBED_INPUTS: usize = 128;

/// The program's argument that makes it call [`crate::worker::run`].
pub const WORKER_COMMAND: &str = "worker";

/// What a worker that answers requests loads.
#[derive(Debug, Clone, PartialEq)]
enum Assignment {
    /// A whole model.
    Model(LoadOptions),
    /// The head of a chain.
    Head(HeadConfig),
}

impl Assignment {
    /// Sequences that may run at once.
    fn parallel(&self) -> u32 {
        match self {
            Self::Model(options) => options.parallel,
            Self::Head(config) => config.parallel,
        }
    }

    fn queue_limit(&mut self) -> &mut u32 {
        match self {
            Self::Model(options) => &mut options.queue_limit,
            Self::Head(config) => &mut config.queue_limit,
        }
    }
}

/// What an actor is made with.
struct Order {
    launch: Launch,
    load: Assignment,
    restart: RestartPolicy,
}

/// What worker is wanted.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The program; [`std::env::current_exe`] as a rule. On Linux `/proc/self/exe` stays the
    /// running program when its file is replaced.
    pub program: PathBuf,
    /// Its arguments: `["worker"]`.
    pub args: Vec<OsString>,
    /// The model's name, for logs.
    pub name: String,
    /// How the model is loaded.
    pub load: LoadOptions,
    /// How patient the supervisor is.
    pub restart: RestartPolicy,
}

impl WorkerConfig {
    /// This program's worker command for a model, with the default patience.
    pub fn new(program: impl Into<PathBuf>, name: impl Into<String>, load: LoadOptions) -> Self {
        Self {
            program: program.into(),
            args: vec![WORKER_COMMAND.into()],
            name: name.into(),
            load,
            restart: RestartPolicy::default(),
        }
    }
}

/// A model in a worker process. Dropping it kills the worker and fails what runs.
#[derive(Debug)]
pub struct WorkerEngine {
    shared: Arc<Shared>,
    /// The supervisor's task ends with it.
    _end: DropGuard,
}

/// What the handle, the actor and the relays share.
#[derive(Debug)]
struct Shared {
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<EngineState>,
    tally: Arc<tally::Tally>,
    /// Places for requests; one is held from arrival to end.
    places: Arc<Semaphore>,
    place_count: u32,
    next_id: AtomicU64,
    poison: Mutex<poison::Poison>,
}

/// What the actor is told.
#[derive(Debug)]
enum Command {
    /// Run this as soon as the worker can.
    Submit {
        id: RequestId,
        ask: Ask,
        answers: mpsc::Sender<Answer>,
    },
    /// Nobody wants it any more.
    Cancel(RequestId),
    /// For the head of a chain.
    ToHead(ToHead),
    /// This many of its events were taken.
    Credit(RequestId, u32),
    /// Take no more, and end when all is done or time is up.
    Drain {
        deadline: Duration,
        done: oneshot::Sender<()>,
    },
}

/// What a request hears from the actor.
#[derive(Debug)]
enum Answer {
    /// The worker's own word.
    Reply(Reply),
    /// The worker died under it.
    Lost(Loss),
}

/// What follows from a worker's death for a request that ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// It may be submitted again, under the same id.
    Retry,
    /// It may not.
    Final,
    /// It may not, ever: it has ended workers.
    Convicted,
}

impl WorkerEngine {
    /// Starts the worker's supervisor, which starts the worker. To be called within a tokio
    /// runtime. All that can go wrong shows in [`Engine::state`].
    pub fn spawn(config: WorkerConfig) -> Self {
        let launch = Launch {
            program: config.program,
            args: config.args,
            name: config.name,
        };
        let order = Order {
            launch,
            load: Assignment::Model(config.load),
            restart: config.restart,
        };
        Self::start(order).0
    }

    fn start(mut order: Order) -> (Self, mpsc::Receiver<FromHead>) {
        let (commands, inbox) = mpsc::channel(COMMAND_CHANNEL);
        let (state_out, state) = watch::channel(EngineState::Loading(0.0));
        let end = CancellationToken::new();
        let (ring, said) = mpsc::channel(RING_CHANNEL);
        let parallel = order.load.parallel();
        let tally = Arc::new(tally::Tally::new(parallel));
        let place_count = parallel + *order.load.queue_limit();
        let shared = Shared {
            commands,
            state,
            tally: tally.clone(),
            places: Arc::new(Semaphore::new((place_count + SHORT_REQUESTS) as usize)),
            place_count,
            next_id: AtomicU64::new(1),
            poison: Mutex::default(),
        };
        let actor = actor::Actor::new(order, state_out, tally, ring);
        tokio::spawn(actor.run(inbox, end.clone()));
        let engine = Self {
            shared: Arc::new(shared),
            _end: end.drop_guard(),
        };
        (engine, said)
    }

    /// The worker's process id, while there is one.
    pub fn worker_pid(&self) -> Option<u32> {
        self.shared.tally.pid()
    }
}

#[async_trait]
impl Engine for WorkerEngine {
    async fn generate(&self, job: Job) -> Result<mpsc::Receiver<Event>, JobError> {
        let place = self.shared.admit(SHORT_REQUESTS)?;
        relay::generate(self.shared.clone(), job, place).await
    }

    async fn embed(&self, inputs: Vec<Prompt>) -> Result<(Vec<Vec<f32>>, u32), JobError> {
        let place = self.shared.admit(0)?;
        let mut vectors = Vec::with_capacity(inputs.len());
        let mut tokens = 0_u32;
        for part in inputs.chunks(EMBED_INPUTS) {
            let ask = Ask::Embed(part.to_vec());
            match relay::call(&self.shared, ask).await? {
                Reply::Embedded(part, count) => {
                    vectors.extend(part);
                    tokens = tokens.saturating_add(count);
                }
                _ => return Err(wrong_reply()),
            }
        }
        drop(place);
        Ok((vectors, tokens))
    }

    async fn tokenize(&self, text: String, parse_special: bool) -> Result<Vec<u32>, JobError> {
        let _place = self.shared.admit(0)?;
        let ask = Ask::Tokenize {
            text,
            parse_special,
        };
        match relay::call(&self.shared, ask).await? {
            Reply::Tokenized(tokens) => Ok(tokens),
            _ => Err(wrong_reply()),
        }
    }

    async fn detokenize(&self, tokens: Vec<u32>) -> Result<String, JobError> {
        let _place = self.shared.admit(0)?;
        match relay::call(&self.shared, Ask::Detokenize(tokens)).await? {
            Reply::Detokenized(text) => Ok(text),
            _ => Err(wrong_reply()),
        }
    }

    fn state(&self) -> watch::Receiver<EngineState> {
        self.shared.state.clone()
    }

    fn load(&self) -> Load {
        self.shared.tally.load()
    }

    async fn drain(&self, deadline: Duration) {
        let (done, drained) = oneshot::channel();
        let command = Command::Drain { deadline, done };
        if self.shared.commands.send(command).await.is_ok() {
            // An error means that the actor is gone, and the worker with it.
            let _ = drained.await;
        }
    }
}

impl Shared {
    /// A place for a request, as long as more than `spare` are left; or the refusal.
    fn admit(&self, spare: u32) -> Result<OwnedSemaphorePermit, JobError> {
        match &*self.state.borrow() {
            EngineState::Failed(cause) => return Err(JobError::LoadFailed(cause.clone())),
            EngineState::Draining => return Err(JobError::Stopping),
            _ => {}
        }
        let full = JobError::Overloaded {
            waiting: self.tally.load().waiting,
        };
        if self.places.available_permits() <= spare as usize {
            return Err(full);
        }
        self.places.clone().try_acquire_owned().map_err(|_| full)
    }

    /// Requests that have a place.
    fn placed(&self) -> u32 {
        let free = u32::try_from(self.places.available_permits()).unwrap_or(u32::MAX);
        (self.place_count + SHORT_REQUESTS).saturating_sub(free)
    }

    fn is_ready(&self) -> bool {
        matches!(*self.state.borrow(), EngineState::Ready(_))
    }

    fn fresh_id(&self) -> RequestId {
        RequestId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    async fn submit(
        &self,
        id: RequestId,
        ask: Ask,
        answers: mpsc::Sender<Answer>,
    ) -> Result<(), JobError> {
        let command = Command::Submit { id, ask, answers };
        let sent = self.commands.send(command).await;
        sent.map_err(|_| JobError::Stopping)
    }

    fn poison(&self) -> std::sync::MutexGuard<'_, poison::Poison> {
        self.poison.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wrong_reply() -> JobError {
    JobError::Inference("the worker answered another question".into())
}
