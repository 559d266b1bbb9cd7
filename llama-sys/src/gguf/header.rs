//! A file's header: metadata and tensor table. It knows the keys that the format itself gives a
//! meaning (alignment) and the vocabulary's shape, nothing of architectures.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::cursor::Cursor;
use super::error::{GgufError, excerpt};
use super::limits;
use super::tensor::{self, Place, Tensor};
use super::value::{self, Array, Budget, Entry, Items, Value, ValueType};

/// Key of the vocabulary.
const TOKENS: &str = "tokenizer.ggml.tokens";
/// Keys of this form hold the id of a token with a meaning of its own.
const TOKEN_ID: (&str, &str) = ("tokenizer.ggml.", "_token_id");
/// Tokens with a meaning of their own: llama.cpp knows 20 such keys.
const MAX_NAMED_TOKENS: usize = 64;
/// Begin and end of text in llama.cpp where no key names them (SentencePiece, BPE, BERT, T5).
const USUAL_IDS: [u32; 4] = [1, 2, 11, 101];

/// The checked header of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    version: u32,
    alignment: u64,
    entries: BTreeMap<String, Entry>,
    tensors: Vec<Tensor>,
    /// Indices into `tensors` in the order of names.
    by_name: Vec<u32>,
    data_offset: u64,
    file_bytes: u64,
    named_tokens: BTreeMap<u32, String>,
    retained_bytes: u64,
}

impl Header {
    /// Reads the header of a regular file.
    ///
    /// # Errors
    /// [`GgufError`] for whatever is wrong with the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, GgufError> {
        let path = path.as_ref();
        // Asked before opening: opening a pipe would wait for its other end.
        if !path.metadata().map_err(GgufError::Io)?.is_file() {
            return Err(GgufError::NotAFile);
        }
        Self::read(&mut File::open(path).map_err(GgufError::Io)?)
    }

    /// Reads a header from the start of `source`, which holds the whole file.
    ///
    /// # Errors
    /// [`GgufError`] for whatever is wrong with it.
    pub fn read<R: Read + Seek>(source: &mut R) -> Result<Self, GgufError> {
        let file_bytes = source.seek(SeekFrom::End(0)).map_err(GgufError::Io)?;
        Self::read_prefix(source, file_bytes)
    }

    /// Reads a header from `source`, which holds at least the header of a file of `file_bytes`:
    /// a model can be judged before it is fetched.
    ///
    /// # Errors
    /// [`GgufError::Truncated`] where `source` ends too early, else whatever is wrong.
    pub fn read_prefix<R: Read + Seek>(source: &mut R, file_bytes: u64) -> Result<Self, GgufError> {
        let mut cursor = Cursor::new(source, file_bytes)?;
        let mut budget = Budget::default();
        let version = read_version(&mut cursor)?;
        let tensor_count = read_count(&mut cursor, "tensors", limits::MAX_TENSORS)?;
        let key_count = read_count(&mut cursor, "keys", limits::MAX_KEYS)?;
        let entries = read_entries(&mut cursor, &mut budget, key_count)?;
        let alignment = read_alignment(&entries)?;
        let tensors = tensor::read_table(&mut cursor, &mut budget, tensor_count)?;
        let by_name = sort_names(&tensors)?;
        // Without tensors there is neither data nor padding before it.
        let data_offset = match tensors.as_slice() {
            [] => cursor.position(),
            _ => cursor.position().next_multiple_of(alignment),
        };
        let place = Place {
            start: data_offset,
            alignment,
            file_bytes,
        };
        tensor::check_layout(&tensors, place)?;
        let named_tokens = read_named_tokens(&mut cursor, &mut budget, &entries)?;
        Ok(Self {
            version,
            alignment,
            entries,
            tensors,
            by_name,
            data_offset,
            file_bytes,
            named_tokens,
            retained_bytes: budget.retained(),
        })
    }

    /// Version of the format, 2 or 3.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Distance that tensors keep, bytes; a power of two.
    #[must_use]
    pub fn alignment(&self) -> u64 {
        self.alignment
    }

    /// The tensors in file order.
    #[must_use]
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The tensor of this name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        let at = |index: &u32| &self.tensors[*index as usize];
        let found = self
            .by_name
            .binary_search_by(|index| at(index).name.as_str().cmp(name));
        found.ok().map(|place| at(&self.by_name[place]))
    }

    /// First byte of the tensor data in the file.
    #[must_use]
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }

    /// Length of the whole file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// About how much memory this header takes, bytes.
    #[must_use]
    pub fn retained_bytes(&self) -> u64 {
        self.retained_bytes
    }

    /// All metadata, in the order of keys.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries
            .iter()
            .map(|(key, entry)| (key.as_str(), entry))
    }

    /// The value of a key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// The text of a key.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number of a key that holds any integer type and no negative number.
    #[must_use]
    pub fn unsigned(&self, key: &str) -> Option<u64> {
        match self.value(key)? {
            Value::Unsigned(number) => Some(*number),
            Value::Signed(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The number of a key that holds a float.
    #[must_use]
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.value(key)? {
            Value::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The truth value of a key.
    #[must_use]
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.value(key)? {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The array of a key.
    #[must_use]
    pub fn array(&self, key: &str) -> Option<&Array> {
        match self.value(key)? {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    /// The text of a token that a key of the form `tokenizer.ggml.…_token_id` names.
    #[must_use]
    pub fn named_token(&self, id: u32) -> Option<&str> {
        self.named_tokens.get(&id).map(String::as_str)
    }

    /// Reads one element of a string array out of the file. `None`: there is no such array or
    /// element, or it is longer than [`limits::MAX_TOKEN_TEXT_BYTES`].
    ///
    /// # Errors
    /// [`GgufError`] when `source` is not the file that this header came from.
    pub fn text_element<R: Read + Seek>(
        &self,
        source: &mut R,
        key: &str,
        index: u64,
    ) -> Result<Option<String>, GgufError> {
        let Some(array) = self.array(key) else {
            return Ok(None);
        };
        read_text_element(&mut Cursor::new(source, self.file_bytes)?, array, index)
    }
}

fn read_version<R: Read + Seek>(cursor: &mut Cursor<'_, R>) -> Result<u32, GgufError> {
    if &cursor.bytes::<4>()? != b"GGUF" {
        return Err(GgufError::NotGguf);
    }
    match cursor.u32()? {
        version @ (2 | 3) => Ok(version),
        // As gguf.cpp tells them apart: a small number written the other way round.
        swapped if swapped & 0xffff == 0 && swapped != 0 => Err(GgufError::BigEndian),
        other => Err(GgufError::Version(other)),
    }
}

fn read_count<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    what: &'static str,
    limit: u64,
) -> Result<u64, GgufError> {
    let found = cursor.u64()?;
    if found > limit {
        return Err(GgufError::TooMany { what, found, limit });
    }
    Ok(found)
}

fn read_entries<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    budget: &mut Budget,
    count: u64,
) -> Result<BTreeMap<String, Entry>, GgufError> {
    let mut entries = BTreeMap::new();
    for _ in 0..count {
        let key = cursor.name("a key", limits::MAX_KEY_BYTES)?;
        budget.retain((size_of::<(String, Entry)>() + key.len()) as u64)?;
        let entry = value::read_entry(cursor, budget, &key)?;
        if entries.contains_key(&key) {
            return Err(GgufError::DuplicateKey(excerpt(&key)));
        }
        entries.insert(key, entry);
    }
    Ok(entries)
}

fn read_alignment(entries: &BTreeMap<String, Entry>) -> Result<u64, GgufError> {
    let Some(entry) = entries.get("general.alignment") else {
        return Ok(limits::DEFAULT_ALIGNMENT);
    };
    match entry.value {
        Value::Unsigned(number)
            if entry.ty == ValueType::U32
                && number.is_power_of_two()
                && (limits::MIN_ALIGNMENT..=limits::MAX_ALIGNMENT).contains(&number) =>
        {
            Ok(number)
        }
        Value::Unsigned(number) => Err(GgufError::BadAlignment(number.to_string())),
        _ => Err(GgufError::BadAlignment("not a number".to_owned())),
    }
}

fn sort_names(tensors: &[Tensor]) -> Result<Vec<u32>, GgufError> {
    let count = u32::try_from(tensors.len()).expect("bounded by MAX_TENSORS");
    let name = |index: u32| tensors[index as usize].name.as_str();
    let mut order: Vec<u32> = (0..count).collect();
    order.sort_unstable_by(|a, b| name(*a).cmp(name(*b)));
    match order.windows(2).find(|pair| name(pair[0]) == name(pair[1])) {
        Some(pair) => Err(GgufError::DuplicateTensor(excerpt(name(pair[0])))),
        None => Ok(order),
    }
}

/// The texts of the tokens that keys name. An id outside the vocabulary has no text; whoever uses
/// the id must check it.
fn read_named_tokens<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    budget: &mut Budget,
    entries: &BTreeMap<String, Entry>,
) -> Result<BTreeMap<u32, String>, GgufError> {
    let Some(Value::Array(tokens)) = entries.get(TOKENS).map(|entry| &entry.value) else {
        return Ok(BTreeMap::new());
    };
    let ids = entries
        .iter()
        .filter(|(key, _)| key.starts_with(TOKEN_ID.0) && key.ends_with(TOKEN_ID.1))
        .filter_map(|(_, entry)| match entry.value {
            Value::Unsigned(id) => u32::try_from(id).ok(),
            _ => None,
        });
    let mut texts = BTreeMap::new();
    for id in ids.take(MAX_NAMED_TOKENS).chain(USUAL_IDS) {
        if let Some(text) = read_text_element(cursor, tokens, id.into())? {
            budget.retain((size_of::<(u32, String)>() + text.len()) as u64)?;
            texts.insert(id, text);
        }
    }
    Ok(texts)
}

fn read_text_element<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    array: &Array,
    index: u64,
) -> Result<Option<String>, GgufError> {
    if index >= array.len {
        return Ok(None);
    }
    let place = |at: u64| usize::try_from(at).expect("array lengths fit memory");
    let marks = match &array.items {
        Items::Texts(texts) => return Ok(texts.get(place(index)).cloned()),
        Items::Elsewhere(marks) if array.element == ValueType::String => marks,
        _ => return Ok(None),
    };
    let Some(mark) = marks.get(place(index / limits::MARK_INTERVAL)) else {
        return Ok(None);
    };
    cursor.seek(*mark)?;
    for _ in 0..index % limits::MARK_INTERVAL {
        let count = cursor.length("an array's string", limits::MAX_STRING_BYTES)?;
        cursor.skip(count)?;
    }
    let count = cursor.length("an array's string", limits::MAX_STRING_BYTES)?;
    if count > limits::MAX_TOKEN_TEXT_BYTES {
        return Ok(None);
    }
    Ok(Some(value::lossy(cursor.take(count)?)))
}
