//! Who of those that were heard counts, and for how many: a sample of each class, and its
//! threshold.

use std::time::Duration;

use protocol::demand::Record;

use super::SAMPLE;

/// Authors of a class that count: with so many a total is off by an eighth where all ask for the
/// same, which is less than one server more or less; half the error costs four times the messages.
pub const COUNTED: usize = 64;

/// The least threshold: coins have 32 bits.
const LEAST: f64 = 1.0 / 4_294_967_296.0;

/// How long those who tell wait while twice as many could: a message is everywhere in that time, and
/// was counted.
const DOUBLING: Duration = Duration::from_millis(500);

/// The longest wait of a coin, within the lead before a period.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// How many others tell, or would if they were drawn, by class.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Crowd {
    /// Those whose users were all answered.
    pub met: f64,
    /// Those whose users asked in vain.
    pub unmet: f64,
    /// Peers of the swarm, all of whom may begin to tell at once; 0: nobody knows.
    pub peers: u32,
}

impl Crowd {
    /// The chance of one more author: so that about [`SAMPLE`] of its class tell.
    pub fn chance(&self, is_unmet: bool) -> f64 {
        let others = if is_unmet { self.unmet } else { self.met };
        (SAMPLE / (others + 1.0)).min(1.0)
    }

    /// How long an author with this coin waits with what it has to tell. Were the whole swarm to begin
    /// at once, those below the sample's share of it go first, and those whose coins are twice as large
    /// half a second later each time: by then the first were heard, and the others' chance has fallen.
    pub fn wait(&self, coin: f64) -> Duration {
        let doublings = (coin * f64::from(self.peers) / SAMPLE).max(1.0).log2();
        DOUBLING.mul_f64(doublings).min(LONGEST_WAIT)
    }
}

/// The authors of one class that count.
#[derive(Debug, Clone)]
pub(super) struct Sample<'a> {
    /// What they ask for.
    pub(super) records: Vec<&'a Record>,
    /// The probability with which each of them came to be here.
    pub(super) threshold: f64,
}

impl<'a> Sample<'a> {
    /// Out of all that were heard, each with its coin.
    ///
    /// Below the coin of the first that does not count, everybody was drawn who is there, or the
    /// chance was smaller than that. Then it is the authors' own word that decides, that of half of
    /// those with the smallest coins.
    fn of(mut heard: Vec<(f64, &'a Record)>) -> Self {
        heard.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let bound = heard.get(COUNTED).map_or(1.0, |(coin, _)| *coin);
        heard.truncate(COUNTED);
        let mut chances: Vec<f64> = heard.iter().map(|(_, record)| record.chance).collect();
        chances.sort_by(f64::total_cmp);
        let middle = chances.len().saturating_sub(1) / 2;
        let said = chances.get(middle).copied().unwrap_or(1.0);
        let threshold = bound.min(said).max(LEAST);
        let counted = heard.into_iter().filter(|(coin, _)| *coin < threshold);
        Self {
            records: counted.map(|(_, record)| record).collect(),
            threshold,
        }
    }

    /// How many authors of the class there are.
    fn size(&self) -> f64 {
        let count = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        f64::from(count) / self.threshold
    }
}

/// Both classes.
#[derive(Debug, Clone)]
pub(super) struct Samples<'a> {
    met: Sample<'a>,
    unmet: Sample<'a>,
}

impl<'a> Samples<'a> {
    pub(super) fn of(heard: impl IntoIterator<Item = (f64, &'a Record)>) -> Self {
        let heard = heard.into_iter();
        let (unmet, met) = heard.partition(|(_, record)| record.is_unmet());
        Self {
            met: Sample::of(met),
            unmet: Sample::of(unmet),
        }
    }

    pub(super) fn crowd(&self) -> Crowd {
        Crowd {
            met: self.met.size(),
            unmet: self.unmet.size(),
            peers: 0,
        }
    }

    /// Who counts, each with the probability that it does.
    pub(super) fn counted(&self) -> impl Iterator<Item = (&'a Record, f64)> {
        [&self.met, &self.unmet].into_iter().flat_map(|sample| {
            let records = sample.records.iter();
            records.map(move |record| (*record, sample.threshold))
        })
    }
}
