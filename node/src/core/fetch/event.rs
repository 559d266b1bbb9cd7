//! What a fetch hears and what it wants done. Plain data.

use std::ops::Range;
use std::time::Duration;

use protocol::NodeId;
use protocol::weights::ChunkSet;

/// Where chunks come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Another peer.
    Peer(NodeId),
    /// The hub that the model's files are published at.
    Hub,
}

/// What a source has.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// Its chunks.
    pub held: ChunkSet,
    /// A guess of how fast one ask of it is, bytes a second.
    pub bytes_per_second: Option<f64>,
}

/// A request to a source; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AskId(pub u64);

/// How an ask ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All its chunks came.
    Whole,
    /// The source does not hold them.
    NotHeld,
    /// The source wants to be asked later.
    Busy(Option<Duration>),
    /// The source gives us nothing.
    Refused,
    /// The way to it broke, or it ended too early.
    Broken,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A source is there, or what it holds has changed.
    Found {
        /// Which.
        source: Source,
        /// What it has.
        offer: Offer,
    },
    /// A source is there no longer.
    Gone(Source),
    /// An ask's next chunk came, is right, and is written.
    Verified {
        /// The ask.
        ask: AskId,
        /// The chunk.
        chunk: u32,
    },
    /// An ask's next chunk came and is wrong.
    Corrupt {
        /// The ask.
        ask: AskId,
        /// The chunk.
        chunk: u32,
    },
    /// An ask is over. Not said of one that was cancelled.
    Ended {
        /// The ask.
        ask: AskId,
        /// How.
        end: End,
    },
    /// The deadline that was named has come.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Ask for chunks that follow each other in one file.
    Ask {
        /// Its id.
        ask: AskId,
        /// Whom.
        source: Source,
        /// What.
        chunks: Range<u32>,
    },
    /// Let an ask end before this chunk: the rest is asked of another.
    Shorten {
        /// The ask.
        ask: AskId,
        /// Its new end.
        end: u32,
    },
    /// Drop an ask.
    Cancel(AskId),
    /// Remember, beyond this fetch, that a source sent wrong bytes.
    Distrust(Source),
    /// Everything is there.
    Finished,
    /// It is over.
    Failed(Failure),
}

/// Why a fetch is over. What came so far stays, for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// No source holds what is missing.
    #[error("nobody who can be reached holds the rest of the model")]
    NoSource,
    /// Sources hold it, and nothing came.
    #[error("nothing of the model came any more")]
    Stalled,
    /// Too many bytes came in vain.
    #[error("too much of what came was wrong or broken off")]
    Waste,
}
