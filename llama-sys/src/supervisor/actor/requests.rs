//! The requests of an actor: in, to the worker, answered, refused.

use tokio::sync::mpsc;

use super::super::Answer;
use super::{Actor, Request, now};
use crate::core::restart::Phase;
use crate::core::suspects::Suspects;
use crate::engine::{Event, JobError};
use crate::worker::ipc::{Ask, CREDIT_WINDOW, Message, Reply, RequestId};

impl Actor {
    pub(super) fn submit(&mut self, id: RequestId, ask: Ask, answers: mpsc::Sender<Answer>) {
        let refusal = match self.restart.phase() {
            Phase::Failed(cause) => Some(JobError::LoadFailed(cause.clone())),
            _ if self.draining.is_some() => Some(JobError::Stopping),
            _ => None,
        };
        if let Some(refusal) = refusal {
            // Nobody listens any more: then nobody need hear it.
            let _ = answers.try_send(Answer::Reply(Reply::Refused(refusal)));
            return;
        }
        let request = Request {
            shows_progress: matches!(ask, Ask::Generate(_)),
            ask: Some(ask),
            answers,
            untaken: 0,
        };
        self.requests.insert(id, request);
        self.suspects.enqueue(id.0);
    }

    pub(super) fn cancel(&mut self, id: RequestId) {
        self.requests.remove(&id);
        if self.suspects.remove(id.0) {
            self.say(Message::Cancel(id));
        }
    }

    pub(super) fn credit(&mut self, id: RequestId, events: u32) {
        if let Some(request) = self.requests.get_mut(&id)
            && request.ask.is_none()
        {
            request.untaken = request.untaken.saturating_sub(events);
            self.say(Message::Credit(id, events));
        }
    }

    /// Whether the worker has work that it could do and show. An answer whose reader stands
    /// still holds its slot, and others may wait for that: then silence says nothing.
    pub(super) fn has_work(&self) -> bool {
        let mut running = self
            .requests
            .values()
            .filter(|request| request.ask.is_none());
        let moves = |request: &Request| request.shows_progress && request.untaken < CREDIT_WINDOW;
        running.next().is_some_and(moves) && running.all(moves)
    }

    /// Gives the worker every request that may run on it now.
    pub(super) fn start_requests(&mut self) {
        while *self.restart.phase() == Phase::Ready
            && let Some(id) = self.suspects.start_next().map(RequestId)
        {
            let ask = self
                .requests
                .get_mut(&id)
                .and_then(|request| request.ask.take());
            let (Some(ask), Some(life)) = (ask, &mut self.life) else {
                self.suspects.remove(id.0);
                continue;
            };
            if let Err(error) = life.say(Message::Ask(id, ask)) {
                self.answer(id, Reply::Refused(JobError::Invalid(error.to_string())));
            }
        }
    }

    /// Carries a reply to its request. One that nobody waits for was cancelled meanwhile.
    pub(super) fn answer(&mut self, id: RequestId, reply: Reply) {
        self.restart.on_sign_of_work(now());
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        request.untaken += u32::from(matches!(reply, Reply::Event(_)));
        if let Reply::Event(Event::Delta(delta)) = &reply {
            let tokens = u32::try_from(delta.tokens.len()).unwrap_or(u32::MAX);
            self.suspects.on_progress(id.0, tokens);
        }
        let last = reply.is_last();
        if last && !matches!(reply, Reply::Refused(_) | Reply::Event(Event::Failed(_))) {
            self.restart.on_good_answer();
        }
        match request.answers.try_send(Answer::Reply(reply)) {
            Ok(()) if last => {
                self.requests.remove(&id);
                self.suspects.remove(id.0);
            }
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => self.cancel(id),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.end_life("it sent more than its credit allows");
            }
        }
    }

    /// Once the worker is given up, whoever waits is told.
    pub(super) fn refuse_if_failed(&mut self) {
        let Phase::Failed(cause) = self.restart.phase() else {
            return;
        };
        tracing::warn!(target: "shoal::worker", model = %self.launch.name, cause, "the model was given up");
        let refusal = JobError::LoadFailed(cause.clone());
        self.refuse_all(&refusal);
    }

    pub(super) fn refuse_all(&mut self, refusal: &JobError) {
        for request in std::mem::take(&mut self.requests).into_values() {
            let reply = match request.ask {
                Some(_) => Reply::Refused(refusal.clone()),
                None => Reply::Event(Event::Failed(refusal.clone())),
            };
            let _ = request.answers.try_send(Answer::Reply(reply));
        }
        self.suspects = Suspects::default();
    }
}
