//! Why a file is not read as a model. Texts quote names out of the file cut and escaped, since a
//! stranger chose them.

/// Characters of a name that an error quotes.
const EXCERPT_CHARS: usize = 80;

/// Why a header was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The operating system could not read the file.
    #[error("the file cannot be read")]
    Io(#[source] std::io::Error),
    /// A folder, device or pipe.
    #[error("not a regular file")]
    NotAFile,
    /// The file does not begin with `GGUF`.
    #[error("not a GGUF file")]
    NotGguf,
    /// The file was made for big-endian machines.
    #[error("a big-endian GGUF file; only little-endian files are supported")]
    BigEndian,
    /// A version other than 2 and 3.
    #[error("GGUF version {0} is not supported (2 and 3 are)")]
    Version(u32),
    /// The file ends before its header does.
    #[error("the file ends inside its header, at byte {at}")]
    Truncated {
        /// Where more bytes were expected.
        at: u64,
    },
    /// The header does not end within [`super::limits::MAX_HEADER_BYTES`].
    #[error("the header is longer than {limit} bytes")]
    HeaderTooLong {
        /// The limit.
        limit: u64,
    },
    /// A count is above its limit.
    #[error("{found} {what} are more than the limit of {limit}")]
    TooMany {
        /// Things counted.
        what: &'static str,
        /// How many the file claims.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A text is longer than its limit.
    #[error("{what} of {found} bytes is longer than the limit of {limit}")]
    TooLong {
        /// The text.
        what: &'static str,
        /// Bytes that the file claims.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// Keys, values and tensors would take more than [`super::limits::MAX_RETAINED_BYTES`].
    #[error("the header would take more than {limit} bytes of memory")]
    TooMuchMemory {
        /// The limit.
        limit: u64,
    },
    /// A key or a tensor's name is empty or not UTF-8.
    #[error("{what} at byte {at} is empty or not UTF-8")]
    BadName {
        /// The name.
        what: &'static str,
        /// Where it begins.
        at: u64,
    },
    /// A key occurs twice.
    #[error("the key `{0}` occurs twice")]
    DuplicateKey(String),
    /// A value's type is unknown.
    #[error("`{key}` has the unknown value type {id}")]
    UnknownValueType {
        /// The key.
        key: String,
        /// The id found.
        id: u32,
    },
    /// An array of arrays: the specification allows them, llama.cpp refuses them.
    #[error("`{0}` is an array of arrays")]
    NestedArray(String),
    /// A truth value other than 0 and 1.
    #[error("`{key}` is neither 0 nor 1 but {found}")]
    BadBool {
        /// The key.
        key: String,
        /// The byte found.
        found: u8,
    },
    /// `general.alignment` is no 32-bit number, no power of two, or outside its limits.
    #[error("the alignment of tensor data is not usable: {0}")]
    BadAlignment(String),
    /// Two tensors have one name.
    #[error("the tensor `{0}` occurs twice")]
    DuplicateTensor(String),
    /// A tensor without dimensions, with more than four, or with an empty one.
    #[error("the tensor `{0}` has a shape that is not possible")]
    BadShape(String),
    /// A tensor's type is unknown or no longer supported by ggml.
    #[error("the tensor `{tensor}` has the unknown type {id}")]
    UnknownTensorType {
        /// The tensor.
        tensor: String,
        /// The id found.
        id: u32,
    },
    /// A tensor's rows are not whole blocks of its type.
    #[error("rows of the tensor `{tensor}` are not whole blocks of {ty}")]
    BrokenBlock {
        /// The tensor.
        tensor: String,
        /// Its type.
        ty: super::TensorType,
    },
    /// A tensor's size cannot be represented.
    #[error("the tensor `{0}` is impossibly large")]
    TensorTooLarge(String),
    /// A tensor's place is no multiple of the alignment.
    #[error("the tensor `{tensor}` begins at the unaligned offset {offset}")]
    TensorMisaligned {
        /// The tensor.
        tensor: String,
        /// Its offset within the data.
        offset: u64,
    },
    /// A tensor begins before the one before it ends.
    #[error("the tensor `{0}` overlaps the one before it")]
    TensorOverlap(String),
    /// Unused bytes lie between two tensors; llama.cpp refuses such files.
    #[error("a gap lies before the tensor `{0}`")]
    TensorGap(String),
    /// A tensor ends behind the end of the file: most often an unfinished download.
    #[error("the tensor `{tensor}` ends at byte {end} of a file of {file_bytes} bytes")]
    TensorOutsideFile {
        /// The tensor.
        tensor: String,
        /// Where it ends.
        end: u64,
        /// Length of the file.
        file_bytes: u64,
    },
}

impl GgufError {
    /// The file is shorter than its own header says: an unfinished copy or download, most often.
    #[must_use]
    pub fn is_cut_short(&self) -> bool {
        matches!(
            self,
            Self::Truncated { .. } | Self::TensorOutsideFile { .. }
        )
    }
}

/// A name out of the file for an error's text: escaped and cut.
pub(super) fn excerpt(name: &str) -> String {
    let mut shown: String = name
        .chars()
        .take(EXCERPT_CHARS)
        .flat_map(char::escape_debug)
        .collect();
    if name.chars().nth(EXCERPT_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_and_escaped() {
        assert_eq!(excerpt("a\n\u{1b}[31mb"), "a\\n\\u{1b}[31mb");
        let long = excerpt(&"x".repeat(65_535));
        assert_eq!(long.chars().count(), EXCERPT_CHARS + 1);
    }
}
