//! The settings of boards. It knows no note.

use std::time::Duration;

use protocol::board::BoardName;
use protocol::limits::MAX_NOTE_LIFETIME;
use toml::Value;

use super::value::{self, Reason};
use crate::core::board::holdings::MAX_FOLLOWED;

/// Notes of a board at least: with fewer an author's share is nothing.
const MIN_NOTES: u32 = 100;

/// Notes of a board at most: what is known of them is in memory, two kilobytes each.
const MAX_NOTES: u32 = 1_000_000;

/// Bytes of boards at least: a few notes of every author who has a share.
const MIN_BYTES: u64 = 1 << 20;

/// Bytes of boards at most: their words are in memory too.
const MAX_BYTES: u64 = 4 << 30;

/// The shortest time for which notes are kept: less is a chat.
const MIN_AGE: Duration = Duration::from_secs(3600);

pub(super) fn names(value: &Value) -> Result<Vec<BoardName>, Reason> {
    let mut names = Vec::new();
    for text in value::texts(value)? {
        let name: BoardName = text
            .parse()
            .map_err(|error| format!("has `{text}`, which is no board: {error}"))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    match names.len() > MAX_FOLLOWED {
        true => Err(format!("can name {MAX_FOLLOWED} boards at most")),
        false => Ok(names),
    }
}

pub(super) fn age(value: &Value) -> Result<Duration, Reason> {
    let age = value::duration(value)?;
    let may = (MIN_AGE..=MAX_NOTE_LIFETIME).contains(&age);
    may.then_some(age)
        .ok_or_else(|| "must be from 1 hour to 30 days".into())
}

pub(super) fn notes(value: &Value) -> Result<usize, Reason> {
    let notes = value::number(value, MIN_NOTES, MAX_NOTES)?;
    usize::try_from(notes).map_err(|_| "must fit this machine".into())
}

pub(super) fn bytes(value: &Value) -> Result<u64, Reason> {
    let bytes = value::bytes(value)?;
    let may = (MIN_BYTES..=MAX_BYTES).contains(&bytes);
    may.then_some(bytes)
        .ok_or_else(|| "must be from 1 MiB to 4 GiB".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::String(text.into())
    }

    #[test]
    fn boards_are_names() {
        let read = names(&text("rust, ops,rust")).unwrap();
        assert_eq!(read.len(), 2);
        assert!(names(&text("")).unwrap().is_empty());
        let reason = names(&text("a b")).unwrap_err();
        assert!(reason.contains("no board"), "{reason}");
        let many: Vec<String> = (0..65).map(|n| format!("b{n}")).collect();
        assert!(names(&text(&many.join(","))).is_err());
    }

    #[test]
    fn limits_have_limits() {
        assert_eq!(age(&text("7d")), Ok(Duration::from_secs(7 * 24 * 3600)));
        assert!(age(&text("59m")).is_err() && age(&text("31d")).is_err());
        assert_eq!(notes(&text("1000")), Ok(1000));
        assert!(notes(&text("1")).is_err());
        assert_eq!(bytes(&text("1MiB")), Ok(1 << 20));
        assert!(bytes(&text("1KB")).is_err() && bytes(&text("1TB")).is_err());
    }
}
