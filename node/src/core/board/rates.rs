//! How often an author may write: 1 note in [`NOTE_INTERVAL`], [`NOTE_BURST`] at once.
//!
//! Two rules. By the times of arrival, for what is passed on as it comes. And by the times at
//! which the author says that it was written, among everything of the author that is kept: that
//! holds for what a peer makes up for too, so a day's absence is made up at once and still nobody
//! has more notes in a day than one may write in it. Withdrawals are counted apart: whoever wrote
//! too much can still take it back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use protocol::board::NoteId;
use protocol::limits::{NOTE_BURST, NOTE_INTERVAL};
use protocol::{NodeId, UnixMillis};

use crate::core::pace::{Pace, Rate};

/// Authors that are counted at one time: whoever rests for a minute is forgotten, and beyond it
/// newcomers share one allowance, however many keys they make.
pub const MAX_AUTHORS: usize = 4096;

/// One author's notes, or one author's withdrawals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stream {
    /// Whose.
    pub author: NodeId,
    /// Withdrawals, else notes.
    pub is_withdrawal: bool,
}

/// What came lately, by author.
#[derive(Debug)]
pub struct Arrivals {
    paces: BTreeMap<Stream, Pace>,
    overflow: Option<Pace>,
    swept: Option<Instant>,
}

/// The least time between two searches for authors to forget.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

fn rate() -> Rate {
    Rate {
        burst: f64::from(NOTE_BURST),
        per_second: 1.0 / NOTE_INTERVAL.as_secs_f64(),
    }
}

impl Arrivals {
    /// Nothing came yet.
    pub fn new() -> Self {
        Self {
            paces: BTreeMap::new(),
            overflow: None,
            swept: None,
        }
    }

    /// Counts one more that came now.
    ///
    /// # Errors
    /// It is one too many, and not counted: how long until it would not be.
    pub fn admit(&mut self, stream: Stream, now: Instant) -> Result<(), Duration> {
        let pace = self.pace(stream, now);
        let wait = pace.wait(1.0, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        pace.spend(1.0, now);
        Ok(())
    }

    fn pace(&mut self, stream: Stream, now: Instant) -> &mut Pace {
        let fresh = || Pace::new(rate(), now);
        let is_new = !self.paces.contains_key(&stream);
        if is_new && self.paces.len() >= MAX_AUTHORS {
            self.sweep(now);
            if self.paces.len() >= MAX_AUTHORS {
                return self.overflow.get_or_insert_with(fresh);
            }
        }
        self.paces.entry(stream).or_insert_with(fresh)
    }

    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now < swept + SWEEP_EVERY) {
            return;
        }
        self.swept = Some(now);
        self.paces.retain(|_, pace| !pace.is_rested(now));
    }
}

impl Default for Arrivals {
    fn default() -> Self {
        Self::new()
    }
}

/// How much later a note of this time would have to be written to be within the rate, among
/// those that its author wrote; zero: it is.
///
/// In every span of time there may be [`NOTE_BURST`] and one for each [`NOTE_INTERVAL`] of it.
/// Since that holds of what is kept, only the spans around the new one are looked at, as far as
/// they could still matter.
pub fn excess(written: &BTreeSet<(UnixMillis, NoteId)>, at: UnixMillis) -> Duration {
    let interval = millis(NOTE_INTERVAL);
    let burst = i128::from(NOTE_BURST) * interval;
    let at_millis = i128::from(at.0);
    let low = (at, NoteId::from_bytes(&[0; 32]).expect("32 bytes"));
    let before = written.range(..low).rev();
    let before = before.map(|(time, _)| at_millis - i128::from(time.0));
    let after = written.range(low..);
    let after = after.map(|(time, _)| i128::from(time.0) - at_millis);
    let beyond = interval + most(before, interval, burst) + most(after, interval, burst) - burst;
    Duration::from_millis(u64::try_from(beyond.max(0)).unwrap_or(u64::MAX))
}

/// The most that notes at these distances, the nearest first, are more than their time allows.
fn most(distances: impl Iterator<Item = i128>, interval: i128, burst: i128) -> i128 {
    let (mut most, mut notes) = (0, 0);
    for distance in distances {
        notes += interval;
        most = most.max(notes - distance);
        // Those farther off are within the rate among themselves: a burst more at most.
        if notes - distance + burst < most {
            break;
        }
    }
    most
}

fn millis(duration: Duration) -> i128 {
    i128::try_from(duration.as_millis()).expect("a constant")
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn stream(seed: u8) -> Stream {
        Stream {
            author: NodeId::from(&SigningKey::from_bytes(&[seed; 32])),
            is_withdrawal: false,
        }
    }

    fn id(n: usize) -> NoteId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&u64::try_from(n).unwrap().to_be_bytes());
        NoteId::from_bytes(&bytes).unwrap()
    }

    /// Whether in every span there are as many as may be.
    fn is_within(times: &BTreeSet<(UnixMillis, NoteId)>) -> bool {
        let times: Vec<u64> = times.iter().map(|(time, _)| time.0).collect();
        times.iter().enumerate().all(|(i, from)| {
            times[i..].iter().enumerate().all(|(count, to)| {
                let notes = u64::try_from(count).unwrap() + 1;
                notes * 10_000 <= 50_000 + (to - from)
            })
        })
    }

    proptest! {
        /// In whatever order notes come, those that are taken are within the rate, and one is
        /// refused only when it would not be.
        #[test]
        fn written_times_are_held_to_the_rate(times in vec(0_u64..200_000, 0..120)) {
            let mut kept = BTreeSet::new();
            for (n, time) in times.into_iter().enumerate() {
                let at = UnixMillis(time);
                let mut with = kept.clone();
                with.insert((at, id(n)));
                let beyond = excess(&kept, at);
                prop_assert_eq!(beyond.is_zero(), is_within(&with));
                if beyond.is_zero() {
                    kept = with;
                }
            }
        }

        #[test]
        fn the_wait_is_exact_for_the_newest(gaps in vec(0_u64..15_000, 1..60)) {
            let (mut kept, mut now) = (BTreeSet::new(), 0);
            for (n, gap) in gaps.into_iter().enumerate() {
                now += gap;
                let wait = excess(&kept, UnixMillis(now));
                if !wait.is_zero() {
                    let later = UnixMillis(now).saturating_add(wait);
                    prop_assert!(excess(&kept, later).is_zero());
                    prop_assert!(!excess(&kept, UnixMillis(later.0 - 1)).is_zero());
                    now = later.0;
                }
                kept.insert((UnixMillis(now), id(n)));
            }
        }
    }

    #[test]
    fn five_may_come_at_once_and_one_in_ten_seconds() {
        let now = Instant::now();
        let mut arrivals = Arrivals::new();
        let took = (0..9)
            .filter(|_| arrivals.admit(stream(1), now).is_ok())
            .count();
        assert_eq!(took, 5);
        assert_eq!(arrivals.admit(stream(2), now), Ok(()));
        assert_eq!(arrivals.admit(stream(1), now), Err(NOTE_INTERVAL));
        let withdrawal = Stream {
            is_withdrawal: true,
            ..stream(1)
        };
        assert_eq!(
            arrivals.admit(withdrawal, now),
            Ok(()),
            "it can be taken back"
        );
        let later = now + NOTE_INTERVAL;
        assert!(arrivals.admit(stream(1), later).is_ok());
        assert!(arrivals.admit(stream(1), later).is_err());
    }

    #[test]
    fn a_flood_of_authors_is_bounded_and_pays_no_debt() {
        let now = Instant::now();
        let mut arrivals = Arrivals::new();
        let debtor = stream(0);
        while arrivals.admit(debtor, now).is_ok() {}
        let mut took = 0;
        for seed in 1..u32::try_from(MAX_AUTHORS + 200).unwrap() {
            let mut bytes = [7; 32];
            bytes[..4].copy_from_slice(&seed.to_be_bytes());
            let author = NodeId::from(&SigningKey::from_bytes(&bytes));
            let stream = Stream { author, ..debtor };
            took += usize::from(arrivals.admit(stream, now).is_ok());
        }
        assert_eq!(took, MAX_AUTHORS - 1 + 5);
        assert!(arrivals.paces.len() <= MAX_AUTHORS);
        assert!(arrivals.admit(debtor, now).is_err());
        assert!(arrivals.admit(debtor, now + NOTE_INTERVAL).is_ok());
    }
}
