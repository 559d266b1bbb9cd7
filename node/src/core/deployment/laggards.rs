//! Stages that fall behind: whether a stage of the ring has become so much slower than it was, for so
//! long, that another plan is worth asking for. What such a plan is, and whether it is better, is
//! decided by whoever is asked.
//!
//! A stage says how many times as long as at their best its batches of late took. What counts is
//! how far that lies above the least that it ever said, and above the same of the ring's other
//! stages, which compute the same batches: a long context makes all of them slower, and no other
//! plan faster. A stage that nobody can be compared with must be slower still.
//!
//! **Nothing swings to and fro.** A stage is slow after [`SLOW_FOR`] of reports over the bar, and
//! is no suspect any more below three quarters of it; reports between change nothing. After each
//! verdict no other is given for [`CHANGE_REST`], whatever came of it. A peer that was found slow is
//! planned as such for [`SLOW_MEMORY`], and for twice as long each time it is found slow again: of
//! two that are equally slow, neither is better than the other.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use protocol::NodeId;
use rand::Rng;

use super::event::{PlanReason, Slow};
use super::plan::Place;
use super::slot::Slot;
use super::{Deployment, Phase};

/// A stage is slow that takes so many times what it took, the others' slowing down not counted:
/// other work beside it takes half of a machine at least.
const SLOW_FACTOR: f64 = 2.0;

/// The same where no other stage is measured: a context that grows makes steps two and three times
/// as long.
const SLOW_ALONE: f64 = 4.0;

/// More than this a stage's usual slowness is not: the first that is heard of it may be trouble.
const MOST_USUAL: f64 = 1.5;

/// Below this part of the bar it is slow no more.
const EASED: f64 = 0.75;

/// For so long it must be slow: what another program does for a moment is over by then, and changing
/// over costs a replay.
pub(super) const SLOW_FOR: Duration = Duration::from_secs(20);

/// By so many reports.
const SLOW_REPORTS: u32 = 3;

/// A suspect of which nothing more is heard for so long is none.
const SUSPECT_MEMORY: Duration = Duration::from_secs(60);

/// How often a suspect is asked: oftener than leases are renewed.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// A report is of the last seconds for so long: leases are renewed within it.
const REPORT_MEMORY: Duration = Duration::from_secs(25);

/// The least time between two verdicts.
pub(super) const CHANGE_REST: Duration = Duration::from_secs(120);

/// How long a peer is planned as slow after a verdict, at first.
pub(super) const SLOW_MEMORY: Duration = Duration::from_secs(600);

/// And at most: six hours and some.
const MOST_DOUBLINGS: u32 = 5;

/// Slow peers remembered at most; whoever is free of it first is forgotten first.
const MAX_SLOW: usize = 64;

/// How one stage's batches went.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Course {
    /// The least slowness that was heard.
    least: Option<f64>,
    latest: Option<(f64, Instant)>,
    suspect: Option<Suspect>,
}

#[derive(Debug, Clone, Copy)]
struct Suspect {
    since: Instant,
    last: Instant,
    reports: u32,
    /// How many times slower than it should be, by the last report.
    factor: f64,
}

/// Who was found slow.
#[derive(Debug, Default)]
pub(super) struct Laggards {
    known: BTreeMap<NodeId, Known>,
    rests_until: Option<Instant>,
    /// What is planned or prepared now would only replace a ring that works.
    is_changing: bool,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    factor: f64,
    until: Instant,
    times: u32,
}

impl Course {
    /// The stage says how slow it is; `None`: it computed hardly anything.
    pub(super) fn on_report(&mut self, slowness: Option<f32>, now: Instant) {
        let Some(slowness) = slowness.map(f64::from).filter(|times| *times > 0.0) else {
            return;
        };
        self.least = Some(self.least.map_or(slowness, |least| least.min(slowness)));
        self.latest = Some((slowness, now));
    }

    /// How many times slower than it was; `None`: that was not heard of late.
    fn slowdown(&self, now: Instant) -> Option<f64> {
        let (slowness, at) = self.latest?;
        let is_young = now.saturating_duration_since(at) <= REPORT_MEMORY;
        let usual = self.least?.min(MOST_USUAL);
        is_young.then_some(slowness / usual)
    }

    /// Compares the last report with the least slowdown of the ring's other stages. Whether it is a
    /// suspect.
    fn compare(&mut self, others: Option<f64>, now: Instant) -> bool {
        let goes_on =
            |suspect: Suspect| now.saturating_duration_since(suspect.last) <= SUSPECT_MEMORY;
        let is_new = self.latest.is_some_and(|(_, at)| at == now);
        let Some(slowdown) = self.slowdown(now).filter(|_| is_new) else {
            return self.suspect.is_some_and(goes_on);
        };
        let (factor, bar) = match others {
            Some(least) => (slowdown / least.max(1.0), SLOW_FACTOR),
            None => (slowdown, SLOW_ALONE),
        };
        if factor >= bar {
            let before = self.suspect.filter(|suspect| goes_on(*suspect));
            self.suspect = Some(Suspect {
                since: before.map_or(now, |suspect| suspect.since),
                last: now,
                reports: before
                    .map_or(0, |suspect| suspect.reports)
                    .saturating_add(1),
                factor,
            });
        } else if factor < bar * EASED {
            self.suspect = None;
        }
        self.suspect.is_some()
    }

    /// By how much it is slow, if it is.
    fn slow_by(&self, now: Instant) -> Option<f64> {
        let suspect = self.suspect?;
        let is_young = now.saturating_duration_since(suspect.last) <= REPORT_MEMORY;
        let took = suspect.last.saturating_duration_since(suspect.since);
        let is_slow = suspect.reports >= SLOW_REPORTS && took >= SLOW_FOR;
        (is_slow && is_young).then_some(suspect.factor)
    }
}

impl Laggards {
    fn note(&mut self, peer: NodeId, factor: f64, now: Instant) {
        let times = self.known.get(&peer).map_or(0, |known| known.times);
        if self.known.len() >= MAX_SLOW && !self.known.contains_key(&peer) {
            let first = self.known.iter().min_by_key(|(_, known)| known.until);
            if let Some(first) = first.map(|(peer, _)| *peer) {
                self.known.remove(&first);
            }
        }
        let until = now + SLOW_MEMORY * (1 << times.min(MOST_DOUBLINGS));
        let times = times.saturating_add(1);
        let known = Known {
            factor,
            until,
            times,
        };
        self.known.insert(peer, known);
    }

    /// The peers that are to be planned as slow.
    pub(super) fn list(&self, now: Instant) -> Vec<Slow> {
        let known = self.known.iter().filter(|(_, known)| now < known.until);
        let slow = known.map(|(peer, known)| Slow {
            peer: *peer,
            factor: known.factor,
        });
        slow.collect()
    }

    /// A plan is wanted for this reason.
    pub(super) fn on_plan_wanted(&mut self, reason: PlanReason) {
        self.is_changing = reason == PlanReason::Slow;
    }

    /// The ring is gone, or as it is to be.
    pub(super) fn on_settled(&mut self) {
        self.is_changing = false;
    }

    /// Whether what is planned or prepared would only replace a ring that works.
    pub(super) fn is_changing(&self) -> bool {
        self.is_changing
    }
}

impl<R: Rng> Deployment<R> {
    /// A stage said how it is.
    pub(super) fn on_course(&mut self, place: Place, now: Instant) {
        let Some(ring) = self
            .ring
            .as_ref()
            .filter(|ring| ring.stages.contains(&place))
        else {
            return;
        };
        let others = ring.stages.iter().filter(|stage| **stage != place);
        let others = others.filter_map(|stage| self.held(*stage)?.course.slowdown(now));
        let least = others.reduce(f64::min);
        if let Some(held) = self.slots.get_mut(&place).and_then(Slot::held_mut)
            && held.course.compare(least, now)
        {
            held.renew_by(now + LOOK_AGAIN);
        }
    }

    /// Asks for a plan that does better than a ring with a slow stage. The ring goes on.
    pub(super) fn look_for_better(&mut self, now: Instant) {
        let rests = self.laggards.rests_until.is_some_and(|until| now < until);
        let Some(ring) = self.ring.as_ref().filter(|_| !rests) else {
            return;
        };
        if !matches!(self.phase, Phase::Serving) {
            return;
        }
        let slow_by = |stage: &Place| Some((stage.peer, self.held(*stage)?.course.slow_by(now)?));
        let slow: Vec<(NodeId, f64)> = ring.stages.iter().filter_map(slow_by).collect();
        if slow.is_empty() {
            return;
        }
        self.laggards.rests_until = Some(now + CHANGE_REST);
        for (peer, factor) in slow {
            self.laggards.note(peer, factor, now);
        }
        self.want_plan(PlanReason::Slow, now);
    }

    /// Whether nothing was lost but a change that was not needed: the ring goes on as it is.
    pub(super) fn keeps_ring(&mut self, now: Instant) -> bool {
        let Some(ring) = self.ring.as_ref().filter(|_| self.laggards.is_changing) else {
            return false;
        };
        self.wanted.clone_from(&ring.stages);
        self.phase = Phase::Serving;
        self.settle(now);
        true
    }

    /// Whether these stages can be held beside the ring's: nobody of it gets other layers.
    pub(super) fn fits_beside_ring(&self, stages: &[Place]) -> bool {
        let live = self.ring.as_ref().map_or(&[][..], |ring| &ring.stages);
        let is_other = |stage: &Place, live: &Place| stage.peer == live.peer && stage != live;
        !stages
            .iter()
            .any(|stage| live.iter().any(|live| is_other(stage, live)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Reports every few seconds; whether it is slow in the end.
    fn hear(course: &mut Course, now: &mut Instant, seconds: u32, slowness: f32) -> bool {
        for _ in 0..seconds.div_ceil(4) {
            *now += 4 * SECOND;
            course.on_report(Some(slowness), *now);
            course.compare(Some(1.0), *now);
        }
        course.slow_by(*now).is_some()
    }

    #[test]
    fn what_is_slow_for_long_is_slow_and_what_is_slow_for_a_moment_is_not() {
        let (mut course, mut now) = (Course::default(), Instant::now());
        assert!(!hear(&mut course, &mut now, 40, 1.1));
        assert!(!hear(&mut course, &mut now, 16, 5.0));
        assert!(!hear(&mut course, &mut now, 4, 1.2));
        assert!(!hear(&mut course, &mut now, 16, 5.0));
        assert!(hear(&mut course, &mut now, 12, 5.0));
        // Better, but not well: it stays so.
        assert!(hear(&mut course, &mut now, 12, 1.8));
        assert!(!hear(&mut course, &mut now, 4, 1.5));
        // Nothing else was ever heard of it.
        assert!(hear(&mut Course::default(), &mut now, 28, 5.0));
    }

    #[test]
    fn what_slows_everybody_down_makes_nobody_slow() {
        let (mut course, mut now) = (Course::default(), Instant::now());
        hear(&mut course, &mut now, 4, 1.0);
        for _ in 0..100 {
            now += 4 * SECOND;
            course.on_report(Some(6.0), now);
            assert!(!course.compare(Some(5.0), now));
        }
    }

    #[test]
    fn alone_it_must_be_slower() {
        for (slowness, is_slow) in [(3.5, false), (4.5, true)] {
            let (mut course, mut now) = (Course::default(), Instant::now());
            course.on_report(Some(1.0), now);
            for _ in 0..20 {
                now += 4 * SECOND;
                course.on_report(Some(slowness), now);
                course.compare(None, now);
            }
            assert_eq!(course.slow_by(now).is_some(), is_slow, "{slowness}");
        }
    }

    #[test]
    fn pauses_prove_nothing() {
        let (mut course, mut now) = (Course::default(), Instant::now());
        assert!(!hear(&mut course, &mut now, 8, 1.0));
        hear(&mut course, &mut now, 8, 4.0);
        for _ in 0..30 {
            now += 4 * SECOND;
            course.on_report(None, now);
            course.compare(Some(1.0), now);
        }
        assert!(course.slow_by(now).is_none());
        assert!(!hear(&mut course, &mut now, 16, 4.0));
        assert!(hear(&mut course, &mut now, 12, 4.0));
    }

    #[test]
    fn who_is_slow_again_is_remembered_for_longer_and_the_memory_is_bounded() {
        use super::super::tests::node_place as place;
        let (mut laggards, mut now) = (Laggards::default(), Instant::now());
        for doublings in 0..=MOST_DOUBLINGS + 2 {
            laggards.note(place(1).peer, 3.0, now);
            now += SLOW_MEMORY * (1 << doublings.min(MOST_DOUBLINGS)) - SECOND;
            assert_eq!(laggards.list(now).len(), 1);
            now += SECOND;
            assert_eq!(laggards.list(now), []);
        }
        for n in 1..=100 {
            laggards.note(place(n).peer, 2.0, now);
        }
        assert_eq!(laggards.list(now).len(), MAX_SLOW);
    }
}
