//! What a peer says of itself, and the messages that ask for it.
//!
//! [`Advert`] is the signed payload as it travels, a claim; [`Profile`] is the same with every
//! field checked, and the only form that the rest of the swarm works with. Whether a claim is
//! true, and what is kept of it, is not known here.

mod check;
mod error;
mod profile;
mod query;
mod write;

use std::time::Duration;

use crate::{
    envelope::Payload,
    limits::{ADVERT_LIFETIME, MAX_ADVERT_BYTES},
};

pub use error::AdvertError;
pub use profile::{
    Abilities, AddressText, ContentHash, Deployed, HeldSlice, Limits, Neighbour, NodeDevice,
    NodeRole, Place, Profile,
};
pub use query::{QueryError, ReplyError};
pub use wire::{Advert, AdvertQuery, AdvertReply, DeviceKind, Nat};

mod wire {
    #![allow(missing_docs, reason = "generated; documented in proto/advert.proto")]
    include!(concat!(env!("OUT_DIR"), "/shoal.advert.v1.rs"));
}

impl Payload for Advert {
    const LABEL: &'static str = "shoal/advert/1";
    const MAX_BYTES: usize = MAX_ADVERT_BYTES;
    const MAX_LIFETIME: Duration = ADVERT_LIFETIME;
}

#[cfg(test)]
mod tests;
