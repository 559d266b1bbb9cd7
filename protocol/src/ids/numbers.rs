//! Numbers with a meaning: a seed, a sequence number, a time on the wire.
//!
//! No clock here: the time comes in from outside.

use std::{
    fmt,
    num::ParseIntError,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// Key of the counter-based generator that chooses tokens: the token at position `p` depends on
/// `(seed, p)` and the distribution only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

/// How new a signed message is among its author's: the larger replaces the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub u64);

/// A time on the wire: milliseconds since the Unix epoch. Deadlines inside a process are
/// `Instant`s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl From<i64> for Seed {
    /// OpenAI's `seed` is signed; each value keeps a seed of its own.
    fn from(seed: i64) -> Self {
        Self(seed.cast_unsigned())
    }
}

impl Sequence {
    /// The next one; `None` after the last.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl UnixMillis {
    /// The time this much later, or the last one that there is.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(whole_millis(duration)))
    }

    /// The time from `earlier` to this one; zero where `earlier` is later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl From<SystemTime> for UnixMillis {
    /// Times before the epoch become the epoch.
    fn from(time: SystemTime) -> Self {
        Self(whole_millis(
            time.duration_since(UNIX_EPOCH).unwrap_or_default(),
        ))
    }
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

macro_rules! number_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;

            fn from_str(text: &str) -> Result<Self, ParseIntError> {
                text.parse().map(Self)
            }
        }
    )*};
}

number_text!(Seed, Sequence, UnixMillis);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_saturate() {
        let end = UnixMillis(u64::MAX);
        assert_eq!(end.saturating_add(Duration::MAX), end);
        assert_eq!(
            UnixMillis(5).saturating_since(UnixMillis(9)),
            Duration::ZERO
        );
        assert_eq!(
            UnixMillis(9).saturating_since(UnixMillis(5)),
            Duration::from_millis(4)
        );
        assert_eq!(
            UnixMillis::from(UNIX_EPOCH - Duration::from_secs(1)),
            UnixMillis(0)
        );
    }

    #[test]
    fn sequences_end() {
        assert_eq!(Sequence(1).next(), Some(Sequence(2)));
        assert_eq!(Sequence(u64::MAX).next(), None);
    }

    #[test]
    fn signed_seeds_stay_apart() {
        assert_eq!(Seed::from(7_i64), Seed(7));
        assert_eq!(Seed::from(-1_i64), Seed(u64::MAX));
    }

    #[test]
    fn text_round_trips() {
        assert_eq!("18446744073709551615".parse(), Ok(Seed(u64::MAX)));
        assert!("-1".parse::<UnixMillis>().is_err());
        assert_eq!(serde_json::to_string(&UnixMillis(12)).unwrap(), "12");
    }
}
