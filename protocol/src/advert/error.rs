//! Why an advert is not believed: which field says what no honest peer says.

use crate::{
    ids::{ModelNameError, NodeIdError},
    names::SwarmNameError,
};

/// Why an advert is refused as a whole: its author signed what no version of the software makes.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AdvertError {
    /// No swarm can have this name.
    #[error("the advert's swarm: {0}")]
    Swarm(#[from] SwarmNameError),
    /// A slice or a deployment is of no possible model.
    #[error("the advert's model: {0}")]
    Model(#[from] ModelNameError),
    /// A neighbour's id is none.
    #[error("the advert's neighbour: {0}")]
    Neighbour(#[from] NodeIdError),
    /// Too many bytes.
    #[error("`{field}` has {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// The field.
        field: &'static str,
        /// Bytes that it has.
        bytes: usize,
        /// Bytes that it may have.
        limit: usize,
    },
    /// Too many entries.
    #[error("`{field}` has {count} entries, the limit is {limit}")]
    TooMany {
        /// The field.
        field: &'static str,
        /// Entries that it has.
        count: usize,
        /// Entries that it may have.
        limit: usize,
    },
    /// A number outside its range, or none at all (NaN).
    #[error("`{field}` is {value}, it must be within {range}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
    /// Not what it must be.
    #[error("`{field}` must be {expected}")]
    Malformed {
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// The same thing said twice.
    #[error("`{0}` says the same thing twice")]
    Duplicate(&'static str),
}

impl AdvertError {
    /// The field at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Swarm(_) => "swarm",
            Self::Model(_) => "model",
            Self::Neighbour(_) => "neighbours",
            Self::TooLong { field, .. }
            | Self::TooMany { field, .. }
            | Self::OutOfRange { field, .. }
            | Self::Malformed { field, .. }
            | Self::Duplicate(field) => field,
        }
    }
}
