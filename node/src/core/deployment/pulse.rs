//! Which stages were asked for something that they answer from memory, and have not answered. It
//! says who is taken for dead, and when whoever is silent is asked again; it sends nothing.
//!
//! A stage is not dead because it is late where everybody is: the whole machine may be busy. So the
//! patience grows with the slowest answer of late, somebody else must have answered meanwhile, and
//! a head that was not woken in time itself counts that time for nobody.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::plan::Place;

/// The least that a stage gets to answer: some round trips of the slowest group, and a packet that
/// was lost.
pub const PULSE_PATIENCE: Duration = Duration::from_millis(500);

/// The patience is so many times the slowest answer of late.
const PATIENCE_FACTOR: u32 = 4;

/// More than this no answer's time makes of the patience.
const MOST_PATIENCE: Duration = Duration::from_secs(3);

/// Where nobody else answers either, the head may be what is cut off: so many times the patience.
const ALONE_FACTOR: u32 = 3;

/// Whoever is silent is asked again after this: a request may be lost with its connection.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// A slow answer counts half as much after this.
const SLOW_HALVES_IN: Duration = Duration::from_secs(15);

/// A timer that is handled so late says that this machine is busy.
const LATE_TIMER: Duration = Duration::from_millis(100);

/// Who was asked.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    asked: BTreeMap<Place, Asked>,
    /// The last that was heard of anybody: two, so that one is another's.
    heard: Vec<(Place, Instant)>,
    slowest: Duration,
    slowest_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    since: Instant,
    again_at: Instant,
}

impl Pulse {
    /// It is asked now by a request of its own, or was asked before.
    pub(super) fn note_asked(&mut self, place: Place, now: Instant) {
        let again_at = now + AGAIN_AFTER;
        let asked = Asked {
            since: now,
            again_at,
        };
        self.asked.entry(place).or_insert(asked);
    }

    /// It is to be asked now, unless it was asked before and is waited for.
    pub(super) fn ask(&mut self, place: Place, now: Instant) {
        let asked = Asked {
            since: now,
            again_at: now,
        };
        self.asked.entry(place).or_insert(asked);
    }

    /// It answered a request.
    pub(super) fn on_answer(&mut self, place: Place, sent_at: Instant, now: Instant) {
        self.asked.remove(&place);
        self.heard.retain(|(other, _)| *other != place);
        if self.heard.len() >= 2 {
            self.heard.remove(0);
        }
        self.heard.push((place, now));
        let took = now.saturating_duration_since(sent_at);
        if took >= self.slowest_of_late(now) {
            self.slowest = took;
            self.slowest_at = Some(now);
        }
    }

    /// It is no stage any more.
    pub(super) fn forget(&mut self, place: Place) {
        self.asked.remove(&place);
    }

    /// A timer was due then and is handled now.
    pub(super) fn on_woken(&mut self, due: Option<Instant>, now: Instant) {
        let late = due.map_or(Duration::ZERO, |due| now.saturating_duration_since(due));
        if late < LATE_TIMER {
            return;
        }
        for asked in self.asked.values_mut() {
            asked.since += late;
        }
    }

    /// Who is to be asked now; they are taken for asked.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Place> {
        let mut due = Vec::new();
        for (place, asked) in &mut self.asked {
            if asked.again_at <= now {
                asked.again_at = now + AGAIN_AFTER;
                due.push(*place);
            }
        }
        due
    }

    /// Who is dead.
    pub(super) fn dead(&self, now: Instant) -> Vec<Place> {
        let asked = self.asked.iter();
        let dead = asked.filter(|(place, asked)| self.dead_at(place, asked) <= now);
        dead.map(|(place, _)| *place).collect()
    }

    /// When somebody is to be asked again or is dead.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let asked = self.asked.iter();
        asked
            .map(|(place, asked)| asked.again_at.min(self.dead_at(place, asked)))
            .min()
    }

    fn dead_at(&self, place: &Place, asked: &Asked) -> Instant {
        let mut heard = self.heard.iter();
        let has_another = heard.any(|(other, at)| other != place && *at > asked.since);
        let factor = if has_another { 1 } else { ALONE_FACTOR };
        asked.since + self.patience(asked.since) * factor
    }

    fn patience(&self, since: Instant) -> Duration {
        let slow = self.slowest_of_late(since) * PATIENCE_FACTOR;
        slow.clamp(PULSE_PATIENCE, MOST_PATIENCE)
    }

    fn slowest_of_late(&self, now: Instant) -> Duration {
        let Some(at) = self.slowest_at else {
            return Duration::ZERO;
        };
        let age = now.saturating_duration_since(at).as_secs();
        let halves = (age / SLOW_HALVES_IN.as_secs()).min(20);
        self.slowest / (1 << halves)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::node_place as place;
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn whoever_is_silent_while_another_answers_is_dead_after_the_patience() {
        let (mut pulse, now) = (Pulse::default(), Instant::now());
        pulse.ask(place(1), now);
        pulse.ask(place(2), now);
        assert_eq!(pulse.due(now).len(), 2);
        pulse.on_answer(place(2), now, now + 5 * MILLI);
        let later = now + AGAIN_AFTER;
        assert_eq!(pulse.next_deadline(), Some(later));
        assert_eq!(pulse.due(later), [place(1)]);
        assert_eq!(pulse.dead(now + PULSE_PATIENCE - MILLI), []);
        assert_eq!(pulse.dead(now + PULSE_PATIENCE), [place(1)]);
    }

    #[test]
    fn where_nobody_answers_the_patience_is_longer() {
        let (mut pulse, now) = (Pulse::default(), Instant::now());
        pulse.ask(place(1), now);
        assert_eq!(pulse.dead(now + PULSE_PATIENCE), []);
        assert_eq!(pulse.dead(now + 3 * PULSE_PATIENCE), [place(1)]);
    }

    #[test]
    fn slow_answers_make_patient_for_a_while() {
        let (mut pulse, now) = (Pulse::default(), Instant::now());
        pulse.on_answer(place(1), now, now + 400 * MILLI);
        let asked = now + 400 * MILLI;
        pulse.ask(place(1), asked);
        pulse.on_answer(place(2), asked, asked + MILLI);
        assert_eq!(pulse.dead(asked + PULSE_PATIENCE), []);
        assert_eq!(pulse.dead(asked + 1600 * MILLI), [place(1)]);
        pulse.forget(place(1));
        let asked = now + 6 * SLOW_HALVES_IN;
        pulse.ask(place(1), asked);
        pulse.on_answer(place(2), asked, asked + MILLI);
        assert_eq!(pulse.dead(asked + PULSE_PATIENCE), [place(1)]);
    }

    #[test]
    fn time_in_which_the_head_slept_counts_for_nobody() {
        let (mut pulse, now) = (Pulse::default(), Instant::now());
        pulse.ask(place(1), now);
        pulse.on_answer(place(2), now, now + MILLI);
        let woken = now + 2 * PULSE_PATIENCE;
        pulse.on_woken(Some(now + AGAIN_AFTER), woken);
        assert_eq!(pulse.dead(woken), []);
        pulse.on_answer(place(2), woken, woken + MILLI);
        assert_eq!(pulse.dead(woken + PULSE_PATIENCE), [place(1)]);
    }
}
