//! The embedding table of a model's file: rows read as they are asked for and turned into floats.
//! Most of a model's memory would be needless to whoever only looks embeddings up.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use llama_cpp_sys_2 as sys;

use crate::gguf::{GgufError, Header, TensorType};

/// The tensor of embeddings, a row for each token.
const NAME: &str = "token_embd.weight";

/// Why a file has no embeddings to be looked up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    /// The file is no model.
    #[error("the file cannot be read as a model")]
    File(#[from] GgufError),
    /// The file has no table of embeddings.
    #[error("the file has no embeddings")]
    Missing,
    /// The table is in a number format that cannot be turned into floats.
    #[error("embeddings in {0} cannot be turned into floats")]
    Format(TensorType),
    /// The operating system cannot read the file.
    #[error("the embeddings cannot be read")]
    Io(#[from] io::Error),
}

/// Why rows could not be looked up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    /// The token is not in the vocabulary.
    #[error("the token {0} is outside the vocabulary")]
    Token(u32),
    /// The operating system cannot read the file.
    #[error("the embeddings cannot be read")]
    Io(#[from] io::Error),
}

/// An open table.
#[derive(Debug)]
pub(crate) struct EmbeddingTable {
    file: File,
    /// First byte in the file.
    start: u64,
    rows: u64,
    width: usize,
    row_bytes: usize,
    numbers: Numbers,
    /// One row as the file has it, in units that are aligned for every format.
    raw: Vec<u64>,
}

impl EmbeddingTable {
    /// Opens the table of a model's file.
    pub(crate) fn open(path: &Path) -> Result<Self, TableError> {
        let header = Header::open(path)?;
        let tensor = header.tensor(NAME).ok_or(TableError::Missing)?;
        let [columns, rows] = tensor.shape[..] else {
            return Err(TableError::Missing);
        };
        let format = || TableError::Format(tensor.ty);
        let numbers = Numbers::of(tensor.ty).ok_or_else(format)?;
        let width = usize::try_from(columns).map_err(|_| format())?;
        let row_bytes = tensor.ty.row_bytes(columns).ok_or_else(format)?;
        let row_bytes = usize::try_from(row_bytes).map_err(|_| format())?;
        Ok(Self {
            file: File::open(path)?,
            start: header.data_offset() + tensor.offset,
            rows,
            width,
            row_bytes,
            numbers,
            raw: vec![0; row_bytes.div_ceil(size_of::<u64>())],
        })
    }

    /// Tokens that have an embedding.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Floats of an embedding.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Appends the embeddings of tokens. All or none.
    pub(crate) fn append_rows(
        &mut self,
        tokens: &[u32],
        out: &mut Vec<f32>,
    ) -> Result<(), LookupError> {
        let before = out.len();
        let appended = tokens.iter().try_for_each(|token| self.append(*token, out));
        if appended.is_err() {
            out.truncate(before);
        }
        appended
    }

    fn append(&mut self, token: u32, out: &mut Vec<f32>) -> Result<(), LookupError> {
        if u64::from(token) >= self.rows {
            return Err(LookupError::Token(token));
        }
        let at = self.start + u64::from(token) * self.row_bytes as u64;
        let row = &mut as_bytes(&mut self.raw)[..self.row_bytes];
        self.file.read_exact_at(row, at)?;
        self.numbers.append(&self.raw, self.width, out);
        Ok(())
    }
}

fn as_bytes(units: &mut [u64]) -> &mut [u8] {
    let bytes = size_of_val(units);
    // SAFETY: the same memory, of which every byte is one for `u8` and for `u64`.
    unsafe { std::slice::from_raw_parts_mut(units.as_mut_ptr().cast(), bytes) }
}

/// How rows of a format become floats.
#[derive(Debug, Clone, Copy)]
enum Numbers {
    /// They are floats.
    Floats,
    /// By ggml's function.
    Converted(unsafe extern "C" fn(*const std::ffi::c_void, *mut f32, i64)),
}

impl Numbers {
    fn of(ty: TensorType) -> Option<Self> {
        if ty == TensorType::F32 {
            return Some(Self::Floats);
        }
        // SAFETY: looks a valid id up in a static table.
        let traits = unsafe { sys::ggml_get_type_traits(ty.id()).as_ref() }?;
        traits.to_float.map(Self::Converted)
    }

    /// Appends `width` floats out of a row. The row must hold them in this format.
    fn append(self, row: &[u64], width: usize, out: &mut Vec<f32>) {
        let before = out.len();
        out.resize(before + width, 0.0);
        let to = out[before..].as_mut_ptr();
        match self {
            // SAFETY: the row was made with the bytes of `width` floats, and both are aligned.
            Self::Floats => unsafe { to.copy_from_nonoverlapping(row.as_ptr().cast(), width) },
            // SAFETY: the row was made with the bytes that `width` numbers of this format take,
            // whole blocks of it as the header's reader checked, aligned for every format; there
            // is room for as many floats. Any bytes are numbers to these functions.
            Self::Converted(convert) => unsafe {
                convert(row.as_ptr().cast(), to, width as i64);
            },
        }
    }
}
