//! The receiving end: one task for a stream that a peer opened.
//!
//! It takes frames off, asks the registry whose they are, and gives credit back as they are taken.
//! What may come is decided by [`Receiving`] and the registry. It always reads: credit bounds what
//! is held, so a channel that stands still holds up no other.

use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};
use protocol::{
    ChannelId, NodeId,
    chain::{CloseCode, StageFrame, stage_cost},
};

use super::{
    error::{LinkEnded, LinkViolation},
    pipe::Pipe,
    registry::{Claim, Delivery, Received, Registry, Since, Tab},
};
use crate::core::channels::{Arrival, Receiving};

/// Closed channels that the peer is yet to be told of before no more is read: whoever does not take
/// them is stalled.
const MOST_CLOSES: usize = 256;

/// The task's state.
pub(super) struct Inlet<IO, F> {
    peer: NodeId,
    pipe: Pipe<IO>,
    registry: Arc<Registry>,
    tab: Arc<Tab>,
    channels: Channels,
    on_offence: F,
}

/// What comes, and what is said of it.
#[derive(Default)]
struct Channels {
    receiving: Receiving,
    claims: BTreeMap<ChannelId, Claim>,
    credits: BTreeMap<ChannelId, u32>,
    closes: VecDeque<(ChannelId, CloseCode)>,
}

enum Event {
    Since(Since),
    Frame(StageFrame),
    Ended(LinkEnded),
}

impl<IO, F> Inlet<IO, F>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    F: FnMut(),
{
    /// `on_offence` is called for each frame on a channel that the peer has no part in.
    pub(super) fn new(peer: NodeId, io: IO, registry: Arc<Registry>, on_offence: F) -> Self {
        Self {
            peer,
            pipe: Pipe::new(io),
            registry,
            tab: Arc::default(),
            channels: Channels::default(),
            on_offence,
        }
    }

    /// Receives until the stream is over, or `stop`; why.
    pub(super) async fn run(mut self, stop: impl Future<Output = LinkEnded>) -> LinkEnded {
        let ended = tokio::select! {
            biased;
            ended = stop => ended,
            ended = self.receive() => ended,
        };
        for (channel, claim) in std::mem::take(&mut self.channels.claims) {
            self.registry.end(channel, &self.tab);
            claim.end(ended);
        }
        ended
    }

    async fn receive(&mut self) -> LinkEnded {
        loop {
            let applied = match poll_fn(|cx| self.poll_event(cx)).await {
                Event::Since(since) => {
                    self.channels.on_since(since);
                    Ok(())
                }
                Event::Frame(frame) => self.on_frame(frame),
                Event::Ended(ended) => Err(ended),
            };
            if let Err(ended) = applied {
                return ended;
            }
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(since) = self.tab.poll(cx) {
            return Poll::Ready(Event::Since(since));
        }
        let channels = &mut self.channels;
        if let Poll::Ready(Err(ended)) = self.pipe.poll_send(cx, || channels.next()) {
            return Poll::Ready(Event::Ended(ended));
        }
        if self.channels.closes.len() >= MOST_CLOSES {
            return Poll::Pending;
        }
        let frame = self.pipe.poll_frame(cx);
        frame.map(|frame| frame.map_or_else(Event::Ended, Event::Frame))
    }

    fn on_frame(&mut self, frame: StageFrame) -> Result<(), LinkEnded> {
        match frame {
            StageFrame::Payload {
                channel,
                kind,
                payload,
            } => self.on_payload(channel, Received { kind, payload }),
            StageFrame::Closed { channel, code } => {
                self.channels.receiving.on_closed(channel);
                self.end_channel(channel, LinkEnded::Closed(code));
                Ok(())
            }
            StageFrame::Credit { .. } => Err(LinkViolation::Direction.into()),
        }
    }

    fn on_payload(&mut self, channel: ChannelId, received: Received) -> Result<(), LinkEnded> {
        let cost = stage_cost(received.payload.len());
        let mut arrival = self.channels.receiving.on_frame(channel, cost)?;
        if arrival == Arrival::Unknown {
            self.begin(channel);
            arrival = self.channels.receiving.on_frame(channel, cost)?;
        }
        if arrival != Arrival::Expected {
            return Ok(());
        }
        if let Some(claim) = self.channels.claims.get(&channel) {
            let tab = self.tab.clone();
            // A receiver that is dropped says so by the tab.
            claim.deliver(Delivery {
                received,
                cost,
                tab,
            });
        }
        Ok(())
    }

    /// The first frame on a channel: it is somebody's, or refused.
    fn begin(&mut self, channel: ChannelId) {
        let channels = &mut self.channels;
        let code = match self.registry.claim(channel, self.peer, &self.tab) {
            Ok(claim) if channels.receiving.open(channel).is_ok() => {
                channels.claims.insert(channel, claim);
                return;
            }
            Ok(claim) => {
                self.registry.end(channel, &self.tab);
                claim.end(LinkEnded::Closed(CloseCode::TooMany));
                CloseCode::TooMany
            }
            Err(code) => code,
        };
        if code == CloseCode::Unknown {
            (self.on_offence)();
        }
        channels.receiving.refuse(channel);
        channels.closes.push_back((channel, code));
    }

    fn end_channel(&mut self, channel: ChannelId, ended: LinkEnded) {
        self.channels.credits.remove(&channel);
        if let Some(claim) = self.channels.claims.remove(&channel) {
            self.registry.end(channel, &self.tab);
            claim.end(ended);
        }
    }
}

impl Channels {
    fn on_since(&mut self, since: Since) {
        for (channel, cost) in since.taken {
            if let Some(bytes) = self.receiving.on_taken(channel, cost) {
                *self.credits.entry(channel).or_default() += bytes;
            }
        }
        for channel in since.dropped {
            self.credits.remove(&channel);
            self.claims.remove(&channel);
            if self.receiving.close(channel) {
                self.closes.push_back((channel, CloseCode::Done));
            }
        }
    }

    /// The next frame to be written.
    fn next(&mut self) -> Option<StageFrame> {
        if let Some((channel, code)) = self.closes.pop_front() {
            return Some(StageFrame::Closed { channel, code });
        }
        let (channel, bytes) = self.credits.pop_first()?;
        Some(StageFrame::Credit { channel, bytes })
    }
}

#[cfg(test)]
mod tests;
