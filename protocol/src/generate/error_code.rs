//! What an error code on the wire says about trying again.
//!
//! The numbers are in `proto/generate.proto` and never change their meaning; a code of a later
//! version reads as [`ErrorCode::Unspecified`]. How HTTP names them is not known here.

use super::ErrorCode;

impl ErrorCode {
    /// Every code that has a meaning.
    pub const ALL: [Self; 12] = [
        Self::InvalidRequest,
        Self::ModelNotFound,
        Self::ContextLengthExceeded,
        Self::Unsupported,
        Self::Overloaded,
        Self::Loading,
        Self::LoadFailed,
        Self::NoPeer,
        Self::WorkerLost,
        Self::ShuttingDown,
        Self::Internal,
        Self::Privacy,
    ];

    /// Whether the same request may succeed later, or at another peer now.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Overloaded
            | Self::Loading
            | Self::NoPeer
            | Self::WorkerLost
            | Self::ShuttingDown => true,
            Self::InvalidRequest
            | Self::ModelNotFound
            | Self::ContextLengthExceeded
            | Self::Unsupported
            | Self::LoadFailed
            | Self::Internal
            | Self::Privacy
            | Self::Unspecified => false,
        }
    }
}
