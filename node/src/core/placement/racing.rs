//! From needs to models that this node takes on: lots, announcements, and who gives way.

use std::time::Instant;

use protocol::ModelName;
use rand::Rng;

use super::need::{self, Need};
use super::{Candidate, Form, MAX_RACES, Output, Phase, Place, Placement, SETTLE, lot};

/// Where fewer peers than this for each server that is lacking could act, the one that helps most
/// goes first, whichever lot fell.
const FEW_RIVALS: u32 = 4;

impl Placement {
    /// Draws lots for new needs, takes back those of needs that are gone, and acts on those that
    /// fell.
    pub(super) fn race<R: Rng>(&mut self, now: Instant, rng: &mut R, out: &mut Vec<Output>) {
        self.withdraw(now);
        self.draw(now, rng);
        self.fall(now, rng);
        self.ask(now, out);
    }

    /// What a model lacks now, those who are about to serve it not considered.
    pub(super) fn need(&self, model: &ModelName, now: Instant) -> Option<Need> {
        let mut asked = self.asked(model);
        let history = self.histories.get(model);
        let covered = history.map_or(0.0, |history| history.covered(&self.policy, now));
        asked.unmet.per_second = (asked.unmet.per_second - covered).max(0.0);
        need::need(&asked, &self.served(model), &self.policy)
    }

    /// What it lacks beside those who are about to serve it.
    pub(super) fn open_need(&self, model: &ModelName, now: Instant) -> Option<Need> {
        let mut need = self.need(model, now)?;
        let history = self.histories.get(model);
        if self.served(model).has_room() && history.is_some_and(|history| history.is_checked(now)) {
            return None;
        }
        let coming = u32::try_from(self.served(model).coming.len()).unwrap_or(u32::MAX);
        need.servers = need.servers.saturating_sub(coming);
        (need.servers > 0).then_some(need)
    }

    /// What could hold this model here now, if the owner lets it.
    pub(super) fn room_for(&self, model: &ModelName) -> Option<Candidate> {
        let candidate = self.scene.candidates.get(model).copied();
        let is_open = self.scene.closed.is_none() && !self.scene.held.contains_key(model);
        candidate.filter(|candidate| is_open && candidate.need_bytes <= self.scene.free_bytes)
    }

    /// Somebody else acts, nothing is lacking any more, or there is no room now.
    fn withdraw(&mut self, now: Instant) {
        let gone: Vec<ModelName> = self
            .places
            .iter()
            .filter(|(model, place)| match place.phase {
                Phase::Drawn { .. } => {
                    self.open_need(model, now).is_none() || self.room_for(model).is_none()
                }
                Phase::Announced { .. } => self.gives_way(model, now),
                _ => false,
            })
            .map(|(model, _)| model.clone())
            .collect();
        for model in gone {
            self.places.remove(&model);
        }
    }

    /// Whether an announced model is left to others.
    fn gives_way(&self, model: &ModelName, now: Instant) -> bool {
        let Some(need) = self.need(model, now) else {
            return true;
        };
        let own = lot::rank(model, &self.own);
        let coming = self.served(model).coming;
        let before = coming.iter().filter(|node| lot::rank(model, node) < own);
        let before = u32::try_from(before.count()).unwrap_or(u32::MAX);
        before >= need.servers || self.room_for(model).is_none()
    }

    /// Needs that this node could do something about and does not yet, those first that help most.
    fn new_needs(&self, now: Instant) -> Vec<(ModelName, Need, Candidate)> {
        let absent = (self.scene.asked.keys()).filter(|model| !self.places.contains_key(*model));
        let mut needs: Vec<_> = absent
            .filter_map(|model| {
                let candidate = self.room_for(model)?;
                Some((model.clone(), self.open_need(model, now)?, candidate))
            })
            .collect();
        needs.sort_by(|(_, one, _), (_, other, _)| other.score.total_cmp(&one.score));
        needs
    }

    fn draw<R: Rng>(&mut self, now: Instant, rng: &mut R) {
        let drawn = self.drawn().count();
        let free = MAX_RACES.saturating_sub(drawn);
        for (model, need, candidate) in self.new_needs(now).into_iter().take(free) {
            let place = Place {
                phase: Phase::Drawn {
                    at: now + lot::to_take(candidate.rivals, need.servers, rng),
                },
                held_since: now,
                why: text(&need, candidate.form),
            };
            self.places.insert(model, place);
        }
    }

    fn drawn(&self) -> impl Iterator<Item = (&ModelName, Instant)> {
        let places = self.places.iter();
        places.filter_map(|(model, place)| match place.phase {
            Phase::Drawn { at } => Some((model, at)),
            _ => None,
        })
    }

    /// The lots that fell: one model at a time is taken on.
    fn fall<R: Rng>(&mut self, now: Instant, rng: &mut R) {
        let fallen = self.drawn().filter(|(_, at)| *at <= now);
        let fallen: Vec<ModelName> = fallen.map(|(model, _)| model.clone()).collect();
        for model in fallen {
            let is_busy = self.places.values().any(|place| {
                matches!(
                    place.phase,
                    Phase::Announced { .. } | Phase::Asking { .. } | Phase::Taking { .. }
                )
            });
            if is_busy {
                self.redraw(&model, now, rng);
                continue;
            }
            let first = self
                .first_of_few(&model, now)
                .unwrap_or_else(|| model.clone());
            if first != model {
                self.redraw(&model, now, rng);
            }
            if let Some(place) = self.places.get_mut(&first) {
                let until = now + SETTLE;
                place.phase = Phase::Announced { until };
            }
        }
    }

    fn redraw<R: Rng>(&mut self, model: &ModelName, now: Instant, rng: &mut R) {
        let rivals = self.room_for(model).map_or(1, |candidate| candidate.rivals);
        let servers = self.open_need(model, now).map_or(1, |need| need.servers);
        // Never at once: what kept it from acting is there for a moment at least.
        let pause = SETTLE + lot::to_take(rivals, servers, rng);
        if let Some(place) = self.places.get_mut(model) {
            place.phase = Phase::Drawn { at: now + pause };
        }
    }

    /// Where there are few who could act, the need among those drawn that helps most.
    fn first_of_few(&self, fallen: &ModelName, now: Instant) -> Option<ModelName> {
        let needs: Vec<(&ModelName, Need)> = self
            .drawn()
            .filter_map(|(model, _)| Some((model, self.open_need(model, now)?)))
            .collect();
        let lacking = needs.iter().map(|(_, need)| need.servers);
        let lacking = lacking.fold(0u32, u32::saturating_add);
        let rivals = self.room_for(fallen)?.rivals;
        if rivals >= lacking.saturating_mul(FEW_RIVALS) {
            return None;
        }
        let best = needs
            .into_iter()
            .max_by(|(_, one), (_, other)| one.score.total_cmp(&other.score));
        best.map(|(model, _)| model.clone())
    }

    /// Announcements that everybody heard: the swarm is asked who else serves or comes.
    fn ask(&mut self, now: Instant, out: &mut Vec<Output>) {
        let settled =
            self.named(|phase| matches!(phase, Phase::Announced { until } if *until <= now));
        for model in settled {
            let errand = self.errand();
            if let Some(place) = self.places.get_mut(&model) {
                place.phase = Phase::Asking { errand };
                out.push(Output::Find { errand, model });
            }
        }
    }

    /// All is known that can be: this node takes the model on, or leaves it to others.
    pub(super) fn decide(&mut self, model: &ModelName, now: Instant, out: &mut Vec<Output>) {
        let need = self
            .need(model, now)
            .filter(|_| !self.gives_way(model, now));
        if self.served(model).has_room() {
            // Who serves it was asked, and is there.
            let history = self.histories.get_mut(model);
            history
                .into_iter()
                .for_each(|history| history.note_checked(now));
            self.places.remove(model);
            return;
        }
        let Some((need, candidate)) = need.zip(self.room_for(model)) else {
            self.places.remove(model);
            return;
        };
        let errand = self.errand();
        if let Some(place) = self.places.get_mut(model) {
            place.phase = Phase::Taking { errand };
            place.why = text(&need, candidate.form);
            out.push(Output::Take {
                errand,
                model: model.clone(),
                why: place.why.clone(),
            });
        }
    }
}

fn text(need: &Need, form: Form) -> String {
    let servers = match need.servers {
        1 => "one server".to_owned(),
        more => format!("{more} servers"),
    };
    let form = match form {
        Form::Alone => "",
        Form::Chain => "; it runs over several peers",
    };
    format!(
        "{:.1} requests a minute are not met; it lacks {servers}{form}",
        need.unmet * 60.0
    )
}
