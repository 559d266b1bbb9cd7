//! What the server measures of itself, and the meter of one answer. It knows the events of an
//! answer; how the figures are shown is `metrics`' business.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use protocol::generate::{Delta, Finished, Started, generate_event::Event};
use tokio::time::Instant;

/// Upper bounds of the histogram of time to first token, seconds (those of vLLM).
const FIRST_TOKEN_BUCKETS: [f64; 19] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0,
];
/// Upper bounds of the histogram of time per output token, seconds.
const PER_TOKEN_BUCKETS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
];
/// Upper bounds of the histogram of whole answers, seconds.
const ANSWER_BUCKETS: [f64; 14] = [
    0.05, 0.1, 0.3, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 480.0,
];

/// Labels of [`HttpMetrics::responses`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResponseLabels {
    /// The route's pattern (`/v1/models/{*id}`), or `none`: never the client's own text.
    pub route: String,
    /// The status code.
    pub status: u16,
}

/// Labels of [`HttpMetrics::answers`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AnswerLabels {
    /// `stop`, `length`, `tool_calls`, `failed` or `cancelled`.
    pub finished_reason: &'static str,
}

/// The server's figures. Clones share them. `shoal_…` is put before each name by the registry.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    /// Responses begun, by route and status.
    pub responses: Family<ResponseLabels, Counter>,
    /// Answers that ended, by reason.
    pub answers: Family<AnswerLabels, Counter>,
    /// Answers whose first token is out and that go on.
    pub running: Gauge,
    /// Answers that wait for a place, for the model, or for their prefill.
    pub waiting: Gauge,
    /// From the request to its first token, seconds.
    pub time_to_first_token: Histogram,
    /// Between an answer's tokens, seconds.
    pub time_per_output_token: Histogram,
    /// From the request to the answer's end, seconds.
    pub request_latency: Histogram,
    /// Tokens of prompts.
    pub prompt_tokens: Counter,
    /// Of these, taken from a prefix cache.
    pub cached_prompt_tokens: Counter,
    /// Tokens generated.
    pub generation_tokens: Counter<u64, AtomicU64>,
}

impl Default for HttpMetrics {
    fn default() -> Self {
        Self {
            responses: Family::default(),
            answers: Family::default(),
            running: Gauge::default(),
            waiting: Gauge::default(),
            time_to_first_token: Histogram::new(FIRST_TOKEN_BUCKETS),
            time_per_output_token: Histogram::new(PER_TOKEN_BUCKETS),
            request_latency: Histogram::new(ANSWER_BUCKETS),
            prompt_tokens: Counter::default(),
            cached_prompt_tokens: Counter::default(),
            generation_tokens: Counter::default(),
        }
    }
}

impl HttpMetrics {
    /// Names every figure in `registry`, which is expected to carry the prefix `shoal`.
    pub fn register(&self, registry: &mut Registry) {
        self.register_counts(registry);
        self.register_times(registry);
    }

    fn register_counts(&self, registry: &mut Registry) {
        let own = self.clone();
        registry.register(
            "http_responses",
            "Responses by route and status",
            own.responses,
        );
        registry.register(
            "request_success",
            "Answers that ended, by reason",
            own.answers,
        );
        registry.register(
            "num_requests_running",
            "Answers being generated",
            own.running,
        );
        registry.register(
            "num_requests_waiting",
            "Answers that wait to begin",
            own.waiting,
        );
        registry.register("prompt_tokens", "Tokens of prompts", own.prompt_tokens);
        registry.register(
            "prompt_tokens_cached",
            "Tokens of prompts taken from a prefix cache",
            own.cached_prompt_tokens,
        );
        registry.register(
            "generation_tokens",
            "Tokens generated",
            own.generation_tokens,
        );
    }

    fn register_times(&self, registry: &mut Registry) {
        let times = [
            (
                "time_to_first_token",
                "From request to first token",
                &self.time_to_first_token,
            ),
            (
                "time_per_output_token",
                "Between an answer's tokens",
                &self.time_per_output_token,
            ),
            (
                "e2e_request_latency",
                "From request to the answer's end",
                &self.request_latency,
            ),
        ];
        for (name, help, histogram) in times {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
    }

    /// Counts one response.
    pub(crate) fn record_response(&self, route: &str, status: u16) {
        let labels = ResponseLabels {
            route: route.to_owned(),
            status,
        };
        self.responses.get_or_create(&labels).inc();
    }

    /// Begins the measurement of one answer.
    pub(crate) fn meter(&self) -> AnswerMeter {
        self.waiting.inc();
        AnswerMeter {
            metrics: self.clone(),
            began: Instant::now(),
            last_token: None,
            phase: Phase::Waiting,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Running,
    Ended,
}

/// Measures one answer from its events; dropped before the end, the answer was cancelled.
#[derive(Debug)]
pub(crate) struct AnswerMeter {
    metrics: HttpMetrics,
    began: Instant,
    last_token: Option<Instant>,
    phase: Phase,
}

impl AnswerMeter {
    /// Records what `event` says.
    pub(crate) fn record(&mut self, event: &Event) {
        match event {
            Event::Queued(_) => {}
            Event::Started(started) => self.record_started(started),
            Event::Delta(delta) => self.record_delta(delta),
            Event::Finished(finished) => self.record_finished(finished),
            Event::Failed(_) => self.end("failed"),
        }
    }

    fn record_started(&mut self, started: &Started) {
        let metrics = &self.metrics;
        metrics.prompt_tokens.inc_by(started.prompt_tokens.into());
        metrics
            .cached_prompt_tokens
            .inc_by(started.cached_tokens.into());
    }

    fn record_delta(&mut self, delta: &Delta) {
        let now = Instant::now();
        if self.phase == Phase::Waiting {
            self.metrics.waiting.dec();
            self.metrics.running.inc();
            self.phase = Phase::Running;
        }
        match self.last_token {
            None => {
                let waited = now.duration_since(self.began).as_secs_f64();
                self.metrics.time_to_first_token.observe(waited);
            }
            Some(last) => self.record_interval(now.duration_since(last).as_secs_f64(), delta),
        }
        self.last_token = Some(now);
    }

    fn record_interval(&self, seconds: f64, delta: &Delta) {
        let tokens = u32::try_from(delta.tokens.len()).unwrap_or(u32::MAX).max(1);
        for _ in 0..tokens {
            let each = seconds / f64::from(tokens);
            self.metrics.time_per_output_token.observe(each);
        }
    }

    fn record_finished(&mut self, finished: &Finished) {
        let tokens = finished.completion_tokens.into();
        self.metrics.generation_tokens.inc_by(tokens);
        self.end(crate::usage::finish_reason(finished.reason()));
    }

    fn end(&mut self, reason: &'static str) {
        match self.phase {
            Phase::Waiting => self.metrics.waiting.dec(),
            Phase::Running => self.metrics.running.dec(),
            Phase::Ended => return,
        };
        self.phase = Phase::Ended;
        let labels = AnswerLabels {
            finished_reason: reason,
        };
        self.metrics.answers.get_or_create(&labels).inc();
        let took = self.began.elapsed().as_secs_f64();
        self.metrics.request_latency.observe(took);
    }
}

impl Drop for AnswerMeter {
    fn drop(&mut self) {
        self.end("cancelled");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(tokens: usize) -> Event {
        Event::Delta(Delta {
            tokens: vec![1; tokens],
            ..Delta::default()
        })
    }

    #[test]
    fn an_answer_is_waiting_then_running_then_gone() {
        let metrics = HttpMetrics::default();
        let mut meter = metrics.meter();
        assert_eq!((metrics.waiting.get(), metrics.running.get()), (1, 0));
        meter.record(&delta(1));
        assert_eq!((metrics.waiting.get(), metrics.running.get()), (0, 1));
        meter.record(&Event::Finished(Finished {
            completion_tokens: 3,
            ..Finished::default()
        }));
        drop(meter);
        assert_eq!((metrics.waiting.get(), metrics.running.get()), (0, 0));
        assert_eq!(metrics.generation_tokens.get(), 3);
    }

    #[test]
    fn a_dropped_answer_counts_as_cancelled() {
        let metrics = HttpMetrics::default();
        drop(metrics.meter());
        let labels = AnswerLabels {
            finished_reason: "cancelled",
        };
        assert_eq!(metrics.answers.get_or_create(&labels).get(), 1);
        assert_eq!(metrics.waiting.get(), 0);
    }

    #[test]
    fn names_have_base_units() {
        let mut registry = Registry::with_prefix("shoal");
        HttpMetrics::default().register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("shoal_time_to_first_token_seconds"));
        assert!(text.contains("shoal_num_requests_running"));
        assert!(text.contains("shoal_generation_tokens_total"));
    }
}
