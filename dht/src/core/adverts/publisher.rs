//! When this node says what it is, and under which sequence number.
//!
//! On a material change, no more often than every [`MIN_GAP`] but for a few at once, and otherwise
//! at a heartbeat of 120 s that is jittered by a fifth, so that peers that began together do not
//! stay together. Signing and sending is the shell's.

use std::time::{Duration, Instant};

use protocol::{
    Sequence, UnixMillis,
    advert::Profile,
    limits::{ADVERT_HEARTBEAT, ADVERT_LIFETIME},
};
use rand::{Rng, RngExt};

use super::{
    Moment,
    allowance::{Allowance, HEARD_AT_ONCE},
    material::is_material,
};

/// The least time between two adverts in the long run: what changes more often is not worth
/// everybody's hearing.
pub const MIN_GAP: Duration = Duration::from_secs(10);

/// Adverts that go before that: a node learns in its first seconds at which addresses and by which
/// relay it is reached, what it serves, and who is near, and until that was told nobody reaches it or
/// makes a chain with it.
const AT_ONCE: u32 = HEARD_AT_ONCE - 1;

/// The least time between two of those: what changes together is told together.
pub(super) const SETTLE: Duration = Duration::from_secs(1);

/// The share of the heartbeat by which it varies, either way.
const JITTER: f64 = 0.2;

/// What an advert is signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Its sequence number; store it, for a restart with a clock turned back.
    pub sequence: Sequence,
    /// When it ends.
    pub expires: UnixMillis,
}

/// This node's own adverts.
#[derive(Debug)]
pub struct Publisher {
    /// The last sequence number that was used, or seen under this node's key.
    last: Option<Sequence>,
    said: Option<Said>,
    /// A material change waits, or nothing was said yet.
    pending: bool,
    /// Others heard something newer under this node's key.
    outdated: bool,
}

#[derive(Debug)]
struct Said {
    profile: Profile,
    at: Instant,
    heartbeat: Instant,
    allowance: Allowance,
}

impl Publisher {
    /// A node that has said nothing since its start; `last` is the sequence number that the store
    /// remembers.
    pub fn new(last: Option<Sequence>) -> Self {
        Self {
            last,
            said: None,
            pending: true,
            outdated: false,
        }
    }

    /// Takes note of what the node is now.
    pub fn on_profile(&mut self, profile: &Profile) {
        // A change that is taken back before it was told is none.
        self.pending = (self.said.as_ref()).is_none_or(|said| is_material(&said.profile, profile));
    }

    /// Takes note of an advert under this node's own key that came from outside: the next must be
    /// newer, or nobody hears it.
    pub fn on_own(&mut self, sequence: Sequence) {
        if self.last.is_none_or(|last| last < sequence) {
            self.last = Some(sequence);
            self.outdated = true;
        }
    }

    /// When to publish; `None`: at once.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.said.as_ref().map(|said| {
            let soonest = said.allowance.ready().max(said.at + SETTLE);
            if self.pending || self.outdated {
                soonest
            } else {
                said.heartbeat
            }
        })
    }

    /// The stamp of an advert that is due with this profile; `None`: it is not time yet, or no
    /// sequence number is left.
    pub fn poll<R: Rng>(&mut self, profile: &Profile, at: Moment, rng: &mut R) -> Option<Stamp> {
        self.on_profile(profile);
        if self.next_deadline().is_some_and(|due| at.now < due) {
            return None;
        }
        let sequence = self.next_sequence(at.unix)?;
        let said = self.said.as_ref().map(|said| said.allowance);
        let mut allowance = said.unwrap_or_else(|| Allowance::new(AT_ONCE, at.now));
        allowance.take(at.now);
        let factor = rng.random_range(1.0 - JITTER..=1.0 + JITTER);
        self.last = Some(sequence);
        (self.pending, self.outdated) = (false, false);
        self.said = Some(Said {
            profile: profile.clone(),
            at: at.now,
            heartbeat: at.now + ADVERT_HEARTBEAT.mul_f64(factor),
            allowance,
        });
        Some(Stamp {
            sequence,
            expires: at.unix.saturating_add(ADVERT_LIFETIME),
        })
    }

    /// The clock's milliseconds, which are beyond those of any earlier run, or one more than the
    /// last where the clock was turned back.
    fn next_sequence(&self, unix: UnixMillis) -> Option<Sequence> {
        match self.last {
            None => Some(Sequence(unix.0)),
            Some(last) => last.next().map(|next| next.max(Sequence(unix.0))),
        }
    }
}
