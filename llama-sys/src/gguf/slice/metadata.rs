//! What a slice's metadata says: most of it as the source does, byte for byte, the rest anew.

use std::ops::Range;

use super::rules::Scaled;
use super::source::{EMBEDDING_SCALE, PATTERN, Sliceable, WINDOW};
use crate::gguf::value::{Entry, Items, Value, ValueType};

/// Keys of a model in several files; a slice is one file.
const SPLIT: &str = "split.";
/// Keys of the vocabulary and its templates.
const TOKENIZER: &str = "tokenizer.";

/// One key of a slice.
#[derive(Debug)]
pub(super) enum PlannedKey {
    /// Key and value as they lie in the first file.
    Copied {
        /// First byte of the key.
        offset: u64,
        /// Bytes of key and value.
        bytes: u64,
    },
    /// Key and value as they are to be written.
    Written(Vec<u8>),
}

/// The head's: all that the source has.
pub(super) fn of_head(model: &Sliceable<'_>) -> Vec<PlannedKey> {
    let entries = in_file_order(model).into_iter();
    entries
        .filter(|(key, _)| !key.starts_with(SPLIT))
        .map(|(key, entry)| copied(key, entry))
        .collect()
}

/// A shard's: all that the source has, and how many experts are left.
pub(super) fn of_shard(model: &Sliceable<'_>, experts: u32) -> Vec<PlannedKey> {
    let count = model.key("expert_count");
    let entries = in_file_order(model).into_iter();
    let mut keys: Vec<PlannedKey> = entries
        .filter(|(key, _)| !key.starts_with(SPLIT) && *key != count)
        .map(|(key, entry)| copied(key, entry))
        .collect();
    let written = [string(&count), unsigned(experts)].concat();
    keys.push(PlannedKey::Written(written));
    keys
}

/// A stage's.
pub(super) fn of_stage(model: &Sliceable<'_>, layers: &Range<u32>) -> Vec<PlannedKey> {
    let mut changed = Changed::default();
    changed.write(
        &model.key("block_count"),
        unsigned(layers.end - layers.start),
    );
    changed.arrays(model, layers);
    changed.window(model, layers);
    if model.rule.scaled == Scaled::ByKey && model.embedding_scale().is_some() {
        changed.write(&model.key(EMBEDDING_SCALE), float(1.0));
    }
    if layers.end < model.facts.layers {
        changed.write(&model.key("vocab_size"), unsigned(1));
        changed.write("tokenizer.ggml.model", text("no_vocab"));
    }
    let without_vocabulary = layers.end < model.facts.layers;
    let mut keys = Vec::new();
    for (key, entry) in in_file_order(model) {
        let is_changed = changed.written.iter().any(|(name, _)| name == key);
        let dropped = key.starts_with(SPLIT)
            || (without_vocabulary && key.starts_with(TOKENIZER))
            || changed.dropped.iter().any(|name| name == key);
        if !is_changed && !dropped {
            keys.push(copied(key, entry));
        }
    }
    let written = changed.written.into_iter();
    keys.extend(written.map(|(key, value)| PlannedKey::Written([string(&key), value].concat())));
    keys
}

/// What differs from the source.
#[derive(Debug, Default)]
struct Changed {
    written: Vec<(String, Vec<u8>)>,
    dropped: Vec<String>,
}

impl Changed {
    /// Sets a key to a value with its type tag; the last word on a key counts.
    fn write(&mut self, key: &str, value: Vec<u8>) {
        self.written.retain(|(known, _)| known != key);
        self.written.push((key.to_owned(), value));
    }

    /// A value for each layer becomes one for each layer of the stage.
    fn arrays(&mut self, model: &Sliceable<'_>, layers: &Range<u32>) {
        let prefix = model.key("");
        let of_model = |key: &str| key.starts_with(&prefix);
        let range = layers.start as usize..layers.end as usize;
        for (key, entry) in model.first().entries().filter(|(key, _)| of_model(key)) {
            if let Value::Array(array) = &entry.value
                && let Some(elements) = elements(&array.items, array.element, range.clone())
            {
                self.write(key, array_of(array.element, range.len(), &elements));
            }
        }
    }

    /// The pattern as an array: a period would count from the stage's first layer.
    fn window(&mut self, model: &Sliceable<'_>, layers: &Range<u32>) {
        let range = layers.start as usize..layers.end as usize;
        let Some(pattern) = model.windowed.get(range) else {
            return;
        };
        let key = model.key(PATTERN);
        if pattern.contains(&true) {
            let flags: Vec<u8> = pattern.iter().map(|layer| u8::from(*layer)).collect();
            self.write(&key, array_of(ValueType::Bool, pattern.len(), &flags));
            return;
        }
        self.written.retain(|(known, _)| *known != key);
        self.dropped.extend([key, model.key(WINDOW)]);
    }
}

/// The source's entries as they lie in the file, so that neighbours are copied at once.
fn in_file_order<'a>(model: &Sliceable<'a>) -> Vec<(&'a str, &'a Entry)> {
    let mut entries: Vec<_> = model.first().entries().collect();
    entries.sort_by_key(|(_, entry)| entry.offset);
    entries
}

fn copied(key: &str, entry: &Entry) -> PlannedKey {
    // Before a value's type stands its key, before that the key's length in 8 bytes.
    let before = key.len() as u64 + 8;
    PlannedKey::Copied {
        offset: entry.offset - before,
        bytes: entry.bytes + before,
    }
}

/// The bytes of some elements of an array. `None` if they are not kept or have no fixed size.
fn elements(items: &Items, ty: ValueType, range: Range<usize>) -> Option<Vec<u8>> {
    let width = usize::try_from(ty.fixed_bytes()?).ok()?;
    // Little-endian numbers are cut to their width; they came out of as many bytes.
    let cut = |bytes: [u8; 8]| bytes.into_iter().take(width);
    Some(match items {
        Items::Unsigned(all) => all
            .get(range)?
            .iter()
            .flat_map(|n| cut(n.to_le_bytes()))
            .collect(),
        Items::Signed(all) => all
            .get(range)?
            .iter()
            .flat_map(|n| cut(n.to_le_bytes()))
            .collect(),
        Items::Bools(all) => all.get(range)?.iter().map(|b| u8::from(*b)).collect(),
        Items::Floats(all) if ty == ValueType::F64 => all
            .get(range)?
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect(),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "they were floats of 32 bits"
        )]
        Items::Floats(all) => {
            let floats = all.get(range)?.iter();
            floats.flat_map(|n| (*n as f32).to_le_bytes()).collect()
        }
        Items::Texts(_) | Items::Elsewhere(_) => return None,
    })
}

/// A string as it is in files.
pub(super) fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn tagged(ty: ValueType, bytes: &[u8]) -> Vec<u8> {
    [&ty.id().to_le_bytes(), bytes].concat()
}

fn unsigned(value: u32) -> Vec<u8> {
    tagged(ValueType::U32, &value.to_le_bytes())
}

fn float(value: f32) -> Vec<u8> {
    tagged(ValueType::F32, &value.to_le_bytes())
}

fn text(value: &str) -> Vec<u8> {
    tagged(ValueType::String, &string(value))
}

fn array_of(element: ValueType, len: usize, elements: &[u8]) -> Vec<u8> {
    let head = [&element.id().to_le_bytes()[..], &(len as u64).to_le_bytes()].concat();
    tagged(ValueType::Array, &[&head, elements].concat())
}
