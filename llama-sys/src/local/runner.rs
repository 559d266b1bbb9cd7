//! The thread that owns the contexts: takes commands, asks the scheduler what to compute,
//! computes it, and sends what came out. It decides nothing that the cores can decide.
//!
//! It sleeps when nothing can be computed: on the command channel, which new jobs, stopping, and
//! readers that make room write to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context as TaskContext, Wake, Waker};
use std::time::Instant;

use tokio::sync::mpsc::{self, error::TryRecvError};

use super::chooser::Scratch;
use super::embedder::{EmbedTask, Embedder};
use super::task::{NewTask, Task};
use super::{Shared, config::LoadError, config::LocalConfig, embedder};
use crate::core::logprob;
use crate::core::scheduler::{JobId, Limits, Plan, Scheduler, Work};
use crate::core::select::Candidate;
use crate::core::session::Session;
use crate::core::slots::{KvOp, Reuse};
use crate::engine::{Event, FinishReason, JobError, ModelInfo, TokenLogprob};
use crate::ffi::backend::Backend;
use crate::ffi::batch::Batch;
use crate::ffi::context::{Context, ContextParams, DecodeError};
use crate::ffi::model::Model;

/// Rows of logits beyond one for each sequence: what prompts with log-probabilities compute at
/// once. Each takes four bytes for each token of the vocabulary.
const EXTRA_OUTPUTS: u32 = 64;

/// What the thread is told.
pub(crate) enum Command {
    /// Run a job.
    Generate(Box<NewTask>),
    /// Embed texts.
    Embed(EmbedTask),
    /// A reader made room.
    Wake,
    /// End all jobs, then the thread.
    Stop,
}

/// A model that is loaded and has computed a token.
pub(super) struct Loaded {
    backend: Backend,
    model: Arc<Model>,
    context: Option<Context>,
    params: ContextParams,
    context_length: u32,
    parallel: u32,
    queue: usize,
}

impl Loaded {
    pub(super) fn load(
        config: &LocalConfig,
        progress: &mut dyn FnMut(f32) -> bool,
    ) -> Result<Self, LoadError> {
        std::fs::File::open(&config.model).map_err(LoadError::File)?;
        let backend = Backend::init();
        let model = Model::load(backend, &config.model, config.gpu_layers(), progress)?;
        if model.has_encoder() {
            let message = "encoder-decoder models are not served";
            return Err(LoadError::Unsupported(message.into()));
        }
        let model = Arc::new(model);
        let context_length = config.context(model.context_trained());
        let threads = config.threads();
        let params = ContextParams {
            cells: config.cells(context_length),
            batch_tokens: config.batch(),
            micro_batch_tokens: config.micro_batch(),
            outputs: config.sequences() + EXTRA_OUTPUTS,
            sequences: config.sequences_kept(model.is_recurrent()),
            threads: (threads, threads),
            embeddings: None,
        };
        let made = Context::new(backend, Arc::clone(&model), params);
        let context = made.ok_or_else(|| LoadError::Context {
            cells: params.cells,
            cause: backend.take_error().unwrap_or_default(),
        })?;
        let mut loaded = Self {
            backend,
            model,
            // Without a memory the model can embed, but not generate.
            context: context.has_memory().then_some(context),
            params,
            context_length,
            parallel: config.sequences(),
            queue: config.queue_limit as usize,
        };
        loaded.warm_up()?;
        Ok(loaded)
    }

    /// Computes a token, so that the first request finds pages and buffers in place.
    fn warm_up(&mut self) -> Result<(), LoadError> {
        let Some(context) = &mut self.context else {
            return Ok(());
        };
        let mut batch = Batch::default();
        batch.push(self.model.bos().unwrap_or(0), 0, 0, true);
        let decoded = context.decode(&mut batch);
        decoded.map_err(|e| LoadError::WarmUp(e.to_string()))?;
        context.clear();
        Ok(())
    }

    pub(super) fn model(&self) -> Arc<Model> {
        Arc::clone(&self.model)
    }

    pub(super) fn generates(&self) -> bool {
        self.context.is_some()
    }

    pub(super) fn embedding_tokens(&self) -> u32 {
        embedder::most_tokens(&self.model, self.context_length)
    }

    pub(super) fn info(&self) -> ModelInfo {
        ModelInfo {
            vocab_size: self.model.vocab_size(),
            embedding_length: self.model.embedding_length(),
            context_length: self.context_length,
            parallel: self.parallel,
            model_bytes: self.model.tensor_bytes(),
            infill: self.model.infill_tokens().is_some(),
            embeddings: true,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            parallel: self.parallel,
            sequences: self.params.sequences,
            cells: self.context.as_ref().map_or(0, Context::cells),
            batch_tokens: self.params.batch_tokens as usize,
            batch_outputs: self.params.outputs as usize,
            queue: self.queue,
            reuse: if self.model.is_recurrent() {
                Reuse::Whole
            } else {
                Reuse::Any
            },
        }
    }

    pub(super) fn into_runner(
        self,
        commands: mpsc::Receiver<Command>,
        wake: mpsc::WeakSender<Command>,
        shared: Arc<Shared>,
    ) -> Runner {
        let limits = self.limits();
        shared.update_load(|load| load.kv_total = limits.cells);
        let most = self.embedding_tokens();
        let model = Arc::clone(&self.model);
        Runner {
            scheduler: Scheduler::new(limits),
            embedder: Embedder::new(self.backend, model, self.params, most),
            context: self.context,
            commands,
            waker: Waker::from(Arc::new(Nudge(wake))),
            shared,
            tasks: BTreeMap::new(),
            embeds: VecDeque::new(),
            next_id: 0,
            buffers: Buffers::default(),
            stopping: false,
        }
    }
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
    batch: Batch,
    scratch: Scratch,
    top: Vec<Candidate>,
    ops: Vec<KvOp>,
    ended: Vec<JobId>,
}

/// The thread's state.
pub(super) struct Runner {
    scheduler: Scheduler,
    embedder: Embedder,
    context: Option<Context>,
    commands: mpsc::Receiver<Command>,
    waker: Waker,
    shared: Arc<Shared>,
    tasks: BTreeMap<JobId, Task>,
    embeds: VecDeque<EmbedTask>,
    next_id: u64,
    buffers: Buffers,
    stopping: bool,
}

impl Runner {
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
                Err(TryRecvError::Empty) => return !self.stopping,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Generate(new) => self.on_generate(*new),
            Command::Embed(task) => self.embeds.push_back(task),
            Command::Wake => {}
            Command::Stop => self.stopping = true,
        }
    }

    fn on_generate(&mut self, new: NewTask) {
        let NewTask {
            session,
            manner,
            mut task,
        } = new;
        if session.ending().is_some() {
            start(&mut task, &session, 0);
            task.send_delta();
            finish(&mut task, &session);
            self.shared.job_over();
            return;
        }
        let id = JobId(self.next_id);
        self.next_id += 1;
        match self.scheduler.submit(id, session, manner) {
            Ok(()) => {
                self.tasks.insert(id, task);
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

    /// Plans and computes one batch. False if there was nothing to compute.
    fn generate(&mut self) -> bool {
        if self.tasks.is_empty() || self.context.is_none() {
            return false;
        }
        let mut plan = std::mem::take(&mut self.buffers.plan);
        self.scheduler.plan(&mut plan);
        for (position, id) in (0u32..).zip(self.scheduler.waiting()) {
            if let Some(task) = self.tasks.get_mut(&id) {
                task.report_position(position);
            }
        }
        let now = Instant::now();
        for part in &plan.work {
            if let Some(task) = self.tasks.get_mut(&part.job) {
                task.begin(now);
            }
        }
        let worked = !plan.work.is_empty() || !plan.ops.is_empty();
        if self.apply(&plan.ops) {
            if !plan.work.is_empty() {
                self.compute(&plan.work);
            }
        } else {
            // A sequence was lost: nothing of the plan holds.
            self.retract_all(&plan.work);
        }
        self.buffers.plan = plan;
        worked
    }

    /// Carries out operations on the cache. False if a sequence lost its tokens by it.
    fn apply(&mut self, ops: &[KvOp]) -> bool {
        let mut intact = true;
        for op in ops {
            let Some(context) = &mut self.context else {
                return false;
            };
            match *op {
                KvOp::Cut { slot, keep } => {
                    if !context.cut(slot.0, keep) {
                        intact = false;
                        self.scheduler.lost(slot, &mut self.buffers.ops);
                    }
                }
                KvOp::Share { from, to, len } => context.share(from.0, to.0, len),
            }
        }
        // The cache has none of the tokens that `lost` dropped: nothing is left to do for them.
        self.buffers.ops.clear();
        intact
    }

    fn retract_all(&mut self, work: &[Work]) {
        let mut ops = std::mem::take(&mut self.buffers.ops);
        for part in work {
            self.scheduler.retract(part, &mut ops);
        }
        self.apply(&ops);
        ops.clear();
        self.buffers.ops = ops;
    }

    /// Computes a batch. If llama.cpp refuses it, each part is tried by itself, so that one
    /// bad job takes no other with it.
    fn compute(&mut self, work: &[Work]) {
        match self.decode(work) {
            Ok(()) => self.on_computed(work),
            Err(error) if work.len() == 1 => self.on_refused(&work[0], &error),
            Err(error) => {
                tracing::warn!(%error, jobs = work.len(), "a batch failed; its jobs are tried one by one");
                self.retract_all(work);
                for part in work {
                    let mut ops = std::mem::take(&mut self.buffers.ops);
                    let replaced = self.scheduler.replace(part, &mut ops);
                    let intact = self.apply(&ops);
                    self.buffers.ops.clear();
                    if replaced && intact {
                        self.compute(std::slice::from_ref(part));
                    }
                }
            }
        }
    }

    fn on_refused(&mut self, part: &Work, error: &DecodeError) {
        tracing::warn!(%error, "a job failed");
        // What the cache holds of it is not known.
        let mut ops = vec![KvOp::Cut {
            slot: part.slot,
            keep: 0,
        }];
        self.scheduler.lost(part.slot, &mut ops);
        self.apply(&ops);
        self.fail(part.job, JobError::Inference(error.to_string()));
    }

    fn decode(&mut self, work: &[Work]) -> Result<(), DecodeError> {
        let batch = &mut self.buffers.batch;
        batch.clear();
        for part in work {
            let Some(session) = self.scheduler.session(part.job) else {
                continue;
            };
            let tokens = session.tokens(part.step);
            for (i, &token) in tokens.iter().enumerate() {
                let last = i + 1 == tokens.len() && part.step.wants_sample;
                let position = part.step.keep_n + i;
                batch.push(token, position, part.slot.0, last || part.all_outputs);
            }
        }
        let context = self.context.as_mut();
        context.map_or(Err(DecodeError::Invalid("no context")), |c| c.decode(batch))
    }

    /// Takes the results of a batch.
    fn on_computed(&mut self, work: &[Work]) {
        self.scheduler.computed(work);
        let now = Instant::now();
        let mut row = 0;
        for part in work {
            row += part.step.n;
            let result = self.on_part(part, row - part.step.n, now);
            match result {
                Ok(false) => {}
                Ok(true) => self.remove(part.job),
                Err(error) => self.fail(part.job, error),
            }
        }
    }

    /// Takes the results of one job, whose tokens begin at `row` of the batch. True if the
    /// answer ended.
    fn on_part(&mut self, part: &Work, row: usize, now: Instant) -> Result<bool, JobError> {
        let (Some(task), Some(context), Some(session)) = (
            self.tasks.get_mut(&part.job),
            self.context.as_mut(),
            self.scheduler.session(part.job),
        ) else {
            return Ok(true);
        };
        if part.all_outputs {
            prompt_logprobs(task, context, session, (part, row), &mut self.buffers.top);
        }
        let cached = self.scheduler.cached_tokens(part.job).unwrap_or(0);
        let sampled = u64::from(part.step.wants_sample);
        self.shared.update_load(|load| {
            let decodes = sampled == 1 && task.started;
            load.prefill_tokens += if decodes { 0 } else { part.step.n as u64 };
            load.decode_tokens += sampled;
        });
        if !part.step.wants_sample {
            return Ok(false);
        }
        if !task.started {
            task.first_token(now);
            start(task, session, cached);
            self.shared
                .update_load(|load| load.cached_tokens += cached as u64);
        }
        if task.prompt_only {
            task.send(Event::Finished {
                reason: FinishReason::Length,
                stop: None,
                completion_tokens: 0,
                timing: task.timing(now),
            });
            return Ok(true);
        }
        self.sample(part, row + part.step.n - 1)
    }

    /// Chooses the next token of a job by the logits at `row`. True if the answer ended.
    fn sample(&mut self, part: &Work, row: usize) -> Result<bool, JobError> {
        let (Some(task), Some(context), Some(session)) = (
            self.tasks.get_mut(&part.job),
            self.context.as_mut(),
            self.scheduler.session_mut(part.job),
        ) else {
            return Ok(true);
        };
        let missing = || JobError::Inference("llama.cpp gave no logits".into());
        let logits = context.logits_mut(row).ok_or_else(missing)?;
        let position = session.answer().len() as u64;
        let Buffers { scratch, top, .. } = &mut self.buffers;
        match task.chooser.choose(logits, position, scratch) {
            Some(token) => {
                let logprob = task
                    .logprobs
                    .and_then(|n| describe(&task.words.model, logits, token, n, top));
                session.sampled(token, logprob, &task.words, &mut task.delta);
                if session.ending().is_none() && !task.chooser.accept(token) {
                    return Err(JobError::Grammar(
                        "it refused a token it had allowed".into(),
                    ));
                }
            }
            None if crate::core::select::argmax(logits).is_none() => {
                return Err(JobError::Inference(
                    "the model's output is not a number".into(),
                ));
            }
            // Bias or grammar leave nothing: the answer is as long as it can be.
            None => session.stop(&mut task.delta),
        }
        task.send_delta();
        if session.ending().is_none() {
            return Ok(false);
        }
        finish(task, session);
        Ok(true)
    }

    /// Embeds one text. False if there was none.
    fn embed(&mut self) -> bool {
        let Some(task) = self.embeds.pop_front() else {
            return false;
        };
        match self.embedder.step(task) {
            Some(task) => self.embeds.push_back(task),
            None => self.shared.job_over(),
        }
        true
    }

    fn publish(&self) {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.shared.update_load(|load| {
            load.running = count(self.scheduler.running());
            load.waiting = count(self.scheduler.waiting().count());
            load.kv_used = count(self.scheduler.used_cells());
        });
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
                Command::Wake | Command::Stop => {}
            }
        }
    }
}

/// Tells the reader that the prompt is computed.
fn start(task: &mut Task, session: &Session, cached: usize) {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    task.started = true;
    let prompt = task.prompt.take().unwrap_or_default();
    task.send(Event::Started {
        prompt_tokens: count(session.prompt_tokens()),
        cached_tokens: count(cached),
        prompt,
    });
}

/// Tells the reader that the answer is complete.
fn finish(task: &mut Task, session: &Session) {
    let Some(ending) = session.ending() else {
        return;
    };
    task.send(Event::Finished {
        reason: ending.reason,
        stop: ending.stop.clone(),
        completion_tokens: ending.completion_tokens,
        timing: task.timing(Instant::now()),
    });
}

/// The log-probability of `token` and of the `n` likeliest.
fn describe(
    model: &Model,
    logits: &[f32],
    token: u32,
    n: u8,
    top: &mut Vec<Candidate>,
) -> Option<TokenLogprob> {
    let bytes = |token: u32| {
        let mut bytes = Vec::new();
        model.append_piece(token, true, &mut bytes);
        bytes
    };
    let entry = |token: u32, logprob: f32| TokenLogprob {
        token,
        bytes: bytes(token),
        logprob: Some(logprob),
        top: Vec::new(),
    };
    let logprob = logprob::of_token(logits, token, usize::from(n), top)?;
    let top = top.iter().map(|c| entry(c.token as u32, c.logit)).collect();
    Some(TokenLogprob {
        top,
        ..entry(token, logprob)
    })
}

/// Adds the log-probabilities of the prompt's tokens that follow those just computed.
fn prompt_logprobs(
    task: &mut Task,
    context: &mut Context,
    session: &Session,
    (part, row): (&Work, usize),
    top: &mut Vec<Candidate>,
) {
    let Some(list) = &mut task.prompt else {
        return;
    };
    let prompt = &session.history()[..session.prompt_tokens()];
    if list.is_empty() {
        let mut bytes = Vec::new();
        task.words.model.append_piece(prompt[0], true, &mut bytes);
        list.push(TokenLogprob {
            token: prompt[0],
            bytes,
            logprob: None,
            top: Vec::new(),
        });
    }
    for i in 0..part.step.n {
        let next = part.step.keep_n + i + 1;
        // A job that was computed again after it gave way has the first ones already.
        if next != list.len() || next >= prompt.len() {
            continue;
        }
        if let Some(logits) = context.logits_mut(row + i) {
            let n = task.logprobs.unwrap_or(0);
            list.extend(describe(&task.words.model, logits, prompt[next], n, top));
        }
    }
}
