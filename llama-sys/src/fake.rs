//! An engine without a model, for tests: it answers by script, at a scripted pace, and keeps
//! every promise of [`Engine`] (queue and its limit, cancellation, stop strings, resumption,
//! failures). It knows nothing of llama.cpp, and the product's worker never holds one.
//!
//! Its vocabulary is Unicode: a token's id is its character's scalar value, so that tests can
//! read tokens and a text has as many tokens as characters.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::engine::{
    Engine, EngineState, Event, Grammar, Job, JobError, Load, ModelInfo, Prompt, Resume,
};

mod answer;
#[cfg(test)]
mod tests;

/// Events that wait for a slow reader before the fake pauses.
const EVENT_CHANNEL: usize = 32;

/// Prompts remembered for `cached_tokens`; enough for any test.
const PREFIXES: usize = 16;

/// Width of the fake's embeddings.
const EMBEDDING_LENGTH: u32 = 8;

/// What the fake answers to one job.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// The whole answer, as if never resumed.
    pub text: String,
    /// Time before the first token.
    pub prefill: Duration,
    /// Time a token.
    pub pace: Duration,
    /// What follows the text.
    pub end: End,
}

/// What follows a script's text.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// The answer ends well.
    Stop,
    /// The answer breaks off.
    Fail(JobError),
    /// Nothing more comes until the job is cancelled or the engine ends.
    Hang,
}

impl Script {
    /// This text at once, ended well.
    pub fn say(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            prefill: Duration::ZERO,
            pace: Duration::ZERO,
            end: End::Stop,
        }
    }

    /// The same with this time a token.
    pub fn at_pace(self, pace: Duration) -> Self {
        Self { pace, ..self }
    }

    /// The same with this end.
    pub fn ending(self, end: End) -> Self {
        Self { end, ..self }
    }

    /// The prompt again; an empty object where the job's grammar wants JSON.
    pub fn echo(job: &Job) -> Self {
        match (&job.grammar, &job.prompt) {
            (Grammar::JsonObject | Grammar::JsonSchema(_), _) => Self::say("{}"),
            (_, Prompt::Text { text, .. }) => Self::say(text.as_str()),
            (_, Prompt::Tokens(tokens)) => Self::say(text_of(tokens)),
            (_, Prompt::Infill { prefix, suffix }) => Self::say(format!("{prefix}{suffix}")),
        }
    }
}

/// Chooses the script of a job.
pub type Playwright = dyn Fn(&Job) -> Script + Send + Sync;

/// Refuses a job, or does not.
pub type Doorkeeper = dyn Fn(&Job) -> Option<JobError> + Send + Sync;

/// What a [`FakeEngine`] is and says.
#[derive(Clone)]
pub struct FakeConfig {
    /// The model's facts; `parallel` and `context_length` are honoured.
    pub info: ModelInfo,
    /// Jobs that may wait for a slot.
    pub queue_limit: u32,
    /// The answer to each job. An `Err` of [`Self::refuse`] comes before it.
    pub script: Arc<Playwright>,
    /// Refuses a job at once.
    pub refuse: Arc<Doorkeeper>,
}

impl Default for FakeConfig {
    /// Four slots of 4096 tokens, a queue of 64, every prompt echoed.
    fn default() -> Self {
        Self {
            info: ModelInfo {
                vocab_size: u32::from(char::MAX) + 1,
                embedding_length: EMBEDDING_LENGTH,
                context_length: 4096,
                parallel: 4,
                model_bytes: 1 << 20,
                infill: true,
                embeddings: true,
            },
            queue_limit: 64,
            script: Arc::new(Script::echo),
            refuse: Arc::new(|_| None),
        }
    }
}

impl FakeConfig {
    /// The same with this answer to each job.
    pub fn with_script(self, script: impl Fn(&Job) -> Script + Send + Sync + 'static) -> Self {
        Self {
            script: Arc::new(script),
            ..self
        }
    }

    /// The same with this many slots.
    pub fn with_parallel(mut self, parallel: u32) -> Self {
        self.info.parallel = parallel;
        self
    }
}

impl fmt::Debug for FakeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeConfig")
            .field("info", &self.info)
            .field("queue_limit", &self.queue_limit)
            .finish_non_exhaustive()
    }
}

/// An engine that answers by script. Clones are handles of the same engine.
#[derive(Clone)]
pub struct FakeEngine {
    shared: Arc<Shared>,
}

/// What the engine and its running answers share.
struct Shared {
    config: FakeConfig,
    slots: Semaphore,
    state: watch::Sender<EngineState>,
    load: watch::Sender<Load>,
    /// Cancelled when draining has run out of time.
    end: CancellationToken,
    prefixes: Mutex<VecDeque<Vec<u32>>>,
}

impl FakeEngine {
    /// A fake that is ready at once.
    pub fn new(config: FakeConfig) -> Self {
        let load = Load {
            kv_total: config.info.context_length * config.info.parallel,
            ..Load::default()
        };
        let shared = Shared {
            slots: Semaphore::new(config.info.parallel as usize),
            state: watch::Sender::new(EngineState::Ready(config.info.clone())),
            load: watch::Sender::new(load),
            end: CancellationToken::new(),
            prefixes: Mutex::new(VecDeque::new()),
            config,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Shows this state from now on; jobs are refused unless it is `Ready`.
    pub fn become_state(&self, state: EngineState) {
        self.shared.state.send_replace(state);
    }

    /// The load, to wait for a change of it.
    pub fn load_changes(&self) -> watch::Receiver<Load> {
        self.shared.load.subscribe()
    }
}

impl Default for FakeEngine {
    fn default() -> Self {
        Self::new(FakeConfig::default())
    }
}

impl fmt::Debug for FakeEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeEngine")
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Engine for FakeEngine {
    async fn generate(&self, job: Job) -> Result<mpsc::Receiver<Event>, JobError> {
        let admitted = self.shared.admit(&job)?;
        let (sender, receiver) = mpsc::channel(EVENT_CHANNEL);
        let shared = self.shared.clone();
        tokio::spawn(async move { answer::run(&shared, job, admitted, sender).await });
        Ok(receiver)
    }

    async fn embed(&self, inputs: Vec<Prompt>) -> Result<(Vec<Vec<f32>>, u32), JobError> {
        self.shared.refuse_unless_ready()?;
        let mut vectors = Vec::with_capacity(inputs.len());
        let mut tokens = 0;
        for input in &inputs {
            let input = tokens_of(input);
            tokens += count(&input);
            vectors.push(embedding(&input));
        }
        Ok((vectors, tokens))
    }

    async fn tokenize(&self, text: String, _parse_special: bool) -> Result<Vec<u32>, JobError> {
        self.shared.refuse_unless_ready()?;
        Ok(text.chars().map(u32::from).collect())
    }

    async fn detokenize(&self, tokens: Vec<u32>) -> Result<String, JobError> {
        self.shared.refuse_unless_ready()?;
        Ok(text_of(&tokens))
    }

    fn state(&self) -> watch::Receiver<EngineState> {
        self.shared.state.subscribe()
    }

    fn load(&self) -> Load {
        *self.shared.load.borrow()
    }

    async fn drain(&self, deadline: Duration) {
        self.shared.state.send_replace(EngineState::Draining);
        let mut load = self.shared.load.subscribe();
        let idle = load.wait_for(|load| load.running + load.waiting == 0);
        let in_time = tokio::time::timeout(deadline, idle).await.is_ok();
        if !in_time {
            self.shared.end.cancel();
        }
    }
}

/// A job that has its place in the queue.
struct Admitted {
    prompt: Vec<u32>,
    max_tokens: u32,
    script: Script,
    /// Jobs ahead of it.
    position: u32,
}

impl Shared {
    /// Checks a job and gives it a place in the queue.
    fn admit(&self, job: &Job) -> Result<Admitted, JobError> {
        self.refuse_unless_ready()?;
        if let Some(refusal) = (self.config.refuse)(job) {
            return Err(refusal);
        }
        let prompt = tokens_of(&job.prompt);
        let room = self.room(&prompt)?;
        let position = self.enqueue()?;
        Ok(Admitted {
            prompt,
            max_tokens: job.max_tokens.unwrap_or(room).min(room),
            script: (self.config.script)(job),
            position,
        })
    }

    fn refuse_unless_ready(&self) -> Result<(), JobError> {
        match &*self.state.borrow() {
            EngineState::Ready(_) => Ok(()),
            EngineState::Draining => Err(JobError::Stopping),
            EngineState::Failed(cause) => Err(JobError::LoadFailed(cause.clone())),
            EngineState::Loading(_) | EngineState::Restarting { .. } => Err(JobError::WorkerLost),
        }
    }

    /// Tokens that may follow this prompt.
    fn room(&self, prompt: &[u32]) -> Result<u32, JobError> {
        let info = &self.config.info;
        if prompt.is_empty() {
            return Err(JobError::Invalid("the prompt is empty".into()));
        }
        if let Some(token) = prompt.iter().find(|token| **token >= info.vocab_size) {
            return Err(JobError::Invalid(format!("no token has the id {token}")));
        }
        let prompt_tokens = count(prompt);
        match info.context_length.checked_sub(prompt_tokens) {
            Some(room) if room > 0 => Ok(room),
            _ => Err(JobError::ContextLengthExceeded {
                prompt_tokens,
                context_length: info.context_length,
            }),
        }
    }

    /// A place in the queue: the jobs ahead.
    fn enqueue(&self) -> Result<u32, JobError> {
        let mut place = Err(JobError::Overloaded { waiting: 0 });
        self.load.send_modify(|load| {
            let places = self.config.info.parallel + self.config.queue_limit;
            if load.running + load.waiting < places {
                place = Ok(load.waiting);
                load.waiting += 1;
            } else {
                place = Err(JobError::Overloaded {
                    waiting: load.waiting,
                });
            }
        });
        place
    }

    /// Tokens of the prompt that an earlier prompt began with, as a prefix cache has them; at
    /// least one token is always computed.
    fn remember(&self, prompt: &[u32]) -> u32 {
        let mut prefixes = self.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
        let shared =
            |known: &Vec<u32>| known.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        let longest = prefixes.iter().map(shared).max().unwrap_or(0);
        if prefixes.len() == PREFIXES {
            prefixes.pop_front();
        }
        prefixes.push_back(prompt.to_vec());
        u32::try_from(longest.min(prompt.len() - 1)).unwrap_or(u32::MAX)
    }
}

fn tokens_of(prompt: &Prompt) -> Vec<u32> {
    match prompt {
        Prompt::Text { text, .. } => text.chars().map(u32::from).collect(),
        Prompt::Tokens(tokens) => tokens.clone(),
        Prompt::Infill { prefix, suffix } => prefix
            .chars()
            .chain(suffix.chars())
            .map(u32::from)
            .collect(),
    }
}

fn text_of(tokens: &[u32]) -> String {
    tokens.iter().map(|token| character(*token)).collect()
}

fn character(token: u32) -> char {
    char::from_u32(token).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn count(tokens: &[u32]) -> u32 {
    u32::try_from(tokens.len()).unwrap_or(u32::MAX)
}

/// A vector of length 1 that depends on the tokens only.
fn embedding(tokens: &[u32]) -> Vec<f32> {
    let mut vector = vec![0.0_f32; EMBEDDING_LENGTH as usize];
    vector[0] = 1.0;
    for (i, token) in tokens.iter().enumerate() {
        let weight = u16::try_from(token % 251).map_or(0.0, f32::from);
        vector[i % EMBEDDING_LENGTH as usize] += weight;
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter().map(|x| x / length).collect()
}

/// The text of a resumed answer that its client lacks, from `sent_text_bytes` on.
fn unsent(resume: &Resume) -> String {
    let text = text_of(&resume.tokens);
    text.get(resume.sent_text_bytes..)
        .unwrap_or_default()
        .to_owned()
}
