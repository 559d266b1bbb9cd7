//! Whether this machine's clock agrees with the swarm's: by the times at which peers signed what
//! is heard of them. It is a hint for a person, for anybody can sign with a wrong clock; nothing
//! is accepted or refused by it.

use std::{collections::BTreeMap, time::Duration};

use protocol::{
    NodeId, UnixMillis,
    limits::{ADVERT_LIFETIME, MAX_CLOCK_SKEW},
};

use super::membership::ClockGap;

/// Authors whose times are remembered: enough that one of them who is wrong changes nothing.
const MAX_AUTHORS: usize = 64;

/// The times of peers, compared with this machine's.
#[derive(Debug, Clone, Default)]
pub struct ClockCheck {
    /// When the last advert of each author was signed, in milliseconds after this clock's time.
    offsets: BTreeMap<NodeId, i64>,
}

impl ClockCheck {
    /// An advert whose signature is right, whether its time is or not.
    pub fn on_advert(&mut self, author: NodeId, expires: UnixMillis, now: UnixMillis) {
        if self.offsets.len() >= MAX_AUTHORS && !self.offsets.contains_key(&author) {
            self.offsets.pop_first();
        }
        let millis = |time: UnixMillis| i64::try_from(time.0).unwrap_or(i64::MAX);
        let lifetime = i64::try_from(ADVERT_LIFETIME.as_millis()).unwrap_or(i64::MAX);
        let signed = millis(expires).saturating_sub(lifetime);
        self.offsets
            .insert(author, signed.saturating_sub(millis(now)));
    }

    /// How far this clock is off, at least; `None`: it agrees with most of the swarm, or nobody
    /// was heard. An advert is up to its lifetime old when it is heard, so a clock that is ahead
    /// by less than that is not noticed.
    pub fn gap(&self) -> Option<ClockGap> {
        let mut offsets: Vec<i64> = self.offsets.values().copied().collect();
        offsets.sort_unstable();
        let median = *offsets.get(offsets.len() / 2)?;
        let by = Duration::from_millis(median.unsigned_abs());
        let (is_ahead, bound) = match median < 0 {
            true => (true, ADVERT_LIFETIME + MAX_CLOCK_SKEW),
            false => (false, MAX_CLOCK_SKEW),
        };
        (by > bound).then_some(ClockGap { by, is_ahead })
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn node(seed: u8) -> NodeId {
        NodeId::from(&SigningKey::from_bytes(&[seed; 32]))
    }

    fn heard(now: UnixMillis, authors: u8) -> ClockCheck {
        let mut check = ClockCheck::default();
        for author in 0..authors {
            check.on_advert(node(author), NOW.saturating_add(ADVERT_LIFETIME), now);
        }
        check
    }

    #[test]
    fn a_clock_that_is_off_is_said_to_be_so_in_the_right_direction() {
        assert_eq!(heard(NOW, 5).gap(), None);
        assert_eq!(heard(NOW.saturating_add(ADVERT_LIFETIME), 5).gap(), None);
        let ahead = heard(NOW.saturating_add(HOUR), 1).gap().unwrap();
        assert!(ahead.is_ahead && ahead.by == HOUR);
        let behind = heard(UnixMillis(NOW.0 - 3_600_000), 1).gap().unwrap();
        assert!(!behind.is_ahead && behind.by == HOUR);
    }

    #[test]
    fn one_author_with_a_wrong_clock_changes_nothing_and_authors_are_bounded() {
        let mut check = heard(NOW, 4);
        check.on_advert(node(9), UnixMillis(u64::MAX), NOW);
        assert_eq!(check.gap(), None);
        for author in 0..=255 {
            check.on_advert(node(author), NOW, NOW);
        }
        assert_eq!(check.offsets.len(), MAX_AUTHORS);
        assert_eq!(ClockCheck::default().gap(), None);
    }
}
