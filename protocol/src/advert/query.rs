//! Asking for the adverts of given peers, and the answer.
//!
//! Who may ask how often, and whether an answer's adverts are those asked for, is not known here.

use super::wire::{Advert, AdvertQuery, AdvertReply};
use crate::{
    envelope::{EnvelopeError, Signed},
    generate::Bounded,
    ids::{NodeId, NodeIdError},
    limits::{MAX_ADVERT_QUERY, MAX_ADVERT_QUERY_BYTES, MAX_ADVERT_REPLY_BYTES},
};

/// Why a query is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// More ids than one query may have.
    #[error("a query for {0} adverts, the limit is {MAX_ADVERT_QUERY}")]
    TooMany(usize),
    /// An id that is none.
    #[error("a query for no node: {0}")]
    Node(#[from] NodeIdError),
}

/// Why a reply is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// More adverts than any query asks for.
    #[error("a reply of {0} adverts, the limit is {MAX_ADVERT_QUERY}")]
    TooMany(usize),
    /// An entry that is no envelope of an advert.
    #[error("a reply with something else than adverts: {0}")]
    Envelope(#[from] EnvelopeError),
}

impl Bounded for AdvertQuery {
    const MAX_BYTES: usize = MAX_ADVERT_QUERY_BYTES;
}

impl Bounded for AdvertReply {
    const MAX_BYTES: usize = MAX_ADVERT_REPLY_BYTES;
}

impl AdvertQuery {
    /// Asks for the first [`MAX_ADVERT_QUERY`] of the nodes.
    pub fn of(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        let bytes = |node: NodeId| node.as_bytes().to_vec();
        let node_ids = nodes.into_iter().take(MAX_ADVERT_QUERY).map(bytes);
        Self {
            node_ids: node_ids.collect(),
        }
    }

    /// Whose adverts are asked for.
    ///
    /// # Errors
    /// Every [`QueryError`].
    pub fn nodes(&self) -> Result<Vec<NodeId>, QueryError> {
        if self.node_ids.len() > MAX_ADVERT_QUERY {
            return Err(QueryError::TooMany(self.node_ids.len()));
        }
        let nodes = self.node_ids.iter().map(|bytes| NodeId::from_bytes(bytes));
        Ok(nodes.collect::<Result<_, _>>()?)
    }
}

impl AdvertReply {
    /// Answers with the first [`MAX_ADVERT_QUERY`] of the adverts.
    pub fn of<'a>(adverts: impl IntoIterator<Item = &'a Signed<Advert>>) -> Self {
        let envelopes = adverts.into_iter().take(MAX_ADVERT_QUERY);
        Self {
            envelopes: envelopes.map(Signed::encode).collect(),
        }
    }

    /// The adverts, none of them checked yet.
    ///
    /// # Errors
    /// Every [`ReplyError`].
    pub fn adverts(&self) -> Result<Vec<Signed<Advert>>, ReplyError> {
        if self.envelopes.len() > MAX_ADVERT_QUERY {
            return Err(ReplyError::TooMany(self.envelopes.len()));
        }
        let adverts = self.envelopes.iter().map(|bytes| Signed::decode(bytes));
        Ok(adverts.collect::<Result<_, _>>()?)
    }
}
