//! A job on its way to the thread, and what the thread knows of it beside its session.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use tokio::sync::mpsc;

use super::chooser::PENALTY_LAST_N;
use super::prompt::{self, Words};
use super::speaker::Speaker;
use crate::core::scheduler::Manner;
use crate::core::session::{Session, SessionParams};
use crate::core::speculation::{Drafter, MAX_WINDOWS};
use crate::engine::{Delta, Event, FinishReason, Grammar, Job, JobError, Timing, TokenLogprob};
use crate::ffi::model::Model;
use crate::stage::{RawLogprob, Voice};

/// Stop strings of one job, and bytes of each: OpenAI allows 4; each costs time at each token.
const MAX_STOP_STRINGS: usize = 64;
const MAX_STOP_BYTES: usize = 1024;

/// Events that what is under way can make: `Started`, a `Delta` for each step, and the last one.
const EVENTS_PER_STEP: usize = 2 + MAX_WINDOWS;

/// Room that is left for those events when a place in the queue is told.
const SPARE_EVENTS: usize = EVENTS_PER_STEP + 1;

/// A job that is checked and ready to run.
pub(crate) struct NewTask {
    pub(super) session: Session,
    pub(super) manner: Manner,
    pub(super) task: Task,
    /// Of a whole model, where tokens are chosen in this process.
    pub(super) speaker: Speaker,
}

/// A job that the thread knows.
pub(super) struct Task {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) words: Words,
    /// How the tokens are chosen, for whoever does it elsewhere.
    pub(super) voice: Voice,
    /// Log-probabilities of the prompt, as far as they are computed.
    pub(super) prompt: Option<Vec<TokenLogprob>>,
    /// The prompt only: the answer has no tokens.
    pub(super) prompt_only: bool,
    /// Text of a resumed answer that was not sent yet.
    pub(super) delta: Delta,
    pub(super) started: bool,
    /// Times that a stage had lost what the answer builds on.
    pub(super) missing: u32,
    pub(super) drafter: Drafter,
    position: Option<u32>,
    blocked: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    clock: Clock,
}

/// When what happened.
struct Clock {
    arrived: Instant,
    begun: Option<Instant>,
    first_token: Option<Instant>,
}

impl From<Instant> for Clock {
    fn from(arrived: Instant) -> Self {
        Self {
            arrived,
            begun: None,
            first_token: None,
        }
    }
}

/// Bytes that a job makes work for before it runs.
pub(super) fn size_bytes(job: &Job) -> usize {
    let grammar = match &job.grammar {
        Grammar::None | Grammar::JsonObject => 0,
        // Much work for each byte.
        Grammar::JsonSchema(text) | Grammar::Gbnf(text) => text.len() * 16,
    };
    prompt::size_bytes(&job.prompt) + grammar
}

impl NewTask {
    /// Checks a job and does for it what needs no context.
    pub(crate) fn prepare(
        job: Job,
        model: &Arc<Model>,
        context_length: u32,
        events: mpsc::Sender<Event>,
        arrived: Instant,
    ) -> Result<Self, JobError> {
        check(&job)?;
        let tokens = prompt::tokens(model, job.prompt)?;
        let resume = job.resume.unwrap_or_default();
        prompt::check(model, &resume.tokens)?;
        let voice = Voice {
            sampling: job.sampling,
            seed: job.seed,
            grammar: job.grammar,
            logprobs: job.logprobs,
            recent: tokens[tokens.len().saturating_sub(PENALTY_LAST_N)..].to_vec(),
        };
        let speaker = Speaker::new(model, &voice, &resume.tokens)?;
        let words = Words {
            model: Arc::clone(model),
            show_special: job.show_special,
        };
        let prompt_only = job.prompt_logprobs && job.max_tokens == Some(0);
        let params = SessionParams {
            prompt: tokens,
            resume: resume.tokens,
            sent_text_bytes: resume.sent_text_bytes,
            // The prompt is computed as if one token were wanted after it.
            max_tokens: if prompt_only { Some(1) } else { job.max_tokens },
            context_length,
            stop: job.stop,
        };
        let mut delta = Delta::default();
        let session = Session::new(params, &words, &mut delta)?;
        let prompt = job.prompt_logprobs.then(Vec::new);
        Ok(Self {
            session,
            manner: Manner {
                reuse_cache: prompt.is_none(),
                all_outputs: prompt.is_some(),
            },
            speaker,
            task: Task {
                events,
                words,
                voice,
                missing: 0,
                drafter: Drafter::default(),
                prompt,
                prompt_only,
                delta,
                started: false,
                position: None,
                blocked: None,
                clock: Clock::from(arrived),
            },
        })
    }
}

fn check(job: &Job) -> Result<(), JobError> {
    if job.stop.len() > MAX_STOP_STRINGS {
        let message = format!("at most {MAX_STOP_STRINGS} stop strings");
        return Err(JobError::Invalid(message));
    }
    if job.stop.iter().any(|s| s.len() > MAX_STOP_BYTES) {
        let message = format!("a stop string has at most {MAX_STOP_BYTES} bytes");
        return Err(JobError::Invalid(message));
    }
    Ok(())
}

impl Task {
    /// True once nobody reads the answer.
    pub(super) fn is_cancelled(&self) -> bool {
        self.events.is_closed()
    }

    /// True if the reader has no room for what the next step may make. Then the waker of
    /// `context` is called once there is room, or nobody reads any more.
    pub(super) fn poll_blocked(&mut self, context: &mut TaskContext<'_>) -> bool {
        if self.blocked.is_none() && self.events.capacity() < EVENTS_PER_STEP {
            let events = self.events.clone();
            self.blocked = Some(Box::pin(async move {
                let _ = events.reserve_many(EVENTS_PER_STEP).await;
            }));
        }
        if let Some(wait) = &mut self.blocked {
            if wait.as_mut().poll(context) == Poll::Pending {
                return true;
            }
            self.blocked = None;
        }
        false
    }

    /// Tells the reader how many jobs are ahead, if that changed. Of an answer that has begun and
    /// waits to be computed again nothing is told.
    pub(super) fn report_position(&mut self, position: u32) {
        let is_news = !self.started && self.position != Some(position);
        if is_news && self.events.capacity() > SPARE_EVENTS {
            self.position = Some(position);
            self.send(Event::Queued { position });
        }
    }

    /// Sends an event. Room for it was there before the step; a closed channel is noticed
    /// before the next.
    pub(super) fn send(&self, event: Event) {
        let _ = self.events.try_send(event);
    }

    /// Adds a token of the prompt to those whose log-probabilities are told. One that is there
    /// already was computed again.
    pub(super) fn add_prompt(&mut self, session: &Session, at: usize, raw: &RawLogprob) {
        let Some(list) = &mut self.prompt else { return };
        if list.is_empty() {
            list.push(self.words.undescribed(session.history()[0]));
        }
        if at == list.len() {
            list.push(self.words.describe(raw));
        }
    }

    /// Sends what has come together in `delta`.
    pub(super) fn send_delta(&mut self) {
        let delta = std::mem::take(&mut self.delta);
        if !(delta.text.is_empty() && delta.tokens.is_empty()) {
            self.send(Event::Delta(delta));
        }
    }

    /// The job takes part in a batch.
    pub(super) fn begin(&mut self, now: Instant) {
        self.clock.begun.get_or_insert(now);
    }

    /// The first token is there.
    pub(super) fn first_token(&mut self, now: Instant) {
        self.clock.first_token.get_or_insert(now);
    }

    /// Where the time went, if the answer ends now.
    fn timing(&self, now: Instant) -> Timing {
        let Clock {
            arrived,
            begun,
            first_token,
        } = self.clock;
        let begun = begun.unwrap_or(now);
        let first = first_token.unwrap_or(now);
        let micros = |from: Instant, to: Instant| {
            u64::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(u64::MAX)
        };
        Timing {
            queued_micros: micros(arrived, begun),
            prefill_micros: micros(begun, first),
            decode_micros: micros(first, now),
        }
    }

    /// Tells the reader that the prompt is computed.
    pub(super) fn send_started(&mut self, session: &Session, cached: usize) {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.started = true;
        let prompt = self.prompt.take().unwrap_or_default();
        self.send(Event::Started {
            prompt_tokens: count(session.prompt_tokens()),
            cached_tokens: count(cached),
            prompt,
        });
    }

    /// Tells the reader that the answer is complete, if it is.
    pub(super) fn send_finished(&self, session: &Session) {
        if let Some(ending) = session.ending() {
            self.send(Event::Finished {
                reason: ending.reason,
                stop: ending.stop.clone(),
                completion_tokens: ending.completion_tokens,
                timing: self.timing(Instant::now()),
            });
        }
    }

    /// Tells the reader that a prompt without an answer is complete.
    pub(super) fn send_prompt_only(&self) {
        self.send(Event::Finished {
            reason: FinishReason::Length,
            stop: None,
            completion_tokens: 0,
            timing: self.timing(Instant::now()),
        });
    }
}
