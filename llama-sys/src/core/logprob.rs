//! Log-probabilities out of raw logits. It knows no vocabulary and no sampling parameter.

#![expect(
    clippy::cast_possible_truncation,
    reason = "log-probabilities are told in single precision"
)]

use super::select::{self, Candidate};

/// The natural logarithm of the sum of the exponentials; −∞ where no logit is larger than −∞.
#[must_use]
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = select::maximum(logits);
    if !largest.is_finite() {
        return f64::from(largest);
    }
    let sum: f64 = logits
        .chunks(64)
        .map(|chunk| {
            // A NaN counts as impossible, as it does in selection.
            let terms = chunk.iter().map(|&l| (l - largest).exp());
            f64::from(terms.filter(|t| !t.is_nan()).sum::<f32>())
        })
        .sum();
    f64::from(largest) + sum.ln()
}

/// The log-probability of `token` and of the `n` likeliest tokens, likeliest first (in `top`,
/// where `logit` becomes the log-probability). `None` for a token outside the vocabulary.
pub fn of_token(logits: &[f32], token: u32, n: usize, top: &mut Vec<Candidate>) -> Option<f32> {
    let normaliser = log_sum_exp(logits);
    select::top_k(logits, n, top);
    for candidate in top.iter_mut() {
        candidate.logit = (f64::from(candidate.logit) - normaliser) as f32;
    }
    let logit = f64::from(*logits.get(token as usize)?);
    Some((logit - normaliser) as f32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn probabilities_sum_to_one(logits in prop::collection::vec(-30.0f32..30.0, 1..300)) {
            let mut top = Vec::new();
            let first = of_token(&logits, 0, logits.len(), &mut top).unwrap();
            prop_assert!(first <= 1e-6);
            let sum: f64 = top.iter().map(|c| f64::from(c.logit).exp()).sum();
            prop_assert!((sum - 1.0).abs() < 1e-4, "{}", sum);
            prop_assert!(top.is_sorted_by(|a, b| a.logit >= b.logit));
        }
    }

    #[test]
    fn forbidden_tokens_are_impossible_and_others_unchanged() {
        let mut top = Vec::new();
        let logits = [0.0, f32::NEG_INFINITY, 0.0];
        let half = of_token(&logits, 0, 2, &mut top).unwrap();
        assert!((half - 0.5f32.ln()).abs() < 1e-6);
        assert_eq!(of_token(&logits, 1, 0, &mut top), Some(f32::NEG_INFINITY));
        assert_eq!(of_token(&logits, 3, 0, &mut top), None);
    }
}
