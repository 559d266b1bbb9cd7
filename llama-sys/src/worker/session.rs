//! The worker's end of the conversation: load, then many requests at once, each in a task that
//! carries its events from the engine to the socket as far as its credit goes.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::unix::OwnedReadHalf;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Interval, MissedTickBehavior};

use super::chain::{self, HeadRing};
use super::ipc::stream::MessageReader;
use super::ipc::{Ask, CREDIT_WINDOW, Message, Reply, RequestId, Task, VERSION};
use super::writer::{self, OUT_CHANNEL};
use super::{EngineFactory, LoadOptions, Progress, process};
use crate::devices;
use crate::engine::{Engine, EngineState, Event, Job, JobError, Load};

/// Between two reports of the load while requests run.
const STATS_INTERVAL: Duration = Duration::from_millis(200);

/// Reports after the last request has ended: the engine settles its own count a little later.
const TRAILING_STATS: u32 = 3;

/// Least progress of a load that is told.
const PROGRESS_STEP: f32 = 0.005;

pub(super) type Reader = MessageReader<OwnedReadHalf>;

/// Serves one connection. Gives back only when the worker's task is done or refused; a node that
/// hangs up ends the process.
pub(super) async fn run(socket: UnixStream, factory: Box<EngineFactory>) -> io::Result<()> {
    // Held, these signals do nothing: the node stops its workers when it has drained them, and
    // a service manager sends its signal to both.
    let _ignored = [
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    ];
    let (read, write) = tokio::net::UnixStream::from_std(socket)?.into_split();
    let mut reader = MessageReader::new(read);
    let (out, messages) = mpsc::channel(OUT_CHANNEL);
    let writer = tokio::spawn(writer::run(messages, write));
    match next(&mut reader).await {
        Message::Hello { version, .. } if version != VERSION => {
            let cause = "the program was replaced while its node ran; restart the node".into();
            send(&out, Message::LoadRefused(cause)).await;
        }
        Message::Hello { task, .. } => perform(task, &mut reader, &out, factory).await?,
        _ => return Err(io::Error::other("the first message is no hello")),
    }
    drop(out);
    writer.await.map_err(io::Error::other)?
}

async fn perform(
    task: Task,
    reader: &mut Reader,
    out: &mpsc::Sender<Message>,
    factory: Box<EngineFactory>,
) -> io::Result<()> {
    match task {
        Task::Devices => {
            let list = tokio::task::spawn_blocking(devices::list_here).await?;
            send(out, Message::Devices(list)).await;
        }
        Task::Measure(threads) => {
            let measuring = tokio::task::spawn_blocking(move || devices::measure_here(threads));
            let list = measuring.await?;
            send(out, Message::Measured(list)).await;
        }
        Task::Load(options) => match load(options, out, factory).await {
            Ok(engine) => Session::new(engine, out.clone()).serve(reader).await,
            Err(cause) => send(out, Message::LoadRefused(cause)).await,
        },
        Task::Head(config) => match chain::load_head(config).await {
            Ok((engine, ring)) => {
                if let EngineState::Ready(info) = &*engine.state().borrow() {
                    send(out, Message::Ready(info.clone())).await;
                }
                let mut session = Session::new(engine, out.clone());
                session.ring = Some(ring);
                session.serve(reader).await;
            }
            Err(cause) => send(out, Message::LoadRefused(cause)).await,
        },
        Task::Slice(config) => {
            let progress = progress_to(out.clone());
            if let Err(cause) = chain::serve_slice(config, reader, out, progress).await {
                send(out, Message::LoadRefused(cause)).await;
            }
        }
    }
    Ok(())
}

/// Loads the model, and tells how far it is.
async fn load(
    options: LoadOptions,
    out: &mpsc::Sender<Message>,
    factory: Box<EngineFactory>,
) -> Result<Arc<dyn Engine>, String> {
    if let Some(bytes) = options.memory_limit_bytes {
        let failed = |error| format!("the memory limit could not be set: {error}");
        process::limit_memory(bytes).map_err(failed)?;
    }
    send(out, Message::Loading(0.0)).await;
    let progress = progress_to(out.clone());
    let made = tokio::task::spawn_blocking(move || factory(options, progress)).await;
    let engine = made.map_err(|error| error.to_string())??;
    let mut state = engine.state();
    loop {
        let message = match &*state.borrow_and_update() {
            EngineState::Loading(progress) => Message::Loading(*progress),
            EngineState::Ready(info) => Message::Ready(info.clone()),
            EngineState::Failed(cause) => return Err(cause.clone()),
            EngineState::Restarting { cause, .. } => return Err(cause.clone()),
            EngineState::Draining => return Err(JobError::Stopping.to_string()),
        };
        let ready = matches!(message, Message::Ready(_));
        send(out, message).await;
        if ready {
            return Ok(engine);
        }
        let changed = state.changed().await;
        changed.map_err(|_| "the engine ended while it loaded".to_owned())?;
    }
}

/// Sends on what progress is worth a message. A message that finds no room is not missed.
fn progress_to(out: mpsc::Sender<Message>) -> Progress {
    let mut told = 0.0;
    Box::new(move |progress| {
        if progress - told >= PROGRESS_STEP {
            told = progress;
            let _ = out.try_send(Message::Loading(progress));
        }
    })
}

/// A loaded model and the requests that it works on.
struct Session {
    engine: Arc<dyn Engine>,
    out: mpsc::Sender<Message>,
    running: BTreeMap<RequestId, Running>,
    tasks: JoinSet<RequestId>,
    reported: Load,
    trailing: u32,
    /// Of the head of a chain.
    ring: Option<HeadRing>,
}

struct Running {
    task: AbortHandle,
    /// Events that may be sent.
    credit: Arc<Semaphore>,
}

impl Session {
    fn new(engine: Arc<dyn Engine>, out: mpsc::Sender<Message>) -> Self {
        Self {
            engine,
            out,
            running: BTreeMap::new(),
            tasks: JoinSet::new(),
            reported: Load::default(),
            trailing: TRAILING_STATS,
            ring: None,
        }
    }

    /// Until the node hangs up, which ends the process; or until the engine fails, which ends
    /// this worker's use.
    async fn serve(mut self, reader: &mut Reader) {
        let mut state = self.engine.state();
        let mut stats = stats_interval();
        loop {
            let said = async {
                match &mut self.ring {
                    Some(ring) => ring.said.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(said) = said => send(&self.out, Message::FromHead(said)).await,
                Some(ended) = self.tasks.join_next() => self.on_task_end(ended),
                changed = state.changed() => match (changed, &*state.borrow_and_update()) {
                    (Ok(()), EngineState::Failed(cause)) => return super::report(cause),
                    (Err(_), _) => return super::report("the engine ended"),
                    _ => {}
                },
                _ = stats.tick(), if self.trailing > 0 => self.report_load(),
                message = next(reader) => match (message, &self.ring) {
                (Message::ToHead(event), Some(ring)) => {
                    // The engine's end shows in its state.
                    let _ = ring.end.tell(event).await;
                }
                (message, _) => self.handle(message),
                },
            }
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Ask(id, ask) => self.start(id, ask),
            // The task's engine channel goes with it, which cancels the job.
            Message::Cancel(id) => drop(self.running.remove(&id).map(|r| r.task.abort())),
            Message::Credit(id, events) => {
                if let Some(running) = self.running.get(&id) {
                    running
                        .credit
                        .add_permits(events.min(CREDIT_WINDOW) as usize);
                }
            }
            // A node of this version sends nothing else after its hello.
            _ => process::die(),
        }
    }

    fn start(&mut self, id: RequestId, ask: Ask) {
        let credit = Arc::new(Semaphore::new(CREDIT_WINDOW as usize));
        let request = Request {
            id,
            engine: self.engine.clone(),
            credit: credit.clone(),
            out: self.out.clone(),
        };
        let task = self.tasks.spawn(async move {
            request.answer(ask).await;
            id
        });
        self.running.insert(id, Running { task, credit });
        self.trailing = TRAILING_STATS;
    }

    fn on_task_end(&mut self, ended: Result<RequestId, tokio::task::JoinError>) {
        match ended {
            Ok(id) => drop(self.running.remove(&id)),
            Err(error) if error.is_cancelled() => {}
            // The panic has printed its message. The engine's state is not to be trusted now;
            // the node starts another worker.
            Err(_) => std::process::abort(),
        }
    }

    fn report_load(&mut self) {
        let load = self.engine.load();
        // A full channel means that the node is behind; the next report will do.
        if load != self.reported && self.out.try_send(Message::Stats(load)).is_ok() {
            self.reported = load;
        }
        if self.running.is_empty() {
            self.trailing -= 1;
        }
    }
}

fn stats_interval() -> Interval {
    let mut stats = tokio::time::interval(STATS_INTERVAL);
    stats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stats
}

/// One request on its way.
struct Request {
    id: RequestId,
    engine: Arc<dyn Engine>,
    credit: Arc<Semaphore>,
    out: mpsc::Sender<Message>,
}

impl Request {
    async fn answer(&self, ask: Ask) {
        let reply = match ask {
            Ask::Generate(job) => return self.generate(*job).await,
            Ask::Embed(inputs) => {
                let embedded = self.engine.embed(inputs).await;
                embedded.map(|(vectors, tokens)| Reply::Embedded(vectors, tokens))
            }
            Ask::Tokenize {
                text,
                parse_special,
            } => {
                let tokens = self.engine.tokenize(text, parse_special).await;
                tokens.map(Reply::Tokenized)
            }
            Ask::Detokenize(tokens) => {
                let text = self.engine.detokenize(tokens).await;
                text.map(Reply::Detokenized)
            }
        };
        self.reply(reply.unwrap_or_else(Reply::Refused)).await;
    }

    async fn generate(&self, job: Job) {
        let mut events = match self.engine.generate(job).await {
            Ok(events) => events,
            Err(refusal) => return self.reply(Reply::Refused(refusal)).await,
        };
        self.reply(Reply::Accepted).await;
        loop {
            let credit = self.credit.acquire().await;
            credit.expect("the semaphore is never closed").forget();
            // While the receiver lives the engine has no reason to fall silent.
            let silent = || Event::Failed(JobError::Inference("the engine dropped the job".into()));
            let event = events.recv().await.unwrap_or_else(silent);
            let reply = Reply::Event(event);
            let last = reply.is_last();
            self.reply(reply).await;
            if last {
                return;
            }
        }
    }

    async fn reply(&self, reply: Reply) {
        send(&self.out, Message::Reply(self.id, reply)).await;
    }
}

/// The node's next message; without one there is nobody to work for.
pub(super) async fn next(reader: &mut Reader) -> Message {
    match reader.next().await {
        Ok(message) => message,
        Err(_) => process::die(),
    }
}

/// The writer ends before its senders only if the socket failed.
pub(super) async fn send(out: &mpsc::Sender<Message>, message: Message) {
    if out.send(message).await.is_err() {
        process::die();
    }
}
