//! Channels between the parts of a chain, wherever they are: to other peers over
//! [`StageLinks`], within this node from hand to hand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use dht::links::{OpenLinkError, RegisterError, SendError, StageLinks, StageReceiver, StageSender};
use protocol::chain::StageKind;
use protocol::{ChannelId, NodeId};
use tokio::sync::mpsc;

use crate::serving::Upload;

/// Payloads that wait within this node: what a head sends before it hears of any.
const LOCAL_BUFFER: usize = llama_sys::stage::MAX_IN_FLIGHT;

/// What came on a channel.
pub(super) type Arrival = (StageKind, Bytes);

type Table = BTreeMap<ChannelId, mpsc::Sender<Arrival>>;

/// The channels of this node. Clones share them.
#[derive(Clone)]
pub struct Channels {
    own: NodeId,
    links: StageLinks,
    upload: Upload,
    local: Arc<Mutex<Table>>,
}

/// The sending end of a channel.
pub(super) enum Sender {
    Peer(StageSender, Upload),
    Local(mpsc::Sender<Arrival>),
}

/// The receiving end of a channel. Dropping it closes the channel.
pub(super) enum Receiver {
    Peer(StageReceiver),
    Local {
        channel: ChannelId,
        arrivals: mpsc::Receiver<Arrival>,
        table: Arc<Mutex<Table>>,
    },
}

/// Why a channel cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum ChannelError {
    /// There is none to the peer.
    #[error(transparent)]
    Open(#[from] OpenLinkError),
    /// It cannot be taken in.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// It is over.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Within this node: the other end is gone, or was never there.
    #[error("the other end of the channel is gone")]
    Gone,
}

impl Channels {
    /// Of a node with these links and this limit of upload.
    pub fn new(own: NodeId, links: StageLinks, upload: Upload) -> Self {
        Self {
            own,
            links,
            upload,
            local: Arc::default(),
        }
    }

    /// The links to other peers.
    pub fn links(&self) -> &StageLinks {
        &self.links
    }

    /// Opens a channel that its receiver chose, once.
    pub(super) async fn open(
        &self,
        peer: NodeId,
        channel: ChannelId,
    ) -> Result<Sender, ChannelError> {
        if peer == self.own {
            // Taken out: the receiver is at its end when this sender is dropped.
            let sender = table(&self.local).remove(&channel);
            return sender.map(Sender::Local).ok_or(ChannelError::Gone);
        }
        let sender = self.links.open(peer, channel).await?;
        Ok(Sender::Peer(sender, self.upload.clone()))
    }

    /// Takes in what a peer sends on a channel.
    pub(super) fn register(
        &self,
        channel: ChannelId,
        from: NodeId,
    ) -> Result<Receiver, ChannelError> {
        if from != self.own {
            return Ok(Receiver::Peer(self.links.register(channel, from)?));
        }
        let (sender, arrivals) = mpsc::channel(LOCAL_BUFFER);
        table(&self.local).insert(channel, sender);
        Ok(Receiver::Local {
            channel,
            arrivals,
            table: Arc::clone(&self.local),
        })
    }
}

impl Sender {
    /// Sends a payload; waits while the other end is behind, or the owner's limit is reached.
    pub(super) async fn send(&self, kind: StageKind, payload: Bytes) -> Result<(), ChannelError> {
        match self {
            Self::Peer(sender, upload) => {
                upload.send_staged(payload.len()).await;
                Ok(sender.send(kind, payload).await?)
            }
            Self::Local(sender) => {
                let sent = sender.send((kind, payload)).await;
                sent.map_err(|_| ChannelError::Gone)
            }
        }
    }
}

impl Sender {
    /// Whether the other end is known to take nothing any more.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Peer(sender, _) => sender.ended().is_some(),
            Self::Local(sender) => sender.is_closed(),
        }
    }
}

impl Receiver {
    /// What comes next; `None` once the channel is over.
    pub(super) async fn next(&mut self) -> Option<Arrival> {
        match self {
            Self::Peer(receiver) => {
                let received = receiver.recv().await.ok()?;
                Some((received.kind, received.payload))
            }
            Self::Local { arrivals, .. } => arrivals.recv().await,
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Self::Local {
            channel,
            table: all,
            ..
        } = self
        {
            table(all).remove(channel);
        }
    }
}

fn table(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
