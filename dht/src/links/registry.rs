//! The receiving ends of channels: who may send on which, and what was taken from each.
//!
//! A channel waits here from when it is registered until the peer's first frame on it; then the
//! task of the peer's stream holds its other end. What is over is remembered for a while, so that
//! what was still under way is no offence. Locks are held for a look at a table only.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::task::AtomicWaker;
use protocol::{
    ChannelId, NodeId,
    chain::{CloseCode, StageKind},
    limits::{MIN_STAGE_FRAME_COST, STAGE_WINDOW_BYTES},
};
use tokio::sync::mpsc;

use super::error::{LinkEnded, RegisterError};

/// Channels that are registered at a time: each may hold a window of memory.
pub const MAX_REGISTERED: usize = 256;

/// Channels that are over and remembered.
const MAX_PAST: usize = 1024;

/// Frames that a window of credit has room for: the queue is never full before the credit is used.
const MOST_FRAMES: usize = (STAGE_WINDOW_BYTES / MIN_STAGE_FRAME_COST) as usize + 1;

/// What came on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Which way around the ring.
    pub kind: StageKind,
    /// What nobody looked into; a part of the read buffer.
    pub payload: Bytes,
}

/// A frame in the queue of its channel.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) received: Received,
    pub(super) cost: u32,
    pub(super) tab: Arc<Tab>,
}

/// The receiving end of a channel. Dropping it closes the channel; its sender is told.
#[derive(Debug)]
pub struct StageReceiver {
    channel: ChannelId,
    from: NodeId,
    serial: u64,
    frames: mpsc::Receiver<Delivery>,
    ended: Arc<OnceLock<LinkEnded>>,
    registry: Arc<Registry>,
    received: u64,
}

/// The task's end of a channel. When it is dropped, the receiver is at the end.
#[derive(Debug)]
pub(super) struct Claim {
    frames: mpsc::Sender<Delivery>,
    ended: Arc<OnceLock<LinkEnded>>,
}

/// Every channel's receiving end.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    open: BTreeMap<ChannelId, Registration>,
    past: VecDeque<(ChannelId, NodeId)>,
    serial: u64,
}

#[derive(Debug)]
struct Registration {
    from: NodeId,
    serial: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing came yet.
    Waiting(Claim),
    /// A stream's task has it.
    Claimed(Arc<Tab>),
}

impl Registry {
    pub(super) fn register(
        this: &Arc<Self>,
        channel: ChannelId,
        from: NodeId,
    ) -> Result<StageReceiver, RegisterError> {
        let mut table = this.table();
        if table.open.contains_key(&channel) {
            return Err(RegisterError::Taken);
        }
        if table.open.len() >= MAX_REGISTERED {
            return Err(RegisterError::TooMany);
        }
        let (frames, queue) = mpsc::channel(MOST_FRAMES);
        let ended = Arc::new(OnceLock::new());
        let claim = Claim {
            frames,
            ended: ended.clone(),
        };
        table.serial += 1;
        let serial = table.serial;
        let state = State::Waiting(claim);
        let registration = Registration {
            from,
            serial,
            state,
        };
        table.open.insert(channel, registration);
        Ok(StageReceiver {
            channel,
            from,
            serial,
            frames: queue,
            ended,
            registry: this.clone(),
            received: 0,
        })
    }

    /// The other end of a channel, for the task of a stream of `peer`; or what the peer is told.
    pub(super) fn claim(
        &self,
        channel: ChannelId,
        peer: NodeId,
        tab: &Arc<Tab>,
    ) -> Result<Claim, CloseCode> {
        let mut table = self.table();
        let table = &mut *table;
        let Some(open) = table.open.get_mut(&channel) else {
            let past = table.past.iter().position(|past| *past == (channel, peer));
            // Once: whoever goes on after that knows better.
            let past = past.and_then(|at| table.past.remove(at));
            return Err(past.map_or(CloseCode::Unknown, |_| CloseCode::Gone));
        };
        if open.from != peer {
            return Err(CloseCode::Unknown);
        }
        let claimed = State::Claimed(tab.clone());
        match std::mem::replace(&mut open.state, claimed) {
            State::Waiting(claim) => Ok(claim),
            claimed @ State::Claimed(_) => {
                open.state = claimed;
                Err(CloseCode::Gone)
            }
        }
    }

    /// A channel is over, as its stream's task has it. One that another task has is not.
    pub(super) fn end(&self, channel: ChannelId, tab: &Arc<Tab>) {
        let mut table = self.table();
        let open = table.open.get(&channel);
        let is_ours =
            |r: &Registration| matches!(&r.state, State::Claimed(of) if Arc::ptr_eq(of, tab));
        if open.is_some_and(is_ours) {
            table.remove(channel);
        }
    }

    /// Nothing comes any more on any channel.
    pub(super) fn end_all(&self) {
        let open = std::mem::take(&mut self.table().open);
        for registration in open.into_values() {
            if let State::Waiting(claim) = registration.state {
                claim.end(LinkEnded::Left);
            }
        }
    }

    /// Its receiver is dropped.
    fn on_dropped(&self, channel: ChannelId, serial: u64) {
        let mut table = self.table();
        let is_it = table.open.get(&channel).is_some_and(|r| r.serial == serial);
        let registration = is_it.then(|| table.remove(channel)).flatten();
        drop(table);
        if let Some(State::Claimed(tab)) = registration.map(|r| r.state) {
            tab.on_dropped(channel);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn remove(&mut self, channel: ChannelId) -> Option<Registration> {
        let registration = self.open.remove(&channel)?;
        if self.past.len() >= MAX_PAST {
            self.past.pop_front();
        }
        self.past.push_back((channel, registration.from));
        Some(registration)
    }
}

impl Claim {
    /// Hands a frame on, unless its receiver is dropped.
    pub(super) fn deliver(&self, delivery: Delivery) {
        // Its credit was checked, so there is room.
        let _ = self.frames.try_send(delivery);
    }

    /// Tells the receiver that it has all.
    pub(super) fn end(self, ended: LinkEnded) {
        let _ = self.ended.set(ended);
    }
}

impl StageReceiver {
    /// The channel.
    pub fn channel(&self) -> ChannelId {
        self.channel
    }

    /// Who alone sends on it.
    pub fn from(&self) -> NodeId {
        self.from
    }

    /// The next payload. What is taken gives its sender credit. Nothing is lost when the future is
    /// dropped.
    ///
    /// # Errors
    /// Why nothing more comes, once all that came was taken.
    pub async fn recv(&mut self) -> Result<Received, LinkEnded> {
        let Some(delivery) = self.frames.recv().await else {
            return Err(self.ended.get().copied().unwrap_or(LinkEnded::Cut));
        };
        delivery.tab.on_taken(self.channel, delivery.cost);
        self.received += 1;
        Ok(delivery.received)
    }

    /// Payloads that were taken: the one-way messages of this hop.
    pub fn received(&self) -> u64 {
        self.received
    }
}

impl Drop for StageReceiver {
    fn drop(&mut self) {
        self.registry.on_dropped(self.channel, self.serial);
    }
}

/// What receivers took from the channels of one stream since its task looked.
#[derive(Debug, Default)]
pub(super) struct Tab {
    since: Mutex<Since>,
    waker: AtomicWaker,
}

/// Never more entries than channels are open on the stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Since {
    pub(super) taken: BTreeMap<ChannelId, u32>,
    pub(super) dropped: BTreeSet<ChannelId>,
}

impl Tab {
    fn on_taken(&self, channel: ChannelId, cost: u32) {
        let mut since = self.since();
        // No more is taken than was let in: the sum stays within a window.
        *since.taken.entry(channel).or_default() += cost;
        drop(since);
        self.waker.wake();
    }

    fn on_dropped(&self, channel: ChannelId) {
        self.since().dropped.insert(channel);
        self.waker.wake();
    }

    /// What there is, once there is anything.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Since> {
        self.waker.register(cx.waker());
        let since = std::mem::take(&mut *self.since());
        if since == Since::default() {
            return Poll::Pending;
        }
        Poll::Ready(since)
    }

    fn since(&self) -> MutexGuard<'_, Since> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
