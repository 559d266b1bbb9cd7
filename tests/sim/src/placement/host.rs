//! One peer: its placement, its memory and disk, and what it heard of others.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ed25519_dalek::SigningKey;
use node::core::placement::{Candidate, Form, Held, Placement, Policy, Scene, Served};
use protocol::{ModelName, NodeId};
use rand::{RngExt, rngs::StdRng};

use super::market::{Market, SEQUENCES};

/// What a peer says of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Coming,
    Serving,
}

/// One peer. Every model takes one unit of memory.
pub(super) struct Host {
    pub(super) id: NodeId,
    pub(super) core: Placement,
    pub(super) is_online: bool,
    /// Counts its restarts: what was meant for an earlier life is passed over.
    pub(super) life: u32,
    pub(super) held: BTreeSet<usize>,
    pub(super) stored: BTreeSet<usize>,
    pub(super) ticks_at: Option<Duration>,
    loading: BTreeSet<usize>,
    memory: u64,
    /// How much it misjudges how many others there are.
    misjudges: f64,
    heard: BTreeMap<usize, BTreeMap<usize, Said>>,
}

impl Host {
    pub(super) fn new(peer: usize, models: usize, rng: &mut StdRng) -> Self {
        let id = NodeId::from(&SigningKey::from_bytes(&rng.random()));
        let memory = if peer % 5 < 3 {
            rng.random_range(1..3)
        } else {
            0
        };
        Self {
            id,
            core: Placement::new(id, Policy::default()),
            is_online: true,
            life: 0,
            held: BTreeSet::new(),
            stored: (0..models).filter(|_| rng.random_bool(0.3)).collect(),
            ticks_at: None,
            loading: BTreeSet::new(),
            memory,
            misjudges: rng.random_range(0.4..2.5),
            heard: BTreeMap::new(),
        }
    }

    pub(super) fn free(&self) -> u64 {
        let taken = self.held.union(&self.loading).count() as u64;
        self.memory.saturating_sub(taken)
    }

    /// Whether it has any memory for models.
    pub(super) fn can_hold(&self) -> bool {
        self.memory > 0
    }

    /// A load begins.
    pub(super) fn begin(&mut self, model: usize) {
        self.loading.insert(model);
    }

    /// A load is done.
    pub(super) fn load(&mut self, model: usize) {
        self.loading.remove(&model);
        self.held.insert(model);
        self.stored.insert(model);
    }

    /// It is gone, and comes again as one that was started anew.
    pub(super) fn leave(&mut self) {
        self.is_online = false;
        self.life += 1;
        self.held.clear();
        self.loading.clear();
        self.heard.clear();
        self.ticks_at = None;
        self.core = Placement::new(self.id, Policy::default());
    }

    pub(super) fn hear(&mut self, of: usize, model: usize, said: Option<Said>) {
        let heard = self.heard.entry(model).or_default();
        match said {
            Some(said) => heard.insert(of, said),
            None => heard.remove(&of),
        };
    }

    /// Who is heard to serve a model.
    pub(super) fn servers(&self, model: usize) -> Vec<usize> {
        let heard = self.heard.get(&model).into_iter().flatten();
        let serving = heard.filter(|(_, said)| **said == Said::Serving);
        serving.map(|(of, _)| *of).collect()
    }

    pub(super) fn knows(&self, of: usize, model: usize) -> bool {
        self.heard
            .get(&model)
            .is_some_and(|heard| heard.contains_key(&of))
    }

    /// What it says of a model.
    pub(super) fn says(&self, models: &[ModelName], model: usize) -> Option<Said> {
        let name = &models[model];
        if self.core.coming().contains(name) {
            return Some(Said::Coming);
        }
        let serves = self.held.contains(&model) && !self.core.leaving().contains(name);
        serves.then_some(Said::Serving)
    }

    /// How things are, as it sees them.
    pub(super) fn scene(&self, models: &[ModelName], market: &Market) -> Scene {
        let mut scene = Scene {
            free_bytes: self.free(),
            ..Scene::default()
        };
        for (model, name) in models.iter().enumerate() {
            scene
                .asked
                .extend(market.asked(model).map(|asked| (name.clone(), asked)));
            scene
                .served
                .insert(name.clone(), self.served(model, market));
            if self.memory > 0 {
                scene
                    .candidates
                    .insert(name.clone(), self.candidate(model, market));
            }
            if self.held.contains(&model) {
                let held = Held {
                    is_owners: false,
                    is_pinned: false,
                    leases: u32::from(market.busy(model) > 0.0),
                };
                scene.held.insert(name.clone(), held);
            }
        }
        scene
    }

    fn served(&self, model: usize, market: &Market) -> Served {
        let heard = self.heard.get(&model);
        let of = |said| {
            let heard = heard.into_iter().flatten();
            heard
                .filter(move |(_, known)| **known == said)
                .map(|(of, _)| *of)
        };
        let servers = u32::try_from(of(Said::Serving).count()).unwrap_or(u32::MAX);
        let sequences = servers * SEQUENCES;
        #[expect(clippy::cast_possible_truncation, reason = "a part of a small number")]
        let idle = (f64::from(sequences) * (1.0 - market.busy(model))) as u32;
        Served {
            servers,
            sequences,
            idle,
            coming: of(Said::Coming).map(|of| market.ids[of]).collect(),
        }
    }

    fn candidate(&self, model: usize, market: &Market) -> Candidate {
        let rivals = market.rivals as f64 * self.misjudges;
        #[expect(clippy::cast_possible_truncation, reason = "a few thousand")]
        let rivals = rivals as u32;
        Candidate {
            form: Form::Alone,
            need_bytes: 1,
            writes: true,
            fetch_bytes: u64::from(!self.stored.contains(&model)),
            rivals: rivals.max(1),
        }
    }
}
