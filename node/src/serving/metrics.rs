//! Metrics of serving peers, in the OpenMetrics text format. Requests are not told apart by peer:
//! that would be a label for each stranger.

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::desk::Crowd;

/// What peers asked and were given since the start.
pub(super) struct Figures {
    pub(super) crowd: Crowd,
    pub(super) taken: u64,
    pub(super) refused: u64,
    pub(super) sent_bytes: u64,
    pub(super) given_bytes: u64,
    pub(super) staged_bytes: u64,
    pub(super) received_bytes: u64,
}

impl Figures {
    /// Appends them, without `# EOF`.
    pub(super) fn write(&self, out: &mut String) {
        let mut registry = Registry::with_prefix("shoal_peers");
        let gauge = |value: usize| {
            let gauge = Gauge::<i64>::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            gauge
        };
        let counter = |value: u64| {
            let counter = Counter::<u64>::default();
            counter.inc_by(value);
            counter
        };
        registry.register(
            "requests_waiting",
            "Requests of other peers that wait for their turn",
            gauge(self.crowd.waiting),
        );
        registry.register(
            "requests_running",
            "Requests of other peers that are answered",
            gauge(self.crowd.running),
        );
        registry.register(
            "requests_taken",
            "Requests of other peers that were taken in",
            counter(self.taken),
        );
        registry.register(
            "requests_refused",
            "Requests of other peers that were refused at once",
            counter(self.refused),
        );
        registry.register_with_unit(
            "answers",
            "Answers to other peers",
            Unit::Bytes,
            counter(self.sent_bytes),
        );
        registry.register_with_unit(
            "weights",
            "Parts of models given to other peers",
            Unit::Bytes,
            counter(self.given_bytes),
        );
        registry.register_with_unit(
            "stages",
            "What heads and stages here sent to their neighbours",
            Unit::Bytes,
            counter(self.staged_bytes),
        );
        registry.register_with_unit(
            "weights_received",
            "Parts of models that came from other peers and from the hub",
            Unit::Bytes,
            counter(self.received_bytes),
        );
        encode_registry(out, &registry).expect("a string takes all text");
    }
}
