//! The engine in this process: llama.cpp on a thread of its own, an async handle in front.
//!
//! The handle does what needs no context (tokenizing, building grammars, refusing), the thread
//! (`runner`) does the rest. A job travels through one bounded channel, its events come back
//! through one of their own; a reader that does not keep up pauses its own job and no other.
//!
//! llama.cpp can abort the process. Who must not die with it puts this engine into a process of
//! its own; it knows nothing of that.

mod chain;
mod chooser;
mod config;
mod draft;
mod embedder;
mod examiner;
mod grammar;
mod head;
mod loaded;
mod prompt;
mod ring;
mod runner;
mod slice;
mod speaker;
mod stage;
mod task;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};

pub use config::{LoadError, LocalConfig};
pub use examiner::{Chunks, ExamError, Examiner, Reading};
pub use slice::SliceStage;

use crate::engine::{Engine, EngineState, Event, Job, JobError, Load, ModelInfo, Prompt};
use crate::ffi::model::Model;
use crate::stage::{FromHead, HeadConfig, ToHead};
use runner::{Command, Runner};

/// Commands under way to the thread. A full channel makes callers wait, which is all it does:
/// the jobs themselves are bounded by the queue's limit.
const COMMAND_BUFFER: usize = 64;

/// Events under way to one reader: a second of a fast answer. After that its job pauses.
pub(crate) const EVENT_BUFFER: usize = 128;

/// Texts longer than this are tokenized off the async threads: it takes milliseconds.
const INLINE_TEXT_BYTES: usize = 16 * 1024;

/// What handle and thread both see.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) load: Mutex<Load>,
    /// Jobs accepted and not over.
    pub(crate) jobs: AtomicUsize,
    pub(crate) draining: AtomicBool,
    /// The thread is to end now.
    pub(crate) stop: AtomicBool,
    pub(crate) idle: tokio::sync::Notify,
    pub(crate) state: watch::Sender<EngineState>,
}

impl Shared {
    fn new() -> Self {
        Self {
            load: Mutex::new(Load::default()),
            jobs: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            idle: tokio::sync::Notify::new(),
            state: watch::Sender::new(EngineState::Loading(0.0)),
        }
    }

    pub(crate) fn publish(&self, load: Load) {
        *self.load.lock().unwrap_or_else(PoisonError::into_inner) = load;
    }

    /// A job is over, however it went.
    pub(crate) fn job_over(&self) {
        if self.jobs.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_waiters();
        }
    }
}

/// One loaded model in this process.
#[derive(Debug)]
pub struct LocalEngine {
    model: Arc<Model>,
    info: ModelInfo,
    generates: bool,
    most_jobs: usize,
    embedding_tokens: u32,
    draft_trouble: Option<String>,
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl LocalEngine {
    /// Loads a model and starts its thread. Blocks until the model can answer; `progress` is
    /// told 0..=1 and answers whether to go on.
    ///
    /// # Errors
    /// [`LoadError`], with llama.cpp's own words where it has any.
    pub fn load(
        config: &LocalConfig,
        mut progress: impl FnMut(f32) -> bool,
    ) -> Result<Self, LoadError> {
        let (facts, parts) = Self::read(config, &mut progress)?;
        Self::start(facts, parts)
    }

    fn read(
        config: &LocalConfig,
        progress: &mut dyn FnMut(f32) -> bool,
    ) -> Result<(Facts, loaded::Parts), LoadError> {
        let loaded = loaded::Loaded::load(config, progress)?;
        let facts = Facts {
            model: loaded.model(),
            info: loaded.info(),
            generates: loaded.generates(),
            embedding_tokens: loaded.embedding_tokens(),
            queue_limit: config.queue_limit,
        };
        Ok((facts, loaded.into_parts()))
    }

    /// Loads the head of a chain and starts its thread. It answers nothing before it is told that
    /// its ring is there ([`LocalEngine::tell`]); what it says to the ring comes out of the
    /// receiver.
    ///
    /// # Errors
    /// [`LoadError`], with llama.cpp's own words where it has any.
    pub fn load_head(config: &HeadConfig) -> Result<(Self, mpsc::Receiver<FromHead>), LoadError> {
        let (facts, parts, messages) = Self::read_head(config)?;
        Ok((Self::start(facts, parts)?, messages))
    }

    fn read_head(
        config: &HeadConfig,
    ) -> Result<(Facts, loaded::Parts, mpsc::Receiver<FromHead>), LoadError> {
        let (head, messages) = head::load(config)?;
        let facts = Facts {
            model: head.model,
            info: head.info,
            generates: true,
            embedding_tokens: 0,
            queue_limit: config.queue_limit,
        };
        Ok((facts, head.parts, messages))
    }

    fn start(facts: Facts, mut parts: loaded::Parts) -> Result<Self, LoadError> {
        let Facts {
            model,
            info,
            generates,
            embedding_tokens,
            queue_limit,
        } = facts;
        let draft_trouble = parts.drafting.trouble.take();
        let (commands, receiver) = mpsc::channel(COMMAND_BUFFER);
        let shared = Arc::new(Shared::new());
        shared.state.send_replace(EngineState::Ready(info.clone()));
        let runner = Runner::new(parts, receiver, commands.downgrade(), Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("llama".into())
            .spawn(move || runner.run())
            .map_err(LoadError::Thread)?;
        Ok(Self {
            most_jobs: info.parallel as usize + queue_limit as usize,
            model,
            info,
            generates,
            embedding_tokens,
            draft_trouble,
            commands,
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Facts of the model.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Why the draft model that was asked for does not draft, in one line for people.
    #[must_use]
    pub fn draft_trouble(&self) -> Option<&str> {
        self.draft_trouble.as_deref()
    }

    /// Tells the head of a chain of its ring, or gives it what came back. Nothing happens with a
    /// whole model.
    ///
    /// # Errors
    /// [`JobError::Stopping`] when the thread has ended.
    pub async fn tell(&self, event: ToHead) -> Result<(), JobError> {
        self.send(Command::Ring(event)).await
    }

    /// Counts a job in, unless the queue is full or the engine is stopping.
    fn enter(&self) -> Result<Entered, JobError> {
        if self.shared.draining.load(Ordering::Acquire) {
            return Err(JobError::Stopping);
        }
        let counted = self
            .shared
            .jobs
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |jobs| {
                (jobs < self.most_jobs).then_some(jobs + 1)
            });
        match counted {
            Ok(_) => Ok(Entered(Some(Arc::clone(&self.shared)))),
            Err(jobs) => Err(JobError::Overloaded {
                waiting: u32::try_from(jobs)
                    .unwrap_or(u32::MAX)
                    .saturating_sub(self.info.parallel),
            }),
        }
    }

    /// Tells the thread to end. Answers it the first time.
    fn stop(&self) -> Option<std::thread::JoinHandle<()>> {
        self.shared.stop.store(true, Ordering::Release);
        // A full channel wakes the thread, too.
        let _ = self.commands.try_send(Command::Wake);
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.take()
    }

    async fn send(&self, command: Command) -> Result<(), JobError> {
        self.commands
            .send(command)
            .await
            .map_err(|_| JobError::Stopping)
    }
}

/// What the handle knows of what the thread has.
struct Facts {
    model: Arc<Model>,
    info: ModelInfo,
    generates: bool,
    embedding_tokens: u32,
    queue_limit: u32,
}

/// A job that is counted; not any more once this is dropped, unless it was handed over.
pub(crate) struct Entered(Option<Arc<Shared>>);

impl Entered {
    fn hand_over(mut self) {
        self.0 = None;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.job_over();
        }
    }
}

/// Runs `work` where it does no harm: here if it is short, else on a blocking thread.
async fn compute<T: Send + 'static>(
    size_bytes: usize,
    work: impl FnOnce() -> Result<T, JobError> + Send + 'static,
) -> Result<T, JobError> {
    if size_bytes <= INLINE_TEXT_BYTES {
        return work();
    }
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(|e| JobError::Inference(e.to_string()))?
}

#[async_trait]
impl Engine for LocalEngine {
    async fn generate(&self, job: Job) -> Result<mpsc::Receiver<Event>, JobError> {
        let arrived = Instant::now();
        if !self.generates {
            return Err(JobError::Unsupported("this model embeds text only".into()));
        }
        let entered = self.enter()?;
        let (model, context) = (Arc::clone(&self.model), self.info.context_length);
        let size = task::size_bytes(&job);
        let (events, receiver) = mpsc::channel(EVENT_BUFFER);
        let task = compute(size, move || {
            task::NewTask::prepare(job, &model, context, events, arrived)
        });
        let task = Box::new(task.await?);
        self.send(Command::Generate(task)).await?;
        entered.hand_over();
        Ok(receiver)
    }

    async fn embed(&self, inputs: Vec<Prompt>) -> Result<(Vec<Vec<f32>>, u32), JobError> {
        if !self.info.embeddings {
            return Err(JobError::Unsupported("this model cannot embed text".into()));
        }
        let entered = self.enter()?;
        let (model, most) = (Arc::clone(&self.model), self.embedding_tokens);
        let size = inputs.iter().map(prompt::size_bytes).sum();
        let inputs = compute(size, move || prompt::embedding_inputs(&model, inputs, most)).await?;
        let (reply, answer) = oneshot::channel();
        let task = embedder::EmbedTask::new(inputs, reply);
        self.send(Command::Embed(task)).await?;
        entered.hand_over();
        answer.await.map_err(|_| JobError::Stopping)?
    }

    async fn tokenize(&self, text: String, parse_special: bool) -> Result<Vec<u32>, JobError> {
        let model = Arc::clone(&self.model);
        compute(text.len(), move || {
            model
                .tokenize(&text, false, parse_special)
                .map_err(|e| JobError::Invalid(e.to_string()))
        })
        .await
    }

    async fn detokenize(&self, tokens: Vec<u32>) -> Result<String, JobError> {
        let model = Arc::clone(&self.model);
        compute(tokens.len() * 4, move || {
            prompt::detokenize(&model, &tokens)
        })
        .await
    }

    fn state(&self) -> watch::Receiver<EngineState> {
        self.shared.state.subscribe()
    }

    fn load(&self) -> Load {
        let load = self.shared.load.lock();
        let mut load = *load.unwrap_or_else(PoisonError::into_inner);
        // Jobs on their way to the thread wait, too.
        let jobs = self.shared.jobs.load(Ordering::Acquire);
        let jobs = u32::try_from(jobs).unwrap_or(u32::MAX);
        load.running = load.running.min(jobs);
        load.waiting = jobs - load.running;
        load
    }

    async fn drain(&self, deadline: Duration) {
        self.shared.draining.store(true, Ordering::Release);
        self.shared.state.send_replace(EngineState::Draining);
        let idle = async {
            loop {
                let notified = self.shared.idle.notified();
                if self.shared.jobs.load(Ordering::Acquire) == 0 {
                    return;
                }
                notified.await;
            }
        };
        // Whoever is not done by then gets `JobError::Stopping` from the thread.
        let _ = tokio::time::timeout(deadline, idle).await;
        if let Some(thread) = self.stop() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for LocalEngine {
    /// Waits for the thread, one batch at most: llama.cpp must not compute any more when the
    /// process ends and tears it down.
    fn drop(&mut self) {
        if let Some(thread) = self.stop() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
