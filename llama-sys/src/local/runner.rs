//! The thread that owns the sessions: takes commands, asks the scheduler what to compute, has it
//! computed by the ring (the whole model in this thread, or stages elsewhere), and sends what came
//! out. It decides nothing that the cores can decide.
//!
//! It sleeps when nothing can be computed: on the command channel, which new jobs, outcomes of
//! stages, stopping, and readers that make room write to.

mod drafting;
mod outcome;
mod step;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Wake, Waker};

use tokio::sync::mpsc::{self, error::TryRecvError};

use super::Shared;
use super::chain::{ChainError, Flown};
use super::draft::DraftModel;
use super::embedder::{EmbedTask, Embedder};
use super::loaded::Parts;
use super::ring::Ring;
use super::stage::Outcome;
use super::task::{NewTask, Task};
use crate::core::scheduler::{JobId, Plan, Scheduler};
use crate::core::slots::KvOp;
use crate::core::speculation::{Pace, Sources};
use crate::engine::{Event, JobError, Load};
use crate::stage::{Part, ToHead};

/// What the thread is told.
pub(crate) enum Command {
    /// Run a job.
    Generate(Box<NewTask>),
    /// Embed texts.
    Embed(EmbedTask),
    /// Of the ring.
    Ring(ToHead),
    /// Look again: a reader made room, or it is time to end.
    Wake,
}

/// Wakes the thread through its command channel.
struct Nudge(mpsc::WeakSender<Command>);

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        if let Some(commands) = self.0.upgrade() {
            // A full channel wakes the thread anyway.
            let _ = commands.try_send(Command::Wake);
        }
    }
}

/// Buffers that are kept between steps.
#[derive(Default)]
struct Buffers {
    plan: Plan,
    parts: Vec<Part>,
    tokens: Vec<u32>,
    outcome: Outcome,
    current: Vec<Flown>,
    draftable: Vec<JobId>,
    /// What the draft model says.
    drafts: Vec<u32>,
    /// Operations for the next batch.
    ops: Vec<KvOp>,
    ended: Vec<JobId>,
}

/// The thread's state.
pub(super) struct Runner {
    scheduler: Scheduler,
    embedder: Option<Embedder>,
    ring: Ring,
    commands: mpsc::Receiver<Command>,
    waker: Waker,
    shared: Arc<Shared>,
    tasks: BTreeMap<JobId, Task>,
    embeds: VecDeque<EmbedTask>,
    next_id: u64,
    /// Where drafts come from.
    sources: Sources,
    draft_model: Option<Box<DraftModel>>,
    pace: Pace,
    buffers: Buffers,
    load: Load,
}

impl Runner {
    /// A thread's state before its first command. `wake` leads to `commands`.
    pub(super) fn new(
        parts: Parts,
        commands: mpsc::Receiver<Command>,
        wake: mpsc::WeakSender<Command>,
        shared: Arc<Shared>,
    ) -> Self {
        let runner = Self {
            scheduler: parts.scheduler,
            embedder: parts.embedder,
            ring: parts.ring,
            commands,
            waker: Waker::from(Arc::new(Nudge(wake))),
            shared,
            tasks: BTreeMap::new(),
            embeds: VecDeque::new(),
            next_id: 0,
            sources: parts.drafting.sources,
            draft_model: parts.drafting.model,
            pace: parts.pace,
            buffers: Buffers::default(),
            load: Load {
                kv_total: parts.cells,
                ..Load::default()
            },
        };
        runner.shared.publish(runner.load);
        runner
    }

    /// Runs until it is told to stop, or nobody can tell it anything any more.
    pub(super) fn run(mut self) {
        let mut worked = true;
        while self.receive(!worked) {
            self.sweep();
            let computed = self.generate();
            let embedded = self.embed();
            worked = computed || embedded;
            self.publish();
        }
        self.end_all();
    }

    /// Takes all commands there are; waits for one if `wait`. False when it is time to end.
    fn receive(&mut self, wait: bool) -> bool {
        if wait {
            match self.commands.blocking_recv() {
                Some(command) => self.on_command(command),
                None => return false,
            }
        }
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.on_command(command),
                Err(TryRecvError::Empty) => return !self.shared.stop.load(Ordering::Acquire),
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Generate(new) => self.on_generate(*new),
            Command::Embed(task) => self.embeds.push_back(task),
            Command::Ring(event) => self.on_ring(event),
            Command::Wake => {}
        }
    }

    fn on_ring(&mut self, event: ToHead) {
        let Ring::Chain(chain) = &mut self.ring else {
            return;
        };
        let landed = match event {
            ToHead::Up(ring) => return self.on_other_ring(Some(ring)),
            ToHead::Down => return self.on_other_ring(None),
            ToHead::Back(payload) => chain.land(payload),
        };
        match landed {
            Ok(Some(landed)) => self.on_landed(landed),
            Ok(None) => {}
            Err(error) => self.break_off(&error),
        }
    }

    /// Everybody is computed from the beginning, on the ring of this number or on the next.
    fn on_other_ring(&mut self, ring: Option<u64>) {
        if let Ring::Chain(chain) = &mut self.ring {
            chain.set_ring(ring);
        }
        self.pace.forget_ring();
        self.buffers.ops.clear();
        self.scheduler.forget_cache();
    }

    /// The ring is of no use.
    fn break_off(&mut self, error: &ChainError) {
        if let Ring::Chain(chain) = &mut self.ring {
            chain.break_off(error);
        }
        self.on_other_ring(None);
    }

    fn on_generate(&mut self, new: NewTask) {
        let NewTask {
            session,
            manner,
            mut task,
            speaker,
        } = new;
        if session.ending().is_some() {
            task.send_started(&session, 0);
            task.send_delta();
            task.send_finished(&session);
            self.shared.job_over();
            return;
        }
        let id = JobId(self.next_id);
        self.next_id += 1;
        match self.scheduler.submit(id, session, manner) {
            Ok(()) => {
                self.tasks.insert(id, task);
                if let Ring::Whole(stage) = &mut self.ring {
                    stage.open(id, Ok(speaker));
                }
            }
            Err(_) => {
                let waiting = self.scheduler.waiting().count();
                task.send(Event::Failed(JobError::Overloaded {
                    waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
                }));
                self.shared.job_over();
            }
        }
    }

    /// Drops jobs that nobody waits for, pauses those whose readers are slow.
    fn sweep(&mut self) {
        let mut context = TaskContext::from_waker(&self.waker);
        let mut cancelled = std::mem::take(&mut self.buffers.ended);
        for (&id, task) in &mut self.tasks {
            if task.is_cancelled() {
                cancelled.push(id);
                continue;
            }
            let blocked = task.poll_blocked(&mut context);
            self.scheduler.set_paused(id, blocked);
        }
        for id in cancelled.drain(..) {
            self.remove(id);
        }
        self.buffers.ended = cancelled;
    }

    fn remove(&mut self, id: JobId) {
        self.scheduler.remove(id);
        match &mut self.ring {
            Ring::None => {}
            Ring::Whole(stage) => stage.close(id),
            Ring::Chain(chain) => chain.close(id),
        }
        if let Some(model) = &mut self.draft_model {
            model.close(id);
        }
        if self.tasks.remove(&id).is_some() {
            self.shared.job_over();
        }
    }

    fn fail(&mut self, id: JobId, error: JobError) {
        if let Some(task) = self.tasks.get(&id) {
            task.send(Event::Failed(error));
        }
        self.remove(id);
    }

    /// Embeds one text. False if there was none.
    fn embed(&mut self) -> bool {
        let Some(task) = self.embeds.pop_front() else {
            return false;
        };
        // Without an embedder the handle refuses such tasks.
        let step = self.embedder.as_mut().map(|embedder| embedder.step(task));
        match step.flatten() {
            Some(task) => self.embeds.push_back(task),
            None => self.shared.job_over(),
        }
        true
    }

    fn publish(&mut self) {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.load.running = count(self.scheduler.running());
        self.load.kv_used = count(self.scheduler.used_cells());
        self.shared.publish(self.load);
    }

    fn end_all(mut self) {
        let ids: Vec<JobId> = self.tasks.keys().copied().collect();
        for id in ids {
            self.fail(id, JobError::Stopping);
        }
        for task in self.embeds.drain(..) {
            task.fail(JobError::Stopping);
            self.shared.job_over();
        }
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Generate(new) => {
                    new.task.send(Event::Failed(JobError::Stopping));
                    self.shared.job_over();
                }
                Command::Embed(task) => {
                    task.fail(JobError::Stopping);
                    self.shared.job_over();
                }
                Command::Ring(_) | Command::Wake => {}
            }
        }
    }
}
