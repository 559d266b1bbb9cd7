//! What a peer's misbehaviour costs it: a penalty that grows with each offence and halves with
//! time, and what follows from it.
//!
//! Transitions of [`Standing`]:
//! - good → ignored at [`IGNORE_AT`]; ignored → good below [`FORGIVE_BELOW`];
//! - good or ignored → disconnect at [`DISCONNECT_AT`]; back to ignored below [`IGNORE_AT`];
//! - any → banned at [`BAN_AT`], for [`BAN_BASE`], doubled at each further ban up to [`MAX_BAN`];
//! - banned → good when the ban is over, with its repeats remembered for [`MAX_BAN`] more.
//!
//! Failed requests alone never lead beyond ignoring: a peer may be overloaded without being
//! hostile. A ban is never dropped for room: while the bans are full, an offender is disconnected
//! each time instead. It does not know connections or messages.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use protocol::NodeId;

/// Penalty from which a peer is not asked or heard.
pub const IGNORE_AT: f64 = 20.0;

/// Penalty below which it is heard again: half, so that it does not come and go.
pub const FORGIVE_BELOW: f64 = 10.0;

/// Penalty from which its connections are closed.
pub const DISCONNECT_AT: f64 = 50.0;

/// Penalty from which it is banned.
pub const BAN_AT: f64 = 100.0;

/// The time in which a penalty halves: a burst of errors during a restart is forgotten soon.
pub const HALF_LIFE: Duration = Duration::from_secs(300);

/// The first ban.
pub const BAN_BASE: Duration = Duration::from_secs(3600);

/// The longest ban: addresses and owners change.
pub const MAX_BAN: Duration = Duration::from_secs(24 * 3600);

/// Peers with a penalty that are remembered; the least guilty goes first.
pub const MAX_SCORES: usize = 4096;

/// Bans that are remembered; none goes before its time.
pub const MAX_BANS: usize = 4096;

/// A penalty below this is none.
const NOTHING: f64 = 0.1;

/// What a peer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offence {
    /// A message that does not decode, or whose signature is wrong.
    InvalidMessage,
    /// It asked more often than it may.
    RateExcess,
    /// It broke a protocol in a way that no version does by mistake.
    ProtocolViolation,
    /// It did not answer, or with an error of its own making.
    FailedRequest,
}

impl Offence {
    /// Ten invalid messages or four violations in quick succession are a ban. An excess of rate
    /// is already refused, so it weighs little.
    fn weight(self) -> f64 {
        match self {
            Self::InvalidMessage => 10.0,
            Self::RateExcess => 1.0,
            Self::ProtocolViolation => 25.0,
            Self::FailedRequest => 2.0,
        }
    }
}

/// How a peer is to be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// As any other.
    Good,
    /// Not asked, its messages not passed on.
    Ignored,
    /// Its connections are closed; it may come back.
    Disconnect,
    /// Its connections are closed and refused until then.
    Banned(Instant),
}

#[derive(Debug, Clone, Copy)]
struct Score {
    penalty: f64,
    at: Instant,
    is_ignored: bool,
}

#[derive(Debug, Clone, Copy)]
struct Ban {
    until: Instant,
    /// How many there have been, this one included.
    count: u32,
}

/// The scores of all peers.
#[derive(Debug, Clone, Default)]
pub struct Scores {
    scores: BTreeMap<NodeId, Score>,
    bans: BTreeMap<NodeId, Ban>,
}

impl Scores {
    /// Takes an offence; what follows from it.
    pub fn on_offence(&mut self, peer: NodeId, offence: Offence, now: Instant) -> Standing {
        if let Some(until) = self.banned_until(peer, now) {
            return Standing::Banned(until);
        }
        let before = self.penalty(peer, now);
        let penalty = match offence {
            // Not above the bound by this, but never less than it was.
            Offence::FailedRequest => (before + offence.weight()).min(IGNORE_AT.max(before)),
            _ => before + offence.weight(),
        };
        if penalty >= BAN_AT
            && let Some(until) = self.ban(peer, now)
        {
            self.scores.remove(&peer);
            return Standing::Banned(until);
        }
        self.keep(peer, penalty.min(BAN_AT), now);
        // Of this offence, even if there was no room to remember it.
        match self.standing(peer, now) {
            Standing::Good if penalty >= DISCONNECT_AT => Standing::Disconnect,
            Standing::Good if penalty >= IGNORE_AT => Standing::Ignored,
            standing => standing,
        }
    }

    /// How a peer is to be treated now.
    pub fn standing(&self, peer: NodeId, now: Instant) -> Standing {
        if let Some(until) = self.banned_until(peer, now) {
            return Standing::Banned(until);
        }
        let Some(score) = self.scores.get(&peer) else {
            return Standing::Good;
        };
        match score.now(now) {
            penalty if penalty >= DISCONNECT_AT => Standing::Disconnect,
            penalty if score.is_ignored && penalty >= FORGIVE_BELOW => Standing::Ignored,
            _ => Standing::Good,
        }
    }

    /// The penalty as it is now, 0..=[`BAN_AT`].
    pub fn penalty(&self, peer: NodeId, now: Instant) -> f64 {
        self.scores.get(&peer).map_or(0.0, |score| score.now(now))
    }

    /// Scores and bans that are remembered.
    pub fn len(&self) -> (usize, usize) {
        (self.scores.len(), self.bans.len())
    }

    fn banned_until(&self, peer: NodeId, now: Instant) -> Option<Instant> {
        let ban = self.bans.get(&peer)?;
        (ban.until > now).then_some(ban.until)
    }

    /// Bans, if there is room: until when.
    fn ban(&mut self, peer: NodeId, now: Instant) -> Option<Instant> {
        let is_new = !self.bans.contains_key(&peer);
        if is_new && self.bans.len() >= MAX_BANS {
            self.drop_old_bans(now);
            if self.bans.len() >= MAX_BANS {
                return None;
            }
        }
        let count = self.bans.get(&peer).map_or(0, |ban| ban.count);
        let time = BAN_BASE.saturating_mul(1 << count.min(5)).min(MAX_BAN);
        let until = now + time;
        let count = count.saturating_add(1);
        self.bans.insert(peer, Ban { until, count });
        Some(until)
    }

    /// For room: bans whose repeats are old news; if there are none, all that are over.
    fn drop_old_bans(&mut self, now: Instant) {
        self.bans.retain(|_, ban| ban.until + MAX_BAN > now);
        if self.bans.len() >= MAX_BANS {
            self.bans.retain(|_, ban| ban.until > now);
        }
    }

    fn keep(&mut self, peer: NodeId, penalty: f64, now: Instant) {
        let was_ignored = self.standing(peer, now) != Standing::Good;
        let is_new = !self.scores.contains_key(&peer);
        if is_new && self.scores.len() >= MAX_SCORES && !self.make_room(penalty, now) {
            return;
        }
        let is_ignored = was_ignored || penalty >= IGNORE_AT;
        self.scores.insert(
            peer,
            Score {
                penalty,
                at: now,
                is_ignored,
            },
        );
    }

    /// Drops what has decayed, or else the least guilty if it is less so than the newcomer.
    fn make_room(&mut self, penalty: f64, now: Instant) -> bool {
        self.scores.retain(|_, score| score.now(now) >= NOTHING);
        if self.scores.len() < MAX_SCORES {
            return true;
        }
        let scores = self
            .scores
            .iter()
            .map(|(peer, score)| (*peer, score.now(now)));
        let least = scores.min_by(|(_, one), (_, other)| one.total_cmp(other));
        match least {
            Some((peer, least)) if least < penalty => self.scores.remove(&peer).is_some(),
            _ => false,
        }
    }
}

impl Score {
    fn now(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at);
        let halvings = passed.as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.penalty * (-halvings).exp2()
    }
}

#[cfg(test)]
mod tests;
