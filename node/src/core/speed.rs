//! How fast a model answers one session, by the answers that it gave: newer ones count more, and
//! each by its tokens. It knows neither engines nor where figures are kept.

use serde::{Deserialize, Serialize};

/// What an older answer counts after a newer one: of a hundred answers the last twenty decide.
const DECAY: f64 = 0.9;

/// A prompt with fewer computed tokens says more of the overhead than of the speed.
const MIN_PROMPT_TOKENS: u32 = 16;

/// An answer with fewer tokens says nothing.
const MIN_ANSWER_TOKENS: u32 = 4;

/// What an answer took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Tokens of the prompt that were computed.
    pub prompt_tokens: u32,
    /// Microseconds that this took.
    pub prefill_micros: u64,
    /// Tokens of the answer.
    pub answer_tokens: u32,
    /// Microseconds between the first of them and the end.
    pub decode_micros: u64,
}

/// Tokens and the time that they took, older ones counting less.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Work {
    tokens: f64,
    seconds: f64,
}

impl Work {
    fn add(&mut self, tokens: u32, micros: u64) {
        let seconds = std::time::Duration::from_micros(micros).as_secs_f64();
        self.tokens = self.tokens * DECAY + f64::from(tokens);
        self.seconds = self.seconds * DECAY + seconds;
    }

    #[expect(clippy::cast_possible_truncation, reason = "seven digits are plenty")]
    fn per_second(self) -> Option<f32> {
        let speed = (self.tokens / self.seconds) as f32;
        (speed.is_finite() && speed > 0.0).then_some(speed)
    }
}

/// How fast a model answers one session.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Speed {
    prefill: Work,
    decode: Work,
}

impl Speed {
    /// Takes note of an answer.
    pub fn note(&mut self, answered: &Answered) {
        if answered.prompt_tokens >= MIN_PROMPT_TOKENS && answered.prefill_micros > 0 {
            (self.prefill).add(answered.prompt_tokens, answered.prefill_micros);
        }
        // The first token came with the prompt.
        if answered.answer_tokens >= MIN_ANSWER_TOKENS && answered.decode_micros > 0 {
            (self.decode).add(answered.answer_tokens - 1, answered.decode_micros);
        }
    }

    /// Tokens of a prompt a second; `None`: not measured yet.
    pub fn prefill(&self) -> Option<f32> {
        self.prefill.per_second()
    }

    /// Tokens of an answer a second; `None`: not measured yet.
    pub fn decode(&self) -> Option<f32> {
        self.decode.per_second()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answered(prompt_tokens: u32, prefill: u64, answer_tokens: u32, decode: u64) -> Answered {
        Answered {
            prompt_tokens,
            prefill_micros: prefill,
            answer_tokens,
            decode_micros: decode,
        }
    }

    #[test]
    fn nothing_is_known_without_answers_that_tell() {
        let mut speed = Speed::default();
        assert_eq!((speed.prefill(), speed.decode()), (None, None));
        speed.note(&answered(15, 100, 3, 100));
        speed.note(&answered(100, 0, 100, 0));
        assert_eq!((speed.prefill(), speed.decode()), (None, None));
        speed.note(&answered(100, 1_000_000, 11, 500_000));
        assert_eq!((speed.prefill(), speed.decode()), (Some(100.0), Some(20.0)));
    }

    #[test]
    fn the_newer_answers_decide() {
        let mut speed = Speed::default();
        for _ in 0..100 {
            speed.note(&answered(0, 0, 101, 1_000_000));
        }
        for _ in 0..30 {
            speed.note(&answered(0, 0, 51, 1_000_000));
        }
        let decode = speed.decode().unwrap();
        assert!((50.0..55.0).contains(&decode), "{decode}");
    }

    proptest! {
        #[test]
        fn a_speed_is_a_number_within_what_was_measured(
            all in proptest::collection::vec((1_u32..10_000, 1_u64..10_000_000), 1..50),
        ) {
            let mut speed = Speed::default();
            for (tokens, micros) in &all {
                speed.note(&answered(*tokens, *micros, 0, 0));
            }
            if let Some(found) = speed.prefill() {
                let speeds = all.iter().map(|(t, us)| f64::from(*t) / (*us as f64) * 1e6);
                let most = speeds.fold(0.0, f64::max);
                prop_assert!(f64::from(found) <= most * 1.001);
            }
        }
    }
}
