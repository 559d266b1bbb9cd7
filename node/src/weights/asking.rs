//! One ask of a fetch: takes the bytes, cuts them into chunks, and has each checked and written before
//! it is said to be there. It holds one chunk in memory.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use protocol::ManifestId;
use protocol::weights::Layout;
use tokio::sync::mpsc;

use super::Received;
use super::giver::{Giver, Incoming};
use super::slice::Writer;
use crate::core::fetch::{AskId, End, Input};
use crate::models::blocking;

/// What the tasks of a fetch tell it.
pub(super) enum Event {
    /// For the core.
    Input(Input),
    /// The disk failed: nothing goes on.
    Disk(io::Error),
}

/// One ask.
pub(super) struct Asking {
    pub(super) id: ManifestId,
    pub(super) ask: AskId,
    pub(super) giver: Arc<dyn Giver>,
    pub(super) chunks: Range<u32>,
    /// Where it ends by now.
    pub(super) end: Arc<AtomicU32>,
    pub(super) layout: Arc<Layout>,
    pub(super) writer: Arc<Writer>,
    pub(super) received: Received,
    pub(super) events: mpsc::Sender<Event>,
}

/// Why an ask is over before its end.
enum Stop {
    End(End),
    Corrupt(u32),
    Disk(io::Error),
}

impl Asking {
    pub(super) async fn run(self) {
        let ask = self.ask;
        let event = match self.take().await {
            Ok(()) => Event::Input(Input::Ended {
                ask,
                end: End::Whole,
            }),
            Err(Stop::End(end)) => Event::Input(Input::Ended { ask, end }),
            Err(Stop::Corrupt(chunk)) => Event::Input(Input::Corrupt { ask, chunk }),
            Err(Stop::Disk(error)) => Event::Disk(error),
        };
        // A fetch that is over needs to hear nothing.
        let _ = self.events.send(event).await;
    }

    async fn take(&self) -> Result<(), Stop> {
        let span = self.layout.span_of(self.chunks.clone());
        let span = span.ok_or(Stop::End(End::Broken))?;
        let incoming = self.giver.range(self.id, span).await;
        let mut incoming = incoming.map_err(|error| Stop::End(error.0))?;
        let mut buffer = BytesMut::new();
        for chunk in self.chunks.clone() {
            if chunk >= self.end.load(Ordering::Relaxed) {
                return Ok(());
            }
            let bytes = self.next(chunk, &mut incoming, &mut buffer).await?;
            self.put(chunk, bytes).await?;
        }
        // The giver's last word, so that it sees an end and no break.
        let _ = incoming.next().await;
        Ok(())
    }

    async fn next(
        &self,
        chunk: u32,
        incoming: &mut Incoming,
        buffer: &mut BytesMut,
    ) -> Result<Bytes, Stop> {
        let length = self.layout.span(chunk).map_or(0, |span| span.length);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        while buffer.len() < length {
            match incoming.next().await {
                Some(Ok(piece)) => {
                    self.received.add(piece.len());
                    buffer.extend_from_slice(&piece);
                }
                Some(Err(error)) => return Err(Stop::End(error.0)),
                None => return Err(Stop::End(End::Broken)),
            }
        }
        Ok(buffer.split_to(length).freeze())
    }

    async fn put(&self, chunk: u32, bytes: Bytes) -> Result<(), Stop> {
        let writer = Arc::clone(&self.writer);
        let put = blocking(move || writer.put(chunk, &bytes)).await;
        if !put.map_err(Stop::Disk)? {
            return Err(Stop::Corrupt(chunk));
        }
        let ask = self.ask;
        let event = Event::Input(Input::Verified { ask, chunk });
        let _ = self.events.send(event).await;
        Ok(())
    }
}
