//! The settings of hosting models for the swarm. It knows no model.

use toml::Value;

use super::value::{self, Reason};
use crate::core::placement::hours::{Hours, HoursError};

pub(super) fn hours(value: &Value) -> Result<Hours, Reason> {
    let times = value::texts(value)?.join(",");
    let wrong = |error: HoursError| format!("must be hours of a day in UTC: {error}");
    times.parse().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_read_from_a_text_and_from_a_list() {
        let text = |text: &str| Value::String(text.into());
        let both = hours(&text("22:00-06:00,12:00-13:00")).unwrap();
        let list = Value::Array(vec![text("22:00-06:00"), text("12:00-13:00")]);
        assert_eq!(hours(&list), Ok(both));
        let reason = hours(&text("at night")).unwrap_err();
        assert!(reason.contains("`at night`"), "{reason}");
    }
}
