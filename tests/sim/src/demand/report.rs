//! What a run found: how far estimates were off, what telling costs, what was refused.

use std::{collections::BTreeMap, time::Duration};

use dht::{
    core::demand::{CAP_FLOOR, CAP_SPAN, Outcome},
    demand::Demand,
};
use protocol::ModelName;

use super::{FORGED, HOT, MISSED};
use crate::mesh::{DEGREE, LAZY};

/// What gossip and the transport add to a message.
const OVERHEAD_BYTES: f64 = 110.0;

/// A message's name in an announcement, at each of the heartbeats in which it is recent.
const NAMED_BYTES: f64 = 3.0 * 22.0;

/// An announcement without names.
const ANNOUNCEMENT_BYTES: f64 = 100.0;

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    peers: usize,
    /// Of the arrivals of what most ask for.
    pub arrivals: Accuracy,
    /// Of what nobody serves.
    pub unmet: Accuracy,
    /// Requests a second for what nobody asks for, as they were believed in the mean.
    pub forged: f64,
    /// Requests a second that one author is believed at most: by the middle of all who tell, forgers
    /// among them.
    pub cap: f64,
    /// Records of honest peers that did not count because their author, or too many, had told.
    pub surplus: u64,
    /// Records of forgers that counted, were held back as surplus or too many, and were refused.
    pub forgers: [u64; 3],
    looks: f64,
    caps: f64,
    /// Records that gossip carried, in each second, and their bytes in all.
    seconds: BTreeMap<u64, f64>,
    bytes: f64,
}

/// How far estimates were off, as shares of what is true.
#[derive(Debug, Clone, Copy, Default)]
pub struct Accuracy {
    /// Estimates that were compared.
    pub count: f64,
    /// In the mean, with its sign: what is left if errors cancel.
    pub bias: f64,
    /// The root of the mean square.
    pub error: f64,
    /// The standard error that was stated, in the same mean.
    pub stated: f64,
}

impl Report {
    pub(super) fn new(peers: usize) -> Self {
        Self {
            peers,
            ..Self::default()
        }
    }

    pub(super) fn count(&mut self, outcome: &Outcome, is_forged: bool) {
        let is_surplus = matches!(
            outcome,
            Outcome::Surplus | Outcome::TooOften | Outcome::NoSeat
        );
        match (is_forged, outcome) {
            (false, _) => self.surplus += u64::from(is_surplus),
            (true, Outcome::Taken) => self.forgers[0] += 1,
            (true, _) if is_surplus => self.forgers[1] += 1,
            (true, _) => self.forgers[2] += 1,
        }
    }

    /// A record was passed on by this share of the peers.
    pub(super) fn carry(&mut self, now: Duration, bytes: usize, share: f64) {
        *self.seconds.entry(now.as_secs()).or_default() += share;
        self.bytes += share * (bytes as f64 + OVERHEAD_BYTES);
    }

    /// What each honest peer that is asked for anything is asked for in all; so many forgers tell
    /// more than any of them.
    pub(super) fn on_totals(&mut self, mut totals: Vec<f64>, forgers: usize) {
        totals.sort_by(f64::total_cmp);
        let middle = totals
            .get((totals.len() + forgers) / 2)
            .copied()
            .unwrap_or_default();
        self.cap += (CAP_SPAN * middle).max(CAP_FLOOR);
        self.caps += 1.0;
    }

    pub(super) fn compare(&mut self, found: &[Demand], truth: &BTreeMap<ModelName, (f64, f64)>) {
        let of = |name: &str| found.iter().find(|demand| demand.model.as_str() == name);
        let all = |name: &str| {
            let known = truth.iter().find(|(model, _)| model.as_str() == name);
            known.map_or((0.0, 0.0), |(_, sums)| *sums)
        };
        let hot = of(HOT).map(|demand| demand.arrivals).unwrap_or_default();
        self.arrivals.add(hot.per_second, hot.error, all(HOT).0);
        let missed = of(MISSED).map(|demand| demand.unmet).unwrap_or_default();
        self.unmet
            .add(missed.per_second, missed.error, all(MISSED).1);
        self.forged += of(FORGED).map_or(0.0, |demand| demand.arrivals.per_second);
        self.looks += 1.0;
    }

    pub(super) fn finish(&mut self) {
        self.arrivals.finish();
        self.unmet.finish();
        self.forged /= self.looks.max(1.0);
        self.cap /= self.caps.max(1.0);
    }

    /// Records a second.
    pub fn messages(&self) -> f64 {
        let all: f64 = self.seconds.values().sum();
        all / self.span()
    }

    /// Records in the busiest second.
    pub fn burst(&self) -> f64 {
        self.seconds.values().copied().fold(0.0, f64::max)
    }

    /// Bytes a second that each peer sends: a record to each neighbour in the mesh but the one that
    /// it came from, and announcements to others.
    pub fn bytes(&self) -> f64 {
        let others = f64::from(u32::try_from(self.peers.saturating_sub(1)).unwrap_or(u32::MAX));
        let copies = (DEGREE as f64 - 1.0).min(others);
        let lazy = f64::from(LAZY).min(others);
        let named = self.messages() * NAMED_BYTES + self.messages().min(1.0) * ANNOUNCEMENT_BYTES;
        copies * self.bytes / self.span() + lazy * named
    }

    fn span(&self) -> f64 {
        let first = self.seconds.keys().next().copied().unwrap_or_default();
        let last = self.seconds.keys().next_back().copied().unwrap_or_default();
        (last - first + 1) as f64
    }
}

impl Accuracy {
    fn add(&mut self, found: f64, error: f64, truth: f64) {
        if truth <= 0.0 {
            return;
        }
        let off = found / truth - 1.0;
        self.count += 1.0;
        self.bias += off;
        self.error += off * off;
        self.stated += (error / truth) * (error / truth);
    }

    fn finish(&mut self) {
        let count = self.count.max(1.0);
        self.bias /= count;
        self.error = (self.error / count).sqrt();
        self.stated = (self.stated / count).sqrt();
    }
}
