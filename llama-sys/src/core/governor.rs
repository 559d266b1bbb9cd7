//! How many threads compute while other programs want the cores, too.
//!
//! llama.cpp's threads meet at a barrier after each operation, hundreds of times a token, and
//! wait there by spinning. If one of them loses its core, all others wait for the scheduler to
//! bring it back: two threads on two busy cores were measured at a hundredth of the speed of one
//! thread. So when the threads got half a core less than they asked for, fewer are used, and all
//! of them are tried again later, after longer and longer pauses while that goes on failing.

use std::time::{Duration, Instant};

/// Computing time that a judgement rests on. A thread that wakes beside another on one core waits
/// for a time slice or two once, and another program's short burst takes as much: in 20 ms that
/// looked like half a core missing, and one thread was left to compute on two idle cores.
const WINDOW: Duration = Duration::from_millis(100);

/// The pause before more threads are tried, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A core's share that may be missing: what the system's own work takes now and then.
const TOLERATED_CORES: f64 = 0.5;

/// Decides how many threads compute.
#[derive(Debug, Clone)]
pub struct Governor {
    most: u32,
    threads: u32,
    wall: Duration,
    cpu: Duration,
    pause: Duration,
    retry_at: Option<Instant>,
}

impl Governor {
    /// Begins with `most` threads.
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self {
            most: most.max(1),
            threads: most.max(1),
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            pause: FIRST_PAUSE,
            retry_at: None,
        }
    }

    /// Threads to use now.
    #[must_use]
    pub fn threads(&self) -> u32 {
        self.threads
    }

    /// Takes how long a computation took, and how much processor time the process used
    /// meanwhile.
    pub fn on_computed(&mut self, wall: Duration, cpu: Duration, now: Instant) {
        self.wall += wall;
        self.cpu += cpu;
        if self.wall < WINDOW {
            return;
        }
        let window = std::mem::take(&mut self.wall).as_secs_f64();
        let used = std::mem::take(&mut self.cpu).as_secs_f64() / window;
        let missing = f64::from(self.threads) - used;
        if self.threads > 1 && missing > TOLERATED_CORES {
            self.back_off(missing, now);
        } else if self.retry_at.is_some_and(|at| now >= at) {
            self.threads = self.most;
            self.retry_at = None;
        } else if self.threads == self.most {
            // All of them had a core for a whole window: the next trouble is a new one.
            self.pause = FIRST_PAUSE;
        }
    }

    fn back_off(&mut self, missing: f64, now: Instant) {
        let fewer = (1..self.threads)
            .take_while(|n| f64::from(*n) < missing)
            .count();
        let fewer = u32::try_from(fewer).unwrap_or(u32::MAX).max(1);
        self.threads = self.threads.saturating_sub(fewer).max(1);
        self.retry_at = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs steps of 5 ms for `seconds` on a machine that gives the process `cores` at most.
    /// Answers the time at which all threads computed, in seconds.
    fn run(governor: &mut Governor, now: &mut Instant, seconds: u32, cores: f64) -> f64 {
        let step = Duration::from_millis(5);
        let mut at_most = 0.0;
        for _ in 0..seconds * 200 {
            let cpu = step.mul_f64(f64::from(governor.threads()).min(cores));
            if governor.threads() == governor.most {
                at_most += step.as_secs_f64();
            }
            *now += step;
            governor.on_computed(step, cpu, *now);
        }
        at_most
    }

    #[test]
    fn a_quiet_machine_keeps_all_threads() {
        let (mut governor, mut now) = (Governor::new(4), Instant::now());
        assert!((run(&mut governor, &mut now, 10, 4.0) - 10.0).abs() < 0.1);
    }

    #[test]
    fn a_burst_of_another_program_changes_nothing() {
        let (mut governor, mut now) = (Governor::new(2), Instant::now());
        for _ in 0..20 {
            run(&mut governor, &mut now, 1, 2.0);
            // One of the two threads waits for two time slices, the other one for it.
            let (wall, cpu) = (Duration::from_millis(20), Duration::from_millis(21));
            now += wall;
            governor.on_computed(wall, cpu, now);
            assert_eq!(governor.threads(), 2);
        }
    }

    #[test]
    fn a_busy_one_is_left_to_fewer_and_tried_ever_less_often() {
        let (mut governor, mut now) = (Governor::new(2), Instant::now());
        let first = run(&mut governor, &mut now, 10, 1.2);
        let later = run(&mut governor, &mut now, 100, 1.2);
        assert_eq!(governor.threads(), 1);
        // One window each time, which is four times in each of the two.
        assert!(first < 0.6 && later < 0.6, "{first} {later}");
        // Quiet again: all of them, within the longest pause.
        run(&mut governor, &mut now, 61, 2.0);
        assert_eq!(governor.threads(), 2);
        assert!(run(&mut governor, &mut now, 10, 2.0) > 9.9);
    }

    proptest! {
        #[test]
        fn the_number_stays_within_bounds(
            most in 0u32..70, steps in prop::collection::vec((0u64..2_000, 0u64..9_000), 0..200)
        ) {
            let (mut governor, mut now) = (Governor::new(most), Instant::now());
            for (wall, cpu) in steps {
                now += Duration::from_millis(wall);
                governor.on_computed(Duration::from_millis(wall), Duration::from_millis(cpu), now);
                prop_assert!((1..=most.max(1)).contains(&governor.threads()));
            }
        }
    }
}
