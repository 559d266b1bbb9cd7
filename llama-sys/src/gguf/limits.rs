//! How large a header may be. Each limit lies well above every published model and well below
//! what would trouble a small machine.

/// Metadata entries. Published models have fewer than 100; some quantizers add a few hundred.
pub const MAX_KEYS: u64 = 16_384;

/// Bytes of a key: the specification's own limit, 2¹⁶ − 1.
pub const MAX_KEY_BYTES: u64 = 65_535;

/// Bytes of a string value or array element. The longest known is a whole tokenizer as JSON
/// (`tokenizer.huggingface.json`), up to about 35 MiB.
pub const MAX_STRING_BYTES: u64 = 64 << 20;

/// Array elements of all arrays together. A vocabulary of 262,144 tokens with types, scores and
/// 580,000 merges has 1.4 million. llama.cpp spends some 100 bytes on each.
pub const MAX_ARRAY_ELEMENTS: u64 = 8 << 20;

/// Bytes from the start of the file to the end of the tensor table. The largest known headers
/// (big vocabulary and the tokenizer once more as JSON) have about 60 MiB.
pub const MAX_HEADER_BYTES: u64 = 256 << 20;

/// Tensors of one file. Mixtures of experts with one tensor an expert reach about 47,000.
pub const MAX_TENSORS: u64 = 65_536;

/// Dimensions of a tensor (`GGML_MAX_DIMS`).
pub const MAX_DIMENSIONS: u32 = 4;

/// Bytes of a tensor's name (`GGML_MAX_NAME` is 64 and counts the closing zero).
pub const MAX_TENSOR_NAME_BYTES: u64 = 63;

/// Smallest alignment of tensor data: the specification asks for a multiple of 8.
pub const MIN_ALIGNMENT: u64 = 8;

/// Largest alignment of tensor data. The usual one is 32; a huge page of padding has no use.
pub const MAX_ALIGNMENT: u64 = 1 << 20;

/// Alignment of a file that names none (`GGUF_DEFAULT_ALIGNMENT`).
pub const DEFAULT_ALIGNMENT: u64 = 32;

/// A string value up to this length is kept; a longer one leaves only its place. The longest
/// chat templates have about 50 KiB.
pub const KEPT_STRING_BYTES: u64 = 1 << 20;

/// An array with up to this many elements is kept (values for each layer, names of templates); a
/// longer one (the vocabulary) leaves only its place. llama.cpp allows 512 layers.
pub const KEPT_ARRAY_ELEMENTS: u64 = 1024;

/// Bytes of text of a string array that is kept.
pub const KEPT_ARRAY_TEXT_BYTES: u64 = 64 << 10;

/// One place in so many elements of a long string array is remembered, so that a single element
/// is read without walking the whole array.
pub const MARK_INTERVAL: u64 = 1024;

/// Bytes that one [`super::Header`] holds in memory, everything counted.
pub const MAX_RETAINED_BYTES: u64 = 32 << 20;

/// Bytes of a special token's text. Real ones have fewer than 64.
pub const MAX_TOKEN_TEXT_BYTES: u64 = 4096;

/// Files of one model. At the hub's 50 GB a file this would be 25 TB.
pub const MAX_SPLITS: u64 = 512;

/// Layers of a model (`LLAMA_MAX_LAYERS`).
pub const MAX_LAYERS: u64 = 512;
