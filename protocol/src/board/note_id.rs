//! A note's id: a hash over its author, its times and what was signed, hexadecimal as text.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    digest::{digest, plain},
    ids::{NodeId, UnixMillis},
};

const LABEL: &str = "shoal/note-id/1";

/// Which note. Who knows an author, two times and a hash can tell it without the note itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NoteId([u8; 32]);

/// Why bytes or text are no note's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteIdError {
    /// Not 32 bytes.
    #[error("a note's id has 32 bytes, not {0}")]
    Length(usize),
    /// Not 64 hexadecimal digits.
    #[error("a note's id is 64 hexadecimal digits")]
    Text,
}

/// What an id is made of, beside the author.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) written: UnixMillis,
    pub(super) expires: UnixMillis,
    /// SHA-256 of the signed payload.
    pub(super) content: [u8; 32],
}

/// The hash of a signed payload.
pub(super) fn content_of(payload: &[u8]) -> [u8; 32] {
    plain(payload)
}

impl NoteId {
    pub(super) fn of(author: &NodeId, parts: &Parts) -> Self {
        let written = parts.written.0.to_be_bytes();
        let expires = parts.expires.0.to_be_bytes();
        let parts = [
            author.as_bytes().as_slice(),
            &written,
            &expires,
            &parts.content,
        ];
        Self(digest(LABEL, &parts))
    }

    /// Checks the length; any 32 bytes are an id.
    ///
    /// # Errors
    /// [`NoteIdError::Length`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NoteIdError> {
        let length = |_| NoteIdError::Length(bytes.len());
        bytes.try_into().map(Self).map_err(length)
    }

    /// The hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for NoteId {
    type Err = NoteIdError;

    fn from_str(text: &str) -> Result<Self, NoteIdError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NoteIdError::Text)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for NoteId {
    type Error = NoteIdError;

    fn try_from(text: String) -> Result<Self, NoteIdError> {
        text.parse()
    }
}

impl From<NoteId> for String {
    fn from(id: NoteId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for NoteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for NoteId {
    /// The beginning tells notes apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteId({})", hex::encode(&self.0[..4]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_nonsense_is_refused() {
        let id = NoteId([0xab; 32]);
        assert_eq!(id.to_string(), "ab".repeat(32));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(NoteId::from_bytes(id.as_bytes()), Ok(id));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<NoteId>(&json).unwrap(), id);
        for bad in ["", "ab", &"zz".repeat(32), &"ab".repeat(33)] {
            assert_eq!(bad.parse::<NoteId>(), Err(NoteIdError::Text));
        }
        assert_eq!(NoteId::from_bytes(&[1; 31]), Err(NoteIdError::Length(31)));
    }
}
