//! The one id of a request, from the HTTP header to the last stage.
//!
//! A client may choose it, so it is bounded and safe to write into a log line or a header; it
//! does not know how one is made.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::limits::MAX_REQUEST_ID_BYTES;

/// 1 to [`MAX_REQUEST_ID_BYTES`] printable ASCII characters without spaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(String);

/// Why a text is no request's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestIdError {
    /// Empty.
    #[error("a request's id is empty")]
    Empty,
    /// Over the limit.
    #[error("a request's id has {0} bytes, the limit is {MAX_REQUEST_ID_BYTES}")]
    TooLong(usize),
    /// A space, a control character, or anything beyond ASCII.
    #[error("a request's id is printable ASCII without spaces")]
    Character,
}

impl RequestId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a text can be a request's id.
    ///
    /// # Errors
    /// Every [`RequestIdError`].
    pub fn check(text: &str) -> Result<(), RequestIdError> {
        if text.is_empty() {
            return Err(RequestIdError::Empty);
        }
        if text.len() > MAX_REQUEST_ID_BYTES {
            return Err(RequestIdError::TooLong(text.len()));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(RequestIdError::Character);
        }
        Ok(())
    }
}

impl FromStr for RequestId {
    type Err = RequestIdError;

    fn from_str(text: &str) -> Result<Self, RequestIdError> {
        Self::check(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for RequestId {
    type Error = RequestIdError;

    fn try_from(text: String) -> Result<Self, RequestIdError> {
        Self::check(&text)?;
        Ok(Self(text))
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> Self {
        id.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_text_is_an_id() {
        for text in ["r", "chatcmpl-123", "550e8400-e29b-41d4-a716-446655440000"] {
            assert_eq!(text.parse::<RequestId>().unwrap().as_str(), text);
        }
        assert!(
            "x".repeat(MAX_REQUEST_ID_BYTES)
                .parse::<RequestId>()
                .is_ok()
        );
    }

    #[test]
    fn what_would_break_a_log_line_is_refused() {
        assert_eq!("".parse::<RequestId>(), Err(RequestIdError::Empty));
        for text in ["a b", "a\nb", "a\u{1b}[31m", "ü", "\0"] {
            assert_eq!(text.parse::<RequestId>(), Err(RequestIdError::Character));
        }
        let long = "x".repeat(MAX_REQUEST_ID_BYTES + 1);
        assert_eq!(long.parse::<RequestId>(), Err(RequestIdError::TooLong(129)));
        assert!(serde_json::from_str::<RequestId>(r#""a b""#).is_err());
    }
}
