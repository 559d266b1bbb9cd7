//! Chains: models whose layers are on several peers. One half holds stages for heads
//! ([`Stages`]), the other heads chains of its own ([`Chains`]); [`Channels`] carries payloads
//! between the two, to other peers and within this node. Decisions are in
//! [`crate::core::leases`], [`crate::core::deployment`] and [`crate::core::planner`]; what is in
//! a payload is known to the workers only.

mod channels;
mod engine;
mod head;
mod holders;
mod precision;
mod slices;
mod stages;

pub use self::channels::Channels;
pub use self::head::{Chains, HeadSetup};
pub use self::holders::SwarmHolders;
pub(crate) use self::precision::to_engine;
pub use self::slices::{SliceError, Slices};
pub use self::stages::{Desk, StageSetup, Stages};
