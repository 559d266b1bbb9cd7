//! The messages of `/boards/1`, checked.

use bytes::Bytes;
use prost::Message;

use super::wire;
pub use super::wire::RefusalCode;
use crate::{
    board::{BoardName, NoteId},
    ids::UnixMillis,
    limits::{
        MAX_ATTACHMENT_BYTES, MAX_BOARDS_MESSAGE_BYTES, MAX_ENTRY_BYTES, MAX_LISTED_NOTES,
        MAX_ROUND_BYTES,
    },
};

/// Bytes of an id.
const ID_BYTES: usize = 32;

/// What is asked of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoardsRequest {
    /// To reconcile a board's entries that were written at this time or later.
    Open(BoardName, UnixMillis),
    /// A message of set reconciliation, at most [`MAX_ROUND_BYTES`].
    Round(Bytes),
    /// Entries, at least one and at most [`MAX_LISTED_NOTES`].
    Want(Vec<NoteId>),
    /// Which of these it takes; as many.
    Offer(Vec<NoteId>),
    /// Entries that it takes, each at most [`MAX_ENTRY_BYTES`].
    Give(Vec<Bytes>),
    /// The attachment with this BLAKE3 digest.
    Attachment([u8; 32]),
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoardsReply {
    /// Both keep what was written at this time or later.
    Opened(UnixMillis),
    /// A message of set reconciliation, at most [`MAX_ROUND_BYTES`].
    Round(Bytes),
    /// Those of the first `answered` wanted entries that are there.
    Entries {
        /// How many of the wanted this answers; at least one.
        answered: usize,
        /// Each at most [`MAX_ENTRY_BYTES`], and no more than that many.
        entries: Vec<Bytes>,
    },
    /// Those of the offered that it takes.
    Lacking(Vec<NoteId>),
    /// It has looked at what was given.
    Taken,
    /// An attachment's bytes, at most [`MAX_ATTACHMENT_BYTES`].
    Attachment(Bytes),
    /// It gives nothing; `Unspecified` for a reason that this version does not know.
    Refused(RefusalCode),
}

/// Why bytes are no such message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BoardsMessageError {
    /// Over the limit; nothing was decoded.
    #[error("a message about a board of {0} bytes, the limit is {MAX_BOARDS_MESSAGE_BYTES}")]
    TooLarge(usize),
    /// Not the protobuf encoding of the message.
    #[error("the message about a board cannot be decoded")]
    Malformed(#[source] prost::DecodeError),
    /// Nothing that this version knows.
    #[error("an empty message about a board")]
    Empty,
    /// No board has this name.
    #[error("no board has this name")]
    Board,
    /// A list of ids that is none, empty, or over [`MAX_LISTED_NOTES`].
    #[error("a list of ids that cannot be")]
    Ids,
    /// Bytes over the limit of what they are, or more of them than were asked for.
    #[error("more bytes than such a part has")]
    Part,
    /// A digest of another length.
    #[error("no digest of an attachment")]
    Digest,
}

type Error = BoardsMessageError;

impl BoardsRequest {
    /// Reads a peer's message.
    ///
    /// # Errors
    /// See [`BoardsMessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        use wire::boards_request::Request as R;
        check_size(bytes)?;
        let message = wire::BoardsRequest::decode(bytes).map_err(Error::Malformed)?;
        Ok(match message.request.ok_or(Error::Empty)? {
            R::Open(open) => {
                let board = open.board.parse().map_err(|_| Error::Board)?;
                Self::Open(board, UnixMillis(open.since_unix_millis))
            }
            R::Round(round) => Self::Round(part(round.message, MAX_ROUND_BYTES)?),
            R::Want(want) => Self::Want(some_ids(&want.ids)?),
            R::Offer(offer) => Self::Offer(some_ids(&offer.ids)?),
            R::Give(give) => Self::Give(entries(give.entries, MAX_LISTED_NOTES)?),
            R::Attachment(attachment) => {
                let digest = attachment.digest.try_into();
                Self::Attachment(digest.map_err(|_| Error::Digest)?)
            }
        })
    }

    /// The message as it travels.
    pub fn encode(&self) -> Vec<u8> {
        use wire::boards_request::Request as R;
        let request = match self {
            Self::Open(board, since) => R::Open(wire::Open {
                board: board.to_string(),
                since_unix_millis: since.0,
            }),
            Self::Round(message) => R::Round(round(message)),
            Self::Want(ids) => R::Want(wire::Want { ids: joined(ids) }),
            Self::Offer(ids) => R::Offer(wire::Offer { ids: joined(ids) }),
            Self::Give(entries) => R::Give(wire::Give {
                entries: copied(entries),
            }),
            Self::Attachment(digest) => R::Attachment(wire::AttachmentRequest {
                digest: digest.to_vec(),
            }),
        };
        let request = Some(request);
        wire::BoardsRequest { request }.encode_to_vec()
    }
}

impl BoardsReply {
    /// Reads a peer's message.
    ///
    /// # Errors
    /// See [`BoardsMessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        use wire::boards_reply::Reply as R;
        check_size(bytes)?;
        let message = wire::BoardsReply::decode(bytes).map_err(Error::Malformed)?;
        Ok(match message.reply.ok_or(Error::Empty)? {
            R::Opened(opened) => Self::Opened(UnixMillis(opened.since_unix_millis)),
            R::Round(round) => Self::Round(part(round.message, MAX_ROUND_BYTES)?),
            R::Entries(reply) => {
                let answered = usize::try_from(reply.answered).unwrap_or(usize::MAX);
                if !(1..=MAX_LISTED_NOTES).contains(&answered) {
                    return Err(Error::Ids);
                }
                let entries = entries(reply.entries, answered)?;
                Self::Entries { answered, entries }
            }
            R::Lacking(lacking) => Self::Lacking(ids(&lacking.ids)?),
            R::Taken(_) => Self::Taken,
            R::Attachment(attachment) => {
                Self::Attachment(part(attachment.bytes, MAX_ATTACHMENT_BYTES as usize)?)
            }
            R::Refused(refused) => Self::Refused(refused.code()),
        })
    }

    /// The message as it travels.
    pub fn encode(&self) -> Vec<u8> {
        use wire::boards_reply::Reply as R;
        let reply = match self {
            Self::Opened(since) => R::Opened(wire::Opened {
                since_unix_millis: since.0,
            }),
            Self::Round(message) => R::Round(round(message)),
            Self::Entries { answered, entries } => R::Entries(wire::Entries {
                answered: u32::try_from(*answered).unwrap_or(u32::MAX),
                entries: copied(entries),
            }),
            Self::Lacking(ids) => R::Lacking(wire::Lacking { ids: joined(ids) }),
            Self::Taken => R::Taken(wire::Taken {}),
            Self::Attachment(bytes) => R::Attachment(wire::Attachment {
                bytes: bytes.to_vec(),
            }),
            Self::Refused(code) => R::Refused(wire::Refused {
                code: (*code).into(),
            }),
        };
        wire::BoardsReply { reply: Some(reply) }.encode_to_vec()
    }
}

fn check_size(bytes: &[u8]) -> Result<(), Error> {
    let fits = bytes.len() <= MAX_BOARDS_MESSAGE_BYTES;
    fits.then_some(()).ok_or(Error::TooLarge(bytes.len()))
}

fn part(bytes: Vec<u8>, limit: usize) -> Result<Bytes, Error> {
    let fits = bytes.len() <= limit;
    fits.then(|| bytes.into()).ok_or(Error::Part)
}

fn entries(entries: Vec<Vec<u8>>, most: usize) -> Result<Vec<Bytes>, Error> {
    if entries.len() > most {
        return Err(Error::Part);
    }
    let parts = entries.into_iter();
    parts.map(|entry| part(entry, MAX_ENTRY_BYTES)).collect()
}

fn ids(bytes: &[u8]) -> Result<Vec<NoteId>, Error> {
    let (ids, []) = bytes.as_chunks::<ID_BYTES>() else {
        return Err(Error::Ids);
    };
    if ids.len() > MAX_LISTED_NOTES {
        return Err(Error::Ids);
    }
    let ids = ids.iter().map(|id| NoteId::from_bytes(id));
    ids.collect::<Result<_, _>>().map_err(|_| Error::Ids)
}

fn some_ids(bytes: &[u8]) -> Result<Vec<NoteId>, Error> {
    let ids = ids(bytes)?;
    (!ids.is_empty()).then_some(ids).ok_or(Error::Ids)
}

fn joined(ids: &[NoteId]) -> Vec<u8> {
    ids.iter().flat_map(|id| *id.as_bytes()).collect()
}

fn copied(entries: &[Bytes]) -> Vec<Vec<u8>> {
    entries.iter().map(|entry| entry.to_vec()).collect()
}

fn round(message: &Bytes) -> wire::Round {
    wire::Round {
        message: message.to_vec(),
    }
}
