//! Why a request is refused before anything is spent on it, and how that is said on the wire.

use super::{ErrorCode, Failure};
use crate::ids::{ModelNameError, RequestIdError};

/// Why a request cannot be served by anybody.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The request's id is unusable.
    #[error(transparent)]
    RequestId(#[from] RequestIdError),
    /// No model can have this name.
    #[error(transparent)]
    Model(#[from] ModelNameError),
    /// Nothing where something must be.
    #[error("`{0}` is missing or empty")]
    Missing(&'static str),
    /// Too many bytes.
    #[error("`{param}` has {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// The field.
        param: &'static str,
        /// Bytes that it has.
        bytes: usize,
        /// Bytes that it may have.
        limit: usize,
    },
    /// Too many entries.
    #[error("`{param}` has {count} entries, the limit is {limit}")]
    TooMany {
        /// The field.
        param: &'static str,
        /// Entries that it has.
        count: usize,
        /// Entries that it may have.
        limit: usize,
    },
    /// A number outside its range, or none at all (NaN).
    #[error("`{param}` is {value}, it must be within {range}")]
    OutOfRange {
        /// The field.
        param: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
    /// Not what it must be.
    #[error("`{param}` must be {expected}")]
    Malformed {
        /// The field.
        param: &'static str,
        /// What it must be.
        expected: &'static str,
    },
}

impl RequestError {
    /// The request's field at fault, as OpenAI's API names it.
    pub fn param(&self) -> &'static str {
        match self {
            Self::RequestId(_) => "request_id",
            Self::Model(_) => "model",
            Self::Missing(param)
            | Self::TooLong { param, .. }
            | Self::TooMany { param, .. }
            | Self::OutOfRange { param, .. }
            | Self::Malformed { param, .. } => param,
        }
    }

    /// The code on the wire: a name that no model can have is a model that is not there.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Model(_) => ErrorCode::ModelNotFound,
            _ => ErrorCode::InvalidRequest,
        }
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Self::new(error.code(), error.to_string()).with_param(error.param())
    }
}
