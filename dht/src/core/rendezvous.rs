//! When a node announces itself in the public DHT: once its addresses are known, again before the
//! record fades, and when the addresses change; never more often than a bound, and later and later
//! while it fails.
//!
//! [`Schedule`] takes [`Input`]s with the time and answers with [`Output`]s. States:
//! - `Silent → Waiting`: there are addresses;
//! - `Waiting → Running`: its time has come;
//! - `Running → Waiting`: the announcement ended, or took longer than [`ANNOUNCE_TIMEOUT`];
//! - `Waiting → Silent`, `Running → Silent` at its end: there are no addresses any more. The record
//!   is left to fade: a DHT has no way to take one back.
//!
//! Which addresses those are is said by [`announced`]. It knows no DHT; addresses are text that it
//! hands back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rand::{Rng, RngExt};

/// Rest between two announcements of the same addresses, half an hour to either side by chance.
/// Public servers keep a record 48 h but its addresses 24 h, so one announcement may fail; and
/// servers come and go, so a record is gone from most of its 20 before that.
pub const REFRESH: Duration = Duration::from_secs(11 * 3600);

/// How far a refresh is moved, to either side: nodes that started together part.
pub const REFRESH_JITTER: Duration = Duration::from_secs(1800);

/// Addresses come one by one when a node starts or its network changes: they are waited for.
pub const SETTLE: Duration = Duration::from_secs(10);

/// Least time between the starts of two announcements when the addresses keep changing. Each
/// costs strangers' servers about a hundred requests.
pub const MIN_INTERVAL: Duration = Duration::from_secs(600);

/// The longest rest after the first failure; doubled with each, half of it by chance.
pub const RETRY_BASE: Duration = Duration::from_secs(60);

/// The longest rest after a failure.
pub const MAX_RETRY: Duration = Duration::from_secs(3600);

/// After this an announcement has failed: two lookups of up to 40 s, and their ends.
pub const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(120);

/// Addresses in a record: two families, two transports, and as many relayed.
pub const MAX_ADDRESSES: usize = 8;

/// One announcement; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AnnounceId(pub u64);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The deadline has come; harmless at any time.
    Tick,
    /// The addresses at which others can dial this node, all of them.
    Addresses(BTreeSet<String>),
    /// An announcement is over: servers took it, or not.
    Ended(AnnounceId, Ended),
}

/// How an announcement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// At least one server has the record.
    Taken,
    /// No server was reached.
    Failed,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Announce these; answer with [`Input::Ended`].
    Announce(AnnounceId, Vec<String>),
    /// Give this announcement up; an answer to it is ignored.
    Abandon(AnnounceId),
}

#[derive(Debug, Clone)]
enum Phase {
    Silent,
    Waiting(Instant),
    Running {
        id: AnnounceId,
        deadline: Instant,
        addresses: BTreeSet<String>,
    },
}

/// The schedule of one node's announcements.
#[derive(Debug, Clone)]
pub struct Schedule {
    wanted: BTreeSet<String>,
    phase: Phase,
    /// When the last announcement began.
    started: Option<Instant>,
    /// When the last one that was taken ended.
    taken: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    next_id: u64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            wanted: BTreeSet::new(),
            phase: Phase::Silent,
            started: None,
            taken: None,
            failures: 0,
            next_id: 0,
        }
    }
}

impl Schedule {
    /// When [`Input::Tick`] is due; `None` while there is nothing to announce.
    pub fn next_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Silent => None,
            Phase::Waiting(at) => Some(at),
            Phase::Running { deadline, .. } => Some(deadline),
        }
    }

    /// When servers last took the record, for `shoal doctor`.
    pub fn taken(&self) -> Option<Instant> {
        self.taken
    }

    /// Announcements that failed since then.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes an input; what is to be done is appended to `out`.
    pub fn handle<R: Rng>(
        &mut self,
        input: Input,
        now: Instant,
        rng: &mut R,
        out: &mut Vec<Output>,
    ) {
        match input {
            Input::Tick => {}
            Input::Addresses(addresses) => self.on_addresses(addresses, now),
            Input::Ended(ended, how) => {
                if matches!(self.phase, Phase::Running { id, .. } if id == ended) {
                    self.on_ended(how, now, rng);
                }
            }
        }
        self.drive(now, rng, out);
    }

    fn on_addresses(&mut self, addresses: BTreeSet<String>, now: Instant) {
        let wanted: BTreeSet<_> = addresses.into_iter().take(MAX_ADDRESSES).collect();
        if wanted == self.wanted {
            return;
        }
        self.wanted = wanted;
        self.phase = match self.phase {
            // What is under way ends first, and then sees the change.
            Phase::Running { .. } => return,
            _ if self.wanted.is_empty() => Phase::Silent,
            Phase::Silent => Phase::Waiting(self.soon(now)),
            // Neither does a change cut a failure's rest short, nor do many put it off.
            Phase::Waiting(at) if self.failures > 0 => Phase::Waiting(at),
            Phase::Waiting(at) => Phase::Waiting(at.min(self.soon(now))),
        };
    }

    /// When changed addresses are announced.
    fn soon(&self, now: Instant) -> Instant {
        let settled = now + SETTLE;
        let earliest = self.started.map_or(settled, |at| at + MIN_INTERVAL);
        earliest.max(settled)
    }

    fn on_ended<R: Rng>(&mut self, how: Ended, now: Instant, rng: &mut R) {
        let Phase::Running { addresses, .. } = std::mem::replace(&mut self.phase, Phase::Silent)
        else {
            return;
        };
        match how {
            Ended::Taken => {
                self.failures = 0;
                self.taken = Some(now);
            }
            Ended::Failed => self.failures = self.failures.saturating_add(1),
        }
        if self.wanted.is_empty() {
            return;
        }
        self.phase = Phase::Waiting(match how {
            Ended::Failed => now + retry(self.failures, rng),
            Ended::Taken if addresses == self.wanted => now + refresh(rng),
            Ended::Taken => self.soon(now),
        });
    }

    /// Does whatever is due.
    fn drive<R: Rng>(&mut self, now: Instant, rng: &mut R, out: &mut Vec<Output>) {
        if let Phase::Running { id, deadline, .. } = self.phase
            && deadline <= now
        {
            out.push(Output::Abandon(id));
            self.on_ended(Ended::Failed, now, rng);
        }
        if matches!(self.phase, Phase::Waiting(at) if at <= now) {
            let id = AnnounceId(self.next_id);
            self.next_id += 1;
            self.started = Some(now);
            self.phase = Phase::Running {
                id,
                deadline: now + ANNOUNCE_TIMEOUT,
                addresses: self.wanted.clone(),
            };
            let addresses = self.wanted.iter().cloned().collect();
            out.push(Output::Announce(id, addresses));
        }
    }
}

/// Which of the addresses that a stranger may be told are announced: those at which others were
/// seen to reach the node, relays' among them. While there are none, those that it listens at, each
/// with how far it carries, and of them the farthest-reaching only: the first node of a mesh knows
/// nobody who could try an address, and would never be found. Where nobody gets through after all,
/// the record costs whoever finds it a dial.
pub fn announced<R: Ord>(
    reached: BTreeSet<String>,
    listening: impl IntoIterator<Item = (R, String)>,
) -> BTreeSet<String> {
    if !reached.is_empty() {
        return reached;
    }
    let mut by_range: BTreeMap<R, BTreeSet<String>> = BTreeMap::new();
    for (range, address) in listening {
        by_range.entry(range).or_default().insert(address);
    }
    let farthest = by_range.pop_last();
    farthest.map(|(_, addresses)| addresses).unwrap_or_default()
}

/// The rest after so many failures in a row; half of it is certain, half is chance.
fn retry<R: Rng>(failures: u32, rng: &mut R) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let whole = RETRY_BASE.saturating_mul(1 << doublings).min(MAX_RETRY);
    whole.mul_f64(rng.random_range(0.5..=1.0))
}

/// The rest after an announcement that was taken.
fn refresh<R: Rng>(rng: &mut R) -> Duration {
    REFRESH - REFRESH_JITTER + (2 * REFRESH_JITTER).mul_f64(rng.random_range(0.0..=1.0))
}

#[cfg(test)]
mod tests;
