//! Metadata values: their types, what of them is kept, and how they are read. It does not know
//! what any key means.

use std::io::{Read, Seek};

use super::cursor::Cursor;
use super::error::{GgufError, excerpt};
use super::limits;

/// A value's type, by the ids of `enum gguf_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueType {
    /// `uint8`.
    U8,
    /// `int8`.
    I8,
    /// `uint16`.
    U16,
    /// `int16`.
    I16,
    /// `uint32`.
    U32,
    /// `int32`.
    I32,
    /// `float32`.
    F32,
    /// One byte, 0 or 1.
    Bool,
    /// Length and bytes.
    String,
    /// Element type, count and elements.
    Array,
    /// `uint64`.
    U64,
    /// `int64`.
    I64,
    /// `float64`.
    F64,
}

impl ValueType {
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// The type with this id in files.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// Id in files.
    #[must_use]
    pub fn id(self) -> u32 {
        self as u32
    }

    /// Bytes of one value, where that is fixed.
    #[must_use]
    pub fn fixed_bytes(self) -> Option<u64> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String | Self::Array => None,
        }
    }
}

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Any of the unsigned types.
    Unsigned(u64),
    /// Any of the signed types.
    Signed(i64),
    /// Either float type.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A string; bytes that are not UTF-8 replaced.
    Text(String),
    /// A string above [`limits::KEPT_STRING_BYTES`]: only its place is known.
    LongText,
    /// An array.
    Array(Array),
}

/// An array, kept when short.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Type of the elements.
    pub element: ValueType,
    /// How many there are.
    pub len: u64,
    /// The elements, if they are kept.
    pub items: Items,
}

/// The elements of an array.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Items {
    /// Unsigned numbers.
    Unsigned(Vec<u64>),
    /// Signed numbers.
    Signed(Vec<i64>),
    /// Floats.
    Floats(Vec<f64>),
    /// Truth values.
    Bools(Vec<bool>),
    /// Strings; bytes that are not UTF-8 replaced.
    Texts(Vec<String>),
    /// Not kept. For strings: the place of each [`limits::MARK_INTERVAL`]-th element.
    Elsewhere(Vec<u64>),
}

/// A value and where it lies, so that it can be copied as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its type.
    pub ty: ValueType,
    /// The value.
    pub value: Value,
    /// Place of its type tag in the file, bytes from the start.
    pub offset: u64,
    /// Bytes from the type tag to its end.
    pub bytes: u64,
}

/// What all values of a header may take together.
#[derive(Debug, Default)]
pub(super) struct Budget {
    retained: u64,
    elements: u64,
}

impl Budget {
    /// Takes memory.
    pub(super) fn retain(&mut self, bytes: u64) -> Result<(), GgufError> {
        let limit = limits::MAX_RETAINED_BYTES;
        self.retained = self.retained.saturating_add(bytes);
        if self.retained > limit {
            return Err(GgufError::TooMuchMemory { limit });
        }
        Ok(())
    }

    /// Memory taken so far.
    pub(super) fn retained(&self) -> u64 {
        self.retained
    }

    fn count(&mut self, elements: u64) -> Result<(), GgufError> {
        let limit = limits::MAX_ARRAY_ELEMENTS;
        let found = self.elements.saturating_add(elements);
        if found > limit {
            return Err(GgufError::TooMany {
                what: "array elements",
                found,
                limit,
            });
        }
        self.elements = found;
        Ok(())
    }
}

/// Reads one value with its type tag.
pub(super) fn read_entry<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    budget: &mut Budget,
    key: &str,
) -> Result<Entry, GgufError> {
    let offset = cursor.position();
    let ty = read_type(cursor, key)?;
    let value = match ty {
        ValueType::Array => Value::Array(read_array(cursor, budget, key)?),
        ValueType::String => read_string(cursor, budget)?,
        _ => read_scalar(cursor, ty, key)?,
    };
    let bytes = cursor.position() - offset;
    Ok(Entry {
        ty,
        value,
        offset,
        bytes,
    })
}

fn read_type<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    key: &str,
) -> Result<ValueType, GgufError> {
    let id = cursor.u32()?;
    ValueType::from_id(id).ok_or_else(|| GgufError::UnknownValueType {
        key: excerpt(key),
        id,
    })
}

fn read_scalar<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    ty: ValueType,
    key: &str,
) -> Result<Value, GgufError> {
    Ok(match ty {
        ValueType::U8 => Value::Unsigned(u8::from_le_bytes(cursor.bytes()?).into()),
        ValueType::U16 => Value::Unsigned(u16::from_le_bytes(cursor.bytes()?).into()),
        ValueType::U32 => Value::Unsigned(cursor.u32()?.into()),
        ValueType::U64 => Value::Unsigned(cursor.u64()?),
        ValueType::I8 => Value::Signed(i8::from_le_bytes(cursor.bytes()?).into()),
        ValueType::I16 => Value::Signed(i16::from_le_bytes(cursor.bytes()?).into()),
        ValueType::I32 => Value::Signed(i32::from_le_bytes(cursor.bytes()?).into()),
        ValueType::I64 => Value::Signed(i64::from_le_bytes(cursor.bytes()?)),
        ValueType::F32 => Value::Float(f32::from_le_bytes(cursor.bytes()?).into()),
        ValueType::F64 => Value::Float(f64::from_le_bytes(cursor.bytes()?)),
        ValueType::Bool => match cursor.bytes()? {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            [found] => {
                return Err(GgufError::BadBool {
                    key: excerpt(key),
                    found,
                });
            }
        },
        ValueType::String | ValueType::Array => return Err(GgufError::NestedArray(excerpt(key))),
    })
}

fn read_string<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    budget: &mut Budget,
) -> Result<Value, GgufError> {
    let count = cursor.length("a string", limits::MAX_STRING_BYTES)?;
    if count > limits::KEPT_STRING_BYTES {
        cursor.skip(count)?;
        return Ok(Value::LongText);
    }
    budget.retain(count)?;
    Ok(Value::Text(lossy(cursor.take(count)?)))
}

fn read_array<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    budget: &mut Budget,
    key: &str,
) -> Result<Array, GgufError> {
    let element = read_type(cursor, key)?;
    let len = cursor.u64()?;
    budget.count(len)?;
    let items = match element.fixed_bytes() {
        Some(width) => read_fixed_items(
            cursor,
            budget,
            key,
            Run {
                element,
                len,
                width,
            },
        )?,
        None if element == ValueType::String => read_texts(cursor, budget, len)?,
        None => return Err(GgufError::NestedArray(excerpt(key))),
    };
    Ok(Array {
        element,
        len,
        items,
    })
}

/// Elements of one fixed size.
#[derive(Clone, Copy)]
struct Run {
    element: ValueType,
    len: u64,
    width: u64,
}

fn read_fixed_items<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    budget: &mut Budget,
    key: &str,
    run: Run,
) -> Result<Items, GgufError> {
    if run.len > limits::KEPT_ARRAY_ELEMENTS {
        // No overflow: the budget has bounded `len` by MAX_ARRAY_ELEMENTS.
        cursor.skip(run.len * run.width)?;
        return Ok(Items::Elsewhere(Vec::new()));
    }
    budget.retain(run.len * 8)?;
    let mut items = match run.element {
        ValueType::U8 | ValueType::U16 | ValueType::U32 | ValueType::U64 => {
            Items::Unsigned(Vec::new())
        }
        ValueType::I8 | ValueType::I16 | ValueType::I32 | ValueType::I64 => {
            Items::Signed(Vec::new())
        }
        ValueType::Bool => Items::Bools(Vec::new()),
        _ => Items::Floats(Vec::new()),
    };
    for _ in 0..run.len {
        match (&mut items, read_scalar(cursor, run.element, key)?) {
            (Items::Unsigned(all), Value::Unsigned(one)) => all.push(one),
            (Items::Signed(all), Value::Signed(one)) => all.push(one),
            (Items::Floats(all), Value::Float(one)) => all.push(one),
            (Items::Bools(all), Value::Bool(one)) => all.push(one),
            _ => return Err(GgufError::NestedArray(excerpt(key))),
        }
    }
    Ok(items)
}

/// Walks a string array; keeps its texts while they stay small, else marks on the way.
fn read_texts<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    budget: &mut Budget,
    len: u64,
) -> Result<Items, GgufError> {
    let mut kept = (len <= limits::KEPT_ARRAY_ELEMENTS).then(Vec::new);
    let mut kept_bytes = 0;
    let mut marks = Vec::new();
    for index in 0..len {
        if index % limits::MARK_INTERVAL == 0 {
            marks.push(cursor.position());
        }
        let count = cursor.length("an array's string", limits::MAX_STRING_BYTES)?;
        kept_bytes += count;
        if kept_bytes > limits::KEPT_ARRAY_TEXT_BYTES {
            kept = None;
        }
        match &mut kept {
            Some(texts) => texts.push(lossy(cursor.take(count)?)),
            None => cursor.skip(count)?,
        }
    }
    match kept {
        Some(texts) => {
            budget.retain(kept_bytes + len * size_of::<String>() as u64)?;
            Ok(Items::Texts(texts))
        }
        None => {
            budget.retain(marks.len() as u64 * 8)?;
            Ok(Items::Elsewhere(marks))
        }
    }
}

/// Text out of bytes; what is not UTF-8 is replaced, as tools show it.
pub(super) fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}
