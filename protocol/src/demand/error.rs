//! Why a record of demand is not believed: which field says what no honest peer says.

use crate::{
    ids::ModelNameError,
    limits::{DEMAND_PERIOD, MAX_DEMAND_MODELS},
    names::SwarmNameError,
};

/// Why a record is refused as a whole: its author signed what no version of the software makes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DemandError {
    /// No swarm can have this name.
    #[error("the record's swarm: {0}")]
    Swarm(#[from] SwarmNameError),
    /// What is asked for is no possible model.
    #[error("the record's model: {0}")]
    Model(#[from] ModelNameError),
    /// No model, or more than a record holds.
    #[error("a record names 1 to {MAX_DEMAND_MODELS} models, not {0}")]
    Count(usize),
    /// One model twice.
    #[error("the record says the same model twice")]
    Duplicate,
    /// A number outside its range, or none at all (NaN).
    #[error("`{field}` must be {must}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it must be.
        must: &'static str,
    },
    /// It does not end with one of its author's periods.
    #[error("the record does not end with one of its author's periods of {DEMAND_PERIOD:?}")]
    OffBeat,
    /// Its author's coin was against telling it, by the record's own chance.
    #[error("the author was not drawn for the sample")]
    NotDrawn,
}
