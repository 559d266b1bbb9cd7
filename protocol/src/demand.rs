//! What API nodes are asked for: signed records of rates, told by a sample of those who ask.
//!
//! [`Demand`] is the signed payload as it travels, a claim; [`Record`] is the same with every field
//! checked. Who is in the sample is decided by a coin that everybody can toss again: a hash of the
//! author and its [`Period`]. How rates are counted, and what they come to in all, is not known
//! here.

mod check;
mod error;
mod period;
mod record;

use std::time::Duration;

use crate::{
    envelope::Payload,
    limits::{DEMAND_LEAD, DEMAND_PERIOD, MAX_DEMAND_BYTES},
};

pub use error::DemandError;
pub use period::Period;
pub use record::{Asking, Record};
pub use wire::Demand;

mod wire {
    #![allow(missing_docs, reason = "generated; documented in proto/demand.proto")]
    include!(concat!(env!("OUT_DIR"), "/shoal.demand.v1.rs"));
}

impl Payload for Demand {
    const LABEL: &'static str = "shoal/demand/1";
    const MAX_BYTES: usize = MAX_DEMAND_BYTES;
    const MAX_LIFETIME: Duration = DEMAND_PERIOD.saturating_add(DEMAND_LEAD);
}

#[cfg(test)]
mod tests;
