//! Writing of small GGUF files: models for tests, whole or broken, and the headers of slices.
//! It writes what it is told, also what no reader accepts; checking is the reader's part.

use std::io::{self, Write};
use std::path::Path;

use super::limits;
use super::tensor_type::TensorType;
use super::value::ValueType;

/// Zeros are written in pieces of this size.
const ZEROS: [u8; 4096] = [0; 4096];

/// A file to be written. Methods take and return it, so that a model reads as one expression.
#[derive(Debug, Clone)]
pub struct Builder {
    version: u32,
    alignment: u64,
    entries: Vec<(String, Vec<u8>)>,
    tensors: Vec<Planned>,
}

#[derive(Debug, Clone)]
struct Planned {
    name: String,
    shape: Vec<u64>,
    type_id: u32,
    offset: Option<u64>,
    data: Data,
}

#[derive(Debug, Clone)]
enum Data {
    Bytes(Vec<u8>),
    Zeros(u64),
}

impl Data {
    fn bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(count) => *count,
        }
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            version: 3,
            alignment: limits::DEFAULT_ALIGNMENT,
            entries: Vec::new(),
            tensors: Vec::new(),
        }
    }
}

impl Builder {
    /// A file of this architecture.
    #[must_use]
    pub fn new(architecture: &str) -> Self {
        Self::default().text("general.architecture", architecture)
    }

    /// Writes another version of the format than 3.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Places tensors at multiples of `bytes` and says so in the metadata.
    #[must_use]
    pub fn alignment(mut self, bytes: u32) -> Self {
        self.alignment = u64::from(bytes);
        self.unsigned("general.alignment", bytes)
    }

    /// A string.
    #[must_use]
    pub fn text(self, key: &str, value: &str) -> Self {
        self.value(key, ValueType::String.id(), &string(value))
    }

    /// A 32-bit unsigned number, the type of nearly all numbers.
    #[must_use]
    pub fn unsigned(self, key: &str, value: u32) -> Self {
        self.value(key, ValueType::U32.id(), &value.to_le_bytes())
    }

    /// A 32-bit float.
    #[must_use]
    pub fn float(self, key: &str, value: f32) -> Self {
        self.value(key, ValueType::F32.id(), &value.to_le_bytes())
    }

    /// A truth value.
    #[must_use]
    pub fn flag(self, key: &str, value: bool) -> Self {
        self.value(key, ValueType::Bool.id(), &[u8::from(value)])
    }

    /// An array of strings.
    #[must_use]
    pub fn texts<S: AsRef<str>>(self, key: &str, values: &[S]) -> Self {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| string(value.as_ref()))
            .collect();
        self.array(key, ValueType::String.id(), values.len() as u64, &bytes)
    }

    /// An array of 32-bit floats.
    #[must_use]
    pub fn floats(self, key: &str, values: &[f32]) -> Self {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.array(key, ValueType::F32.id(), values.len() as u64, &bytes)
    }

    /// An array of 32-bit signed numbers.
    #[must_use]
    pub fn signed_numbers(self, key: &str, values: &[i32]) -> Self {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.array(key, ValueType::I32.id(), values.len() as u64, &bytes)
    }

    /// An array of truth values.
    #[must_use]
    pub fn flags(self, key: &str, values: &[bool]) -> Self {
        let bytes: Vec<u8> = values.iter().map(|value| u8::from(*value)).collect();
        self.array(key, ValueType::Bool.id(), values.len() as u64, &bytes)
    }

    /// An array whose head may lie about its elements.
    #[must_use]
    pub fn array(self, key: &str, element_id: u32, len: u64, elements: &[u8]) -> Self {
        let mut bytes = element_id.to_le_bytes().to_vec();
        bytes.extend(len.to_le_bytes());
        bytes.extend(elements);
        self.value(key, ValueType::Array.id(), &bytes)
    }

    /// A value as its type id and bytes. A key that is there already is replaced in its place.
    #[must_use]
    pub fn value(mut self, key: &str, type_id: u32, bytes: &[u8]) -> Self {
        let tagged: Vec<u8> = [&type_id.to_le_bytes(), bytes].concat();
        match self.entries.iter_mut().find(|(known, _)| known == key) {
            Some((_, value)) => *value = tagged,
            None => self.entries.push((key.to_owned(), tagged)),
        }
        self
    }

    /// A second value under a key that is there already.
    #[must_use]
    pub fn duplicate(mut self, key: &str) -> Self {
        let copy = self.entries.iter().find(|(known, _)| known == key).cloned();
        self.entries.extend(copy);
        self
    }

    /// Leaves a key out.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.entries.retain(|(known, _)| known != key);
        self
    }

    /// A tensor of these bytes.
    #[must_use]
    pub fn tensor(self, name: &str, shape: &[u64], ty: TensorType, bytes: Vec<u8>) -> Self {
        self.planned(name, shape, ty.id(), Data::Bytes(bytes))
    }

    /// A tensor of 32-bit floats.
    #[must_use]
    pub fn tensor_f32(self, name: &str, shape: &[u64], values: &[f32]) -> Self {
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.tensor(name, shape, TensorType::F32, bytes)
    }

    /// A tensor of `bytes` zeros whose shape and type may be anything.
    #[must_use]
    pub fn tensor_zeros(self, name: &str, shape: &[u64], type_id: u32, bytes: u64) -> Self {
        self.planned(name, shape, type_id, Data::Zeros(bytes))
    }

    /// Lets the table claim another offset for the last tensor.
    #[must_use]
    pub fn claim_offset(mut self, offset: u64) -> Self {
        if let Some(last) = self.tensors.last_mut() {
            last.offset = Some(offset);
        }
        self
    }

    fn planned(mut self, name: &str, shape: &[u64], type_id: u32, data: Data) -> Self {
        let (name, shape) = (name.to_owned(), shape.to_vec());
        self.tensors.push(Planned {
            name,
            shape,
            type_id,
            offset: None,
            data,
        });
        self
    }

    /// The header with the padding behind it: everything before the tensor data.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.entries.len() as u64).to_le_bytes());
        for (key, tagged) in &self.entries {
            out.extend(string(key));
            out.extend(tagged);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            out.extend(string(&tensor.name));
            let dimensions = u32::try_from(tensor.shape.len()).unwrap_or(u32::MAX);
            out.extend(dimensions.to_le_bytes());
            out.extend(tensor.shape.iter().flat_map(|side| side.to_le_bytes()));
            out.extend(tensor.type_id.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(offset).to_le_bytes());
            offset += tensor.data.bytes() + self.padding(tensor.data.bytes());
        }
        let padding = if self.tensors.is_empty() {
            0
        } else {
            self.padding(out.len() as u64)
        };
        out.extend((0..padding).map(|_| 0));
        out
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write<W: Write>(&self, out: &mut W) -> io::Result<()> {
        out.write_all(&self.header())?;
        for tensor in &self.tensors {
            match &tensor.data {
                Data::Bytes(bytes) => out.write_all(bytes)?,
                Data::Zeros(count) => write_zeros(out, *count)?,
            }
            write_zeros(out, self.padding(tensor.data.bytes()))?;
        }
        out.flush()
    }

    /// Writes the file to a path.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.write(&mut io::BufWriter::new(std::fs::File::create(path)?))
    }

    /// The file in memory.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out)
            .expect("writing to memory does not fail");
        out
    }

    fn padding(&self, bytes: u64) -> u64 {
        bytes.next_multiple_of(self.alignment.max(1)) - bytes
    }
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn write_zeros<W: Write>(out: &mut W, mut count: u64) -> io::Result<()> {
    while count > 0 {
        let piece = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .min(ZEROS.len());
        out.write_all(&ZEROS[..piece])?;
        count -= piece as u64;
    }
    Ok(())
}
