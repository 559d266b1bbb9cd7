//! Bytes as one line of text that a person pastes, such that a slip is told from a cut.
//!
//! ```text
//! line = prefix base64url( length ‖ bytes ‖ crc )
//! ```
//! The length counts the bytes, 2 bytes, big-endian; the CRC-32 (IEEE 802.3) covers length and
//! bytes, 4 bytes, big-endian. With the length a cut line is told from a mistyped one; the CRC
//! finds every single typing error. It knows neither what the bytes say nor who made them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

const LENGTH_BYTES: usize = 2;
const CRC_BYTES: usize = 4;

/// One kind of line.
pub(super) struct Form {
    /// What lines of every version begin with.
    pub(super) family: &'static str,
    /// The family, the version, and `_`.
    pub(super) prefix: &'static str,
    /// Bytes within, at most; fits 16 bits.
    pub(super) max_bytes: usize,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Nothing, or spaces only.
    Empty,
    /// It has another prefix.
    Other,
    /// Of a later version.
    Newer,
    /// Longer than any line of its kind.
    TooLong,
    /// Its end is missing: about that many characters.
    Cut(usize),
    /// There is more after its end.
    Trailing,
    /// A character is wrong.
    Mistyped,
}

/// The line of these bytes, which must be within the form's limit.
pub(super) fn write(form: &Form, bytes: &[u8]) -> String {
    let length = u16::try_from(bytes.len()).expect("a form's limit fits 16 bits");
    let mut covered = length.to_be_bytes().to_vec();
    covered.extend(bytes);
    covered.extend(crc32(&covered).to_be_bytes());
    format!("{}{}", form.prefix, URL_SAFE_NO_PAD.encode(covered))
}

/// The bytes of a line. Spaces and line breaks anywhere are passed over.
pub(super) fn read(form: &Form, text: &str) -> Result<Vec<u8>, Flaw> {
    // base64url with the prefix, twice over: room for spaces and line breaks.
    if text.len() > 2 * (form.prefix.len() + form.max_bytes.div_ceil(3) * 4 + 8) {
        return Err(Flaw::TooLong);
    }
    let text: String = text.split_ascii_whitespace().collect();
    let bytes = decode_text(body(form, &text)?)?;
    checked(form, &bytes).map(<[u8]>::to_vec)
}

/// What stands after the prefix.
fn body<'t>(form: &Form, text: &'t str) -> Result<&'t str, Flaw> {
    if text.is_empty() {
        return Err(Flaw::Empty);
    }
    if let Some(body) = text.strip_prefix(form.prefix) {
        return Ok(body);
    }
    let version = text
        .strip_prefix(form.family)
        .and_then(|rest| rest.split_once('_'))
        .and_then(|(version, _)| version.parse::<u32>().ok());
    match version {
        Some(2..) => Err(Flaw::Newer),
        _ if form.prefix.starts_with(text) => Err(Flaw::Cut(1)),
        _ => Err(Flaw::Other),
    }
}

/// As many whole bytes as the text gives: a cut one may end in mid-byte.
fn decode_text(body: &str) -> Result<Vec<u8>, Flaw> {
    let is_digit = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    if !body.bytes().all(is_digit) {
        return Err(Flaw::Mistyped);
    }
    URL_SAFE_NO_PAD.decode(body).or_else(|_| {
        // One digit too many for whole bytes, or bits left over in the last one.
        let whole = &body[..body.len() / 4 * 4];
        URL_SAFE_NO_PAD.decode(whole).map_err(|_| Flaw::Mistyped)
    })
}

/// The bytes within, when they are all there and as they were made.
fn checked<'b>(form: &Form, bytes: &'b [u8]) -> Result<&'b [u8], Flaw> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(Flaw::Cut(1));
    };
    let length = usize::from(u16::from_be_bytes(*length));
    if length > form.max_bytes {
        return Err(Flaw::Mistyped);
    }
    let missing = (length + CRC_BYTES).saturating_sub(rest.len());
    if missing > 0 {
        return Err(Flaw::Cut(missing.div_ceil(3) * 4));
    }
    if rest.len() > length + CRC_BYTES {
        return Err(Flaw::Trailing);
    }
    let (covered, crc) = bytes.split_at(LENGTH_BYTES + length);
    if crc != crc32(covered).to_be_bytes() {
        return Err(Flaw::Mistyped);
    }
    Ok(&rest[..length])
}

/// CRC-32 of IEEE 802.3: finds every burst of up to 32 wrong bits. Bit by bit: a line is short.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
    let byte = |crc: u32, &byte: &u8| (0..8).fold(crc ^ u32::from(byte), step);
    !bytes.iter().fold(!0, byte)
}
