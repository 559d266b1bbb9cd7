//! What became of a model's servers lately. Rates of unmet requests decay for minutes after a server
//! came that meets them: what it can meet is taken off them meanwhile.

use std::time::{Duration, Instant};

use protocol::limits::DEMAND_PERIOD;

use super::event::{Policy, Served};
use super::{PAUSE, need};

/// How long the rates that are heard may be behind: that less is unmet is told with an author's next
/// period.
const LAG: Duration = DEMAND_PERIOD;

/// What the servers of a model can meet that came lately.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct History {
    servers: u32,
    /// Requests a second that the newest servers can meet, at `fades`.
    covered: f64,
    /// From when on that counts less and less.
    fades: Option<Instant>,
    /// Peers that were about to serve it.
    coming: usize,
    /// When somebody looked and left it at that.
    checked: Option<Instant>,
}

impl History {
    /// Takes note of the servers that there are, and of what is unmet all the same, requests a second.
    pub(super) fn see(&mut self, served: &Served, unmet: f64, policy: &Policy, now: Instant) {
        let each = need::capacity(served, policy);
        let covered = self.covered(policy, now);
        if served.coming.is_empty() && self.coming > 0 && served.servers <= self.servers {
            self.checked = Some(now);
        }
        self.coming = served.coming.len();
        let (more, less) = (
            served.servers.saturating_sub(self.servers),
            self.servers.saturating_sub(served.servers),
        );
        self.servers = served.servers;
        if more > 0 {
            // What is said of the time before may still double; what comes later is another need.
            self.covered = (covered + f64::from(more) * each).min(unmet * 2.0);
            self.fades = Some(now + LAG);
        } else if less > 0 {
            let left = (covered - f64::from(less) * each).max(0.0);
            self.covered = if served.servers == 0 { 0.0 } else { left };
            self.fades = self.fades.map(|fades| fades.max(now));
        }
    }

    /// This node looked, and left it at that.
    pub(super) fn note_checked(&mut self, now: Instant) {
        self.checked = Some(now);
    }

    /// Whether anybody looked lately, and left it at that.
    pub(super) fn is_checked(&self, now: Instant) -> bool {
        self.checked.is_some_and(|checked| now < checked + PAUSE)
    }

    /// Requests a second that are not to be counted as unmet any more.
    pub(super) fn covered(&self, policy: &Policy, now: Instant) -> f64 {
        let Some(fades) = self.fades else {
            return 0.0;
        };
        let age = now.saturating_duration_since(fades).as_secs_f64();
        let half_life = policy.half_life.as_secs_f64().max(1.0);
        self.covered * (-age / half_life).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(servers: u32) -> Served {
        Served {
            servers,
            sequences: servers * 4,
            ..Served::default()
        }
    }

    #[test]
    fn what_a_new_server_meets_fades_and_goes_with_it() {
        let policy = Policy::default();
        let mut now = Instant::now();
        let mut history = History::default();
        history.see(&served(0), 9.0, &policy, now);
        assert_eq!(history.covered(&policy, now), 0.0);
        history.see(&served(2), 9.0, &policy, now);
        let whole = history.covered(&policy, now + LAG);
        assert!((whole - 2.0 * 4.0 / policy.request_seconds).abs() < 1e-9);
        let half = history.covered(&policy, now + LAG + policy.half_life);
        assert!((half - whole / 2.0).abs() < 1e-9);
        now += LAG;
        history.see(&served(1), 9.0, &policy, now);
        assert!((history.covered(&policy, now) - whole / 2.0).abs() < 1e-9);
        history.see(&served(0), 9.0, &policy, now);
        assert_eq!(history.covered(&policy, now), 0.0);
        // No more than twice what was unmet when it came.
        history.see(&served(1), 0.01, &policy, now);
        assert!((history.covered(&policy, now) - 0.02).abs() < 1e-9);
    }

    #[test]
    fn who_looked_and_did_not_serve_is_remembered_for_a_while() {
        let (policy, now) = (Policy::default(), Instant::now());
        let mut history = History::default();
        let mut coming = served(1);
        coming.coming = [protocol::NodeId::from(
            &ed25519_dalek::SigningKey::from_bytes(&[1; 32]),
        )]
        .into();
        history.see(&coming, 0.0, &policy, now);
        assert!(!history.is_checked(now));
        history.see(&served(1), 0.0, &policy, now);
        assert!(history.is_checked(now) && !history.is_checked(now + PAUSE));
        // Whoever came and serves was right.
        let mut history = History::default();
        history.see(&coming, 0.0, &policy, now);
        history.see(&served(2), 0.0, &policy, now);
        assert!(!history.is_checked(now));
    }
}
