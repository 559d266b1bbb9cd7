//! One request's way through the workers: its events to whoever asked, its credit back to the
//! worker, and after a worker's death its continuation on the next one from the tokens sent.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{Answer, Command, Loss, Shared, poison};
use crate::engine::{Event, Job, JobError, Resume};
use crate::worker::ipc::{Ask, CREDIT_WINDOW, Reply, RequestId};

/// Events for whoever asked; beyond this the credit runs out.
const EVENT_CHANNEL: usize = 32;

/// A whole window of events, and the answers that need no credit: the acceptance, and the news
/// of a death.
const ANSWER_CHANNEL: usize = CREDIT_WINDOW as usize + 2;

/// Events taken before the worker hears of it.
const CREDIT_BATCH: u32 = CREDIT_WINDOW / 2;

/// Begins an answer. While the worker is ready its word is waited for, so that a refusal is an
/// `Err`; else the answer begins with `Queued`, and a refusal comes as its end.
pub(super) async fn generate(
    shared: Arc<Shared>,
    job: Job,
    place: OwnedSemaphorePermit,
) -> Result<mpsc::Receiver<Event>, JobError> {
    shared.poison().check(&job)?;
    let ready = shared.is_ready();
    let position = shared.placed().saturating_sub(1);
    let (out, events) = mpsc::channel(EVENT_CHANNEL);
    let mut relay = Relay::new(shared, job, out, place);
    relay.submit().await?;
    if ready {
        relay.accept().await?;
    } else {
        let queued = Event::Queued { position };
        relay.out.try_send(queued).expect("the channel is empty");
    }
    tokio::spawn(relay.run());
    Ok(events)
}

/// Asks what has one reply; asked again if a worker dies over it.
pub(super) async fn call(shared: &Arc<Shared>, ask: Ask) -> Result<Reply, JobError> {
    let (answers, mut replies) = mpsc::channel(ANSWER_CHANNEL);
    let request = Registered::new(shared.clone());
    loop {
        shared
            .submit(request.id, ask.clone(), answers.clone())
            .await?;
        // The actor drops its sender only with itself; ours keeps the channel open, so its end
        // shows in the command channel.
        let answer = tokio::select! {
            answer = replies.recv() => answer,
            () = shared.commands.closed() => None,
        };
        match answer.ok_or(JobError::Stopping)? {
            Answer::Reply(Reply::Refused(refusal)) => return Err(refusal),
            Answer::Reply(reply) => return Ok(reply),
            Answer::Lost(Loss::Retry) => {}
            Answer::Lost(Loss::Final) => return Err(JobError::WorkerLost),
            Answer::Lost(Loss::Convicted) => return Err(poison::refusal()),
        }
    }
}

/// A request's id; the actor forgets it when this is dropped.
struct Registered {
    shared: Arc<Shared>,
    id: RequestId,
}

impl Registered {
    fn new(shared: Arc<Shared>) -> Self {
        let id = shared.fresh_id();
        Self { shared, id }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // With a full channel the actor finds out by itself: nobody takes the answers.
        let _ = self.shared.commands.try_send(Command::Cancel(self.id));
    }
}

/// What goes on after an answer.
enum Next {
    Go,
    End,
}

struct Relay {
    request: Registered,
    job: Job,
    out: mpsc::Sender<Event>,
    answers: mpsc::Receiver<Answer>,
    answers_in: mpsc::Sender<Answer>,
    /// The client has its `Started`.
    started: bool,
    /// Events taken since the worker last heard of it.
    taken: u32,
    _place: OwnedSemaphorePermit,
}

impl Relay {
    fn new(
        shared: Arc<Shared>,
        job: Job,
        out: mpsc::Sender<Event>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let (answers_in, answers) = mpsc::channel(ANSWER_CHANNEL);
        Self {
            request: Registered::new(shared),
            job,
            out,
            answers,
            answers_in,
            started: false,
            taken: 0,
            _place: place,
        }
    }

    async fn submit(&self) -> Result<(), JobError> {
        let ask = Ask::Generate(Box::new(self.job.clone()));
        let answers = self.answers_in.clone();
        self.request
            .shared
            .submit(self.request.id, ask, answers)
            .await
    }

    /// Waits for the worker's first word. A worker that dies instead is nothing that whoever
    /// asks need know.
    async fn accept(&mut self) -> Result<(), JobError> {
        loop {
            match self.next_answer().await.ok_or(JobError::Stopping)? {
                Answer::Reply(Reply::Refused(refusal)) => return Err(refusal),
                Answer::Lost(loss) => self.survive(loss).await?,
                Answer::Reply(_) => return Ok(()),
            }
        }
    }

    async fn run(mut self) {
        let out = self.out.clone();
        let gone = out.closed();
        tokio::select! {
            biased;
            () = gone => {}
            () = self.carry() => {}
        }
    }

    async fn carry(&mut self) {
        loop {
            let next = match self.next_answer().await {
                None => self.fail(JobError::Stopping).await,
                Some(Answer::Reply(Reply::Event(event))) => self.forward(event).await,
                Some(Answer::Reply(Reply::Accepted)) => Next::Go,
                Some(Answer::Reply(Reply::Refused(refusal))) => self.fail(refusal).await,
                Some(Answer::Reply(_)) => self.fail(super::wrong_reply()).await,
                Some(Answer::Lost(loss)) => match self.survive(loss).await {
                    Ok(()) => Next::Go,
                    Err(error) => self.fail(error).await,
                },
            };
            if matches!(next, Next::End) {
                return;
            }
        }
    }

    async fn next_answer(&mut self) -> Option<Answer> {
        tokio::select! {
            biased;
            answer = self.answers.recv() => answer,
            () = self.request.shared.commands.closed() => None,
        }
    }

    async fn fail(&self, error: JobError) -> Next {
        // Nobody listens any more: then nobody need hear it.
        let _ = self.out.send(Event::Failed(error)).await;
        Next::End
    }

    async fn forward(&mut self, event: Event) -> Next {
        let last = matches!(event, Event::Finished { .. } | Event::Failed(_));
        if self.is_news(&event) {
            self.record(&event);
            if self.out.send(event).await.is_err() {
                return Next::End;
            }
        }
        if last {
            return Next::End;
        }
        self.give_credit().await;
        Next::Go
    }

    /// On a second worker an answer is queued and started anew, which its client has seen.
    fn is_news(&self, event: &Event) -> bool {
        !(self.started && matches!(event, Event::Queued { .. } | Event::Started { .. }))
    }

    /// Keeps what the next worker needs to go on from here.
    fn record(&mut self, event: &Event) {
        match event {
            Event::Started { .. } => {
                self.started = true;
                self.job.prompt_logprobs = false;
            }
            Event::Delta(delta) => {
                let resume = self.job.resume.get_or_insert_with(Resume::default);
                resume.tokens.extend_from_slice(&delta.tokens);
                resume.sent_text_bytes += delta.text.len();
            }
            _ => {}
        }
    }

    async fn give_credit(&mut self) {
        self.taken += 1;
        if self.taken == CREDIT_BATCH {
            self.taken = 0;
            let command = Command::Credit(self.request.id, CREDIT_BATCH);
            // The actor's end shows at the next answer.
            let _ = self.request.shared.commands.send(command).await;
        }
    }

    /// Goes on after a worker's death, or says why not.
    async fn survive(&mut self, loss: Loss) -> Result<(), JobError> {
        match loss {
            Loss::Retry => {
                // The next worker begins with a whole window.
                self.taken = 0;
                self.submit().await
            }
            Loss::Final => Err(JobError::WorkerLost),
            Loss::Convicted => {
                self.request.shared.poison().remember(&self.job);
                Err(poison::refusal())
            }
        }
    }
}
