//! What a deployment does and waits for, as people are told it.

use rand::Rng;

use super::attempt::Step;
use super::event::{FailureCause, Generation};
use super::plan::Place;
use super::{Deployment, Phase};

/// A deployment's state.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// What it does.
    pub doing: Doing,
    /// The ring that is ready.
    pub ring: Option<Generation>,
    /// What is leased or wanted, in the order of peers.
    pub stages: Vec<StageStatus>,
    /// Failures since a ring was ready.
    pub tries: u32,
    /// What failed last; says something only after a failure.
    pub last_failure: FailureCause,
}

/// What a deployment does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// It waits for a plan.
    Planning,
    /// It rests before the next try.
    Resting,
    /// It waits for reservations.
    Reserving,
    /// It waits for loads.
    Loading,
    /// It waits for links.
    Linking,
    /// It waits for a token.
    Probing,
    /// The ring serves.
    Serving,
    /// It gives its leases back.
    Leaving,
    /// It is over.
    Ended,
}

/// One place of a deployment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StageStatus {
    /// Who, and which layers.
    pub place: Place,
    /// It is no stage of what is wanted, but kept ready for one.
    pub is_spare: bool,
    /// What it is at, and how far; `None`: it is not leased yet.
    pub phase: Option<(protocol::chain::Phase, f32)>,
    /// It said that it stops soon.
    pub is_leaving: bool,
}

impl<R: Rng> Deployment<R> {
    /// What it does and waits for.
    pub fn status(&self) -> Status {
        let stages = self.slots.iter().map(|(place, slot)| StageStatus {
            place: *place,
            is_spare: !self.wanted.contains(place),
            phase: slot.held().map(|held| (held.phase, held.progress)),
            is_leaving: slot.held().is_some_and(|held| held.is_leaving),
        });
        Status {
            doing: self.doing(),
            ring: self.ring.as_ref().map(|ring| ring.generation),
            stages: stages.collect(),
            tries: self.tries,
            last_failure: self.cause,
        }
    }

    pub(super) fn is_in_ring(&self, place: Place) -> bool {
        let ring = self.ring.as_ref();
        ring.is_some_and(|ring| ring.stages.contains(&place))
    }

    pub(super) fn is_preparing(&self, place: Place) -> bool {
        matches!(&self.phase, Phase::Preparing(attempt) if attempt.stages.contains(&place))
    }

    fn doing(&self) -> Doing {
        match &self.phase {
            Phase::Idle | Phase::Planning { .. } => Doing::Planning,
            Phase::Resting { .. } => Doing::Resting,
            Phase::Preparing(attempt) => match attempt.step {
                Step::Reserving => Doing::Reserving,
                Step::Loading => Doing::Loading,
                Step::Linking(_) => Doing::Linking,
                Step::Probing(_) => Doing::Probing,
            },
            Phase::Serving => Doing::Serving,
            Phase::Leaving { .. } => Doing::Leaving,
            Phase::Ended => Doing::Ended,
        }
    }
}
