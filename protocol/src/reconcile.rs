//! What two peers that follow a board say to each other: which entries either lacks, the entries
//! themselves, and attachments.
//!
//! It knows neither what an entry says nor who keeps it; the messages of set reconciliation are
//! bytes here.

mod message;

pub use message::{BoardsMessageError, BoardsReply, BoardsRequest, RefusalCode};

mod wire {
    #![allow(
        missing_docs,
        reason = "generated; documented in proto/reconcile.proto"
    )]
    #![allow(
        unreachable_pub,
        reason = "generated; the messages outside are checked ones"
    )]
    include!(concat!(env!("OUT_DIR"), "/shoal.reconcile.v1.rs"));
}

#[cfg(test)]
mod tests;
