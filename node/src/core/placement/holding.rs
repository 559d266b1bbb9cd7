//! What is held for the swarm, and when it is let go.

use std::time::Instant;

use protocol::ModelName;
use rand::Rng;

use super::{Calm, NOTICE, Output, Phase, Placement, REST, STAY, lot, need};

/// How much of a model there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Supply {
    /// Nobody asks for it.
    Unasked,
    /// So many servers more than are needed, this one among them.
    Surplus(u32),
    /// None too many.
    Needed,
}

impl Placement {
    /// Looks at everything that is held.
    pub(super) fn review<R: Rng>(&mut self, now: Instant, rng: &mut R, out: &mut Vec<Output>) {
        let held = self.named(|phase| {
            matches!(
                phase,
                Phase::Holding { .. } | Phase::Doubting { .. } | Phase::Parting { .. }
            )
        });
        for model in held {
            self.review_one(&model, now, rng, out);
        }
    }

    fn review_one<R: Rng>(
        &mut self,
        model: &ModelName,
        now: Instant,
        rng: &mut R,
        out: &mut Vec<Output>,
    ) {
        let Some(place) = self.places.get(model).cloned() else {
            return;
        };
        let Some(held) = self.scene.held.get(model).copied() else {
            // Its owner let it go, or it did not stay.
            return self.set(model, Phase::Resting { until: now + REST });
        };
        if held.is_pinned {
            self.places.remove(model);
            return;
        }
        match place.phase {
            Phase::Holding { .. } | Phase::Doubting { .. } if self.scene.closed.is_some() => {
                self.part(model, now);
            }
            Phase::Holding { calm } => self.look_at(model, calm, now, rng),
            Phase::Parting { until } if until <= now => self.end_parting(model, out),
            _ => {}
        }
        if let Phase::Holding { calm: Some(calm) } = self.phase(model)
            && calm.leaves.is_some_and(|leaves| leaves <= now)
        {
            let errand = self.errand();
            self.set(model, Phase::Doubting { errand });
            let model = model.clone();
            out.push(Output::Find { errand, model });
        }
    }

    /// One model that is held, while the owner lets it be.
    fn look_at<R: Rng>(
        &mut self,
        model: &ModelName,
        calm: Option<Calm>,
        now: Instant,
        rng: &mut R,
    ) {
        let supply = self.supply(model);
        let mut calm = calm.unwrap_or(Calm {
            since: now,
            leaves: None,
        });
        let is_calm = calm.since + self.policy.keep_alive <= now;
        let held_since = self.places.get(model).map_or(now, |place| place.held_since);
        match supply {
            Supply::Needed => return self.set(model, Phase::Holding { calm: None }),
            Supply::Unasked if is_calm && self.is_idle(model) => return self.part(model, now),
            Supply::Surplus(surplus) if is_calm && held_since + STAY <= now => {
                let servers = self.served(model).servers.saturating_add(1);
                let draw = || now + lot::to_leave(servers, surplus, rng);
                calm.leaves = Some(calm.leaves.unwrap_or_else(draw));
            }
            Supply::Unasked | Supply::Surplus(_) => calm.leaves = None,
        }
        self.set(model, Phase::Holding { calm: Some(calm) });
    }

    fn supply(&self, model: &ModelName) -> Supply {
        let served = self.served(model);
        let servers = served.servers.saturating_add(1);
        let enough = need::enough(&self.asked(model), &served, &self.policy);
        match servers.saturating_sub(enough) {
            _ if enough == 0 => Supply::Unasked,
            0 => Supply::Needed,
            surplus => Supply::Surplus(surplus),
        }
    }

    fn is_idle(&self, model: &ModelName) -> bool {
        self.scene
            .held
            .get(model)
            .is_none_or(|held| held.leases == 0)
    }

    /// The lot to leave fell and the swarm was asked.
    pub(super) fn part_if_still(&mut self, model: &ModelName, now: Instant) {
        match self.supply(model) {
            Supply::Unasked | Supply::Surplus(_) => self.part(model, now),
            Supply::Needed => self.set(model, Phase::Holding { calm: None }),
        }
    }

    /// Peers are told no more of it; what they sent meanwhile is answered.
    fn part(&mut self, model: &ModelName, now: Instant) {
        let until = now + NOTICE;
        self.set(model, Phase::Parting { until });
    }

    fn end_parting(&mut self, model: &ModelName, out: &mut Vec<Output>) {
        let is_closed = self.scene.closed;
        if is_closed.is_none() && self.is_last(model) {
            // The others left at the same time.
            return self.set(model, Phase::Holding { calm: None });
        }
        if self
            .scene
            .held
            .get(model)
            .is_some_and(|held| held.is_owners)
        {
            // It stays for as long as its owner uses it.
            self.places.remove(model);
            return;
        }
        let why = match (is_closed, self.supply(model)) {
            (Some(reason), _) => reason,
            (None, Supply::Unasked) => "nobody asks for it any more",
            (None, _) => "others serve it, and are enough",
        };
        let errand = self.errand();
        self.set(model, Phase::Dropping { errand });
        if let Some(place) = self.places.get_mut(model) {
            why.clone_into(&mut place.why);
        }
        out.push(Output::Drop {
            errand,
            model: model.clone(),
            why: why.to_owned(),
        });
    }

    fn phase(&self, model: &ModelName) -> Phase {
        let place = self.places.get(model);
        place.map_or(Phase::Holding { calm: None }, |place| place.phase)
    }

    fn set(&mut self, model: &ModelName, phase: Phase) {
        if let Some(place) = self.places.get_mut(model) {
            place.phase = phase;
        }
    }
}
