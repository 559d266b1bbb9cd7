//! The order in which replies to a request may come, for whoever sends and whoever reads them.
//!
//! It owns the two orders that `proto/generate.proto` gives and the heartbeat in each of their
//! states. It knows no stream and no clock: when a heartbeat is due is decided elsewhere.

use super::{
    Bounded, Delta, EmbedReply, Failure, GenerateEvent, Queued, embed_reply::Reply,
    generate_event::Event,
};

/// What a reply is worth to whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// It says something.
    News,
    /// It says only that the peer is at work, or what this version does not understand.
    Heartbeat,
}

/// A reply that may not come now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{reply}` while {stage}")]
pub struct OrderError {
    /// The reply.
    pub reply: &'static str,
    /// How far the answer was.
    pub stage: &'static str,
}

/// The order of the replies to one kind of request.
pub trait ReplyOrder: Default {
    /// A reply.
    type Reply: Bounded;

    /// Takes the next reply.
    ///
    /// # Errors
    /// [`OrderError`] when it may not come now; the state stays.
    fn check(&mut self, reply: &Self::Reply) -> Result<Weight, OrderError>;

    /// Whether the last reply was the last.
    fn is_ended(&self) -> bool;

    /// What says, now, that the peer is at work.
    fn heartbeat(&self) -> Self::Reply;

    /// The last reply, when the request fails.
    fn failed(failure: Failure) -> Self::Reply;
}

/// The order of [`GenerateEvent`]s.
///
/// Queued → Answering on `started`; Answering → Ended on `finished`; any but Ended → Ended on
/// `failed`. `queued` leaves Queued as it is, `delta` Answering.
#[derive(Debug, Clone, Default)]
pub struct EventOrder(Stage);

#[derive(Debug, Clone)]
enum Stage {
    Queued { said: Option<Queued> },
    Answering,
    Ended,
}

impl Default for Stage {
    fn default() -> Self {
        Self::Queued { said: None }
    }
}

impl Stage {
    fn name(&self) -> &'static str {
        match self {
            Self::Queued { .. } => "queued",
            Self::Answering => "answering",
            Self::Ended => "ended",
        }
    }

    /// Notes a place in the queue; the same place again is no news.
    fn on_queued(&mut self, queued: Queued) -> Weight {
        let said = Some(queued);
        match self {
            Self::Queued { said: before } if *before == said => Weight::Heartbeat,
            _ => {
                *self = Self::Queued { said };
                Weight::News
            }
        }
    }

    fn queued_again(&self) -> Queued {
        match self {
            Self::Queued { said: Some(queued) } => *queued,
            _ => Queued::default(),
        }
    }
}

impl ReplyOrder for EventOrder {
    type Reply = GenerateEvent;

    fn check(&mut self, reply: &GenerateEvent) -> Result<Weight, OrderError> {
        let (next, weight) = match (&self.0, &reply.event) {
            (Stage::Queued { .. } | Stage::Answering, None) => return Ok(Weight::Heartbeat),
            (Stage::Queued { .. }, Some(Event::Queued(queued))) => {
                return Ok(self.0.on_queued(*queued));
            }
            (Stage::Queued { .. }, Some(Event::Started(_))) => (Stage::Answering, Weight::News),
            (Stage::Answering, Some(Event::Delta(delta))) if *delta == Delta::default() => {
                return Ok(Weight::Heartbeat);
            }
            (Stage::Answering, Some(Event::Delta(_))) => return Ok(Weight::News),
            (Stage::Answering, Some(Event::Finished(_)))
            | (Stage::Queued { .. } | Stage::Answering, Some(Event::Failed(_))) => {
                (Stage::Ended, Weight::News)
            }
            (stage, event) => {
                return Err(OrderError {
                    reply: event.as_ref().map_or("unknown", event_name),
                    stage: stage.name(),
                });
            }
        };
        self.0 = next;
        Ok(weight)
    }

    fn is_ended(&self) -> bool {
        matches!(self.0, Stage::Ended)
    }

    fn heartbeat(&self) -> GenerateEvent {
        let event = match &self.0 {
            Stage::Queued { .. } => Event::Queued(self.0.queued_again()),
            Stage::Answering | Stage::Ended => Event::Delta(Delta::default()),
        };
        GenerateEvent { event: Some(event) }
    }

    fn failed(failure: Failure) -> GenerateEvent {
        GenerateEvent {
            event: Some(Event::Failed(failure)),
        }
    }
}

fn event_name(event: &Event) -> &'static str {
    match event {
        Event::Queued(_) => "queued",
        Event::Started(_) => "started",
        Event::Delta(_) => "delta",
        Event::Finished(_) => "finished",
        Event::Failed(_) => "failed",
    }
}

/// The order of [`EmbedReply`]s: Queued → Ended on `response` or `failed`.
#[derive(Debug, Clone, Default)]
pub struct EmbedOrder(Stage);

impl ReplyOrder for EmbedOrder {
    type Reply = EmbedReply;

    fn check(&mut self, reply: &EmbedReply) -> Result<Weight, OrderError> {
        if self.is_ended() {
            return Err(OrderError {
                reply: "anything",
                stage: self.0.name(),
            });
        }
        match &reply.reply {
            None => Ok(Weight::Heartbeat),
            Some(Reply::Queued(queued)) => Ok(self.0.on_queued(*queued)),
            Some(Reply::Response(_) | Reply::Failed(_)) => {
                self.0 = Stage::Ended;
                Ok(Weight::News)
            }
        }
    }

    fn is_ended(&self) -> bool {
        matches!(self.0, Stage::Ended)
    }

    fn heartbeat(&self) -> EmbedReply {
        EmbedReply {
            reply: Some(Reply::Queued(self.0.queued_again())),
        }
    }

    fn failed(failure: Failure) -> EmbedReply {
        EmbedReply {
            reply: Some(Reply::Failed(failure)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::generate::{ErrorCode, Finished, Started};

    const KINDS: [char; 7] = ['q', 's', 'd', 'f', 'x', 'h', '?'];

    fn event(kind: char, number: u32) -> GenerateEvent {
        let event = match kind {
            'q' => Event::Queued(Queued { position: number }),
            's' => Event::Started(Started::default()),
            'd' => Event::Delta(Delta {
                tokens: vec![number],
                ..Delta::default()
            }),
            'h' => Event::Delta(Delta::default()),
            'f' => Event::Finished(Finished::default()),
            'x' => Event::Failed(Failure::new(ErrorCode::Internal, "")),
            _ => return GenerateEvent::default(),
        };
        GenerateEvent { event: Some(event) }
    }

    /// Whether kinds of events are the beginning of an answer: `q* s d* f`, or `x` before it ends.
    fn is_beginning(kinds: &[char]) -> bool {
        let known: Vec<_> = kinds.iter().copied().filter(|k| *k != '?').collect();
        let queued = known.iter().take_while(|k| **k == 'q').count();
        match &known[queued..] {
            [] => true,
            ['x'] => kinds.last() == Some(&'x'),
            ['s', rest @ ..] => {
                let deltas = rest.iter().take_while(|k| matches!(k, 'd' | 'h')).count();
                match &rest[deltas..] {
                    [] => true,
                    ['f' | 'x'] => matches!(kinds.last(), Some('f' | 'x')),
                    _ => false,
                }
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn exactly_the_written_order_is_taken(
            kinds in prop::collection::vec((prop::sample::select(&KINDS[..]), 0..2_u32), 0..8),
        ) {
            let mut order = EventOrder::default();
            let mut taken = Vec::new();
            for (kind, number) in kinds {
                taken.push(kind);
                let checked = order.check(&event(kind, number));
                prop_assert_eq!(checked.is_ok(), is_beginning(&taken), "{:?}", taken);
                if checked.is_err() {
                    taken.pop();
                }
                let is_last = matches!(taken.last(), Some('f' | 'x'));
                prop_assert_eq!(order.is_ended(), is_last);
            }
        }

        #[test]
        fn a_heartbeat_may_always_come_and_is_no_news(
            position in prop::option::of(0..3_u32),
            started: bool,
        ) {
            let mut order = EventOrder::default();
            if let Some(position) = position {
                order.check(&event('q', position)).unwrap();
            }
            if started {
                order.check(&event('s', 0)).unwrap();
            }
            let first = order.check(&order.heartbeat()).unwrap();
            // Where nothing was said before, the first place in the queue is news.
            let is_first = position.is_none() && !started;
            prop_assert_eq!(first == Weight::News, is_first);
            prop_assert_eq!(order.check(&order.heartbeat()).unwrap(), Weight::Heartbeat);
        }
    }

    #[test]
    fn an_embedding_is_answered_once() {
        let response = EmbedReply {
            reply: Some(Reply::Response(crate::generate::EmbedResponse::default())),
        };
        let mut order = EmbedOrder::default();
        let first = order.heartbeat();
        assert_eq!(order.check(&first), Ok(Weight::News));
        assert_eq!(order.check(&order.heartbeat()), Ok(Weight::Heartbeat));
        assert_eq!(order.check(&EmbedReply::default()), Ok(Weight::Heartbeat));
        assert_eq!(order.check(&response), Ok(Weight::News));
        assert!(order.is_ended() && order.check(&first).is_err());
        let refused = EmbedOrder::failed(Failure::new(ErrorCode::Internal, ""));
        assert!(order.check(&refused).is_err());
    }
}
