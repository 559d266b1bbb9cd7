//! One relayed answer's task: it moves events from the heads that are asked to the client, and
//! does what the relay's core says. It decides nothing.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};

use protocol::generate::GenerateEvent;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use web::backend::GenerateStream;

use super::heads::{Opening, Reach};
use crate::core::ranking::Choice;
use crate::core::relay::{AttemptId, Input, Loss, Output, Relay};
use crate::peers::OpenError;

/// Runs an answer to its end, or until nobody listens: then every head is let go of.
pub(super) async fn run(
    relay: Relay,
    choices: Vec<Choice>,
    reach: Reach,
    out: mpsc::Sender<GenerateEvent>,
) {
    reach.note_request();
    let mut answer = Answer {
        relay,
        reach,
        asked: Vec::new(),
        shown: VecDeque::new(),
        ended: false,
    };
    answer.apply(Input::Ranked(choices));
    while let Some(input) = answer.select(&out).await {
        answer.apply(input);
    }
}

struct Answer {
    relay: Relay,
    reach: Reach,
    /// The heads that are asked: two at most, as the core promises.
    asked: Vec<Asked>,
    /// What the client is to get; grows by the few events of one step.
    shown: VecDeque<GenerateEvent>,
    ended: bool,
}

/// A head that is asked.
struct Asked {
    attempt: AttemptId,
    source: Source,
}

enum Source {
    Opening(Opening),
    Open(GenerateStream),
}

impl Answer {
    /// What happens next; `None`: the answer is over, or nobody listens.
    async fn select(&mut self, out: &mpsc::Sender<GenerateEvent>) -> Option<Input> {
        if !self.show(out).await? {
            return Some(Input::Held);
        }
        if self.ended {
            return None;
        }
        let deadline = self.relay.next_deadline().map(Instant::from_std);
        let tick = async {
            match deadline {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = out.closed() => None,
            input = poll_fn(|cx| poll_asked(&mut self.asked, cx)) => Some(input),
            () = tick => Some(Input::Tick),
        }
    }

    /// Gives the client what is to be shown. `None`: it is gone; `false`: it was waited for.
    async fn show(&mut self, out: &mpsc::Sender<GenerateEvent>) -> Option<bool> {
        let mut in_time = true;
        while let Some(event) = self.shown.pop_front() {
            match out.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Closed(_)) => return None,
                Err(mpsc::error::TrySendError::Full(event)) => {
                    in_time = false;
                    out.send(event).await.ok()?;
                }
            }
        }
        Some(in_time || self.ended)
    }

    fn apply(&mut self, input: Input) {
        let now = Instant::now().into_std();
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut outputs = Vec::new();
            self.relay.handle(input, now, &mut outputs);
            for output in outputs {
                inputs.extend(self.carry_out(output));
            }
        }
    }

    /// Does what is to be done; what that gives at once goes back to the core.
    fn carry_out(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Rank { is_hedge } => {
                let denied = is_hedge && !self.reach.may_hedge();
                let ranked = if denied { Vec::new() } else { self.rank() };
                return Some(Input::Ranked(ranked));
            }
            Output::Open {
                attempt,
                target,
                request,
            } => self.asked.push(Asked {
                attempt,
                source: Source::Opening(self.reach.open(target, *request)),
            }),
            Output::Close(attempt) => self.asked.retain(|asked| asked.attempt != attempt),
            Output::Show(event) => self.shown.push_back(GenerateEvent { event: Some(event) }),
            Output::Blame(target) => self.reach.blame(&target),
            Output::Praise(target) => self.reach.praise(&target),
            Output::End => self.ended = true,
        }
        None
    }

    fn rank(&self) -> Vec<Choice> {
        // Nobody left: the core knows what that means for this answer.
        self.reach.rank().unwrap_or_default()
    }
}

fn poll_asked(asked: &mut [Asked], cx: &mut Context<'_>) -> Poll<Input> {
    for asked in asked {
        if let Poll::Ready(input) = asked.poll(cx) {
            return Poll::Ready(input);
        }
    }
    Poll::Pending
}

impl Asked {
    /// The next thing that the head says. After a loss it is not polled again: the core closes it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        loop {
            match &mut self.source {
                Source::Opening(opening) => match opening.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(stream)) => self.source = Source::Open(stream),
                    Poll::Ready(Err(error)) => return Poll::Ready(self.lost(loss(error))),
                },
                Source::Open(stream) => match stream.poll_recv(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(None) => return Poll::Ready(self.lost(Loss::Cut)),
                    Poll::Ready(Some(GenerateEvent { event: Some(event) })) => {
                        let attempt = self.attempt;
                        return Poll::Ready(Input::Event { attempt, event });
                    }
                    // A kind of event that this version does not know.
                    Poll::Ready(Some(GenerateEvent { event: None })) => {}
                },
            }
        }
    }

    fn lost(&self, loss: Loss) -> Input {
        Input::Lost {
            attempt: self.attempt,
            loss,
        }
    }
}

fn loss(error: OpenError) -> Loss {
    match error {
        OpenError::Refused(failure) => Loss::Refused(failure),
        OpenError::Unreachable => Loss::Unreachable,
    }
}
