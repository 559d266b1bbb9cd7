//! The hours of a day in which the owner lets the node take on models for the swarm. UTC, for a node
//! knows no other.

use std::fmt;
use std::str::FromStr;

const MINUTES: u32 = 24 * 60;

/// Times of a day, the end excluded; a time that ends before it begins goes over midnight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours(Vec<(u32, u32)>);

/// Why a text names no hours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time of a day like 22:00-07:30")]
pub struct HoursError(String);

impl Hours {
    /// Whether this moment, seconds since the Unix epoch, is within them.
    pub fn contains(&self, unix_seconds: u64) -> bool {
        let minute = u32::try_from(unix_seconds / 60 % u64::from(MINUTES)).unwrap_or(0);
        self.0.iter().any(|&(from, to)| match from <= to {
            true => (from..to).contains(&minute),
            false => minute >= from || minute < to,
        })
    }
}

impl FromStr for Hours {
    type Err = HoursError;

    /// `22:00-07:30`, or several of them with commas between.
    fn from_str(text: &str) -> Result<Self, HoursError> {
        let times = text.split(',').map(|time| {
            let wrong = || HoursError(time.trim().to_owned());
            let (from, to) = time.trim().split_once('-').ok_or_else(wrong)?;
            let both = minute(from).zip(minute(to));
            both.filter(|(from, to)| from != to).ok_or_else(wrong)
        });
        times.collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (from, to)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let parts = [from / 60, from % 60, to / 60, to % 60];
            let [a, b, c, d] = parts;
            write!(f, "{comma}{a:02}:{b:02}-{c:02}:{d:02}")?;
        }
        Ok(())
    }
}

/// A minute of the day; `24:00` is its end.
fn minute(text: &str) -> Option<u32> {
    let (hour, minute) = text.trim().split_once(':')?;
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.len() <= 2);
    let (hour, minute) = (number(hour)?, number(minute)?);
    let total = hour.checked_mul(60)?.checked_add(minute)?;
    (minute < 60 && total <= MINUTES).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: u64, minute: u64) -> u64 {
        (20_000 * 24 + hour) * 3600 + minute * 60
    }

    #[test]
    fn times_go_over_midnight_and_end_before_their_end() {
        let hours: Hours = "22:00-07:30, 12:00-13:00".parse().unwrap();
        for (hour, minute, within) in [
            (22, 0, true),
            (23, 59, true),
            (0, 0, true),
            (7, 29, true),
            (7, 30, false),
            (12, 59, true),
            (13, 0, false),
            (21, 59, false),
        ] {
            assert_eq!(hours.contains(at(hour, minute)), within, "{hour}:{minute}");
        }
        assert_eq!(hours.to_string(), "22:00-07:30,12:00-13:00");
        assert_eq!(hours.to_string().parse(), Ok(hours));
        let day: Hours = "0:00-24:00".parse().unwrap();
        assert!(day.contains(at(0, 0)) && day.contains(at(23, 59)));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "22",
            "22:00",
            "22:00-",
            "25:00-26:00",
            "1:60-2:00",
            "1:00-1:00",
            "x:0-1:0",
        ] {
            assert!(bad.parse::<Hours>().is_err(), "{bad}");
        }
    }
}
