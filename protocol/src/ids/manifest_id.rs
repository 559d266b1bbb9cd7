//! A model's identity by its content: the hash of its manifest, hexadecimal as text.
//!
//! What a manifest is, and that its bytes have this hash, is not known here.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// BLAKE3 of a manifest's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ManifestId([u8; 32]);

/// Why bytes or text are no manifest's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestIdError {
    /// Not 32 bytes.
    #[error("a manifest's id has 32 bytes, not {0}")]
    Length(usize),
    /// Not 64 hexadecimal digits.
    #[error("a manifest's id is 64 hexadecimal digits")]
    Text,
}

impl ManifestId {
    /// An id of these bytes; any 32 are one.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Checks the length.
    ///
    /// # Errors
    /// [`ManifestIdError::Length`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestIdError> {
        let length = |_| ManifestIdError::Length(bytes.len());
        bytes.try_into().map(Self).map_err(length)
    }

    /// The hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for ManifestId {
    type Err = ManifestIdError;

    fn from_str(text: &str) -> Result<Self, ManifestIdError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ManifestIdError::Text)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for ManifestId {
    type Error = ManifestIdError;

    fn try_from(text: String) -> Result<Self, ManifestIdError> {
        text.parse()
    }
}

impl From<ManifestId> for String {
    fn from(id: ManifestId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for ManifestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ManifestId {
    /// The beginning tells models apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManifestId({})", hex::encode(&self.0[..4]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_nonsense_is_refused() {
        let id = ManifestId::new([0xab; 32]);
        assert_eq!(id.to_string(), "ab".repeat(32));
        assert_eq!(id.to_string().parse(), Ok(id));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<ManifestId>(&json).unwrap(), id);
        for bad in ["", "ab", &"zz".repeat(32), &"ab".repeat(33)] {
            assert_eq!(bad.parse::<ManifestId>(), Err(ManifestIdError::Text));
        }
        assert_eq!(
            ManifestId::from_bytes(&[1; 31]),
            Err(ManifestIdError::Length(31))
        );
    }
}
