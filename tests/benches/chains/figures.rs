//! Values of turns, as a table shows them.

use crate::idle::median;

/// The values of one figure.
#[derive(Debug, Clone, Default)]
pub(super) struct Values(Vec<f64>);

impl Values {
    pub(super) fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(super) fn median(&self) -> f64 {
        median(self.0.clone())
    }

    /// The middle value and, in brackets, the lowest and the highest.
    pub(super) fn shown(&self, digits: usize) -> String {
        let low = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let median = self.median();
        format!("{median:.digits$} ({low:.digits$} to {high:.digits$})")
    }

    /// Turn by turn, these of the others.
    pub(super) fn of(&self, others: &Self) -> Self {
        let pairs = self.0.iter().zip(&others.0);
        Self(pairs.map(|(own, other)| own / other).collect())
    }

    /// Each changed.
    pub(super) fn map(&self, change: impl Fn(f64) -> f64) -> Self {
        Self(self.0.iter().copied().map(change).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::Values;

    #[test]
    fn ratios_are_of_turns() {
        let (mut own, mut other) = (Values::default(), Values::default());
        for (a, b) in [(1.0, 2.0), (3.0, 4.0), (10.0, 10.0)] {
            own.add(a);
            other.add(b);
        }
        assert_eq!(own.of(&other).shown(2), "0.75 (0.50 to 1.00)");
        assert_eq!(own.map(|value| value * 2.0).median(), 6.0);
    }
}
