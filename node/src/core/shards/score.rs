//! How good a shard is, against the whole model on the same texts, and whether that is enough. It
//! knows figures, and no model.

use serde::{Deserialize, Serialize};

/// What was measured on a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The text's name.
    pub name: String,
    /// Tokens that were to be foreseen.
    pub tokens: u64,
    /// How unlikely they were all together: the negative logarithm of their probabilities.
    pub nats: f64,
    /// For each of them the token that was the likeliest in its place.
    pub likeliest: Vec<u32>,
}

impl Sample {
    /// The text's perplexity.
    #[must_use]
    pub fn perplexity(&self) -> f64 {
        (self.nats / self.tokens as f64).exp()
    }
}

/// A shard beside the whole model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// The whole model's perplexity, the geometric mean of all texts.
    pub whole_perplexity: f64,
    /// The shard's.
    pub perplexity: f64,
    /// The shard's by the whole model's: 1 is as good.
    pub ratio: f64,
    /// The share of places in which both would say the same.
    pub agreement: f64,
    /// Text by text.
    pub texts: Vec<TextScore>,
}

/// A shard beside the whole model on one text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextScore {
    /// The text's name.
    pub name: String,
    /// The whole model's perplexity.
    pub whole_perplexity: f64,
    /// The shard's.
    pub perplexity: f64,
    /// The shard's by the whole model's.
    pub ratio: f64,
    /// The share of places in which both would say the same.
    pub agreement: f64,
}

/// Why two measurements cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// There are no texts.
    #[error("nothing was measured")]
    Nothing,
    /// They are not of the same texts.
    #[error("the text `{0}` was not measured alike")]
    Text(String),
}

/// Compares a shard with the whole model.
///
/// # Errors
/// [`ScoreError`] if they were not measured on the same texts.
pub fn score(whole: &[Sample], shard: &[Sample]) -> Result<Score, ScoreError> {
    if whole.is_empty() || whole.len() != shard.len() {
        return Err(ScoreError::Nothing);
    }
    let pairs = whole.iter().zip(shard);
    let texts: Vec<TextScore> = pairs.map(compare).collect::<Result<_, _>>()?;
    let whole_perplexity = geometric_mean(texts.iter().map(|text| text.whole_perplexity));
    let perplexity = geometric_mean(texts.iter().map(|text| text.perplexity));
    Ok(Score {
        whole_perplexity,
        perplexity,
        ratio: perplexity / whole_perplexity,
        agreement: texts.iter().map(|text| text.agreement).sum::<f64>() / texts.len() as f64,
        texts,
    })
}

fn compare((whole, shard): (&Sample, &Sample)) -> Result<TextScore, ScoreError> {
    let count = whole.likeliest.len();
    let alike = whole.name == shard.name
        && whole.tokens == shard.tokens
        && shard.likeliest.len() == count
        && count > 0
        && whole.tokens > 0;
    if !alike {
        return Err(ScoreError::Text(whole.name.clone()));
    }
    let pairs = whole.likeliest.iter().zip(&shard.likeliest);
    let same = pairs.filter(|(a, b)| a == b).count();
    let (whole_perplexity, perplexity) = (whole.perplexity(), shard.perplexity());
    Ok(TextScore {
        name: whole.name.clone(),
        whole_perplexity,
        perplexity,
        ratio: perplexity / whole_perplexity,
        agreement: same as f64 / count as f64,
    })
}

fn geometric_mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    (values.map(f64::ln).sum::<f64>() / count).exp()
}

/// How much worse than the whole model a shard may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar(f64);

impl Default for Bar {
    /// A perplexity of 1.10 times the whole model's: a loss that its users would not call another
    /// model. The owner may set another.
    fn default() -> Self {
        Self(1.10)
    }
}

impl Bar {
    /// A perplexity of so many times the whole model's. `None` below 1, and for what is no number.
    #[must_use]
    pub fn new(ratio: f64) -> Option<Self> {
        (ratio.is_finite() && ratio >= 1.0).then_some(Self(ratio))
    }

    /// The perplexity that is allowed, by the whole model's.
    #[must_use]
    pub fn ratio(self) -> f64 {
        self.0
    }

    /// Whether a shard may be served under its model's name. Figures that are no numbers are not let
    /// through.
    #[must_use]
    pub fn admits(self, score: &Score) -> bool {
        score.ratio <= self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, perplexity: f64, likeliest: &[u32]) -> Sample {
        Sample {
            name: name.into(),
            tokens: 100,
            nats: 100.0 * perplexity.ln(),
            likeliest: likeliest.to_vec(),
        }
    }

    #[test]
    fn a_shard_is_judged_by_all_texts_together() {
        let whole = [sample("a", 4.0, &[1, 2, 3, 4]), sample("b", 9.0, &[1, 2])];
        let shard = [sample("a", 8.0, &[1, 2, 0, 4]), sample("b", 9.0, &[1, 2])];
        let score = score(&whole, &shard).unwrap();
        assert!((score.whole_perplexity - 6.0).abs() < 1e-9);
        assert!((score.ratio - 2f64.sqrt()).abs() < 1e-9);
        assert!((score.agreement - 0.875).abs() < 1e-9);
        assert!((score.texts[0].ratio - 2.0).abs() < 1e-9);
        assert!(Bar::new(1.42).unwrap().admits(&score));
        assert!(!Bar::new(1.41).unwrap().admits(&score) && !Bar::default().admits(&score));
    }

    #[test]
    fn what_is_no_number_is_not_let_through() {
        let whole = [sample("a", 4.0, &[1])];
        for perplexity in [f64::NAN, f64::INFINITY] {
            let score = score(&whole, &[sample("a", perplexity, &[1])]).unwrap();
            assert!(!Bar::new(1e9).unwrap().admits(&score));
        }
        assert_eq!(Bar::new(0.99), None);
        assert_eq!(Bar::new(f64::NAN), None);
        assert_eq!(Bar::new(f64::INFINITY), None);
        assert_eq!(Bar::default().ratio(), 1.10);
    }

    #[test]
    fn other_texts_are_not_compared() {
        let whole = [sample("a", 4.0, &[1, 2])];
        for other in [sample("b", 4.0, &[1, 2]), sample("a", 4.0, &[1])] {
            assert!(matches!(score(&whole, &[other]), Err(ScoreError::Text(_))));
        }
        assert_eq!(score(&whole, &[]), Err(ScoreError::Nothing));
        assert_eq!(score(&[], &[]), Err(ScoreError::Nothing));
    }
}
