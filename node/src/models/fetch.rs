//! What a download needs of the network: one ranged GET at a time, as a head and a stream of
//! bytes. The hub's client implements it; tests of the download implement it without a network.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use reqwest::Url;

use super::core::transfer::{Head, Trouble};

/// One ranged GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Of what.
    pub url: Url,
    /// The first byte wanted.
    pub from: u64,
    /// The byte after the last one wanted; `None`: all the rest.
    pub until: Option<u64>,
    /// Send the range only if the file still has this tag.
    pub if_range: Option<String>,
}

/// The answer to a GET.
pub struct Answer {
    /// Status and headers.
    pub head: Head,
    /// The body.
    pub body: BoxStream<'static, Result<Bytes, Trouble>>,
}

/// A source of files.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// Asks, and answers when the head is there. Every status is an answer; a connection that
    /// cannot be made or breaks is [`Trouble`].
    async fn open(&self, ask: &Ask) -> Result<Answer, Trouble>;

    /// How long no byte may come before an answer counts as stalled.
    fn stall(&self) -> Duration;
}
