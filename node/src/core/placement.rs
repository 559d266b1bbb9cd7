//! What this node hosts for the swarm, without being told: from what is asked for, what is served
//! and what the owner allows to models that it takes on and lets go. It knows no engine, no network
//! and no clock.
//!
//! A model's states here:
//! - (absent) → `Taking`: the node was started without a model ([`starter`])
//! - (absent) → `Drawn`: it lacks servers and could be held here; a lot says when this node acts
//! - `Drawn` → `Announced`: the lot fell; peers hear that this node is about to take it on
//! - `Drawn`, `Announced`, `Asking` → (absent): somebody else does, or nothing is lacking any more
//! - `Announced` → `Asking`: others' announcements had time to come; the swarm is asked as well
//! - `Asking` → `Taking` (`Output::Take`): not enough others that go before this node do the same
//! - `Taking` → `Holding`, or `Resting` where it failed
//! - `Holding` → `Parting`: nobody asked for it for the keep-alive; or the owner wants nothing more
//! - `Holding` → `Doubting`: there are more servers than needed, and the lot to leave fell on this one
//! - `Doubting` → `Parting`, or `Holding` again, by what the swarm says
//! - `Parting` → `Dropping` (`Output::Drop`): nobody was told of it for a while, so nobody comes; or
//!   `Holding` again if it turns out to be the last server of a model that is asked for
//! - `Dropping` → `Resting`; `Resting` → (absent): it is not taken on again for a while
//!
//! **One need raises about one server.** Lots ([`lot`]) make a few peers act of thousands, and of
//! those who announce the same only the first by rank go on.
//!
//! **It does not swing.** What a new server can meet is not counted as lacking while the rates that
//! were heard still decay (`history`); a server is needed below a bound and too many above another
//! one; what was taken on stays [`STAY`] at least, and what was let go is not taken on again for
//! [`REST`]. So no model is loaded and dropped twice within ten minutes.
//!
//! **The owner's wishes win.** What is forbidden is no candidate; outside the owner's hours nothing
//! is taken on and everything is let go, the last server too; what the owner uses or pinned is never
//! let go from here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use protocol::{ModelName, NodeId};
use rand::Rng;

mod account;
mod event;
mod history;
mod holding;
pub mod hours;
pub mod lot;
pub mod need;
mod racing;
pub mod starter;

pub use self::account::Account;
pub use self::event::{
    Asked, Candidate, Errand, Form, Held, Input, Output, Policy, Rate, Scene, Served,
};
use self::history::History;

/// Models of which is known what the swarm asks and what becomes of them here: far more than one
/// machine ever holds, few enough to look at each second.
pub const MAX_MODELS: usize = 256;

/// Needs that this node draws lots for at a time, those first that help most.
pub const MAX_RACES: usize = 16;

/// How long an announcement is on its way to all who might take on the same: adverts go out a second
/// or two after a change, and gossip takes another.
pub const SETTLE: Duration = Duration::from_secs(3);

/// Where servers have room although requests are said to be unmet, nobody looks again so soon after
/// somebody did and found them there: it may be forged, or no server's fault.
pub const PAUSE: Duration = Duration::from_secs(60);

/// What was taken on stays so long at least, if it is asked for at all.
pub const STAY: Duration = Duration::from_secs(600);

/// What was let go, or could not be taken on, is not taken on again so soon.
pub const REST: Duration = Duration::from_secs(600);

/// How long nobody is told of a model before it is unloaded: adverts that were under way have come,
/// and requests that were sent for them too.
pub const NOTICE: Duration = Duration::from_secs(15);

/// What a model is to this node.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Drawn { at: Instant },
    Announced { until: Instant },
    Asking { errand: Errand },
    Taking { errand: Errand },
    Holding { calm: Option<Calm> },
    Doubting { errand: Errand },
    Parting { until: Instant },
    Dropping { errand: Errand },
    Resting { until: Instant },
}

/// There is more than enough of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Calm {
    since: Instant,
    /// When this server leaves, by its lot.
    leaves: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Place {
    phase: Phase,
    /// Since when the model is held.
    held_since: Instant,
    /// Why, for people.
    why: String,
}

/// What this node hosts for the swarm.
#[derive(Debug)]
pub struct Placement {
    own: NodeId,
    policy: Policy,
    scene: Scene,
    places: BTreeMap<ModelName, Place>,
    histories: BTreeMap<ModelName, History>,
    next_errand: u64,
}

impl Placement {
    /// A node that holds nothing and knows nothing.
    pub fn new(own: NodeId, policy: Policy) -> Self {
        Self {
            own,
            policy,
            scene: Scene::default(),
            places: BTreeMap::new(),
            histories: BTreeMap::new(),
            next_errand: 0,
        }
    }

    /// Takes what happened; appends what is to be done. A scene is due every few seconds.
    pub fn handle<R: Rng>(
        &mut self,
        input: Input,
        now: Instant,
        rng: &mut R,
        out: &mut Vec<Output>,
    ) {
        match input {
            Input::Scene(scene) => self.on_scene(*scene, now),
            Input::Found(errand) => self.on_found(errand, now, out),
            Input::Taken { errand, cause } => self.on_taken(errand, cause, now),
            Input::Dropped(errand) => self.on_dropped(errand, now),
            Input::Start => self.on_start(now, out),
            Input::Tick => {}
        }
        self.rest_is_over(now);
        self.review(now, rng, out);
        self.race(now, rng, out);
    }

    /// When `Input::Tick` is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines = self.places.values().filter_map(|place| match place.phase {
            Phase::Drawn { at } => Some(at),
            Phase::Announced { until } | Phase::Parting { until } | Phase::Resting { until } => {
                Some(until)
            }
            Phase::Holding { calm } => calm.and_then(|calm| calm.leaves),
            Phase::Asking { .. }
            | Phase::Taking { .. }
            | Phase::Doubting { .. }
            | Phase::Dropping { .. } => None,
        });
        deadlines.min()
    }

    /// Models that this node is about to take on: to be told to peers.
    pub fn coming(&self) -> BTreeSet<ModelName> {
        self.named(|phase| {
            matches!(
                phase,
                Phase::Announced { .. } | Phase::Asking { .. } | Phase::Taking { .. }
            )
        })
    }

    /// Models that this node is about to let go: peers are not told of them any more.
    pub fn leaving(&self) -> BTreeSet<ModelName> {
        self.named(|phase| matches!(phase, Phase::Parting { .. } | Phase::Dropping { .. }))
    }

    /// Models that are not to be let go for age: those that are held for the swarm, and those
    /// that the owner loaded where this node is the last that serves them.
    pub fn kept(&self) -> BTreeSet<ModelName> {
        let mut kept = self.named(|phase| {
            matches!(
                phase,
                Phase::Holding { .. } | Phase::Doubting { .. } | Phase::Parting { .. }
            )
        });
        let last = self.scene.held.keys().filter(|model| {
            self.scene.closed.is_none() && !self.places.contains_key(*model) && self.is_last(model)
        });
        kept.extend(last.cloned());
        kept
    }

    fn named(&self, is_so: impl Fn(&Phase) -> bool) -> BTreeSet<ModelName> {
        let places = self.places.iter();
        let named = places.filter(|(_, place)| is_so(&place.phase));
        named.map(|(model, _)| model.clone()).collect()
    }

    fn on_scene(&mut self, mut scene: Scene, now: Instant) {
        while scene.asked.len() > MAX_MODELS {
            scene.asked.pop_last();
        }
        self.histories
            .retain(|model, _| scene.asked.contains_key(model));
        for (model, asked) in &scene.asked {
            let served = scene.served.get(model).cloned().unwrap_or_default();
            let history = self.histories.entry(model.clone()).or_default();
            let unmet = asked.unmet.per_second;
            history.see(&served, unmet, &self.policy, now);
        }
        self.scene = scene;
    }

    fn on_taken(&mut self, errand: Errand, cause: Option<String>, now: Instant) {
        let Some(place) = self.place_of(errand) else {
            return;
        };
        place.held_since = now;
        place.phase = match cause {
            None => Phase::Holding { calm: None },
            Some(cause) => {
                place.why = cause;
                Phase::Resting { until: now + REST }
            }
        };
    }

    fn on_start(&mut self, now: Instant, out: &mut Vec<Output>) {
        let is_free = self.places.is_empty() && self.scene.held.is_empty();
        let is_free = is_free && self.scene.closed.is_none();
        let first = is_free.then(|| starter::first(&self.scene, &self.policy));
        if let Some(starter::First { model, why }) = first.flatten() {
            let errand = self.errand();
            let place = Place {
                phase: Phase::Taking { errand },
                held_since: now,
                why: why.clone(),
            };
            self.places.insert(model.clone(), place);
            out.push(Output::Take { errand, model, why });
        }
    }

    fn on_dropped(&mut self, errand: Errand, now: Instant) {
        if let Some(place) = self.place_of(errand) {
            place.phase = Phase::Resting { until: now + REST };
        }
    }

    fn on_found(&mut self, errand: Errand, now: Instant, out: &mut Vec<Output>) {
        let found = self.model_of(errand);
        let Some((model, place)) = found else {
            return;
        };
        match place.phase {
            Phase::Asking { .. } => self.decide(&model, now, out),
            Phase::Doubting { .. } => self.part_if_still(&model, now),
            _ => {}
        }
    }

    fn rest_is_over(&mut self, now: Instant) {
        let is_over =
            |place: &Place| matches!(place.phase, Phase::Resting { until } if until <= now);
        self.places.retain(|_, place| !is_over(place));
    }

    fn place_of(&mut self, errand: Errand) -> Option<&mut Place> {
        self.places
            .values_mut()
            .find(|place| place.errand() == Some(errand))
    }

    fn model_of(&self, errand: Errand) -> Option<(ModelName, Place)> {
        let mut places = self.places.iter();
        let found = places.find(|(_, place)| place.errand() == Some(errand));
        found.map(|(model, place)| (model.clone(), place.clone()))
    }

    fn errand(&mut self) -> Errand {
        self.next_errand += 1;
        Errand(self.next_errand)
    }

    fn served(&self, model: &ModelName) -> Served {
        self.scene.served.get(model).cloned().unwrap_or_default()
    }

    fn asked(&self, model: &ModelName) -> Asked {
        self.scene.asked.get(model).copied().unwrap_or_default()
    }

    /// Whether nobody else is heard to serve a model that is asked for.
    fn is_last(&self, model: &ModelName) -> bool {
        need::is_asked(&self.asked(model), &self.policy) && self.served(model).servers == 0
    }
}

impl Place {
    fn errand(&self) -> Option<Errand> {
        match self.phase {
            Phase::Asking { errand }
            | Phase::Taking { errand }
            | Phase::Doubting { errand }
            | Phase::Dropping { errand } => Some(errand),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
