//! Identities of one owner, who wants a model to be served that nobody asks for.
//!
//! Each tells whatever its coin is, as loudly as the protocol allows, and never less than it may.
//! Some of them also say two things at once, repeat what is over, speak of the future, or claim a
//! chance that their coin was against.

use dht::core::adverts::Moment;
use ed25519_dalek::SigningKey;
use protocol::{
    NodeId, Sequence, Signed, UnixMillis,
    demand::{Asking, Demand as Said, Period, Record},
    limits::MAX_DEMAND_RATE,
    names::SwarmName,
};
use rand::{RngExt, rngs::StdRng};

use super::FORGED;

/// Of how many forgers one has tricks beside its voice.
const TRICKSTERS: u8 = 10;

pub(super) struct Forger {
    key: SigningKey,
    id: NodeId,
    sequence: u64,
    told: Option<Period>,
    last: Option<Signed<Said>>,
}

impl Forger {
    pub(super) fn new(key: SigningKey) -> Self {
        Self {
            id: NodeId::from(&key),
            key,
            sequence: 0,
            told: None,
            last: None,
        }
    }

    /// What it says in this step: once in each of its periods.
    pub(super) fn poll(
        &mut self,
        swarm: &SwarmName,
        at: Moment,
        rng: &mut StdRng,
    ) -> Vec<Signed<Said>> {
        let period = Period::at(&self.id, at.unix);
        if self.told == Some(period) {
            return Vec::new();
        }
        self.told = Some(period);
        self.sequence = self.sequence.max(at.unix.0);
        let mut told = vec![self.sign(swarm, 1.0, period.ends())];
        if self.id.as_bytes()[0].is_multiple_of(TRICKSTERS) {
            told.extend(self.trick(swarm, period, rng));
        }
        self.last = told.first().cloned();
        told
    }

    fn trick(
        &mut self,
        swarm: &SwarmName,
        period: Period,
        rng: &mut StdRng,
    ) -> Option<Signed<Said>> {
        Some(match rng.random_range(0..4) {
            0 => {
                // The same number again, for something else.
                self.sequence -= 1;
                self.sign(swarm, 0.999_999, period.ends())
            }
            1 => self.last.clone()?,
            2 => self.sign(swarm, 1.0, period.next().next().ends()),
            _ => {
                let coin = period.coin(swarm, &self.id);
                self.sign(swarm, coin.max(f64::MIN_POSITIVE), period.ends())
            }
        })
    }

    fn sign(&mut self, swarm: &SwarmName, chance: f64, expires: UnixMillis) -> Signed<Said> {
        self.sequence += 1;
        let record = Record {
            swarm: swarm.clone(),
            chance,
            models: vec![Asking {
                model: FORGED.parse().expect("a model's name"),
                arrivals_per_second: MAX_DEMAND_RATE,
                unmet_per_second: MAX_DEMAND_RATE,
                waiting: std::time::Duration::ZERO,
            }],
        };
        let (sequence, said) = (Sequence(self.sequence), Said::from(&record));
        Signed::sign(&self.key, sequence, expires, &said).expect("a record is short")
    }
}
