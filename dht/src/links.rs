//! `/shoal/<swarm>/stage/1`: the streams between neighbours of a chain, and the channels on them.
//!
//! For what a node sends to a peer there is one long-lived stream, opened when the first channel to
//! that peer is and closed when the last one is gone. All channels share it, each with a window of
//! credit ([`crate::core::channels`]). What a peer sends comes on a stream that the peer opened, and
//! is taken in on channels only that were [registered](StageLinks::register) for that peer.
//!
//! A channel lives on one stream. When that ends, both ends of all its channels are told why
//! ([`LinkEnded`]); the next channel to the peer opens another stream. Whether a payload makes sense,
//! and who should send what to whom, is not known here.

mod error;
mod hub;
mod inlet;
mod outlet;
mod pipe;
mod registry;

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use protocol::{
    ChannelId, NodeId,
    chain::{StageFrameError, StageKind},
    limits::MAX_STAGE_PAYLOAD_BYTES,
};
use tokio::sync::{mpsc, oneshot};

pub use self::{
    error::{LinkEnded, LinkViolation, OpenLinkError, RegisterError, SendError},
    pipe::MAX_STALL,
    registry::{MAX_REGISTERED, Received, StageReceiver},
};
use self::{
    hub::{Command, Hub, MOST_COMMANDS},
    outlet::{Order, Outgoing},
    registry::Registry,
};
use crate::{network::Network, streams::Stream};

/// A node's streams to and from its neighbours in chains. Cheap to clone.
#[derive(Clone)]
pub struct StageLinks {
    commands: mpsc::Sender<Command>,
    registry: Arc<Registry>,
}

/// What is known of a channel at its sending end.
#[derive(Debug, Default)]
struct Outward {
    ended: OnceLock<LinkEnded>,
    sent: AtomicU64,
}

/// The sending end of a channel. Dropping it closes the channel.
#[derive(Debug)]
pub struct StageSender {
    channel: ChannelId,
    orders: mpsc::Sender<Order>,
    shared: Arc<Outward>,
    /// A place in the queue for the last order, so that it always gets there.
    close: Option<mpsc::OwnedPermit<Order>>,
}

impl StageLinks {
    /// The links of a node. They end with the future, which must be driven, and that ends with the
    /// last handle.
    pub fn new(network: Network) -> (Self, impl Future<Output = ()> + Send) {
        let (commands, inbox) = mpsc::channel(MOST_COMMANDS);
        let registry = Arc::new(Registry::default());
        let hub = Hub::new(network, registry.clone());
        let links = Self { commands, registry };
        (links, hub.run(inbox))
    }

    /// Opens a channel to a peer, chosen by the peer.
    ///
    /// # Errors
    /// Every [`OpenLinkError`]. Whether the peer expects anything on it is told by the first frames
    /// ([`LinkEnded::Closed`]).
    pub async fn open(
        &self,
        peer: NodeId,
        channel: ChannelId,
    ) -> Result<StageSender, OpenLinkError> {
        if let Some(opened) = self.try_open(peer, channel).await {
            return opened;
        }
        // The link ended just then: another takes its place.
        let again = self.try_open(peer, channel).await;
        again.unwrap_or(Err(OpenLinkError::Ended(LinkEnded::Cut)))
    }

    /// `None`: the link ended meanwhile.
    async fn try_open(
        &self,
        peer: NodeId,
        channel: ChannelId,
    ) -> Option<Result<StageSender, OpenLinkError>> {
        let (answer, link) = oneshot::channel();
        let command = Command::Link { peer, answer };
        if self.commands.send(command).await.is_err() {
            return Some(Err(OpenLinkError::Ended(LinkEnded::Left)));
        }
        let link = match link.await {
            Ok(Ok(link)) => link,
            Ok(Err(error)) => return Some(Err(error)),
            Err(_) => return Some(Err(OpenLinkError::Ended(LinkEnded::Left))),
        };
        let opened = open_on(link.orders, channel).await;
        let failed = || link.failed.get().map(|error| Err((*error).into()));
        opened.or_else(failed)
    }

    /// Takes in what a peer sends on a channel, from now until the receiver is dropped.
    ///
    /// # Errors
    /// Every [`RegisterError`].
    pub fn register(
        &self,
        channel: ChannelId,
        from: NodeId,
    ) -> Result<StageReceiver, RegisterError> {
        Registry::register(&self.registry, channel, from)
    }

    /// Takes a peer's stream, as [`Inbound`](crate::network::Inbound) brought it. A newer one of the
    /// same peer ends the older: a peer opens another only when it holds the first for broken.
    pub async fn accept(&self, peer: NodeId, stream: Stream) {
        // Without the hub the stream is dropped, which the peer sees.
        let _ = self.commands.send(Command::Accept { peer, stream }).await;
    }
}

impl StageSender {
    /// The channel.
    pub fn channel(&self) -> ChannelId {
        self.channel
    }

    /// Sends a payload, and waits until it has been handed to the transport: that is the
    /// backpressure. Payloads of one caller arrive in order. A future that is dropped may have sent
    /// its payload all the same.
    ///
    /// # Errors
    /// Every [`SendError`]. After [`SendError::Ended`] the channel is over.
    pub async fn send(&self, kind: StageKind, payload: Bytes) -> Result<(), SendError> {
        if payload.len() > MAX_STAGE_PAYLOAD_BYTES {
            let error = StageFrameError::TooLarge(payload.len() as u64);
            return Err(SendError::Frame(error));
        }
        if self.ended().is_some() {
            return Err(self.end());
        }
        let (done, answer) = oneshot::channel();
        let frame = Outgoing {
            kind,
            payload,
            done,
        };
        let channel = self.channel;
        let order = Order::Send { channel, frame };
        if self.orders.send(order).await.is_err() {
            return Err(self.end());
        }
        answer.await.unwrap_or_else(|_| Err(self.end()))
    }

    /// Frames that were handed to the transport: the one-way messages of this hop.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Why the channel is over; `None`: it is not.
    pub fn ended(&self) -> Option<LinkEnded> {
        self.shared.ended.get().copied()
    }

    fn end(&self) -> SendError {
        SendError::Ended(self.ended().unwrap_or(LinkEnded::Cut))
    }
}

impl Drop for StageSender {
    fn drop(&mut self) {
        if let Some(place) = self.close.take() {
            let channel = self.channel;
            let shared = self.shared.clone();
            place.send(Order::Close { channel, shared });
        }
    }
}

/// Opens a channel on a link. `None`: the link ended meanwhile.
async fn open_on(
    orders: mpsc::Sender<Order>,
    channel: ChannelId,
) -> Option<Result<StageSender, OpenLinkError>> {
    let close = orders.clone().reserve_owned().await.ok()?;
    // From here on its end is ordered however this goes on.
    let sender = StageSender {
        channel,
        orders,
        shared: Arc::default(),
        close: Some(close),
    };
    let (opened, answer) = oneshot::channel();
    let order = Order::Open {
        channel,
        shared: sender.shared.clone(),
        opened,
    };
    sender.orders.send(order).await.ok()?;
    let opened = answer.await.ok()?;
    Some(opened.map(|()| sender))
}
