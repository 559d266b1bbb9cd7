//! The events of the choices of one request as one stream. It opens them at the backend, notices
//! cut ones, measures them, and cancels what is left when dropped. It knows no JSON.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, future::try_join_all};
use protocol::generate::{ErrorCode, Failure, GenerateRequest, generate_event::Event};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    admission::Admission,
    backend::{Backend, GenerateStream},
    observe::{AnswerMeter, HttpMetrics},
};

/// One event and the choice that it belongs to.
#[derive(Debug)]
pub(crate) struct ChoiceEvent {
    /// Index into the requests that were opened.
    pub(crate) choice: u32,
    /// Never `Queued`: a place in a queue shows as silence.
    pub(crate) event: Event,
}

/// All choices of one request. Order within a choice is the backend's; a choice ends with
/// `Finished` or `Failed`, made here if the backend's stream was cut. Dropping it cancels.
pub(crate) struct Answers {
    opening: Option<BoxFuture<'static, Result<Opened, Failure>>>,
    choices: Vec<Choice>,
    /// Taken out by [`Answers::settle`] and not yet given.
    peeked: Option<ChoiceEvent>,
    /// Where the next round begins, so that no choice starves another.
    next: usize,
    _place: Option<OwnedSemaphorePermit>,
    /// Ready when the server gives up what still runs; `None`: never, or given up already.
    closing: Option<BoxFuture<'static, ()>>,
}

struct Opened {
    place: OwnedSemaphorePermit,
    streams: Vec<GenerateStream>,
}

struct Choice {
    events: Option<GenerateStream>,
    meter: AnswerMeter,
}

impl Answers {
    /// Begins to wait for a place and then for the backend.
    pub(crate) fn open(
        backend: Arc<dyn Backend>,
        admission: Arc<Admission>,
        metrics: &HttpMetrics,
        requests: Vec<GenerateRequest>,
    ) -> Self {
        let choices = requests.iter().map(|_| Choice {
            events: None,
            meter: metrics.meter(),
        });
        Self {
            choices: choices.collect(),
            opening: Some(begin(backend, admission, requests).boxed()),
            peeked: None,
            next: 0,
            _place: None,
            closing: None,
        }
    }

    /// The same, ending with `SHUTTING_DOWN` once `closing` is cancelled.
    pub(crate) fn until(mut self, closing: CancellationToken) -> Self {
        self.closing = Some(closing.cancelled_owned().boxed());
        self
    }

    /// Waits until the answer has begun or was refused; with `grace`, no longer than that. A
    /// refusal found here can still become an HTTP status.
    ///
    /// # Errors
    /// The failure of the first choice that fails before any other has begun.
    pub(crate) async fn settle(&mut self, grace: Option<Duration>) -> Result<(), Failure> {
        let first = match grace {
            None => self.next().await,
            Some(grace) => match timeout(grace, self.next()).await {
                Ok(first) => first,
                Err(_) => return Ok(()),
            },
        };
        match first {
            Some(ChoiceEvent {
                event: Event::Failed(failure),
                ..
            }) => Err(failure),
            first => {
                self.peeked = first;
                Ok(())
            }
        }
    }

    /// The peer that answers, once known; empty: this node.
    pub(crate) fn served_by(&self) -> Option<&str> {
        match &self.peeked.as_ref()?.event {
            Event::Started(started) => Some(&started.served_by),
            _ => None,
        }
    }

    fn poll_opening(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Some(opening) = &mut self.opening else {
            return Poll::Ready(Ok(()));
        };
        let opened = match opening.as_mut().poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(opened) => opened,
        };
        self.opening = None;
        Poll::Ready(opened.map(|opened| {
            self._place = Some(opened.place);
            for (choice, stream) in self.choices.iter_mut().zip(opened.streams) {
                choice.events = Some(stream);
            }
        }))
    }

    fn poll_choices(&mut self, cx: &mut Context<'_>) -> Poll<Option<ChoiceEvent>> {
        let mut open = false;
        for step in 0..self.choices.len() {
            let index = (self.next + step) % self.choices.len();
            match self.choices[index].poll(cx) {
                Poll::Ready(Some(event)) => {
                    self.next = index + 1;
                    let choice = u32::try_from(index).unwrap_or(u32::MAX);
                    return Poll::Ready(Some(ChoiceEvent { choice, event }));
                }
                Poll::Ready(None) => {}
                Poll::Pending => open = true,
            }
        }
        if open {
            Poll::Pending
        } else {
            Poll::Ready(None)
        }
    }
}

/// Waits for a place, then opens every choice.
async fn begin(
    backend: Arc<dyn Backend>,
    admission: Arc<Admission>,
    requests: Vec<GenerateRequest>,
) -> Result<Opened, Failure> {
    let place = admission.enter().await?;
    let streams = try_join_all(requests.into_iter().map(|r| backend.generate(r))).await?;
    Ok(Opened { place, streams })
}

impl Choice {
    /// The next event that is more than a place in a queue; `None` once the choice has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            let Some(events) = &mut self.events else {
                return Poll::Ready(None);
            };
            let event = match events.poll_recv(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(event)) => event.event,
                Poll::Ready(None) => Some(Event::Failed(cut())),
            };
            let Some(event) = event.filter(|e| !matches!(e, Event::Queued(_))) else {
                continue;
            };
            self.meter.record(&event);
            if matches!(event, Event::Finished(_) | Event::Failed(_)) {
                self.events = None;
            }
            return Poll::Ready(Some(event));
        }
    }
}

fn cut() -> Failure {
    let message = "The answer was cut off before its end; try again.";
    Failure::new(ErrorCode::WorkerLost, message)
}

fn closed() -> Failure {
    let message = "The node is stopping; ask again once it is back.";
    Failure::new(ErrorCode::ShuttingDown, message)
}

impl Answers {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<ChoiceEvent>> {
        match self.poll_opening(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => self.poll_choices(cx),
            Poll::Ready(Err(failure)) => Poll::Ready(Some(self.fail(failure))),
        }
    }

    fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<Option<ChoiceEvent>> {
        match self
            .closing
            .as_mut()
            .map(|closing| closing.as_mut().poll(cx))
        {
            Some(Poll::Ready(())) => Poll::Ready(Some(self.fail(closed()))),
            _ => Poll::Pending,
        }
    }

    /// Ends every choice; the first says why.
    fn fail(&mut self, failure: Failure) -> ChoiceEvent {
        let event = Event::Failed(failure);
        self.opening = None;
        self.closing = None;
        for choice in &mut self.choices {
            choice.meter.record(&event);
            choice.events = None;
        }
        ChoiceEvent { choice: 0, event }
    }
}

impl Stream for Answers {
    type Item = ChoiceEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ChoiceEvent>> {
        if let Some(event) = self.peeked.take() {
            return Poll::Ready(Some(event));
        }
        match self.poll_event(cx) {
            Poll::Pending => self.poll_closing(cx),
            ready => ready,
        }
    }
}
