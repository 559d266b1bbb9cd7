//! How members keep one another's lists of revocations new: what each has, and the lists.
//!
//! Nothing is believed here: a list counts once a roster took it, and a head only says what may
//! be worth asking for.

use std::collections::BTreeMap;

use prost::Message;

use super::{Chain, ChainDecodeError, Statement as _, wire};
use crate::{
    digest::digest,
    ids::{NodeId, NodeIdError, Sequence},
    limits::{MAX_REVOCATION_LISTS, MAX_REVOCATIONS_REPLY_BYTES, MAX_REVOCATIONS_REQUEST_BYTES},
};

/// SHA-256.
pub const LIST_DIGEST_BYTES: usize = 32;

const DIGEST_LABEL: &str = "shoal/revocations-digest/1";

/// Which list of an author a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListHead {
    /// How new it is.
    pub sequence: Sequence,
    /// Tells apart two lists with one sequence.
    pub digest: [u8; LIST_DIGEST_BYTES],
}

/// What a node has, by author: at most [`MAX_REVOCATION_LISTS`].
pub type Heads = BTreeMap<NodeId, ListHead>;

/// "This is what I have; give me what is newer."
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RevocationsRequest {
    /// What the sender has.
    pub heads: Heads,
}

/// "Here is what is newer, and this is what I have."
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RevocationsReply {
    /// What the sender has.
    pub heads: Heads,
    /// At most [`MAX_REVOCATION_LISTS`], not checked yet.
    pub lists: Vec<Chain<wire::Revocations>>,
}

/// Why bytes are no message of the exchange.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationsMessageError {
    /// Over the limit; nothing was decoded.
    #[error("a message about revocations of {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes that came.
        bytes: usize,
        /// The message's limit.
        limit: usize,
    },
    /// Not the protobuf encoding of the message.
    #[error("the message about revocations cannot be decoded")]
    Malformed(#[source] prost::DecodeError),
    /// More heads or lists than there are.
    #[error("{0} lists of revocations, the limit is {MAX_REVOCATION_LISTS}")]
    TooMany(usize),
    /// An author's key is none.
    #[error("the key of a list's author is unusable")]
    Author(#[source] NodeIdError),
    /// Heads out of order, or an author twice.
    #[error("heads of revocations that are out of order")]
    Order,
    /// A digest of another length.
    #[error("a list's digest has {LIST_DIGEST_BYTES} bytes, not {0}")]
    Digest(usize),
    /// A list is missing or unreadable.
    #[error("a list of revocations is missing or unreadable")]
    List(#[source] ChainDecodeError),
}

impl ListHead {
    /// The head of a list that a roster holds; `None` for one that makes no sense.
    pub fn of(sequence: Sequence, list: &Chain<wire::Revocations>) -> Option<Self> {
        let claimed = list.statement.claimed_payload().ok()?;
        let mut said = Vec::new();
        for (peer, revoked) in claimed.check().ok()?.revoked {
            said.extend_from_slice(peer.as_bytes());
            said.extend_from_slice(&revoked.0.to_be_bytes());
        }
        Some(Self {
            sequence,
            digest: digest(DIGEST_LABEL, &[&said]),
        })
    }

    /// Whether this one is worth asking for by a node that has `held`. Of two lists with one
    /// sequence a roster chooses.
    pub fn is_news_to(&self, held: Option<&Self>) -> bool {
        held.is_none_or(|held| {
            self.sequence > held.sequence
                || (self.sequence == held.sequence && self.digest != held.digest)
        })
    }
}

impl RevocationsRequest {
    /// Reads a peer's message.
    ///
    /// # Errors
    /// Every [`RevocationsMessageError`] but [`RevocationsMessageError::List`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RevocationsMessageError> {
        check_size(bytes, MAX_REVOCATIONS_REQUEST_BYTES)?;
        let request =
            wire::RevocationsRequest::decode(bytes).map_err(RevocationsMessageError::Malformed)?;
        let heads = read_heads(&request.heads)?;
        Ok(Self { heads })
    }

    /// The message as it travels.
    pub fn encode(&self) -> Vec<u8> {
        let heads = write_heads(&self.heads);
        wire::RevocationsRequest { heads }.encode_to_vec()
    }
}

impl RevocationsReply {
    /// Reads a peer's message.
    ///
    /// # Errors
    /// Every [`RevocationsMessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RevocationsMessageError> {
        check_size(bytes, MAX_REVOCATIONS_REPLY_BYTES)?;
        let reply =
            wire::RevocationsReply::decode(bytes).map_err(RevocationsMessageError::Malformed)?;
        check_count(reply.lists.len())?;
        let lists = reply.lists.iter().map(Chain::decode);
        Ok(Self {
            heads: read_heads(&reply.heads)?,
            lists: lists
                .collect::<Result<_, _>>()
                .map_err(RevocationsMessageError::List)?,
        })
    }

    /// The message as it travels.
    pub fn encode(&self) -> Vec<u8> {
        let reply = wire::RevocationsReply {
            heads: write_heads(&self.heads),
            lists: self.lists.iter().map(Chain::encode).collect(),
        };
        reply.encode_to_vec()
    }
}

fn check_size(bytes: &[u8], limit: usize) -> Result<(), RevocationsMessageError> {
    let bytes = bytes.len();
    if bytes > limit {
        return Err(RevocationsMessageError::TooLarge { bytes, limit });
    }
    Ok(())
}

fn check_count(count: usize) -> Result<(), RevocationsMessageError> {
    if count > MAX_REVOCATION_LISTS {
        return Err(RevocationsMessageError::TooMany(count));
    }
    Ok(())
}

fn read_heads(heads: &[wire::RevocationsHead]) -> Result<Heads, RevocationsMessageError> {
    check_count(heads.len())?;
    if !heads.is_sorted_by(|a, b| a.author < b.author) {
        return Err(RevocationsMessageError::Order);
    }
    heads.iter().map(read_head).collect()
}

fn read_head(head: &wire::RevocationsHead) -> Result<(NodeId, ListHead), RevocationsMessageError> {
    let author = NodeId::from_bytes(&head.author).map_err(RevocationsMessageError::Author)?;
    let digest = head.digest.as_slice().try_into();
    let digest = digest.map_err(|_| RevocationsMessageError::Digest(head.digest.len()))?;
    let sequence = Sequence(head.sequence);
    Ok((author, ListHead { sequence, digest }))
}

fn write_heads(heads: &Heads) -> Vec<wire::RevocationsHead> {
    let head = |(author, head): (&NodeId, &ListHead)| wire::RevocationsHead {
        author: author.as_bytes().to_vec(),
        sequence: head.sequence.0,
        digest: head.digest.to_vec(),
    };
    heads.iter().map(head).collect()
}

#[cfg(test)]
mod tests;
