//! What an answer took, read from its events. It knows no text.

use llama_sys::engine::Event;

use crate::core::speed::Answered;

/// One answer's figures so far.
#[derive(Debug)]
pub struct Measure {
    computed: Option<u32>,
    /// Its tokens are not all its own work.
    resumed: bool,
}

impl Measure {
    /// An answer that begins, or goes on from where it was elsewhere.
    pub fn new(resumed: bool) -> Self {
        Self {
            computed: None,
            resumed,
        }
    }

    /// Takes note of an event; what the answer took if it was the last and tells.
    pub fn note(&mut self, event: &Event) -> Option<Answered> {
        match event {
            Event::Started {
                prompt_tokens,
                cached_tokens,
                ..
            } => {
                self.computed = Some(prompt_tokens.saturating_sub(*cached_tokens));
                None
            }
            Event::Finished {
                completion_tokens,
                timing,
                ..
            } if !self.resumed => Some(Answered {
                prompt_tokens: self.computed?,
                prefill_micros: timing.prefill_micros,
                answer_tokens: *completion_tokens,
                decode_micros: timing.decode_micros,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use llama_sys::engine::{FinishReason, Timing};

    use super::*;

    const STARTED: Event = Event::Started {
        prompt_tokens: 100,
        cached_tokens: 40,
        prompt: Vec::new(),
    };

    fn finished() -> Event {
        Event::Finished {
            reason: FinishReason::Stop,
            stop: None,
            completion_tokens: 7,
            timing: Timing {
                queued_micros: 1,
                prefill_micros: 2,
                decode_micros: 3,
            },
        }
    }

    #[test]
    fn cached_tokens_are_no_work() {
        let mut measure = Measure::new(false);
        assert_eq!(measure.note(&STARTED), None);
        let answered = Answered {
            prompt_tokens: 60,
            prefill_micros: 2,
            answer_tokens: 7,
            decode_micros: 3,
        };
        assert_eq!(measure.note(&finished()), Some(answered));
    }

    #[test]
    fn what_was_begun_elsewhere_or_never_is_not_measured() {
        let mut measure = Measure::new(true);
        measure.note(&STARTED);
        assert_eq!(measure.note(&finished()), None);
        assert_eq!(Measure::new(false).note(&finished()), None);
    }
}
