//! The task that owns a worker. It translates between the cores, the worker and the requests,
//! and waits only in [`Actor::select`].

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::tally::Tally;
use super::{Answer, Assignment, Command, Launch, Life, LifeEvent, Loss, Order};
use crate::core::restart::{Action, Phase, Restart};
use crate::core::suspects::{Suspects, Verdict};
use crate::engine::{EngineState, JobError, ModelInfo};
use crate::stage::{FromHead, ToHead};
use crate::worker::ipc::{Ask, Message, RequestId, Task, VERSION};

mod requests;

/// Time that a killed worker may take to be gone, when its owner waits for that.
const BURIAL: Duration = Duration::from_secs(5);

/// The supervisor of one worker.
pub(super) struct Actor {
    launch: Launch,
    load: Assignment,
    restart: Restart,
    suspects: Suspects,
    requests: BTreeMap<RequestId, Request>,
    life: Option<Life>,
    /// Of the load under way.
    progress: f32,
    info: ModelInfo,
    draining: Option<Draining>,
    state: watch::Sender<EngineState>,
    tally: Arc<Tally>,
    /// What the head of a chain says.
    ring: mpsc::Sender<FromHead>,
}

/// A request that waits or runs.
struct Request {
    /// Until it is given to the worker.
    ask: Option<Ask>,
    answers: mpsc::Sender<Answer>,
    /// Its events can be waited for; embeddings show no progress until they are done.
    shows_progress: bool,
    /// Events that were passed on and not yet taken.
    untaken: u32,
}

struct Draining {
    until: Instant,
    done: Vec<oneshot::Sender<()>>,
}

/// What the actor waits for.
enum Turn {
    End,
    Timer,
    Command(Option<Command>),
    Life(LifeEvent),
}

impl Actor {
    pub(super) fn new(
        order: Order,
        state: watch::Sender<EngineState>,
        tally: Arc<Tally>,
        ring: mpsc::Sender<FromHead>,
    ) -> Self {
        Self {
            launch: order.launch,
            load: order.load,
            restart: Restart::new(order.restart, now()),
            suspects: Suspects::default(),
            requests: BTreeMap::new(),
            life: None,
            progress: 0.0,
            info: ModelInfo::default(),
            draining: None,
            state,
            tally,
            ring,
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Command>, end: CancellationToken) {
        loop {
            let turn = self.select(&mut inbox, &end).await;
            if self.apply(turn).is_break() {
                break;
            }
            if self.start_is_due() {
                self.start_worker().await;
            }
            self.publish();
        }
        self.finish().await;
    }

    async fn select(
        &mut self,
        inbox: &mut mpsc::Receiver<Command>,
        end: &CancellationToken,
    ) -> Turn {
        let draining = self.draining.as_ref().map(|draining| draining.until);
        let restart = self.restart.next_deadline().map(Instant::from_std);
        let restart = restart.filter(|_| self.draining.is_none());
        let deadline = draining.into_iter().chain(restart).min();
        let timer = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let life = async {
            match &mut self.life {
                Some(life) => life.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = end.cancelled() => Turn::End,
            () = timer => Turn::Timer,
            command = inbox.recv() => Turn::Command(command),
            event = life => Turn::Life(event),
        }
    }

    fn apply(&mut self, turn: Turn) -> ControlFlow<()> {
        match turn {
            Turn::End | Turn::Command(None) => return ControlFlow::Break(()),
            Turn::Timer => self.on_timer(),
            Turn::Command(Some(command)) => self.handle_command(command),
            Turn::Life(LifeEvent::Message(message)) => self.handle_message(message),
            Turn::Life(LifeEvent::Ended(cause)) => self.on_death(&cause),
        }
        self.start_requests();
        self.restart.on_work(self.has_work(), now());
        self.tally.on_requests(self.requests.len());
        match &self.draining {
            Some(draining) if self.requests.is_empty() || draining.until <= Instant::now() => {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn on_timer(&mut self) {
        if self.life.is_some()
            && let Some(Action::KillStalled) = self.restart.poll(now())
            && let Some(life) = &mut self.life
        {
            life.end("it has hung: it made no progress");
        }
    }

    fn start_is_due(&mut self) -> bool {
        let may = self.life.is_none() && self.draining.is_none();
        may && self.restart.poll(now()) == Some(Action::Start)
    }

    async fn start_worker(&mut self) {
        self.progress = 0.0;
        self.publish();
        // Places are given out by the supervisor; what it lets in at once after a load finds no
        // slot taken yet and must not be refused by the engine's queue.
        let mut load = self.load.clone();
        let parallel = load.parallel();
        let queue_limit = load.queue_limit();
        *queue_limit = queue_limit.saturating_add(parallel);
        let task = match load {
            Assignment::Model(options) => Task::Load(options),
            Assignment::Head(config) => Task::Head(config),
        };
        let hello = Message::Hello {
            version: VERSION,
            task,
        };
        match Life::start(&self.launch).await {
            Ok(mut life) => {
                life.say(hello).expect("a hello fits into a frame");
                self.tally.on_worker(life.pid(), self.restart.restarts());
                self.life = Some(life);
            }
            Err(error) => self.on_death(&format!("the worker could not be started: {error}")),
        }
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Submit { id, ask, answers } => self.submit(id, ask, answers),
            Command::Cancel(id) => self.cancel(id),
            Command::Credit(id, events) => {
                self.credit(id, events);
            }
            Command::ToHead(event) => self.tell_head(event),
            Command::Drain { deadline, done } => self.drain(deadline, done),
        }
    }

    /// A process that is not ready has no ring, and is told of one when it is.
    fn tell_head(&mut self, event: ToHead) {
        if *self.restart.phase() == Phase::Ready {
            self.restart.on_sign_of_work(now());
            let said = self
                .life
                .as_mut()
                .map(|life| life.say(Message::ToHead(event)));
            if matches!(said, Some(Err(_))) {
                self.break_ring("what came back does not fit into a frame");
            }
        }
    }

    /// Whoever carries payloads is told that this ring is of no use any more.
    fn break_ring(&mut self, cause: &str) {
        if matches!(self.load, Assignment::Head(_)) {
            // Nobody reads it: nobody carries payloads.
            let _ = self.ring.try_send(FromHead::Broken(cause.into()));
        }
    }

    fn on_head(&mut self, said: FromHead) {
        if self.ring.try_send(said).is_err() {
            self.end_life("nobody carries its payloads");
        }
    }

    fn handle_message(&mut self, message: Message) {
        match message {
            Message::Loading(progress) => {
                self.progress = progress;
                self.restart.on_progress(now());
            }
            Message::Ready(info) => {
                self.tally.on_ready();
                self.info = info;
                self.restart.on_ready();
            }
            Message::LoadRefused(cause) => {
                self.life = None;
                self.tally.on_death();
                self.restart.on_load_refused(&cause, now(), jitter());
                self.refuse_if_failed();
            }
            Message::Reply(id, reply) => self.answer(id, reply),
            Message::Stats(load) => {
                self.restart.on_sign_of_work(now());
                self.tally.on_stats(load);
            }
            Message::FromHead(said) => self.on_head(said),
            _ => self.end_life("it sent what only a node sends"),
        }
    }

    fn on_death(&mut self, cause: &str) {
        self.life = None;
        self.break_ring("the head's process ended");
        self.tally.on_death();
        let verdicts = self.suspects.on_death();
        for (_, verdict) in &verdicts {
            if let Verdict::Convicted { deaths } = verdict {
                self.restart.on_conviction(*deaths);
            }
        }
        self.restart.on_death(cause, now(), jitter());
        tracing::warn!(
            target: "shoal::worker",
            model = %self.launch.name,
            running = verdicts.len(),
            failures = self.restart.failures(),
            cause,
            "the worker died"
        );
        let over = matches!(self.restart.phase(), Phase::Failed(_)) || self.draining.is_some();
        for (id, verdict) in verdicts {
            let loss = match verdict {
                Verdict::Convicted { .. } => Loss::Convicted,
                Verdict::Retry if !over => Loss::Retry,
                Verdict::Retry | Verdict::Lost => Loss::Final,
            };
            if let Some(request) = self.requests.remove(&RequestId(id)) {
                // The channel has room for this beyond its credit; closed: nobody waits.
                let _ = request.answers.try_send(Answer::Lost(loss));
            }
        }
        self.refuse_if_failed();
    }

    fn drain(&mut self, deadline: Duration, done: oneshot::Sender<()>) {
        let until = Instant::now() + deadline;
        let draining = self.draining.get_or_insert_with(|| Draining {
            until,
            done: Vec::new(),
        });
        draining.until = draining.until.min(until);
        draining.done.push(done);
        if *self.restart.phase() != Phase::Ready {
            self.refuse_all(&JobError::Stopping);
        }
    }

    fn say(&mut self, message: Message) {
        if let Some(life) = &mut self.life {
            life.say(message)
                .expect("a short message fits into a frame");
        }
    }

    fn end_life(&mut self, cause: &str) {
        if let Some(life) = &mut self.life {
            life.end(cause);
        }
    }

    /// The worker has nothing to save: its end is a kill. (It would also end by itself, when it
    /// sees its socket close.)
    async fn finish(mut self) {
        self.refuse_all(&JobError::Stopping);
        self.state.send_replace(EngineState::Draining);
        if let Some(mut life) = self.life.take() {
            life.end("its owner has ended it");
            let buried = async { while let LifeEvent::Message(_) = life.next().await {} };
            if tokio::time::timeout(BURIAL, buried).await.is_err() {
                tracing::warn!(target: "shoal::worker", model = %self.launch.name, "the killed worker is still there");
            }
        }
        self.tally.on_death();
        self.tally.on_requests(0);
        for done in self.draining.into_iter().flat_map(|draining| draining.done) {
            let _ = done.send(());
        }
    }

    fn publish(&self) {
        let state = match self.restart.phase() {
            Phase::Failed(cause) => EngineState::Failed(cause.clone()),
            _ if self.draining.is_some() => EngineState::Draining,
            Phase::Waiting { .. } if self.restart.failures() > 0 => EngineState::Restarting {
                failures: self.restart.failures(),
                cause: self.restart.cause().to_owned(),
            },
            Phase::Waiting { .. } => EngineState::Loading(0.0),
            Phase::Loading { .. } => EngineState::Loading(self.progress),
            Phase::Ready => EngineState::Ready(self.info.clone()),
        };
        self.state.send_if_modified(|current| {
            let changed = *current != state;
            if changed {
                *current = state;
            }
            changed
        });
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// A number in 0..1: the standard library gives each `RandomState` secret keys of its own.
fn jitter() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 32;
    let bits = u32::try_from(bits).expect("32 bits are left");
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}
