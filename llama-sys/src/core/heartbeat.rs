//! Whether a process that owes something runs at all: it is asked, by a message that its own threads
//! answer whatever it computes. A process that was stopped does not; one that computes for long does.

use std::time::{Duration, Instant};

/// A process that says nothing for so long is asked.
pub const PING_AFTER: Duration = Duration::from_millis(200);

/// The least that it gets to answer.
pub const PONG_PATIENCE: Duration = Duration::from_millis(400);

/// It gets so many times what its slowest answer took.
const FACTOR: u32 = 4;

/// More than this no answer's time makes of the patience.
const MOST_PATIENCE: Duration = Duration::from_secs(5);

/// A timer that is handled so late says that this machine is busy: that time does not count.
const LATE_TIMER: Duration = Duration::from_millis(50);

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// Nothing yet.
    Wait,
    /// Ask it.
    Ping,
    /// It does not run.
    Stopped,
}

/// One process.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat {
    heard: Instant,
    asked: Option<Instant>,
    slowest: Duration,
}

impl Heartbeat {
    /// It owes something from now on.
    pub fn new(now: Instant) -> Self {
        Self {
            heard: now,
            asked: None,
            slowest: Duration::ZERO,
        }
    }

    /// It said something, or began to owe something.
    pub fn on_heard(&mut self, now: Instant) {
        if let Some(asked) = self.asked.take() {
            let took = now.saturating_duration_since(asked);
            self.slowest = took.max(self.slowest / 2);
        }
        self.heard = now;
    }

    /// When something is due.
    pub fn deadline(&self) -> Instant {
        match self.asked {
            Some(asked) => asked + self.patience(),
            None => self.heard + PING_AFTER,
        }
    }

    /// What is due now.
    pub fn beat(&mut self, now: Instant) -> Beat {
        let deadline = self.deadline();
        if now < deadline {
            return Beat::Wait;
        }
        match &mut self.asked {
            None => {
                self.asked = Some(now);
                Beat::Ping
            }
            Some(asked) if now - deadline >= LATE_TIMER => {
                *asked += now - deadline + LATE_TIMER;
                Beat::Wait
            }
            Some(_) => Beat::Stopped,
        }
    }

    fn patience(&self) -> Duration {
        (self.slowest * FACTOR).clamp(PONG_PATIENCE, MOST_PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn who_answers_runs_and_who_does_not_is_stopped() {
        let mut now = Instant::now();
        let mut heart = Heartbeat::new(now);
        for _ in 0..3 {
            assert_eq!(heart.beat(now + PING_AFTER - MILLI), Beat::Wait);
            now += PING_AFTER;
            assert_eq!(heart.beat(now), Beat::Ping);
            assert_eq!(heart.beat(now), Beat::Wait);
            now += MILLI;
            heart.on_heard(now);
        }
        assert_eq!(heart.beat(now + PING_AFTER), Beat::Ping);
        now = heart.deadline();
        assert_eq!(heart.beat(now), Beat::Stopped);
    }

    #[test]
    fn slow_answers_make_patient() {
        let now = Instant::now();
        let mut heart = Heartbeat::new(now);
        assert_eq!(heart.beat(now + PING_AFTER), Beat::Ping);
        let heard = now + PING_AFTER + 300 * MILLI;
        heart.on_heard(heard);
        assert_eq!(heart.beat(heard + PING_AFTER), Beat::Ping);
        assert_eq!(heart.deadline(), heard + PING_AFTER + 1200 * MILLI);
    }

    #[test]
    fn time_in_which_nobody_looked_does_not_count() {
        let now = Instant::now();
        let mut heart = Heartbeat::new(now);
        heart.beat(now + PING_AFTER);
        let late = heart.deadline() + 300 * MILLI;
        assert_eq!(heart.beat(late), Beat::Wait);
        assert!(heart.deadline() > late);
        let last = heart.deadline();
        assert_eq!(heart.beat(last), Beat::Stopped);
    }
}
