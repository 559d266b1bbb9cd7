//! What a run is judged by.

use std::{collections::BTreeMap, time::Duration};

use super::market::Load;

/// Within it a peer may not load and drop the same model twice.
const SWING: Duration = Duration::from_secs(600);

/// What happened in a run.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// Models that peers took on.
    pub promotions: usize,
    /// Of these, such as had to be fetched first.
    pub fetched: usize,
    /// Models that were let go.
    pub drops: usize,
    /// Servers that were lacking, each counted when it came to lack.
    pub needs: usize,
    /// How long a model that was asked for and had no server waited for somebody to take it on.
    pub taken_after: Vec<Duration>,
    /// And for its first server.
    pub served_after: Vec<Duration>,
    /// Models that a peer loaded and dropped twice within ten minutes: peer, model.
    pub swings: Vec<(usize, usize)>,
    /// Requests, and those of them that were not met.
    pub requests: f64,
    /// See [`requests`](Self::requests).
    pub unmet: f64,
    /// Seconds of servers that were there, and of those that were needed.
    pub server_seconds: f64,
    /// See [`server_seconds`](Self::server_seconds).
    pub needed_seconds: f64,
    models: Vec<Model>,
    /// When each peer took on and dropped each model.
    turns: BTreeMap<(usize, usize), Vec<Duration>>,
}

#[derive(Debug, Clone, Default)]
struct Model {
    gap: usize,
    /// Since when it is asked for without a server; and whether somebody takes it on.
    alone: Option<(Duration, bool)>,
    promotions: usize,
}

impl Log {
    pub(super) fn new(models: usize) -> Self {
        Self {
            models: vec![Model::default(); models],
            ..Self::default()
        }
    }

    /// Promotions of one model.
    pub fn promotions_of(&self, model: usize) -> usize {
        self.models[model].promotions
    }

    /// Promotions for each server that was lacking.
    pub fn promotions_per_need(&self) -> f64 {
        self.promotions as f64 / self.needs.max(1) as f64
    }

    pub(super) fn on_take(&mut self, peer: usize, model: usize, now: Duration, is_fetched: bool) {
        self.promotions += 1;
        self.fetched += usize::from(is_fetched);
        self.models[model].promotions += 1;
        self.turns.entry((peer, model)).or_default().push(now);
        if let Some((since, is_taken @ false)) = &mut self.models[model].alone {
            self.taken_after.push(now - *since);
            *is_taken = true;
        }
    }

    pub(super) fn on_drop(&mut self, peer: usize, model: usize, now: Duration) {
        self.drops += 1;
        let turns = self.turns.entry((peer, model)).or_default();
        turns.push(now);
        // Loaded, dropped, loaded, dropped.
        if let [.., first, _, _, last] = turns[..]
            && last - first < SWING
        {
            self.swings.push((peer, model));
        }
    }

    /// What was loaded ended with the peer: that is no drop.
    pub(super) fn on_leave(&mut self, peer: usize) {
        self.turns.retain(|(of, _), _| *of != peer);
    }

    pub(super) fn on_step(&mut self, model: usize, load: Load, now: Duration) {
        self.requests += load.rate;
        self.unmet += load.unmet;
        self.server_seconds += load.servers as f64;
        self.needed_seconds += load.needed as f64;
        let known = &mut self.models[model];
        let gap = load.needed.saturating_sub(load.servers);
        self.needs += gap.saturating_sub(known.gap);
        known.gap = gap;
        let is_alone = load.needed > 0 && load.servers == 0;
        match known.alone {
            None if is_alone => known.alone = Some((now, false)),
            Some((since, _)) if !is_alone => {
                self.served_after.push(now - since);
                known.alone = None;
            }
            _ => {}
        }
    }
}
