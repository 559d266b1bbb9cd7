//! One answer on its way from whoever gives it to the client, whoever that is in the meantime.
//!
//! The seed is fixed before the first request goes out, so every head draws the same tokens. What
//! the client has (tokens, and bytes of text) is counted; when the head that answers is lost,
//! falls silent or fails, the next one is asked to go on from there, and the client sees one
//! stream: `Started` once, no text lost or doubled.
//!
//! States:
//! - seeking: a ranking was asked for (`Output::Rank`) → racing with the best head that is left,
//!   or ended when none is
//! - racing: one attempt runs, or a second one beside it when the first token is late
//!   (`Output::Rank { is_hedge }`) → carried by the first that gives a token, the other is closed
//! - carried: one attempt gives the answer → ended with its last event, or seeking when it is lost
//! - ended: `Output::End`
//!
//! It knows no channels and no clock, and believes no head: a delta that could not be resumed
//! elsewhere counts as the loss of its head and is not shown.

use std::collections::BTreeMap;
use std::time::Instant;

use protocol::generate::generate_event::Event;
use protocol::generate::{self as wire, ErrorCode, Failure, GenerateRequest};

use super::ranking::{Choice, Target};

mod attempt;
mod event;
mod progress;
#[cfg(test)]
mod tests;
mod verdict;

use self::attempt::Attempt;
pub use self::attempt::{FIRST_PATIENCE, HEDGE_FLOOR, STALL};
pub use self::event::{AttemptId, Input, Loss, Output};
use self::progress::Progress;
pub use self::verdict::Verdict;

/// Heads that are asked for one answer, second requests included: a swarm that loses this many
/// in one answer loses the next one too.
pub const MAX_ATTEMPTS: u32 = 6;

/// Times that one head is asked: once more after a loss, for a broken connection is no dead peer.
pub const MAX_TRIES_OF_ONE: u32 = 2;

/// What was tried with one head.
#[derive(Debug, Clone, Copy, Default)]
struct Tried {
    times: u32,
    /// It said no; asking again would only cost time.
    refused: bool,
}

/// Why a ranking is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seeking {
    No,
    Next,
    Hedge,
}

/// One answer.
#[derive(Debug)]
pub struct Relay {
    request: GenerateRequest,
    progress: Progress,
    /// At most two, and one once a token came.
    live: Vec<Attempt>,
    leader: Option<AttemptId>,
    tried: BTreeMap<Target, Tried>,
    attempts: u32,
    seeking: Seeking,
    hedged: bool,
    verdict: Verdict,
    ended: bool,
}

impl Relay {
    /// An answer to this request, whose seed it shall be drawn with; the first
    /// [`Input::Ranked`] begins it.
    pub fn new(mut request: GenerateRequest, seed: u64) -> Self {
        request.sampling.get_or_insert_default().seed = Some(seed);
        Self {
            progress: Progress::new(&mut request, seed),
            request,
            live: Vec::new(),
            leader: None,
            tried: BTreeMap::new(),
            attempts: 0,
            seeking: Seeking::Next,
            hedged: false,
            verdict: Verdict::default(),
            ended: false,
        }
    }

    /// Takes what happened; appends what is to be done. After [`Output::End`] nothing is.
    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Output>) {
        if self.ended {
            return;
        }
        match input {
            Input::Ranked(choices) => self.on_ranked(choices, now, out),
            Input::Event { attempt, event } => self.on_event(attempt, event, now, out),
            Input::Lost { attempt, loss } => self.lose(attempt, loss, out),
            Input::Held => self.live.iter_mut().for_each(|live| live.heard(now)),
            Input::Tick => self.on_tick(now, out),
        }
    }

    /// When `Input::Tick` is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let quiet = self.live.iter().filter_map(|live| self.quiet_at(live));
        let late = self.may_hedge().then(|| self.live[0].late_at()).flatten();
        quiet.chain(late).min()
    }

    fn on_ranked(&mut self, choices: Vec<Choice>, now: Instant, out: &mut Vec<Output>) {
        let seeking = std::mem::replace(&mut self.seeking, Seeking::No);
        if seeking == Seeking::No {
            return;
        }
        let eligible = choices
            .into_iter()
            .filter(|choice| self.is_eligible(choice));
        // The first of those that were asked least.
        match eligible.min_by_key(|choice| self.times(choice)) {
            Some(choice) => self.open(choice, now, out),
            None if self.live.is_empty() => self.fail(out),
            // Nobody to hedge with.
            None => {}
        }
    }

    fn times(&self, choice: &Choice) -> u32 {
        self.tried
            .get(&choice.target)
            .map_or(0, |tried| tried.times)
    }

    fn is_eligible(&self, choice: &Choice) -> bool {
        let tried = self.tried.get(&choice.target).copied().unwrap_or_default();
        !tried.refused
            && tried.times < MAX_TRIES_OF_ONE
            && !self.live.iter().any(|live| live.target() == choice.target)
            && self.verdict.could_hold(choice.context_tokens)
    }

    fn open(&mut self, choice: Choice, now: Instant, out: &mut Vec<Output>) {
        self.attempts += 1;
        self.tried.entry(choice.target).or_default().times += 1;
        let attempt = AttemptId(self.attempts);
        self.live.push(Attempt::new(attempt, choice, now));
        out.push(Output::Open {
            attempt,
            target: choice.target,
            request: Box::new(self.progress.request(&self.request)),
        });
    }

    fn on_event(&mut self, id: AttemptId, event: Event, now: Instant, out: &mut Vec<Output>) {
        let alone = self.live.len() == 1;
        let Some(live) = self.live.iter_mut().find(|live| live.id() == id) else {
            return;
        };
        match event {
            Event::Queued(queued) => {
                live.heard(now);
                if alone && !self.progress.is_begun() {
                    out.push(Output::Show(Event::Queued(queued)));
                }
            }
            Event::Started(started) => {
                if !live.start(started, now) {
                    self.lose(id, Loss::Misconduct, out);
                }
            }
            Event::Delta(delta) => self.on_delta(id, delta, now, out),
            Event::Finished(finished) => self.on_finished(id, finished, out),
            Event::Failed(failure) => self.lose(id, Loss::Refused(failure), out),
        }
    }

    fn on_delta(&mut self, id: AttemptId, delta: wire::Delta, now: Instant, out: &mut Vec<Output>) {
        // Says nothing, and is no sign of life either.
        if delta == wire::Delta::default() {
            return;
        }
        if !self.progress.admits(&delta) || !self.win(id, out) {
            return self.lose(id, Loss::Misconduct, out);
        }
        self.live.iter_mut().for_each(|live| live.heard(now));
        self.progress.add(&delta);
        out.push(Output::Show(Event::Delta(delta)));
    }

    fn on_finished(&mut self, id: AttemptId, finished: wire::Finished, out: &mut Vec<Output>) {
        if !self.win(id, out) {
            return self.lose(id, Loss::Misconduct, out);
        }
        let target = self.live[0].target();
        let finished = self.progress.finish(finished);
        out.push(Output::Praise(target));
        out.push(Output::Show(Event::Finished(finished)));
        self.end(out);
    }

    /// The attempt carries the answer from here on; the others are closed. Not if it never said
    /// that it began.
    fn win(&mut self, id: AttemptId, out: &mut Vec<Output>) -> bool {
        if self.leader == Some(id) {
            return true;
        }
        let winner = self.live.iter_mut().find(|live| live.id() == id);
        let Some((target, started)) = winner.and_then(|live| Some((live.target(), live.begin()?)))
        else {
            return false;
        };
        self.leader = Some(id);
        for loser in self.live.extract_if(.., |live| live.id() != id) {
            out.push(Output::Close(loser.id()));
        }
        if let Some(started) = self.progress.begin(target, started) {
            out.push(Output::Show(Event::Started(started)));
        }
        true
    }

    fn lose(&mut self, id: AttemptId, loss: Loss, out: &mut Vec<Output>) {
        let Some(at) = self.live.iter().position(|live| live.id() == id) else {
            return;
        };
        let lost = self.live.remove(at);
        self.leader = self.leader.filter(|leader| *leader != id);
        out.push(Output::Close(id));
        if loss.is_its_fault() {
            out.push(Output::Blame(lost.target()));
        }
        if let Loss::Refused(_) = loss {
            self.tried.entry(lost.target()).or_default().refused = true;
        }
        self.verdict.note(lost.choice(), loss);
        if self.verdict.is_final() && !self.progress.is_begun() {
            return self.fail(out);
        }
        if self.live.is_empty() {
            self.seek(out);
        }
    }

    fn seek(&mut self, out: &mut Vec<Output>) {
        if self.attempts >= MAX_ATTEMPTS {
            return self.fail(out);
        }
        self.seeking = Seeking::Next;
        out.push(Output::Rank { is_hedge: false });
    }

    fn on_tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let quiet = self.live.iter().filter(|live| is_due(self.quiet_at(live)));
        for id in quiet.map(Attempt::id).collect::<Vec<_>>() {
            self.lose(id, Loss::Silent, out);
        }
        if !self.ended && self.may_hedge() && is_due(self.live[0].late_at()) {
            self.hedged = true;
            self.seeking = Seeking::Hedge;
            out.push(Output::Rank { is_hedge: true });
        }
    }

    /// One head is asked, none has given a token, and no second one was ever asked beside it.
    fn may_hedge(&self) -> bool {
        !self.hedged
            && self.seeking == Seeking::No
            && self.leader.is_none()
            && self.live.len() == 1
            && self.attempts < MAX_ATTEMPTS
    }

    fn quiet_at(&self, live: &Attempt) -> Option<Instant> {
        live.quiet_at(self.leader == Some(live.id()))
    }

    fn fail(&mut self, out: &mut Vec<Output>) {
        let failure = match self.progress.is_begun() {
            true => cut_short(),
            false => self.verdict.failure(self.attempts),
        };
        out.push(Output::Show(Event::Failed(failure)));
        self.end(out);
    }

    fn end(&mut self, out: &mut Vec<Output>) {
        self.ended = true;
        for live in self.live.drain(..) {
            out.push(Output::Close(live.id()));
        }
        out.push(Output::End);
    }
}

fn cut_short() -> Failure {
    let message =
        "The peer that answered was lost in mid-answer, and no other can go on. Ask again.";
    Failure::new(ErrorCode::WorkerLost, message)
}
