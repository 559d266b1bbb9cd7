//! One ring of a chain: payloads of the head's worker to the first stage, what comes back to the
//! worker. It tells when either end is over, and knows no plan.

use std::sync::Arc;

use llama_sys::stage::{FromHead, ToHead};
use llama_sys::supervisor::{RingPort, RingTeller};
use protocol::chain::StageKind;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::chain::Channels;
use crate::chain::channels::{ChannelError, Sender};
use crate::core::deployment::{Generation, Ring};

/// Ends of rings that wait to be looked at.
const ENDS: usize = 16;

/// The way to the first stage of the ring that is joined, if one is.
type First = Option<(Generation, Arc<Sender>)>;

/// Carries what the worker says to whichever ring is joined.
pub(super) struct Joiner {
    channels: Channels,
    teller: RingTeller,
    first: watch::Sender<First>,
    ends: mpsc::Sender<Option<Generation>>,
    _carrying: AbortOnDropHandle<()>,
    returning: Option<AbortOnDropHandle<()>>,
}

impl Joiner {
    /// Nothing is joined. Ends of rings come out of the receiver; without a number, it is the one
    /// that is joined.
    pub(super) fn new(
        channels: Channels,
        port: RingPort,
    ) -> (Self, mpsc::Receiver<Option<Generation>>) {
        let (ends, ended) = mpsc::channel(ENDS);
        let (first, firsts) = watch::channel(None);
        let teller = port.teller();
        let carrying = tokio::spawn(carry(port, firsts, ends.clone()));
        let joiner = Self {
            channels,
            teller,
            first,
            ends,
            _carrying: AbortOnDropHandle::new(carrying),
            returning: None,
        };
        (joiner, ended)
    }

    /// Joins a ring whose stages are linked, and tells the worker.
    pub(super) async fn join(&mut self, ring: &Ring) -> Result<(), ChannelError> {
        let last = ring
            .stages
            .last()
            .map_or(ring.first.peer, |stage| stage.peer);
        let mut back = self.channels.register(ring.back, last)?;
        let sender = self
            .channels
            .open(ring.first.peer, ring.first.channel)
            .await?;
        let (teller, ends) = (self.teller.clone(), self.ends.clone());
        let generation = ring.generation;
        let returning = tokio::spawn(async move {
            while let Some((kind, payload)) = back.next().await {
                if kind == StageKind::Back {
                    teller.tell(ToHead::Back(payload)).await;
                }
            }
            // The actor ends after its rings.
            let _ = ends.send(Some(generation)).await;
        });
        self.returning = Some(AbortOnDropHandle::new(returning));
        self.first
            .send_replace(Some((generation, Arc::new(sender))));
        self.teller.tell(ToHead::Up(generation.number())).await;
        Ok(())
    }

    /// Leaves the ring that is joined.
    pub(super) async fn leave(&mut self) {
        self.returning = None;
        self.first.send_replace(None);
        self.teller.tell(ToHead::Down).await;
    }
}

async fn carry(
    mut port: RingPort,
    mut firsts: watch::Receiver<First>,
    ends: mpsc::Sender<Option<Generation>>,
) {
    while let Some(said) = port.next().await {
        let payload = match said {
            FromHead::Forward(payload) => payload,
            FromHead::Broken(cause) => {
                debug!(%cause, "the head gives its ring up");
                let _ = ends.send(None).await;
                continue;
            }
        };
        let first = firsts.borrow_and_update().clone();
        let Some((generation, first)) = first else {
            // Of a ring that was left just now.
            continue;
        };
        let sent = tokio::select! {
            sent = first.send(StageKind::Forward, payload) => sent,
            // A stage that stands still holds nothing up once its ring was left.
            _ = firsts.changed() => continue,
        };
        if let Err(error) = sent {
            debug!(%error, "the first stage is not reached");
            let _ = ends.send(Some(generation)).await;
        }
    }
}
