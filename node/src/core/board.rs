//! The blackboard's decisions: what may be posted, whose notes are taken, what is kept, how it is
//! found.

pub mod desk;
pub mod holdings;
pub mod query;
pub mod rates;
pub mod scrub;
pub mod standing;
pub mod words;
