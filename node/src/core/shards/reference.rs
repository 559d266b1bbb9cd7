//! What is known of a model's experts: how its router uses them on some texts, and how well the whole
//! model foresees these texts, against which its shards are scored. It is kept as JSON; whoever reads
//! one that may be anybody's asks whether it is [sound](Reference::is_sound).

use llama_sys::gguf::{MAX_EXPERTS, Usage};
use serde::{Deserialize, Serialize};

use super::MAX_TEXTS;
use super::score::Sample;

/// Places of a text that are compared: 64 chunks of 512 tokens.
const MAX_PLACES: usize = 64 * 256;

/// What is known of a model's experts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// The model's name, for people.
    pub model: String,
    /// Of the model's header and routers.
    pub fingerprint: String,
    /// Of all texts and how they were cut.
    pub texts_digest: String,
    /// Experts that a token uses in a layer.
    pub used: u32,
    /// Text by text.
    pub texts: Vec<Measured>,
}

/// One text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// How well the whole model foresees it.
    pub sample: Sample,
    /// How its router chose.
    pub usage: Usage,
}

impl Reference {
    /// Whether it can be believed after it was read back: its figures fit one another, and limits.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let Some(first) = self.texts.first() else {
            return false;
        };
        let shape = |usage: &Usage| (usage.experts(), usage.layers().len());
        let fits = |text: &Measured| {
            let places = text.sample.likeliest.len();
            shape(&text.usage) == shape(&first.usage)
                && text.sample.tokens == places as u64
                && (1..=MAX_PLACES).contains(&places)
                && text.sample.nats.is_finite()
        };
        let used = 1..=first.usage.experts().min(MAX_EXPERTS);
        self.texts.len() <= MAX_TEXTS && used.contains(&self.used) && self.texts.iter().all(fits)
    }

    /// The usage of each text.
    #[must_use]
    pub fn usage(&self) -> Vec<Usage> {
        self.texts.iter().map(|text| text.usage.clone()).collect()
    }

    /// The usage over all texts, each of which counts as much; `None` of none.
    #[must_use]
    pub fn overall(&self) -> Option<Usage> {
        Usage::mean(&self.usage())
    }

    /// What the whole model makes of each text.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        self.texts.iter().map(|text| text.sample.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference() -> Reference {
        let text = |name: &str| Measured {
            sample: Sample {
                name: name.into(),
                tokens: 3,
                nats: 4.0,
                likeliest: vec![1, 2, 3],
            },
            usage: Usage::try_from(vec![vec![1.0, 3.0], vec![2.0, 2.0]]).unwrap(),
        };
        Reference {
            model: "org/mixture".into(),
            fingerprint: "f".into(),
            texts_digest: "t".into(),
            used: 1,
            texts: vec![text("a"), text("b")],
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let record = reference();
        assert!(record.is_sound());
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Reference>(&text).unwrap(), record);
        assert_eq!(record.overall().unwrap().of(0, 1), 0.75);
        assert_eq!(record.samples().len(), 2);
    }

    #[test]
    fn what_does_not_fit_is_not_believed() {
        let broken: [fn(&mut Reference); 6] = [
            |record| record.texts.clear(),
            |record| record.used = 3,
            |record| record.used = 0,
            |record| record.texts[1].sample.likeliest.clear(),
            |record| record.texts[0].sample.nats = f64::NAN,
            |record| record.texts[1].usage = Usage::try_from(vec![vec![1.0]]).unwrap(),
        ];
        for break_it in broken {
            let mut record = reference();
            break_it(&mut record);
            assert!(!record.is_sound());
        }
    }
}
