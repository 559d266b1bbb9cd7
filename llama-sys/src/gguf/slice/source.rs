//! A model that may be cut: its files' headers, checked against the rule of its architecture. It
//! answers where cuts may lie; what a slice is made of is the plan's part.

use std::collections::BTreeSet;
use std::ops::Range;

use super::plan::SlicePlan;
use super::rules::{self, Rule, Scaled, Window};
use super::{Obstacle, Scales, SliceError};
use super::{metadata, tensors};
use crate::gguf::error::excerpt;
use crate::gguf::{Header, Items, ModelFacts, Tensor, Value};

/// The pattern of layers that look back a window only.
pub(super) const PATTERN: &str = "attention.sliding_window_pattern";
/// The window.
pub(super) const WINDOW: &str = "attention.sliding_window";
/// What embeddings are multiplied with.
pub(super) const EMBEDDING_SCALE: &str = "embedding_scale";

/// A model that may be cut.
#[derive(Debug)]
pub struct Sliceable<'a> {
    pub(super) headers: &'a [Header],
    pub(super) facts: ModelFacts,
    pub(super) rule: &'static Rule,
    /// Which layers look back a window only; none where the model has no such layers.
    pub(super) windowed: Vec<bool>,
}

impl<'a> Sliceable<'a> {
    /// Checks a model by its files' headers, the first of which holds the metadata.
    ///
    /// # Errors
    /// [`SliceError`] if it cannot be cut.
    pub fn of(headers: &'a [Header]) -> Result<Self, SliceError> {
        let facts = ModelFacts::from_headers(headers)?;
        let refuse = |why| SliceError::Unsupported {
            architecture: excerpt(&facts.architecture),
            why,
        };
        if !facts.can_generate() {
            return Err(refuse(Obstacle::NotGenerating));
        }
        let rule = rules::of(&facts.architecture).map_err(refuse)?;
        let mut model = Self {
            headers,
            facts,
            rule,
            windowed: Vec::new(),
        };
        let checked = model.check_metadata().and_then(|()| model.check_tensors());
        checked.map_err(|why| model.refuse(why))?;
        tensors::check_shared(&model)?;
        model.check_names()?;
        model.windowed = model.read_windowed();
        Ok(model)
    }

    /// The architectures of models that may be cut.
    pub fn architectures() -> impl Iterator<Item = &'static str> {
        rules::architectures()
    }

    /// What the model is.
    #[must_use]
    pub fn facts(&self) -> &ModelFacts {
        &self.facts
    }

    /// Where the model may be cut: a cut at `n` parts layer `n − 1` from layer `n`. Any of these
    /// may be combined; the ends, 0 and the number of layers, are not among them.
    #[must_use]
    pub fn cuts(&self) -> Vec<u32> {
        (1..self.facts.layers)
            .filter(|cut| self.may_cut(*cut))
            .collect()
    }

    /// What hidden states are to be multiplied with.
    #[must_use]
    pub fn scales(&self) -> Scales {
        let root = (self.facts.embedding_length as f32).sqrt();
        let (lookup, between) = match self.rule.scaled {
            Scaled::Not => (1.0, 1.0),
            Scaled::Tokens => (root, 1.0),
            Scaled::All => (1.0, root.recip()),
            Scaled::ByKey => (self.embedding_scale().unwrap_or(1.0), 1.0),
        };
        Scales { lookup, between }
    }

    /// The file of a stage that has these layers.
    ///
    /// # Errors
    /// [`SliceError`] if the layers cannot be a stage.
    pub fn stage(&self, layers: Range<u32>) -> Result<SlicePlan, SliceError> {
        let end = self.facts.layers;
        let starts = layers.start == 0 || self.may_cut(layers.start);
        let ends = layers.end == end || self.may_cut(layers.end);
        if layers.start >= layers.end || layers.end > end || !starts || !ends {
            return Err(SliceError::Range {
                range: layers,
                layers: end,
            });
        }
        SlicePlan::assemble(
            self.headers,
            metadata::of_stage(self, &layers),
            tensors::of_stage(self, &layers)?,
        )
    }

    /// The head's file: metadata, tokenizer and embeddings.
    ///
    /// # Errors
    /// [`SliceError`] if sizes are impossible.
    pub fn head(&self) -> Result<SlicePlan, SliceError> {
        SlicePlan::assemble(
            self.headers,
            metadata::of_head(self),
            tensors::of_head(self)?,
        )
    }

    /// A key of the architecture.
    pub(super) fn key(&self, part: &str) -> String {
        format!("{}.{part}", self.facts.architecture)
    }

    /// The header that holds the metadata.
    pub(super) fn first(&self) -> &'a Header {
        &self.headers[0]
    }

    /// The file and the tensor of a name.
    pub(super) fn tensor(&self, name: &str) -> Option<(usize, &'a Tensor)> {
        let mut files = self.headers.iter().enumerate();
        files.find_map(|(file, header)| Some((file, header.tensor(name)?)))
    }

    /// The scale that the file names, if it scales.
    pub(super) fn embedding_scale(&self) -> Option<f32> {
        let scale = self.first().float(&self.key(EMBEDDING_SCALE))?;
        // llama.cpp takes 0 for none. The file's number is a float of 32 bits, or is made one.
        #[expect(clippy::cast_possible_truncation, reason = "as llama.cpp keeps it")]
        Some(scale as f32).filter(|scale| *scale != 0.0)
    }

    pub(super) fn refuse(&self, why: Obstacle) -> SliceError {
        SliceError::Unsupported {
            architecture: excerpt(&self.facts.architecture),
            why,
        }
    }

    fn may_cut(&self, cut: u32) -> bool {
        let inside = cut > 0 && cut < self.facts.layers;
        let windowed = |at: usize| self.windowed.get(at).copied().unwrap_or(false);
        // Each stage then begins with such a layer, so that it has one.
        let wants_window = matches!(self.rule.window, Window::Always(_));
        let has_window = windowed(cut as usize) && (0..cut as usize).any(windowed);
        inside && cut.is_multiple_of(self.rule.period) && (!wants_window || has_window)
    }

    fn check_metadata(&self) -> Result<(), Obstacle> {
        let layers = self.facts.layers;
        if self.rule.telling_counts.contains(&layers) {
            return Err(Obstacle::CountedLayers(layers));
        }
        let number = |part| self.first().unsigned(&self.key(part)).unwrap_or(0);
        if number("nextn_predict_layers") > 0 {
            return Err(Obstacle::SeveralTokens);
        }
        let prefix = self.key("");
        for (key, entry) in self.first().entries() {
            let Some(part) = key.strip_prefix(&prefix) else {
                continue;
            };
            let Value::Array(array) = &entry.value else {
                continue;
            };
            let fixed = array.element.fixed_bytes().is_some();
            if !fixed || array.len != u64::from(layers) {
                return Err(Obstacle::Key(excerpt(key)));
            }
            if part.starts_with("attention.head_count") && !is_constant(&array.items) {
                return Err(Obstacle::Heads);
            }
            if part == "rope.dimension_sections" || part == "deepstack_mapping" {
                return Err(Obstacle::Key(excerpt(key)));
            }
        }
        Ok(())
    }

    fn check_tensors(&self) -> Result<(), Obstacle> {
        let all = self.headers.iter().flat_map(Header::tensors);
        for tensor in all {
            let known = match tensors::layer_of(&tensor.name) {
                Some((layer, _)) => layer < self.facts.layers,
                None => tensors::is_shared(&tensor.name),
            };
            if !known {
                return Err(Obstacle::Tensor(excerpt(&tensor.name)));
            }
        }
        Ok(())
    }

    /// Each file's reader has checked its own names, not those of others.
    fn check_names(&self) -> Result<(), SliceError> {
        if self.headers.len() == 1 {
            return Ok(());
        }
        let mut names = BTreeSet::new();
        let all = self.headers.iter().flat_map(Header::tensors);
        match all.into_iter().find(|tensor| !names.insert(&tensor.name)) {
            Some(tensor) => Err(SliceError::DuplicateTensor(excerpt(&tensor.name))),
            None => Ok(()),
        }
    }

    /// As llama.cpp's `load_swa_pattern`: an array, a period, or the architecture's usual period,
    /// of which the last layer sees all.
    fn read_windowed(&self) -> Vec<bool> {
        let layers = self.facts.layers;
        let usual = match self.rule.window {
            Window::Always(period) => period,
            Window::Optional(period) if self.facts.attention.sliding_window.is_some() => period,
            Window::Optional(_) | Window::None => return Vec::new(),
        };
        let key = self.key(PATTERN);
        match self.first().array(&key).map(|array| &array.items) {
            Some(Items::Bools(layers)) => return layers.clone(),
            Some(Items::Unsigned(numbers)) => return numbers.iter().map(|n| *n != 0).collect(),
            Some(Items::Signed(numbers)) => return numbers.iter().map(|n| *n != 0).collect(),
            _ => {}
        }
        let period = self.first().unsigned(&key).unwrap_or(usual.into());
        let is_windowed = |layer: u32| period == 0 || u64::from(layer) % period < period - 1;
        (0..layers).map(is_windowed).collect()
    }
}

fn is_constant(items: &Items) -> bool {
    match items {
        Items::Unsigned(numbers) => numbers.windows(2).all(|pair| pair[0] == pair[1]),
        Items::Signed(numbers) => numbers.windows(2).all(|pair| pair[0] == pair[1]),
        _ => false,
    }
}
