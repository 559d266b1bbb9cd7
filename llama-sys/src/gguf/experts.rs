//! Which experts of a mixture, layer by layer, and how much a router uses each. It knows no file, no
//! router and no machine.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Experts of a layer at most: published models have up to 512.
pub const MAX_EXPERTS: u32 = 1024;

/// The experts that a shard keeps: in each layer as many, in each layer others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpertSets {
    experts: u32,
    layers: Vec<Vec<u32>>,
}

/// Why experts are no set that could be kept, or figures no usage of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpertsError {
    /// A layer has none, or more than [`MAX_EXPERTS`].
    #[error("{0} experts of a layer are none, or more than {MAX_EXPERTS}")]
    Count(usize),
    /// There are no layers.
    #[error("there are no layers")]
    NoLayers,
    /// A layer keeps or counts another number than the first one.
    #[error("layer {layer} has {found} experts instead of {expected}")]
    Uneven {
        /// The layer.
        layer: usize,
        /// Its number.
        found: usize,
        /// The first layer's.
        expected: usize,
    },
    /// A layer keeps an expert that it has not, or one twice.
    #[error("layer {0} keeps an expert that it has not, or one twice")]
    Unknown(usize),
    /// A figure is negative or no number.
    #[error("a figure of layer {0} is no amount")]
    Figure(usize),
}

impl ExpertSets {
    /// The sets of a model with `experts` experts in each layer; the order within a layer does not
    /// matter.
    ///
    /// # Errors
    /// [`ExpertsError`] if they could not be kept.
    pub fn new(experts: u32, layers: Vec<Vec<u32>>) -> Result<Self, ExpertsError> {
        let kept = layers.first().ok_or(ExpertsError::NoLayers)?.len();
        if kept == 0 || kept > experts as usize || experts > MAX_EXPERTS {
            return Err(ExpertsError::Count(kept.max(experts as usize)));
        }
        let mut sorted = Vec::with_capacity(layers.len());
        for (layer, experts_of) in layers.into_iter().enumerate() {
            if experts_of.len() != kept {
                let (found, expected) = (experts_of.len(), kept);
                return Err(ExpertsError::Uneven {
                    layer,
                    found,
                    expected,
                });
            }
            let set: BTreeSet<u32> = experts_of.into_iter().collect();
            if set.len() != kept || set.last().is_some_and(|last| *last >= experts) {
                return Err(ExpertsError::Unknown(layer));
            }
            sorted.push(set.into_iter().collect());
        }
        Ok(Self {
            experts,
            layers: sorted,
        })
    }

    /// Experts of a layer of the whole model.
    #[must_use]
    pub fn experts(&self) -> u32 {
        self.experts
    }

    /// Experts that each layer keeps.
    #[must_use]
    pub fn kept(&self) -> u32 {
        // At most `MAX_EXPERTS`, and there is a layer.
        u32::try_from(self.layers[0].len()).unwrap_or(MAX_EXPERTS)
    }

    /// What each layer keeps, in order.
    #[must_use]
    pub fn layers(&self) -> &[Vec<u32>] {
        &self.layers
    }

    /// Whether a layer keeps an expert.
    #[must_use]
    pub fn has(&self, layer: usize, expert: u32) -> bool {
        let of_layer = self.layers.get(layer);
        of_layer.is_some_and(|kept| kept.binary_search(&expert).is_ok())
    }
}

/// How much of the router's weight went to each expert, layer by layer, in any unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Vec<f64>>", into = "Vec<Vec<f64>>")]
pub struct Usage {
    layers: Vec<Vec<f64>>,
}

impl TryFrom<Vec<Vec<f64>>> for Usage {
    type Error = ExpertsError;

    fn try_from(layers: Vec<Vec<f64>>) -> Result<Self, ExpertsError> {
        let expected = layers.first().ok_or(ExpertsError::NoLayers)?.len();
        if expected == 0 || expected > MAX_EXPERTS as usize {
            return Err(ExpertsError::Count(expected));
        }
        for (layer, masses) in layers.iter().enumerate() {
            if masses.len() != expected {
                let found = masses.len();
                return Err(ExpertsError::Uneven {
                    layer,
                    found,
                    expected,
                });
            }
            if !masses.iter().all(|mass| mass.is_finite() && *mass >= 0.0) {
                return Err(ExpertsError::Figure(layer));
            }
        }
        Ok(Self { layers })
    }
}

impl From<Usage> for Vec<Vec<f64>> {
    fn from(usage: Usage) -> Self {
        usage.layers
    }
}

impl Usage {
    /// The mean of several usages of one model, each of which counts as much; `None` of none, or of
    /// different models.
    #[must_use]
    pub fn mean(of: &[Self]) -> Option<Self> {
        let (first, rest) = of.split_first()?;
        let mut sum = first.shares();
        for usage in rest {
            sum.add(&usage.shares()).then_some(())?;
        }
        Some(sum.shares())
    }

    /// Adds another usage of the same model; false, and nothing is added, of another one.
    pub fn add(&mut self, other: &Self) -> bool {
        if self.layers.len() != other.layers.len() || self.experts() != other.experts() {
            return false;
        }
        let figures = self.layers.iter_mut().flatten();
        for (sum, more) in figures.zip(other.layers.iter().flatten()) {
            *sum += more;
        }
        true
    }

    /// The same with 1 for each layer as a whole; a layer without experts stays at 0.
    #[must_use]
    pub fn shares(&self) -> Self {
        let share = |masses: &Vec<f64>| {
            let all: f64 = masses.iter().sum();
            let part = |mass: &f64| if all > 0.0 { mass / all } else { 0.0 };
            masses.iter().map(part).collect()
        };
        Self {
            layers: self.layers.iter().map(share).collect(),
        }
    }

    /// Experts of a layer.
    #[must_use]
    pub fn experts(&self) -> u32 {
        // At most `MAX_EXPERTS`, and there is a layer.
        u32::try_from(self.layers[0].len()).unwrap_or(MAX_EXPERTS)
    }

    /// The figures, layer by layer.
    #[must_use]
    pub fn layers(&self) -> &[Vec<f64>] {
        &self.layers
    }

    /// What a layer's router gave to an expert.
    #[must_use]
    pub fn of(&self, layer: usize, expert: u32) -> f64 {
        let masses = self.layers.get(layer);
        let mass = masses.and_then(|masses| masses.get(expert as usize));
        mass.copied().unwrap_or(0.0)
    }

    /// The experts of each layer, the most used first; of equals the first.
    #[must_use]
    pub fn ranking(&self) -> Vec<Vec<u32>> {
        let rank = |masses: &Vec<f64>| {
            let mut order: Vec<u32> = (0..self.experts()).collect();
            let mass = |expert: u32| masses[expert as usize];
            order.sort_by(|a, b| mass(*b).total_cmp(&mass(*a)).then(a.cmp(b)));
            order
        };
        self.layers.iter().map(rank).collect()
    }

    /// The most used experts of each layer.
    ///
    /// # Errors
    /// [`ExpertsError::Count`] for none, or more than there are.
    pub fn top(&self, count: u32) -> Result<ExpertSets, ExpertsError> {
        if count > self.experts() {
            return Err(ExpertsError::Count(count as usize));
        }
        let mut layers = self.ranking();
        layers
            .iter_mut()
            .for_each(|order| order.truncate(count as usize));
        ExpertSets::new(self.experts(), layers)
    }

    /// The share of the mass that some experts have, layer by layer.
    #[must_use]
    pub fn covered(&self, sets: &ExpertSets) -> Vec<f64> {
        let shares = self.shares();
        let of_layer = |(layer, kept): (usize, &Vec<u32>)| {
            kept.iter().map(|expert| shares.of(layer, *expert)).sum()
        };
        sets.layers().iter().enumerate().map(of_layer).collect()
    }

    /// The share of the mass that some experts have, over all layers that have any.
    #[must_use]
    pub fn retained(&self, sets: &ExpertSets) -> f64 {
        let covered = self.covered(sets).into_iter().zip(&self.layers);
        let routed = covered.filter(|(_, masses)| masses.iter().sum::<f64>() > 0.0);
        let (sum, count) = routed.fold((0.0, 0.0), |(sum, n), (share, _)| (sum + share, n + 1.0));
        if count > 0.0 { sum / count } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usage(layers: &[&[f64]]) -> Usage {
        Usage::try_from(layers.iter().map(|l| l.to_vec()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn the_most_used_are_ranked_and_cover_most() {
        let usage = usage(&[&[1.0, 4.0, 0.0, 3.0], &[2.0, 2.0, 2.0, 2.0]]);
        let top = usage.top(2).unwrap();
        assert_eq!(top.layers(), [[1, 3], [0, 1]]);
        assert_eq!(usage.covered(&top), [0.875, 0.5]);
        assert_eq!(usage.retained(&top), 0.6875);
        assert_eq!(usage.ranking()[0], [1, 3, 0, 2]);
        assert!(top.has(0, 3) && !top.has(0, 0) && !top.has(2, 0));
        assert_eq!((top.kept(), top.experts()), (2, 4));
        assert!(usage.top(0).is_err() && usage.top(5).is_err());
    }

    #[test]
    fn each_text_counts_as_much_as_another() {
        let mean = Usage::mean(&[usage(&[&[9.0, 1.0]]), usage(&[&[0.0, 100.0]])]).unwrap();
        assert!((mean.of(0, 0) - 0.45).abs() < 1e-12);
        assert_eq!(Usage::mean(&[]), None);
        let others = [usage(&[&[1.0, 1.0]]), usage(&[&[1.0, 1.0, 1.0]])];
        assert_eq!(Usage::mean(&others), None);
    }

    #[test]
    fn a_layer_without_experts_counts_for_nothing() {
        let usage = usage(&[&[0.0, 0.0], &[3.0, 1.0]]);
        assert_eq!(usage.retained(&usage.top(1).unwrap()), 0.75);
    }

    #[test]
    fn what_is_no_set_is_refused() {
        let sets = |layers: &[&[u32]]| {
            ExpertSets::new(4, layers.iter().map(|layer| layer.to_vec()).collect())
        };
        assert!(sets(&[&[3, 0], &[1, 2]]).is_ok());
        assert_eq!(sets(&[]), Err(ExpertsError::NoLayers));
        assert_eq!(sets(&[&[]]), Err(ExpertsError::Count(4)));
        assert_eq!(sets(&[&[0, 4]]), Err(ExpertsError::Unknown(0)));
        assert_eq!(sets(&[&[0, 1], &[1, 1]]), Err(ExpertsError::Unknown(1)));
        assert!(matches!(
            sets(&[&[0, 1], &[1]]),
            Err(ExpertsError::Uneven { layer: 1, .. })
        ));
        assert!(ExpertSets::new(MAX_EXPERTS + 1, vec![vec![0]]).is_err());
    }

    #[test]
    fn a_record_of_no_amounts_is_refused() {
        assert!(serde_json::from_str::<Usage>("[[1.0, -2.0]]").is_err());
        assert!(serde_json::from_str::<Usage>("[[1.0], []]").is_err());
        assert!(serde_json::from_str::<Usage>("[]").is_err());
        let read: Usage = serde_json::from_str("[[1.0, 2.0]]").unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), "[[1.0,2.0]]");
    }

    proptest! {
        #[test]
        fn more_experts_retain_more(
            masses in proptest::collection::vec(proptest::collection::vec(0.0..9.0, 8), 1..5),
        ) {
            let usage = Usage::try_from(masses).unwrap();
            let retained = (1..=8).map(|count| usage.retained(&usage.top(count).unwrap()));
            let retained: Vec<f64> = retained.collect();
            prop_assert!(retained.is_sorted_by(|a, b| *a <= b + 1e-9));
            prop_assert!(retained[7] == 0.0 || (retained[7] - 1.0).abs() < 1e-9);
        }
    }
}
