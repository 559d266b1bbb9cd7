//! The sending end: one task for the stream to one peer, which it opens first.
//!
//! Orders come from [`StageSender`](super::StageSender)s; what leaves when is decided by
//! [`Sending`]. It ends with the stream, or some time after its last channel.

use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{AsyncRead, AsyncWrite};
use protocol::{
    ChannelId,
    chain::{CloseCode, StageFrame, StageKind, stage_cost},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    Outward,
    error::{LinkEnded, LinkViolation, OpenLinkError, SendError},
    pipe::{Pipe, Timer},
};
use crate::core::channels::{PushError, Sending};

/// How long a stream without channels is kept: a chain that is planned anew finds it again.
const LINGER: Duration = Duration::from_secs(30);

type Done = oneshot::Sender<Result<(), SendError>>;
type Opened = oneshot::Sender<Result<(), OpenLinkError>>;

/// A payload, and who waits for it to leave.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) kind: StageKind,
    pub(super) payload: Bytes,
    pub(super) done: Done,
}

/// What a sender wants.
#[derive(Debug)]
pub(super) enum Order {
    /// A channel.
    Open {
        channel: ChannelId,
        shared: Arc<Outward>,
        opened: Opened,
    },
    /// A payload on it.
    Send { channel: ChannelId, frame: Outgoing },
    /// No channel any more, if it is still this one.
    Close {
        channel: ChannelId,
        shared: Arc<Outward>,
    },
}

/// The task's state.
pub(super) struct Outlet<IO> {
    pipe: Pipe<IO>,
    queues: Queues,
    linger: Timer,
}

/// What is to be written.
#[derive(Default)]
struct Queues {
    sending: Sending<Outgoing>,
    /// Channels that the peer is yet to be told the end of: never more than were open.
    closing: VecDeque<ChannelId>,
    shared: BTreeMap<ChannelId, Arc<Outward>>,
}

enum Event {
    Order(Option<Order>),
    Frame(StageFrame),
    Ended(LinkEnded),
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Outlet<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self {
            pipe: Pipe::new(io),
            queues: Queues::default(),
            linger: Timer::new(LINGER),
        }
    }

    /// Sends until the stream is over, or nobody needs it; why.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) -> LinkEnded {
        let ended = loop {
            let applied = match poll_fn(|cx| self.poll_event(&mut orders, cx)).await {
                Event::Order(Some(order)) => {
                    self.apply(order);
                    Ok(())
                }
                Event::Order(None) => Err(LinkEnded::Left),
                Event::Frame(frame) => self.queues.on_frame(&frame),
                Event::Ended(ended) => Err(ended),
            };
            if let Err(ended) = applied {
                break ended;
            }
            if self.queues.sending.is_empty() {
                self.linger.put_off(Instant::now() + LINGER);
            }
        };
        self.queues.end(ended);
        ended
    }

    fn poll_event(
        &mut self,
        orders: &mut mpsc::Receiver<Order>,
        cx: &mut Context<'_>,
    ) -> Poll<Event> {
        let queues = &mut self.queues;
        if let Poll::Ready(Err(ended)) = self.pipe.poll_send(cx, || queues.next()) {
            return Poll::Ready(Event::Ended(ended));
        }
        if let Poll::Ready(order) = orders.poll_recv(cx) {
            return Poll::Ready(Event::Order(order));
        }
        if let Poll::Ready(frame) = self.pipe.poll_frame(cx) {
            return Poll::Ready(frame.map_or_else(Event::Ended, Event::Frame));
        }
        if self.queues.sending.is_empty() && self.linger.poll(cx).is_ready() {
            return Poll::Ready(Event::Ended(LinkEnded::Closed(CloseCode::Done)));
        }
        Poll::Pending
    }

    fn apply(&mut self, order: Order) {
        match order {
            Order::Open {
                channel,
                shared,
                opened,
            } => self.queues.open(channel, shared, opened),
            Order::Send { channel, frame } => self.queues.push(channel, frame),
            Order::Close { channel, shared } => self.queues.close(channel, &shared),
        }
    }
}

impl Queues {
    fn open(&mut self, channel: ChannelId, shared: Arc<Outward>, opened: Opened) {
        let result = self.sending.open(channel);
        if result.is_ok() {
            self.shared.insert(channel, shared);
        }
        // Whoever is gone has ordered the channel's end.
        let _ = opened.send(result.map_err(OpenLinkError::Channel));
    }

    fn push(&mut self, channel: ChannelId, frame: Outgoing) {
        let cost = stage_cost(frame.payload.len());
        let Err((error, frame)) = self.sending.push(channel, cost, frame) else {
            return;
        };
        let _ = match error {
            PushError::Full => frame.done.send(Err(SendError::Busy)),
            // Its sender knows why.
            PushError::NotOpen => return,
        };
    }

    /// The next frame to be written: told to whoever waits for it.
    fn next(&mut self) -> Option<StageFrame> {
        if let Some(channel) = self.closing.pop_front() {
            let code = CloseCode::Done;
            return Some(StageFrame::Closed { channel, code });
        }
        let (channel, frame) = self.sending.pop()?;
        if let Some(shared) = self.shared.get(&channel) {
            shared.sent.fetch_add(1, Ordering::Relaxed);
        }
        let _ = frame.done.send(Ok(()));
        Some(StageFrame::Payload {
            channel,
            kind: frame.kind,
            payload: frame.payload,
        })
    }

    /// This end has no use for a channel. If the peer has closed it, it is gone already.
    fn close(&mut self, channel: ChannelId, shared: &Arc<Outward>) {
        let open = self.shared.get(&channel);
        if open.is_some_and(|open| Arc::ptr_eq(open, shared)) {
            self.shared.remove(&channel);
            self.sending.close(channel);
            self.closing.push_back(channel);
        }
    }

    fn on_frame(&mut self, frame: &StageFrame) -> Result<(), LinkEnded> {
        match *frame {
            StageFrame::Credit { channel, bytes } => Ok(self.sending.on_credit(channel, bytes)?),
            StageFrame::Closed { channel, code } => {
                self.end_channel(channel, LinkEnded::Closed(code));
                Ok(())
            }
            StageFrame::Payload { .. } => Err(LinkViolation::Direction.into()),
        }
    }

    fn end_channel(&mut self, channel: ChannelId, ended: LinkEnded) {
        if let Some(shared) = self.shared.remove(&channel) {
            let _ = shared.ended.set(ended);
        }
        for frame in self.sending.close(channel).unwrap_or_default() {
            let _ = frame.done.send(Err(SendError::Ended(ended)));
        }
    }

    fn end(&mut self, ended: LinkEnded) {
        let channels: Vec<_> = self.sending.channels().collect();
        for channel in channels {
            self.end_channel(channel, ended);
        }
    }
}

#[cfg(test)]
mod tests;
