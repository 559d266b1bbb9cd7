//! When this node tells what its own users ask for.
//!
//! Transitions of a turn, one for each of the node's periods:
//! - open → wanted: there is something to tell;
//! - wanted → told: its time came, and the coin lies below the chance;
//! - wanted → silent: its time came, and the coin does not; wanted again once somebody asked in
//!   vain, for that class has a chance of its own;
//! - told → wanted: what is missed of some model is twice as much as was told, at most
//!   [`MAX_SAYINGS`] times in all.
//!
//! The chance never falls within a turn, so that who told is who would tell now. What is wanted
//! waits the longer, the larger the coin is ([`Crowd::wait`]). Signing and sending is the shell's.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use protocol::{
    ModelName, NodeId, Sequence, UnixMillis,
    demand::{Asking, Period, Record},
    limits::DEMAND_LEAD,
    names::SwarmName,
};

use super::{MAX_SAYINGS, sample::Crowd};
use crate::core::adverts::{Moment, Stamp};

/// The least time between two records of one turn.
const GAP: Duration = Duration::from_secs(5);

/// What a timer is behind the moment that it is set for.
const MOMENT: Duration = Duration::from_millis(1);

/// This node's own records.
#[derive(Debug)]
pub struct Author {
    own: NodeId,
    swarm: SwarmName,
    /// The last sequence number that was used, or seen under this node's key.
    last: Option<Sequence>,
    turn: Option<Turn>,
    due: Option<Instant>,
}

#[derive(Debug)]
struct Turn {
    period: Period,
    coin: f64,
    chance: f64,
    draw: Draw,
    wanted: Option<Instant>,
}

#[derive(Debug)]
enum Draw {
    /// Not drawn yet.
    Open,
    /// Not to tell, drawn as one whose users asked in vain or not.
    Silent { is_unmet: bool },
    /// Told, so many times and last then; what was missed of each model.
    Told {
        sayings: u32,
        at: Instant,
        unmet: BTreeMap<ModelName, f64>,
    },
}

impl Author {
    /// A node that has told nothing.
    pub fn new(own: NodeId, swarm: SwarmName) -> Self {
        Self {
            own,
            swarm,
            last: None,
            turn: None,
            due: None,
        }
    }

    /// Takes note that somebody asked: there may be something to tell.
    pub fn on_asked(&mut self, now: Instant) {
        self.due = Some(self.due.map_or(now, |due| due.min(now)));
    }

    /// Takes note of a record under this node's own key that came from outside: the next must be
    /// newer, or nobody hears it.
    pub fn on_own(&mut self, sequence: Sequence) {
        self.last = self.last.max(Some(sequence));
    }

    /// When [`Author::poll`] may have something to do; `None`: not before somebody asks.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.due
    }

    /// The record that is due, given what is asked for now and how many others tell.
    pub fn poll(
        &mut self,
        asking: Vec<Asking>,
        crowd: &Crowd,
        at: Moment,
    ) -> Option<(Record, Stamp)> {
        self.due = None;
        if asking.is_empty() {
            return None;
        }
        let period = period(&self.own, at.unix);
        if self.turn.as_ref().is_none_or(|turn| turn.period != period) {
            let coin = period.coin(&self.swarm, &self.own);
            self.turn = Some(Turn::new(period, coin));
        }
        let turn = self.turn.as_mut()?;
        let left = period.ends().saturating_since(at.unix);
        let next = at.now + left.saturating_sub(DEMAND_LEAD).max(MOMENT);
        let is_drawn = match turn.ready(&asking, crowd, at.now) {
            None => false,
            Some(ready) if at.now < ready => {
                self.due = Some(ready.min(next));
                return None;
            }
            Some(_) => turn.draw(&asking, crowd, at.now),
        };
        self.due = Some(next);
        if !is_drawn {
            return None;
        }
        let chance = turn.chance;
        let sequence = self.next_sequence(at.unix)?;
        let record = Record {
            swarm: self.swarm.clone(),
            chance,
            models: asking,
        };
        let expires = period.ends();
        Some((record, Stamp { sequence, expires }))
    }

    /// The clock's milliseconds, or one more than the last where the clock was turned back.
    fn next_sequence(&mut self, unix: UnixMillis) -> Option<Sequence> {
        let next = match self.last {
            None => Sequence(unix.0),
            Some(last) => last.next()?.max(Sequence(unix.0)),
        };
        self.last = Some(next);
        Some(next)
    }
}

/// The period that is told of now: towards its end it is the next one.
fn period(own: &NodeId, unix: UnixMillis) -> Period {
    let current = Period::at(own, unix);
    match current.ends().saturating_since(unix) <= DEMAND_LEAD {
        true => current.next(),
        false => current,
    }
}

impl Turn {
    fn new(period: Period, coin: f64) -> Self {
        Self {
            period,
            coin,
            chance: 0.0,
            draw: Draw::Open,
            wanted: None,
        }
    }

    /// When what there is to tell is told; `None`: there is nothing.
    fn ready(&mut self, asking: &[Asking], crowd: &Crowd, now: Instant) -> Option<Instant> {
        if !self.wants(asking) {
            self.wanted = None;
            return None;
        }
        let wanted = *self.wanted.get_or_insert(now);
        let ready = wanted + crowd.wait(self.coin);
        Some(match self.draw {
            Draw::Told { at, .. } => ready.max(at + GAP),
            _ => ready,
        })
    }

    fn wants(&self, asking: &[Asking]) -> bool {
        match &self.draw {
            Draw::Open => true,
            Draw::Silent { is_unmet } => !is_unmet && is_any_unmet(asking),
            Draw::Told { sayings, unmet, .. } => {
                let told = |model: &ModelName| unmet.get(model).copied().unwrap_or_default();
                let grew = |asking: &Asking| asking.unmet_per_second > 2.0 * told(&asking.model);
                *sayings < MAX_SAYINGS && asking.iter().any(grew)
            }
        }
    }

    /// Whether it is told.
    fn draw(&mut self, asking: &[Asking], crowd: &Crowd, now: Instant) -> bool {
        self.wanted = None;
        let is_unmet = is_any_unmet(asking);
        self.chance = self.chance.max(crowd.chance(is_unmet));
        let sayings = match &self.draw {
            Draw::Told { sayings, .. } => *sayings,
            _ => 0,
        };
        let is_told = self.coin < self.chance;
        self.draw = match is_told {
            false => Draw::Silent { is_unmet },
            true => Draw::Told {
                sayings: sayings + 1,
                at: now,
                unmet: (asking.iter())
                    .map(|asking| (asking.model.clone(), asking.unmet_per_second))
                    .collect(),
            },
        };
        is_told
    }
}

fn is_any_unmet(asking: &[Asking]) -> bool {
    asking.iter().any(|asking| asking.unmet_per_second > 0.0)
}
