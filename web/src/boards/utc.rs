//! Moments and spans as people and agents write them.

use std::time::Duration;

/// A year: no note is that old, and sums with the clock stay far from their ends.
const MAX_SPAN_SECONDS: u64 = 366 * 86_400;

/// Unix milliseconds as `2026-12-01T08:40:18Z`. Beyond the year 9999 (a peer's clock may say
/// anything) it stays at that year's end.
#[must_use]
pub fn utc(millis: u64) -> String {
    /// 9999-12-31T23:59:59Z.
    const END: u64 = 253_402_300_799;
    let seconds = (millis / 1000).min(END);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day since 1970-01-01 (Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`, for days that are not before the epoch).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// A span such as `90s`, `30m`, `12h` or `7d`, up to a year; `None`: it is none.
#[must_use]
pub fn span(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let seconds = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    (seconds <= MAX_SPAN_SECONDS).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_and_times() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_709_251_199_999), "2024-02-29T23:59:59Z");
        assert_eq!(utc(1_796_114_418_000), "2026-12-01T08:40:18Z");
        assert_eq!(utc(4_107_542_400_000), "2100-03-01T00:00:00Z");
        assert_eq!(utc(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn spans_have_a_unit_and_an_end() {
        assert_eq!(span("90s"), Some(Duration::from_secs(90)));
        assert_eq!(span("7d"), Some(Duration::from_secs(604_800)));
        for bad in [
            "",
            "7",
            "d",
            "1w",
            "-1h",
            "1.5h",
            "400d",
            "99999999999999999999s",
            "1ä",
            "ä",
        ] {
            assert_eq!(span(bad), None, "{bad}");
        }
    }
}
