//! One scripted answer: waiting for a slot, the tokens at their pace, stop strings, the end.
//! It does not know how scripts are chosen.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::{Admitted, End, Script, Shared, character, count, unsent};
use crate::engine::{Delta, Event, FinishReason, Job, JobError, Load, Timing, TokenLogprob};

/// The job was cancelled, or the engine ended.
struct Over;

/// Runs a job to its end or its cancellation.
pub(super) async fn run(shared: &Shared, job: Job, admitted: Admitted, out: mpsc::Sender<Event>) {
    let mut answer = Answer {
        shared,
        admitted,
        phase: Phase::Waiting,
        held: unsent_text(&job),
        emitted: job
            .resume
            .as_ref()
            .map_or(0, |resume| count(&resume.tokens)),
        job,
        out: &out,
    };
    tokio::select! {
        biased;
        () = out.closed() => {}
        () = shared.end.cancelled() => drop(out.try_send(Event::Failed(JobError::Stopping))),
        _ = answer.play() => {}
    }
}

fn unsent_text(job: &Job) -> VecDeque<(char, bool)> {
    let text = job.resume.as_ref().map(unsent).unwrap_or_default();
    text.chars().map(|c| (c, false)).collect()
}

/// Where a job is, so that the load is right however it ends.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Waiting,
    Running,
}

struct Answer<'a> {
    shared: &'a Shared,
    job: Job,
    admitted: Admitted,
    phase: Phase,
    /// Text that may yet become a stop string; whether each character's token is new.
    held: VecDeque<(char, bool)>,
    /// Tokens so far, those of the resumed answer included.
    emitted: u32,
    out: &'a mpsc::Sender<Event>,
}

impl Answer<'_> {
    async fn play(&mut self) -> Result<(), Over> {
        let shared = self.shared;
        let _slot = match shared.slots.try_acquire() {
            Ok(slot) => slot,
            Err(_) => {
                let position = self.admitted.position;
                self.send(Event::Queued { position }).await?;
                shared.slots.acquire().await.map_err(|_| Over)?
            }
        };
        self.phase = Phase::Running;
        self.account(|load| {
            load.waiting -= 1;
            load.running += 1;
        });
        self.start().await?;
        let end = self.speak().await?;
        self.send(end).await
    }

    async fn start(&mut self) -> Result<(), Over> {
        tokio::time::sleep(self.admitted.script.prefill).await;
        let prompt_tokens = count(&self.admitted.prompt);
        let mut cached_tokens = self.shared.remember(&self.admitted.prompt);
        let mut prompt = Vec::new();
        if self.job.prompt_logprobs {
            cached_tokens = 0;
            let top = self.job.logprobs.unwrap_or(0);
            let scored = self.admitted.prompt.iter().map(|token| scored(*token, top));
            prompt = scored.collect();
            prompt[0].logprob = None;
        }
        self.account(|load| {
            load.cached_tokens += u64::from(cached_tokens);
            load.prefill_tokens += u64::from(prompt_tokens - cached_tokens);
        });
        self.send(Event::Started {
            prompt_tokens,
            cached_tokens,
            prompt,
        })
        .await
    }

    /// The tokens; gives the last event.
    async fn speak(&mut self) -> Result<Event, Over> {
        let Script {
            text, pace, end, ..
        } = self.admitted.script.clone();
        for c in text.chars().skip(self.emitted as usize) {
            if self.emitted >= self.admitted.max_tokens {
                self.flush(0).await?;
                return Ok(self.finished(FinishReason::Length, None));
            }
            if pace.is_zero() {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(pace).await;
            }
            self.emitted += 1;
            self.account(|load| load.decode_tokens += 1);
            self.held.push_back((c, true));
            let held: String = self.held.iter().map(|(c, _)| *c).collect();
            if let Some((at, stop)) = first_stop(&held, &self.job.stop) {
                let hidden = held[at..].chars().count();
                self.flush(hidden).await?;
                return Ok(self.finished(FinishReason::Stop, Some(stop)));
            }
            self.flush(undecided(&held, &self.job.stop)).await?;
        }
        self.flush(0).await?;
        match end {
            End::Stop => Ok(self.finished(FinishReason::Stop, None)),
            End::Fail(error) => Ok(Event::Failed(error)),
            End::Hang => std::future::pending().await,
        }
    }

    /// Sends all held text but the last `keep` characters.
    async fn flush(&mut self, keep: usize) -> Result<(), Over> {
        let ready = self.held.len().saturating_sub(keep);
        if ready == 0 {
            return Ok(());
        }
        let mut delta = Delta::default();
        for (c, new) in self.held.drain(..ready) {
            delta.text.push(c);
            if new {
                delta.tokens.push(u32::from(c));
            }
        }
        if let Some(top) = self.job.logprobs {
            delta.logprobs = delta
                .tokens
                .iter()
                .map(|token| scored(*token, top))
                .collect();
        }
        self.send(Event::Delta(delta)).await
    }

    fn finished(&self, reason: FinishReason, stop: Option<String>) -> Event {
        Event::Finished {
            reason,
            stop,
            completion_tokens: self.emitted,
            timing: Timing::default(),
        }
    }

    async fn send(&self, event: Event) -> Result<(), Over> {
        self.out.send(event).await.map_err(|_| Over)
    }

    fn account(&self, change: impl FnOnce(&mut Load)) {
        self.shared.load.send_modify(change);
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        let phase = self.phase;
        self.account(|load| match phase {
            Phase::Waiting => load.waiting -= 1,
            Phase::Running => load.running -= 1,
        });
    }
}

/// The stop string that begins first, and where.
fn first_stop(text: &str, stops: &[String]) -> Option<(usize, String)> {
    let found = stops.iter().filter(|stop| !stop.is_empty());
    let found = found.filter_map(|stop| Some((text.find(stop.as_str())?, stop.clone())));
    found.min_by_key(|(at, _)| *at)
}

/// Characters at the end of `text` that may be the beginning of a stop string.
fn undecided(text: &str, stops: &[String]) -> usize {
    let begins_stop = |at: &usize| stops.iter().any(|stop| stop.starts_with(&text[*at..]));
    let starts = text.char_indices().map(|(at, _)| at);
    let first = starts.into_iter().find(begins_stop);
    first.map_or(0, |at| text[at..].chars().count())
}

/// A token with a made-up log-probability and `top` made-up neighbours.
fn scored(token: u32, top: u8) -> TokenLogprob {
    let neighbour = |i: u8| TokenLogprob {
        token: token + u32::from(i),
        bytes: character(token + u32::from(i)).to_string().into_bytes(),
        logprob: Some(-0.5 - f32::from(i)),
        top: Vec::new(),
    };
    TokenLogprob {
        top: (0..top).map(neighbour).collect(),
        ..neighbour(0)
    }
}
