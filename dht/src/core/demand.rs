//! What the swarm asks for: told by a sample of those who ask, and estimated out of it.
//!
//! **Telling** ([`Author`]). Each API node counts what its own users ask for ([`Rates`], decayed
//! with [`HALF_LIFE`]). In each of its periods it tells its record if its coin, which everybody can
//! check, lies below its chance: so small, given how many others tell, that about [`SAMPLE`] records
//! of each class come in a period, however large the swarm is. There are two classes, each with a
//! sample of its own: those whose users asked in vain, and all others. So a rare need is told at
//! once, though very many ask for what is served.
//!
//! **Listening** ([`Listener`], [`estimate()`]). Of each class the authors with the smallest coins
//! count, each with the inverse of the probability that it is among them (Horvitz and Thompson,
//! 1952; with a threshold that the sample itself gives: Cohen and Kaplan, *Bottom-k sketches*,
//! 2007). The totals are right in the mean, and so is their standard error. Nobody's word for its
//! own weight is needed, and the same coins tell how many authors there are.
//!
//! **Forgers.** A coin is nobody's choice, so a share of the identities is no larger a share of the
//! sample; whoever tells against its coin, or out of turn, is refused. What one author is believed
//! is capped ([`CAP_SPAN`], [`CAP_FLOOR`]), so what a fifth of the identities adds to all totals
//! together is at most their number times the cap. Who makes keys until their coins are small has
//! made as many identities.
//!
//! It does not know sockets, who may serve what, nor whether a claim is true.

mod author;
mod estimate;
mod listener;
mod outcome;
mod rates;
mod sample;

use std::time::Duration;

pub use author::Author;
pub use estimate::{CAP_FLOOR, CAP_SPAN, MAX_LISTED, estimate};
pub use listener::{Listener, MAX_AUTHORS};
pub use outcome::Outcome;
pub use rates::{MAX_MODELS, NEGLIGIBLE, Rates};
pub use sample::{COUNTED, Crowd};

/// The time in which a request's weight halves: a need of today is not one of an hour ago, and a
/// handful of requests in some minutes is no noise.
pub const HALF_LIFE: Duration = Duration::from_secs(120);

/// Records of each class in a period, about: half as many again as are counted, since the chance
/// follows from an estimate that is off by an eighth. Both classes together are three messages a
/// second: some 4 KB/s that a peer sends, where very many ask and very many in vain.
pub const SAMPLE: f64 = 96.0;

/// Records of one author in a period: what it is asked for at the beginning, and later what grew
/// twofold since.
pub const MAX_SAYINGS: u32 = 4;

#[cfg(test)]
mod tests;
