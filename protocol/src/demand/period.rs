//! An author's periods, and the coin of each.
//!
//! Periods of different authors begin at different moments, so that records come evenly. The coin
//! is a hash: who tells and who is silent is nobody's choice, and everybody can check it. A new coin
//! in each period lets everybody come to word in time.

use super::error::DemandError;
use crate::{
    digest::digest,
    ids::{NodeId, UnixMillis},
    limits::DEMAND_PERIOD,
    names::SwarmName,
};

const OFFSET_LABEL: &str = "shoal/demand-offset/1";

const COIN_LABEL: &str = "shoal/demand-coin/1";

/// One of an author's periods, [`DEMAND_PERIOD`] long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period {
    ends: UnixMillis,
}

impl Period {
    /// The author's period at a time.
    pub fn at(author: &NodeId, time: UnixMillis) -> Self {
        let (length, offset) = (length(), offset(author));
        let shifted = time.0.saturating_add(length - offset);
        let begun = shifted - shifted % length;
        Self {
            ends: UnixMillis(begun.saturating_add(offset)),
        }
    }

    /// The author's period that ends then.
    ///
    /// # Errors
    /// [`DemandError::OffBeat`] where none does.
    pub fn ending(author: &NodeId, ends: UnixMillis) -> Result<Self, DemandError> {
        let (length, offset) = (length(), offset(author));
        match ends.0.checked_add(length - offset) {
            Some(shifted) if shifted.is_multiple_of(length) => Ok(Self { ends }),
            _ => Err(DemandError::OffBeat),
        }
    }

    /// The one after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self {
            ends: self.ends.saturating_add(DEMAND_PERIOD),
        }
    }

    /// Its first moment.
    pub fn begins(self) -> UnixMillis {
        UnixMillis(self.ends.0.saturating_sub(length()))
    }

    /// The first moment behind it.
    pub fn ends(self) -> UnixMillis {
        self.ends
    }

    /// The author's coin in it: as if drawn evenly from 0 (included) to 1.
    pub fn coin(self, swarm: &SwarmName, author: &NodeId) -> f64 {
        let ends = self.ends.0.to_be_bytes();
        let parts = [swarm.as_str().as_bytes(), author.as_bytes(), &ends];
        let [a, b, c, d, ..] = digest(COIN_LABEL, &parts);
        f64::from(u32::from_be_bytes([a, b, c, d])) / 32_f64.exp2()
    }
}

fn length() -> u64 {
    u64::try_from(DEMAND_PERIOD.as_millis()).expect("a minute in milliseconds fits 64 bits")
}

fn offset(author: &NodeId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = digest(OFFSET_LABEL, &[author.as_bytes()]);
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) % length()
}
