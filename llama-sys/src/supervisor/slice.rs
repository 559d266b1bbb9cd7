//! A slice in a worker process: started, fed with payloads, watched, ended with its owner. It is
//! not started again: whoever holds it has promised it to a head, who must know that it was lost.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Launch, Life, LifeEvent, WORKER_COMMAND};
use crate::core::heartbeat::{Beat, Heartbeat};
use crate::core::tempo::Tempo;
use crate::stage::{FromStage, MAX_IN_FLIGHT, SliceConfig, SliceInfo};
use crate::worker::ipc::{Message, Task, VERSION};

/// Payloads that wait in either direction: what a head sends before it hears of any.
const PAYLOAD_CHANNEL: usize = MAX_IN_FLIGHT;

/// A slice that has payloads and gives nothing for so long has hung. A batch on a slow machine
/// takes some tens of seconds.
const SILENCE: Duration = Duration::from_secs(120);

/// Which worker is wanted.
#[derive(Debug, Clone)]
pub struct SliceWorkerConfig {
    /// The program; [`std::env::current_exe`] as a rule.
    pub program: PathBuf,
    /// Its arguments: `["worker"]`.
    pub args: Vec<OsString>,
    /// The model's name and the layers, for logs.
    pub name: String,
    /// What is loaded, and how.
    pub slice: SliceConfig,
}

impl SliceWorkerConfig {
    /// This program's worker command for a slice.
    pub fn new(program: impl Into<PathBuf>, name: impl Into<String>, slice: SliceConfig) -> Self {
        Self {
            program: program.into(),
            args: vec![WORKER_COMMAND.into()],
            name: name.into(),
            slice,
        }
    }
}

/// How a slice stands.
#[derive(Debug, Clone, PartialEq)]
pub enum SliceState {
    /// It is loaded; 0..=1.
    Loading(f32),
    /// It computes payloads.
    Ready(SliceInfo),
    /// It was not loaded, or is gone: why.
    Ended(String),
}

/// A slice in a worker process. Dropping it kills the worker.
#[derive(Debug)]
pub struct SliceWorker {
    state: watch::Receiver<SliceState>,
    payloads: mpsc::Sender<Bytes>,
    pid: Arc<OnceLock<u32>>,
    meter: Meter,
    _end: DropGuard,
}

/// How fast a slice computes, as it is seen from outside of its process. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Mutex<Tempo>>);

impl Meter {
    /// How many times as long as at their best its batches of late took; `None`: there were hardly
    /// any.
    #[must_use]
    pub fn slowness(&self) -> Option<f32> {
        self.with(|tempo, now| tempo.slowness(now))
    }

    fn with<T>(&self, of: impl FnOnce(&mut Tempo, std::time::Instant) -> T) -> T {
        let mut tempo = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        of(&mut tempo, Instant::now().into_std())
    }
}

impl SliceWorker {
    /// Starts the worker. To be called within a tokio runtime. What the slice says comes out of
    /// the receiver, which ends with the worker; all that can go wrong shows in the state.
    pub fn spawn(config: SliceWorkerConfig) -> (Self, mpsc::Receiver<FromStage>) {
        let (state_out, state) = watch::channel(SliceState::Loading(0.0));
        let (payloads, received) = mpsc::channel(PAYLOAD_CHANNEL);
        let (said, messages) = mpsc::channel(PAYLOAD_CHANNEL);
        let end = CancellationToken::new();
        let pid = Arc::new(OnceLock::new());
        let meter = Meter::default();
        let actor = Actor {
            pid: Arc::clone(&pid),
            meter: meter.clone(),
            state: state_out,
            said,
            owed: 0,
            heard: Instant::now(),
            heart: Heartbeat::new(Instant::now().into_std()),
            is_ending: false,
        };
        tokio::spawn(actor.run(config, received, end.clone()));
        let worker = Self {
            state,
            payloads,
            pid,
            meter,
            _end: end.drop_guard(),
        };
        (worker, messages)
    }

    /// State changes; the current one is always there.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<SliceState> {
        self.state.clone()
    }

    /// The worker's process; `None`: it is not started yet.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.pid.get().copied()
    }

    /// How fast it computes.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// Where payloads go. Sending waits while the slice is behind, and fails once it is gone. An
    /// empty payload forgets every session, for whoever has the slice next.
    #[must_use]
    pub fn payloads(&self) -> mpsc::Sender<Bytes> {
        self.payloads.clone()
    }
}

struct Actor {
    pid: Arc<OnceLock<u32>>,
    meter: Meter,
    state: watch::Sender<SliceState>,
    said: mpsc::Sender<FromStage>,
    /// Payloads that nothing was heard of yet.
    owed: usize,
    /// When the worker last said what it computed, or had nothing to say.
    heard: Instant,
    /// Whether it runs.
    heart: Heartbeat,
    /// The worker is being ended: only its end is waited for.
    is_ending: bool,
}

/// What the actor waits for.
enum Turn {
    End,
    Silence,
    Beat,
    Payload(Option<Bytes>),
    Life(LifeEvent),
}

impl Actor {
    async fn run(
        mut self,
        config: SliceWorkerConfig,
        mut payloads: mpsc::Receiver<Bytes>,
        end: CancellationToken,
    ) {
        let launch = Launch {
            program: config.program,
            args: config.args,
            name: config.name,
        };
        let hello = Message::Hello {
            version: VERSION,
            task: Task::Slice(config.slice),
        };
        let mut life = match Life::start(&launch).await {
            Ok(life) => life,
            Err(error) => {
                return self.ended(&format!("the worker could not be started: {error}"));
            }
        };
        // Set once, here.
        let _ = self.pid.set(life.pid());
        life.say(hello).expect("a hello fits into a frame");
        loop {
            match self.select(&mut life, &mut payloads, &end).await {
                Turn::End | Turn::Payload(None) => self.end(&mut life, "its owner has ended it"),
                Turn::Silence => self.end(&mut life, "it has hung: it computes nothing"),
                Turn::Beat => self.beat(&mut life),
                Turn::Payload(Some(payload)) => self.feed(&mut life, payload),
                Turn::Life(LifeEvent::Message(message)) => self.handle(&mut life, message).await,
                Turn::Life(LifeEvent::Ended(cause)) => return self.ended(&cause),
            }
        }
    }

    async fn select(
        &mut self,
        life: &mut Life,
        payloads: &mut mpsc::Receiver<Bytes>,
        end: &CancellationToken,
    ) -> Turn {
        if self.is_ending {
            return Turn::Life(life.next().await);
        }
        let may_take = self.owed < PAYLOAD_CHANNEL && self.is_ready();
        let silence = self.heard + SILENCE;
        let beat = Instant::from_std(self.heart.deadline());
        tokio::select! {
            biased;
            () = end.cancelled() => Turn::End,
            event = life.next() => Turn::Life(event),
            payload = payloads.recv(), if may_take => Turn::Payload(payload),
            () = tokio::time::sleep_until(silence), if self.owed > 0 => Turn::Silence,
            () = tokio::time::sleep_until(beat), if self.owed > 0 => Turn::Beat,
        }
    }

    fn is_ready(&self) -> bool {
        matches!(*self.state.borrow(), SliceState::Ready(_))
    }

    fn feed(&mut self, life: &mut Life, payload: Bytes) {
        if self.owed == 0 {
            self.heard = Instant::now();
            self.heart.on_heard(self.heard.into_std());
        }
        self.owed += 1;
        let bytes = payload.len();
        self.meter.with(|tempo, now| tempo.on_in(bytes, now));
        if life.say(Message::Payload(payload)).is_err() {
            self.end(life, "it was sent more than a frame holds");
        }
    }

    /// A worker that was stopped, or has no thread left that runs, is of no use to its ring.
    fn beat(&mut self, life: &mut Life) {
        match self.heart.beat(Instant::now().into_std()) {
            Beat::Wait => {}
            // A ping fits into a frame.
            Beat::Ping => drop(life.say(Message::Ping)),
            Beat::Stopped => self.end(life, "it was stopped: it answers nothing"),
        }
    }

    async fn handle(&mut self, life: &mut Life, message: Message) {
        let now = Instant::now();
        self.heart.on_heard(now.into_std());
        if message == Message::Pong {
            return;
        }
        self.heard = now;
        match message {
            Message::Loading(progress) => {
                drop(self.state.send_replace(SliceState::Loading(progress)))
            }
            Message::SliceReady(info) => drop(self.state.send_replace(SliceState::Ready(info))),
            Message::LoadRefused(cause) => self.end(life, &cause),
            Message::FromStage(said) => {
                self.owed = self.owed.saturating_sub(1);
                let is_computed = matches!(said, FromStage::Next(_) | FromStage::Back(_));
                self.meter.with(|tempo, now| tempo.on_out(is_computed, now));
                if said == FromStage::Nothing {
                    return;
                }
                // Waiting here holds the slice up, which is what a slow neighbour should do.
                if self.said.send(said).await.is_err() {
                    self.end(life, "nobody takes what it computes");
                }
                self.meter.with(|tempo, now| tempo.on_taken(now));
            }
            _ => self.end(life, "it sent what only a node sends"),
        }
    }

    fn end(&mut self, life: &mut Life, cause: &str) {
        self.is_ending = true;
        life.end(cause);
    }

    fn ended(&self, cause: &str) {
        self.state.send_replace(SliceState::Ended(cause.into()));
    }
}
