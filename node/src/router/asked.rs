//! What this node's own users ask for, and what becomes of it: told to the swarm's demand, and
//! counted here with the reason where nobody answered. It passes answers on as they are and decides
//! nothing about them.

use std::sync::Arc;
use std::time::Duration;

use dht::demand::Asked;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use protocol::ModelName;
use protocol::generate::{ErrorCode, Failure, GenerateEvent, generate_event::Event};
use tokio::sync::mpsc;
use tokio::time::Instant;
use web::backend::GenerateStream;

/// Events of an answer that wait for a slow client before its head is held back.
const EVENT_CHANNEL: usize = 64;

/// A client that leaves after so long without a first token was not answered in time; one that
/// leaves sooner changed its mind.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who wants to know what the users of this node ask for.
pub trait Demands: Send + Sync + 'static {
    /// What became of one request.
    fn asked(&self, model: ModelName, asked: Asked);
}

/// Counts what is asked for. Clones share the counts.
#[derive(Clone)]
pub(super) struct Counting {
    demands: Arc<dyn Demands>,
    unmet: Family<Vec<(&'static str, &'static str)>, Counter>,
}

/// One request whose outcome is not known yet.
pub(super) struct Pending {
    counting: Counting,
    /// `None`: the outcome was told.
    model: Option<ModelName>,
    began: Instant,
}

impl Counting {
    pub(super) fn new(demands: Arc<dyn Demands>) -> Self {
        Self {
            demands,
            unmet: Family::default(),
        }
    }

    /// A request came.
    pub(super) fn begin(&self, model: ModelName) -> Pending {
        Pending {
            counting: self.clone(),
            model: Some(model),
            began: Instant::now(),
        }
    }

    /// Appends the counts, without `# EOF`.
    pub(super) fn write_metrics(&self, out: &mut String) {
        let mut registry = Registry::with_prefix("shoal");
        registry.register(
            "requests_unmet",
            "Requests that nobody answered, by the reason",
            self.unmet.clone(),
        );
        encode_registry(out, &registry).expect("a string takes all text");
    }
}

impl Pending {
    /// The answer that began or was refused, watched until its first token.
    pub(super) fn watch(
        mut self,
        begun: Result<GenerateStream, Failure>,
    ) -> Result<GenerateStream, Failure> {
        let events = begun.inspect_err(|failure| self.on_failure(failure))?;
        let (out, receiver) = mpsc::channel(EVENT_CHANNEL);
        tokio::spawn(self.pass_on(events, out));
        Ok(receiver)
    }

    /// Passes an answer on to its end, or until nobody listens: then its head is let go of.
    async fn pass_on(mut self, mut events: GenerateStream, out: mpsc::Sender<GenerateEvent>) {
        loop {
            let event = tokio::select! {
                biased;
                () = out.closed() => return,
                event = events.recv() => event,
            };
            let Some(event) = event else {
                return self.on_unmet("worker_lost");
            };
            match &event.event {
                Some(Event::Delta(_) | Event::Finished(_)) => self.on_served(),
                Some(Event::Failed(failure)) => self.on_failure(failure),
                _ => {}
            }
            if out.send(event).await.is_err() {
                return;
            }
        }
    }

    /// The first token, or the whole of an answer without any, is here.
    pub(super) fn on_served(&mut self) {
        let waited = self.began.elapsed();
        self.tell(Asked::Served { waited });
    }

    /// There will be no first token. Where that is the request's own fault, no further server would
    /// have helped, and nothing is counted.
    pub(super) fn on_failure(&mut self, failure: &Failure) {
        match reason(failure.code()) {
            Some(reason) => self.on_unmet(reason),
            None => self.model = None,
        }
    }

    fn on_unmet(&mut self, reason: &'static str) {
        if self.model.is_some() {
            let labels = vec![("reason", reason)];
            self.counting.unmet.get_or_create(&labels).inc();
        }
        self.tell(Asked::Unmet);
    }

    fn tell(&mut self, asked: Asked) {
        if let Some(model) = self.model.take() {
            self.counting.demands.asked(model, asked);
        }
    }
}

impl Drop for Pending {
    /// The client left.
    fn drop(&mut self) {
        if self.model.is_some() && self.began.elapsed() >= PATIENCE {
            self.on_unmet("impatience");
        }
    }
}

/// Why nobody answered, if another server of the model could have.
fn reason(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::ModelNotFound => Some("not_found"),
        ErrorCode::Overloaded => Some("overloaded"),
        ErrorCode::Loading => Some("loading"),
        ErrorCode::LoadFailed => Some("load_failed"),
        ErrorCode::NoPeer => Some("no_peer"),
        ErrorCode::WorkerLost => Some("worker_lost"),
        ErrorCode::Internal => Some("internal"),
        ErrorCode::InvalidRequest
        | ErrorCode::ContextLengthExceeded
        | ErrorCode::Unsupported
        | ErrorCode::ShuttingDown
        | ErrorCode::Privacy
        | ErrorCode::Unspecified => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::{Mutex, PoisonError};

    use protocol::generate::{Delta, Finished, Started};

    use super::*;

    #[derive(Default)]
    struct Told(Mutex<Vec<Asked>>);

    impl Demands for Told {
        fn asked(&self, model: ModelName, asked: Asked) {
            assert_eq!(model.as_str(), "org/model");
            self.told().push(asked);
        }
    }

    impl Told {
        fn told(&self) -> std::sync::MutexGuard<'_, Vec<Asked>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    fn counting() -> (Arc<Told>, Counting) {
        let told = Arc::new(Told::default());
        (Arc::clone(&told), Counting::new(told))
    }

    fn begin(counting: &Counting) -> Pending {
        counting.begin("org/model".parse().unwrap())
    }

    fn failure(code: ErrorCode) -> Failure {
        Failure::new(code, "no")
    }

    fn served(seconds: u64) -> Asked {
        let waited = Duration::from_secs(seconds);
        Asked::Served { waited }
    }

    /// An answer watched by a counting; each event comes a second after the one before.
    async fn answer(events: Vec<Event>) -> (Vec<Asked>, usize) {
        let (told, counting) = counting();
        let (out, stream) = mpsc::channel(1);
        let mut watched = begin(&counting).watch(Ok(stream)).unwrap();
        let count = events.len();
        tokio::spawn(async move {
            for event in events {
                tokio::time::sleep(Duration::from_secs(1)).await;
                out.send(GenerateEvent { event: Some(event) })
                    .await
                    .unwrap();
            }
        });
        let mut came = 0;
        while watched.recv().await.is_some() {
            came += 1;
        }
        assert_eq!(came, count, "an answer is passed on as it is");
        let whole = |asked: &Asked| match asked {
            Asked::Served { waited } => served(waited.as_secs()),
            Asked::Unmet => Asked::Unmet,
        };
        let told = told.told().iter().map(whole).collect();
        (told, came)
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_token_counts_and_nothing_behind_it() {
        let started = || Event::Started(Started::default());
        let delta = || Event::Delta(Delta::default());
        let finished = || Event::Finished(Finished::default());
        let lost = || Event::Failed(failure(ErrorCode::WorkerLost));
        let cases = [
            (
                vec![started(), delta(), delta(), finished()],
                vec![served(2)],
            ),
            (vec![started(), finished()], vec![served(2)]),
            (vec![delta(), lost()], vec![served(1)]),
            (vec![started(), lost()], vec![Asked::Unmet]),
            (vec![started()], vec![Asked::Unmet]),
            (
                vec![Event::Failed(failure(ErrorCode::InvalidRequest))],
                vec![],
            ),
        ];
        for (events, expected) in cases {
            assert_eq!(answer(events.clone()).await.0, expected, "{events:?}");
        }
    }

    #[test]
    fn what_is_refused_for_want_of_a_server_is_unmet_and_has_a_reason() {
        for code in ErrorCode::ALL {
            let (told, counting) = counting();
            let refused = begin(&counting).watch(Err(failure(code)));
            assert!(refused.is_err());
            let expected = reason(code).map(|_| Asked::Unmet);
            assert_eq!(told.told().first().copied(), expected, "{code:?}");
            let mut metrics = String::new();
            counting.write_metrics(&mut metrics);
            let shown = reason(code).map(|reason| format!("reason=\"{reason}\"}} 1"));
            assert!(
                shown.is_none_or(|shown| metrics.contains(&shown)),
                "{metrics}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_was_patient_or_is_not_counted() {
        let (told, counting) = counting();
        drop(begin(&counting));
        assert!(told.told().is_empty());
        let pending = begin(&counting);
        tokio::time::advance(PATIENCE).await;
        drop(pending);
        assert_eq!(*told.told(), [Asked::Unmet]);
    }
}
