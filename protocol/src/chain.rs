//! What head and stages of a chain say to one another: requests for leases, and frames between
//! stages.
//!
//! [`LeaseRequest`] and [`LeaseReply`] exist with every field checked only; [`StageFrame`] carries
//! payloads that nobody here looks into. Who may ask for what, and what a stage does, is not known
//! here.

mod check;
mod error;
mod frame;
mod lease;
mod write;

pub use error::{FieldFault, LeaseMessageError};
pub use frame::{CloseCode, StageFrame, StageFrameError, StageHeader, StageKind, stage_cost};
pub use lease::{
    Granted, LeaseReply, LeaseRequest, Link, ModelRef, Phase, Precision, Refusal, Refused, Reserve,
    StageState,
};

mod wire {
    #![allow(
        missing_docs,
        unreachable_pub,
        reason = "generated; documented in proto/chain.proto"
    )]
    include!(concat!(env!("OUT_DIR"), "/shoal.chain.v1.rs"));
}

#[cfg(test)]
mod tests;
