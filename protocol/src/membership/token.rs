//! The join token: an invite as a line of text that a person pastes.
//!
//! ```text
//! token = "shoal1_" base64url( length ‖ chain ‖ crc )
//! ```
//! The length counts the chain's bytes, 2 bytes, big-endian; the CRC-32 (IEEE 802.3) covers
//! length and chain, 4 bytes, big-endian. With the length a cut token is told from a mistyped
//! one; the CRC finds every single typing error. Whether the invite is genuine is not the
//! checksum's to say: [`JoinToken::verify`].

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use prost::Message;

use super::{
    Chain, ChainDecodeError, ChainError, Invite, Issued, MembershipError, Statement, wire,
};
use crate::{
    ids::UnixMillis,
    limits::{MAX_CERTIFICATE_BYTES, MAX_ENVELOPE_OVERHEAD_BYTES, MAX_INVITE_BYTES},
};

/// What a token begins with: a word to recognise it by, and its version.
pub const TOKEN_PREFIX: &str = "shoal1_";

/// What tokens of every version begin with.
const ANY_PREFIX: &str = "shoal";

const LENGTH_BYTES: usize = 2;
const CRC_BYTES: usize = 4;

/// Both envelopes at their limits, and the fields around them.
const MAX_CHAIN_BYTES: usize =
    MAX_INVITE_BYTES + MAX_CERTIFICATE_BYTES + 2 * MAX_ENVELOPE_OVERHEAD_BYTES + 16;

/// A chain's bytes as base64url with the prefix, twice over: room for spaces and line breaks.
const MAX_TEXT_BYTES: usize = 2 * (TOKEN_PREFIX.len() + MAX_CHAIN_BYTES.div_ceil(3) * 4 + 8);

/// An invite with what entitles its author; only its form was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinToken(pub Chain<wire::Invite>);

/// Why a text is no join token: one line that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Nothing, or spaces only.
    #[error("the join token is empty; paste the whole line that `shoal swarm invite` printed")]
    Empty,
    /// Something else.
    #[error(
        "this is no join token: one begins with {TOKEN_PREFIX}; paste the whole line that `shoal swarm invite` printed"
    )]
    NoToken,
    /// Of a later version.
    #[error("this join token was made by a newer shoal; update this one, or ask for another token")]
    Newer,
    /// Longer than any token.
    #[error("this is too long for a join token; paste one token only")]
    TooLong,
    /// Its end is missing: about that many characters.
    #[error(
        "the join token is cut short: about {0} characters are missing at its end; copy the whole line again"
    )]
    Cut(usize),
    /// There is more after its end.
    #[error("there is something after the join token's end; paste one token only")]
    Trailing,
    /// A character is wrong.
    #[error("the join token is mistyped; copy and paste it instead of typing it")]
    Mistyped,
    /// It arrived as it was made, and holds no invite.
    #[error("the join token holds no usable invite; ask for another one")]
    Contents(#[source] ChainDecodeError),
}

/// Why a token's invite does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// The invite cannot be read at all.
    #[error("the invite cannot be read; ask for another one")]
    Unreadable,
    /// It makes no sense.
    #[error("the invite makes no sense; ask for another one")]
    Content(#[source] MembershipError),
    /// It does not hold.
    #[error(transparent)]
    Chain(ChainError),
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = self.0.encode().encode_to_vec();
        let length = u16::try_from(chain.len()).expect("MAX_CHAIN_BYTES fits 16 bits");
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend(chain);
        bytes.extend(crc32(&bytes).to_be_bytes());
        write!(f, "{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    /// Spaces and line breaks anywhere are passed over: a mail or a terminal puts them in.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(TokenError::TooLong);
        }
        let text: String = text.split_ascii_whitespace().collect();
        let bytes = decode_text(body(&text)?)?;
        let chain = checked_chain(&bytes)?;
        let malformed = |_| TokenError::Contents(ChainDecodeError::Missing);
        let chain = wire::Chain::decode(chain).map_err(malformed)?;
        Chain::decode(&chain)
            .map(Self)
            .map_err(TokenError::Contents)
    }
}

/// What stands after the prefix.
fn body(text: &str) -> Result<&str, TokenError> {
    if text.is_empty() {
        return Err(TokenError::Empty);
    }
    if let Some(body) = text.strip_prefix(TOKEN_PREFIX) {
        return Ok(body);
    }
    let version = text
        .strip_prefix(ANY_PREFIX)
        .and_then(|rest| rest.split_once('_'))
        .and_then(|(version, _)| version.parse::<u32>().ok());
    match version {
        Some(2..) => Err(TokenError::Newer),
        _ if TOKEN_PREFIX.starts_with(text) => Err(TokenError::Cut(1)),
        _ => Err(TokenError::NoToken),
    }
}

/// As many whole bytes as the text gives: a cut one may end in mid-byte.
fn decode_text(body: &str) -> Result<Vec<u8>, TokenError> {
    let is_digit = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    if !body.bytes().all(is_digit) {
        return Err(TokenError::Mistyped);
    }
    URL_SAFE_NO_PAD.decode(body).or_else(|_| {
        // One digit too many for whole bytes, or bits left over in the last one.
        let whole = &body[..body.len() / 4 * 4];
        URL_SAFE_NO_PAD
            .decode(whole)
            .map_err(|_| TokenError::Mistyped)
    })
}

/// The chain's bytes, when they are all there and as they were made.
fn checked_chain(bytes: &[u8]) -> Result<&[u8], TokenError> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(TokenError::Cut(1));
    };
    let length = usize::from(u16::from_be_bytes(*length));
    if length > MAX_CHAIN_BYTES {
        return Err(TokenError::Mistyped);
    }
    let missing = (length + CRC_BYTES).saturating_sub(rest.len());
    if missing > 0 {
        return Err(TokenError::Cut(missing.div_ceil(3) * 4));
    }
    if rest.len() > length + CRC_BYTES {
        return Err(TokenError::Trailing);
    }
    let (covered, crc) = bytes.split_at(LENGTH_BYTES + length);
    if crc != crc32(covered).to_be_bytes() {
        return Err(TokenError::Mistyped);
    }
    Ok(&rest[..length])
}

/// CRC-32 of IEEE 802.3: finds every burst of up to 32 wrong bits. Bit by bit: a token is short.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
    let byte = |crc: u32, &byte: &u8| (0..8).fold(crc ^ u32::from(byte), step);
    !bytes.iter().fold(!0, byte)
}

impl JoinToken {
    /// Whether the invite holds now in the swarm that it names itself. Holding it is the reason
    /// to trust that swarm: there is nothing else to check it against.
    ///
    /// # Errors
    /// Every [`InviteError`].
    pub fn verify(&self, now: UnixMillis) -> Result<Issued<Invite>, InviteError> {
        let claimed = self.0.statement.claimed_payload();
        let claimed = claimed.map_err(|_| InviteError::Unreadable)?;
        let invite = claimed.check().map_err(InviteError::Content)?;
        self.0
            .verify(&invite.swarm, now)
            .map_err(InviteError::Chain)
    }
}

#[cfg(test)]
mod tests;
