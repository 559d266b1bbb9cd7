//! Why bytes are no request for a lease, and no reply to one.

use crate::{
    generate::DecodeError,
    ids::{ModelNameError, NodeIdError},
};

/// Why a message is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseMessageError {
    /// No message at all, or one over its limit.
    #[error(transparent)]
    Bytes(#[from] DecodeError),
    /// A request, reply or precision of a later version.
    #[error("`{0}` is of a later version")]
    Unknown(&'static str),
    /// A field says what no message may say.
    #[error("`{field}` of a lease: {fault}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        fault: FieldFault,
    },
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldFault {
    /// It is not there.
    #[error("missing")]
    Missing,
    /// So many bytes are never right.
    #[error("{0} bytes")]
    Length(usize),
    /// A number outside its range, or none.
    #[error("out of range")]
    Range,
    /// A text with something else than one line.
    #[error("not one line of text")]
    Text,
    /// No model has this name.
    #[error(transparent)]
    Model(#[from] ModelNameError),
    /// Nobody has this key.
    #[error(transparent)]
    Node(#[from] NodeIdError),
}

impl LeaseMessageError {
    /// Whether no version of the software makes such bytes. A field out of range may be within the
    /// limits of a later version, so it is only refused.
    pub fn is_violation(&self) -> bool {
        matches!(self, Self::Bytes(_))
    }

    pub(super) fn field(field: &'static str, fault: impl Into<FieldFault>) -> Self {
        let fault = fault.into();
        Self::Field { field, fault }
    }
}
