//! The task that owns the core and the engines: it translates and decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use llama_sys::engine::{Engine, EngineState};
use protocol::ModelName;
use protocol::advert::Abilities;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use web::manage::LoadedModel;

use super::life::{Ended, Life, Started};
use super::{Command, Examined, Lease, Loader, Note, Notes, Patron, Setup, View, view};
use crate::core::abilities;
use crate::core::residency::{
    Input, LoadId, Output, Phase, Refusal, Residency, Resident, Ticket, Want,
};

/// Lives that may say "ready" before the task looks: each says it once.
const STARTED: usize = 64;

/// One resident model, from outside.
struct Live {
    examined: Examined,
    abilities: Abilities,
    engine: Option<Arc<dyn Engine>>,
    stop: CancellationToken,
    task: Id,
}

impl Live {
    /// What its engine says, if it answers.
    fn info(&self) -> Option<view::Info> {
        let state = self.engine.as_ref()?.state();
        match &*state.borrow() {
            EngineState::Ready(info) => Some((info.parallel, info.context_length)),
            _ => None,
        }
    }
}

struct Asking {
    examined: Examined,
    guest: bool,
    reply: oneshot::Sender<Result<Lease, Refusal>>,
}

/// What the task speaks to.
pub(super) struct Outside {
    pub(super) loader: Arc<dyn Loader>,
    pub(super) notes: Notes,
    pub(super) shown: watch::Sender<View>,
}

pub(super) struct Actor {
    core: Residency,
    setup: Setup,
    outside: Outside,
    stop: CancellationToken,
    stopping: bool,
    asking: BTreeMap<Ticket, Asking>,
    live: BTreeMap<LoadId, Live>,
    lives: JoinSet<Ended>,
    unloading: Vec<(ModelName, oneshot::Sender<()>)>,
    started: mpsc::Sender<Started>,
    starts: mpsc::Receiver<Started>,
}

/// What the task does next.
enum Action {
    Stop,
    Started(Started),
    Ended(Result<(Id, Ended), JoinError>),
    Note(Note),
    Tick,
    Command(Command),
    Leave,
}

impl Actor {
    pub(super) fn new(setup: Setup, outside: Outside, stop: CancellationToken) -> Self {
        let (started, starts) = mpsc::channel(STARTED);
        Self {
            core: Residency::new(setup.policy),
            setup,
            outside,
            stop,
            stopping: false,
            asking: BTreeMap::new(),
            live: BTreeMap::new(),
            lives: JoinSet::new(),
            unloading: Vec::new(),
            started,
            starts,
        }
    }

    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut notes: mpsc::UnboundedReceiver<Note>,
    ) {
        loop {
            let action = self.select(&mut commands, &mut notes).await;
            if matches!(action, Action::Leave) {
                return;
            }
            self.apply(action);
            self.show();
        }
    }

    async fn select(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
        notes: &mut mpsc::UnboundedReceiver<Note>,
    ) -> Action {
        if self.stopping && self.lives.is_empty() {
            return Action::Leave;
        }
        let deadline = self.core.next_deadline();
        tokio::select! {
            biased;
            () = self.stop.cancelled(), if !self.stopping => Action::Stop,
            Some(started) = self.starts.recv() => Action::Started(started),
            Some(ended) = self.lives.join_next_with_id() => Action::Ended(ended),
            Some(note) = notes.recv() => Action::Note(note),
            () = sleep_until(deadline) => Action::Tick,
            command = commands.recv() => match command {
                Some(command) => Action::Command(command),
                // Every handle is gone.
                None if !self.stopping => Action::Stop,
                None => std::future::pending().await,
            },
        }
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::Stop => {
                self.stopping = true;
                self.feed(Input::Stop);
            }
            Action::Started(started) => self.on_started(started),
            Action::Ended(ended) => self.on_ended(ended),
            Action::Note(Note::Released(load)) => self.feed(Input::Release(load)),
            Action::Note(Note::ReleasedGuest(load)) => self.feed(Input::ReleaseGuest(load)),
            Action::Note(Note::GivenUp(ticket)) => {
                self.asking.remove(&ticket);
                self.feed(Input::Cancel(ticket));
            }
            Action::Tick => self.feed(Input::Tick),
            Action::Command(command) => self.on_command(command),
            Action::Leave => {}
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Acquire {
                ticket,
                examined,
                patron,
                reply,
            } => {
                let guest = patron != Patron::Owner;
                let want = Want {
                    ticket,
                    model: examined.name.clone(),
                    need_bytes: examined.need_bytes,
                    pinned: self.setup.pinned.contains(&examined.name),
                    guest,
                    placed: patron == Patron::Swarm,
                    version: examined.version,
                };
                self.asking.insert(
                    ticket,
                    Asking {
                        examined,
                        guest,
                        reply,
                    },
                );
                self.feed(Input::Acquire(want));
            }
            Command::Unload { model, done } => {
                self.feed(Input::Unload(model.clone()));
                self.unloading.push((model, done));
                self.report_unloaded();
            }
            Command::Pin(model) => {
                if !self.setup.pinned.contains(&model) {
                    self.setup.pinned.push(model);
                }
            }
            Command::Keep(models) => self.feed(Input::Keep(models)),
            Command::Lent(bytes) => self.feed(Input::Lent(bytes)),
            Command::Loaded(reply) => {
                // Whoever asked may have gone meanwhile.
                let _ = reply.send(self.loaded());
            }
        }
    }

    fn on_started(&mut self, started: Started) {
        let Some(live) = self.live.get_mut(&started.load) else {
            return;
        };
        info!(model = %live.examined.name, "model ready");
        live.engine = Some(started.engine);
        self.feed(Input::Loaded(started.load));
    }

    fn on_ended(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let (load, cause) = match ended {
            Ok((_, ended)) => (ended.load, ended.cause),
            Err(error) => {
                let mut live = self.live.iter();
                let found = live.find(|(_, live)| live.task == error.id());
                let Some((load, _)) = found else { return };
                (*load, Some(format!("its task ended: {error}")))
            }
        };
        if let Some(live) = self.live.remove(&load) {
            let model = &live.examined.name;
            match &cause {
                Some(cause) => warn!(%model, cause, "model lost"),
                None => info!(%model, "model unloaded"),
            }
        }
        self.feed(Input::Ended { load, cause });
        self.report_unloaded();
    }

    fn report_unloaded(&mut self) {
        let waiting = std::mem::take(&mut self.unloading);
        for (model, done) in waiting {
            let mut all = self.core.all();
            if all.any(|(name, r)| *name == model && r.phase == Phase::Draining) {
                self.unloading.push((model, done));
            } else {
                // Whoever asked may have gone meanwhile.
                let _ = done.send(());
            }
        }
    }

    fn feed(&mut self, input: Input) {
        let mut outputs = Vec::new();
        self.core.handle(input, now(), &mut outputs);
        for output in outputs {
            match output {
                Output::Load { load, ticket, .. } => self.load(load, ticket),
                Output::Unload(load) => {
                    if let Some(live) = self.live.get(&load) {
                        live.stop.cancel();
                    }
                }
                Output::Grant { ticket, load } => self.grant(ticket, load),
                Output::Refuse { ticket, refusal } => {
                    if let Some(asking) = self.asking.remove(&ticket) {
                        // Whoever asked may have gone meanwhile.
                        let _ = asking.reply.send(Err(refusal));
                    }
                }
            }
        }
    }

    fn load(&mut self, load: LoadId, ticket: Ticket) {
        let asking = self
            .asking
            .get(&ticket)
            .expect("a load is begun for a ticket that waits");
        let examined = asking.examined.clone();
        info!(model = %examined.name, need_bytes = examined.need_bytes, "loading model");
        let stop = CancellationToken::new();
        let life = Life {
            load,
            examined: examined.clone(),
            loader: Arc::clone(&self.outside.loader),
            stop: stop.clone(),
            drain: self.setup.drain,
            started: self.started.clone(),
        };
        let task = self.lives.spawn(life.run()).id();
        let live = Live {
            abilities: abilities::of(&examined.facts),
            examined,
            engine: None,
            stop,
            task,
        };
        self.live.insert(load, live);
    }

    fn grant(&mut self, ticket: Ticket, load: LoadId) {
        let live = self.live.get(&load);
        let ready = live.and_then(|live| Some((live.engine.clone()?, live.examined.clone())));
        // What is asked of may have been replaced since this was loaded.
        let (engine, examined) = ready.expect("a grant follows `Loaded`, which brought the engine");
        // Without a requester, the lease ends in the drop that releases it.
        match self.asking.remove(&ticket) {
            Some(asking) => {
                let lease = self.outside.notes.lease(load, engine, examined);
                let lease = lease.of_guest(asking.guest);
                // The same if it went away just now.
                let _ = asking.reply.send(Ok(lease));
            }
            None => self.outside.notes.release(load),
        }
    }

    fn show(&self) {
        let known = |load: LoadId| match self.live.get(&load) {
            Some(live) => (live.info(), live.abilities),
            None => (None, Abilities::default()),
        };
        let view = view::of(&self.core, &self.setup.pinned, known);
        self.outside.shown.send_if_modified(|shown| {
            let changed = *shown != view;
            if changed {
                *shown = view;
            }
            changed
        });
    }

    fn loaded(&self) -> Vec<LoadedModel> {
        let mut all: Vec<_> = self.core.all().collect();
        all.sort_by_key(|(model, resident)| (*model, resident.load));
        all.into_iter()
            .map(|(model, resident)| self.describe(model, resident))
            .collect()
    }

    fn describe(&self, model: &ModelName, resident: &Resident) -> LoadedModel {
        let engine = self
            .live
            .get(&resident.load)
            .and_then(|live| live.engine.as_ref());
        let state = engine.map(|engine| engine.state().borrow().clone());
        let load = engine.map(|engine| engine.load()).unwrap_or_default();
        let context_length = match &state {
            Some(EngineState::Ready(info)) => info.context_length,
            _ => 0,
        };
        let expires = resident.expires_at(self.core.policy().keep_alive);
        let (state, detail) = state_words(resident.phase, state);
        LoadedModel {
            name: model.to_string(),
            state: state.into(),
            detail,
            memory_bytes: load.memory_bytes,
            context_length,
            running: load.running,
            waiting: load
                .waiting
                .saturating_add(u32::try_from(self.core.waiting_for(model)).unwrap_or(u32::MAX)),
            unload_in_seconds: expires.map(|at| at.saturating_duration_since(now()).as_secs()),
            restarts: load.restarts,
        }
    }
}

fn state_words(phase: Phase, state: Option<EngineState>) -> (&'static str, Option<String>) {
    match (phase, state) {
        (Phase::Draining, _) => ("draining", None),
        (_, Some(EngineState::Ready(_))) => ("ready", None),
        (_, Some(EngineState::Restarting { cause, .. })) => ("restarting", Some(cause)),
        (_, Some(EngineState::Failed(cause))) => ("failed", Some(cause)),
        (_, Some(EngineState::Draining)) => ("draining", None),
        _ => ("loading", None),
    }
}

/// The runtime's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
