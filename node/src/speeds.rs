//! How fast each model answers, shared between the answers that measure it and whoever wants to
//! know, and kept across restarts. What a crash loses is what was measured since the last
//! minute; it is measured again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::ModelName;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::core::speed::{Answered, Speed};
use crate::store::{Record, Table};

/// Models whose speed is kept: more than any disk holds. Beyond it the first by name goes.
const MAX_MODELS: usize = 1024;

/// The least time between two writes: figures that move a little are not worth a flush each.
const SAVE_EVERY: Duration = Duration::from_secs(60);

impl Record for Speed {
    const TABLE: &'static str = "speeds";
}

/// The speeds by model. Clones share them.
#[derive(Clone)]
pub struct Speeds(Arc<Inner>);

struct Inner {
    known: Mutex<Known>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Known {
    speeds: BTreeMap<ModelName, Speed>,
    unsaved: BTreeSet<ModelName>,
}

impl Default for Speeds {
    /// Nothing was measured yet.
    fn default() -> Self {
        Self(Arc::new(Inner {
            known: Mutex::default(),
            changed: watch::channel(()).0,
        }))
    }
}

impl Speeds {
    /// Takes note of an answer of this model.
    pub fn note(&self, model: &ModelName, answered: &Answered) {
        let mut known = self.known();
        if known.speeds.len() >= MAX_MODELS && !known.speeds.contains_key(model) {
            known.speeds.pop_first();
        }
        known
            .speeds
            .entry(model.clone())
            .or_default()
            .note(answered);
        known.unsaved.insert(model.clone());
        drop(known);
        self.0.changed.send_replace(());
    }

    /// How fast this model answers.
    pub fn of(&self, model: &ModelName) -> Speed {
        self.known().speeds.get(model).copied().unwrap_or_default()
    }

    /// Told of every measurement.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Takes what the table remembers, then writes what is measured until `stop`.
    pub async fn keep(self, table: Table<Speed>, stop: CancellationToken) {
        let mut changes = self.changes();
        let (speeds, read) = (self.clone(), table.clone());
        run_blocking(move || speeds.recall(&read)).await;
        loop {
            let ends = tokio::select! {
                biased;
                () = stop.cancelled() => true,
                changed = changes.changed() => changed.is_err(),
            };
            if !ends {
                // A pause in which further figures come together.
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(SAVE_EVERY) => {}
                }
            }
            let (speeds, table) = (self.clone(), table.clone());
            run_blocking(move || speeds.save(&table)).await;
            if ends || stop.is_cancelled() {
                return;
            }
        }
    }

    fn recall(&self, table: &Table<Speed>) {
        let remembered = match table.all() {
            Ok(all) => all,
            Err(error) => return warn!(%error, "no speeds of earlier runs"),
        };
        let mut known = self.known();
        for (name, speed) in remembered.into_iter().take(MAX_MODELS) {
            if let Ok(model) = name.parse() {
                known.speeds.entry(model).or_insert(speed);
            }
        }
        drop(known);
        self.0.changed.send_replace(());
    }

    fn save(&self, table: &Table<Speed>) {
        let mut known = self.known();
        let unsaved = std::mem::take(&mut known.unsaved);
        let figures = unsaved.into_iter().filter_map(|model| {
            let speed = known.speeds.get(&model).copied()?;
            Some((model, speed))
        });
        let figures: Vec<_> = figures.collect();
        drop(known);
        for (model, speed) in figures {
            if let Err(error) = table.put(model.as_str(), &speed) {
                warn!(%error, %model, "a speed is not kept");
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        let known = self.0.known.lock();
        known.unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run_blocking(work: impl FnOnce() + Send + 'static) {
    if let Err(error) = tokio::task::spawn_blocking(work).await {
        warn!(%error, "speeds are not kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn answered(tokens: u32) -> Answered {
        Answered {
            prompt_tokens: tokens,
            prefill_micros: 1_000_000,
            answer_tokens: 0,
            decode_micros: 0,
        }
    }

    #[tokio::test]
    async fn speeds_outlive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let model: ModelName = "org/m".parse().unwrap();
        let first = Speeds::default();
        let stop = CancellationToken::new();
        first.note(&model, &answered(100));
        let keeping = tokio::spawn(first.clone().keep(store.table().unwrap(), stop.clone()));
        stop.cancel();
        keeping.await.unwrap();

        let second = Speeds::default();
        let mut changes = second.changes();
        let keeping = tokio::spawn(second.clone().keep(store.table().unwrap(), stop.clone()));
        changes.changed().await.unwrap();
        assert_eq!(second.of(&model).prefill(), Some(100.0));
        assert_eq!(second.of(&"other".parse().unwrap()).prefill(), None);
        keeping.await.unwrap();
    }

    #[test]
    fn the_table_is_bounded() {
        let speeds = Speeds::default();
        for i in 0..MAX_MODELS + 5 {
            let model = format!("m{i}").parse().unwrap();
            speeds.note(&model, &answered(100));
        }
        assert_eq!(speeds.known().speeds.len(), MAX_MODELS);
    }
}
