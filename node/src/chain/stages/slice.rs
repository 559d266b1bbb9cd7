//! One slice that is held for a head: its file made, its worker started, its payloads carried. It
//! knows no lease.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use llama_sys::stage::FromStage;
use llama_sys::supervisor::{Meter, SliceState, SliceWorker, SliceWorkerConfig};
use protocol::chain::StageKind;
use protocol::{ChannelId, NodeId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use crate::chain::channels::{Channels, Receiver, Sender};
use crate::chain::holders::Wanted;
use crate::chain::slices::{Part, Slices};
use crate::core::leases::SliceId;

/// What is to be loaded.
pub(super) struct Order {
    pub(super) slices: Slices,
    pub(super) channels: Channels,
    pub(super) wanted: Wanted,
    pub(super) part: Part,
    /// Without the file, and what only the file tells.
    pub(super) worker: SliceWorkerConfig,
}

/// What a slice tells.
pub(super) enum Told {
    /// Its bytes are fetched and its file is made; 0..=1.
    Making(f32),
    /// How its worker stands.
    State(SliceState),
    /// It is gone, and its memory free.
    Gone,
}

/// Where what the slice computes goes.
type Target = Option<(NodeId, ChannelId)>;

/// A slice on its way up, or up.
pub(super) struct Running {
    end: CancellationToken,
    target: watch::Sender<Target>,
    /// Where payloads go, once there is a worker.
    payloads: watch::Receiver<Option<mpsc::Sender<Bytes>>>,
    /// Where the ring sent to whose way to the slice is over.
    cut: watch::Sender<Target>,
    /// How fast the worker is, once there is one.
    meter: Arc<OnceLock<Meter>>,
    taking: BTreeMap<ChannelId, AbortOnDropHandle<()>>,
}

impl Running {
    /// Begins to make the file and to load it.
    pub(super) fn start(order: Order, slice: SliceId, told: mpsc::Sender<(SliceId, Told)>) -> Self {
        let end = CancellationToken::new();
        let (target, targets) = watch::channel(None);
        let (payloads_out, payloads) = watch::channel(None);
        let (cut, cuts) = watch::channel(None);
        let meter = Arc::default();
        let life = Life {
            meter: Arc::clone(&meter),
            cut: cut.clone(),
            cuts,
            slice,
            told,
            payloads: payloads_out,
            targets,
        };
        let ending = end.clone();
        tokio::spawn(async move {
            let told = life.told.clone();
            tokio::select! {
                biased;
                () = ending.cancelled() => {}
                () = life.run(order) => {}
            }
            // The actor ends after its slices.
            let _ = told.send((slice, Told::Gone)).await;
        });
        Self {
            end,
            target,
            payloads,
            cut,
            meter,
            taking: BTreeMap::new(),
        }
    }

    /// Ends it; that it is gone is told.
    pub(super) fn end(&self) {
        self.end.cancel();
    }

    /// How many times slower than at its best it is, if that was measured of late.
    pub(super) fn slowness(&self) -> Option<f32> {
        self.meter.get().and_then(Meter::slowness)
    }

    /// What it computes goes there from now on.
    pub(super) fn link(&self, next: NodeId, channel: ChannelId) {
        self.target.send_replace(Some((next, channel)));
    }

    /// Carries what arrives on a channel to the worker. When the channel ends, the way to the next
    /// of the ring is closed too: so the head hears from the last stage that a ring is cut
    /// anywhere. When the way to the next is over, so is the channel.
    pub(super) fn take_in(&mut self, channel: ChannelId, mut arrivals: Receiver) {
        let mut payloads = self.payloads.clone();
        // The ring is known by where it sends to: the next one sends elsewhere, and is not cut with
        // this one.
        let (cut, target) = (self.cut.clone(), *self.target.borrow());
        let mut cuts = cut.subscribe();
        let taking = tokio::spawn(async move {
            loop {
                let arrival = tokio::select! {
                    arrival = arrivals.next() => arrival,
                    // Whoever sends is told that it leads nowhere.
                    () = until_cut(&mut cuts, target) => None,
                };
                let Some((kind, payload)) = arrival else {
                    break;
                };
                // An empty payload is this node's own word to the worker, and nobody else's.
                if kind != StageKind::Forward || payload.is_empty() {
                    break;
                }
                let ready = payloads.wait_for(Option::is_some).await;
                let worker = ready.ok().and_then(|worker| worker.clone());
                let Some(worker) = worker else { return };
                if worker.send(payload).await.is_err() {
                    break;
                }
            }
            cut.send_replace(target);
        });
        self.taking.insert(channel, AbortOnDropHandle::new(taking));
    }

    /// Forgets every session: the next head may be anybody. What was sent before is computed first.
    pub(super) fn clear(&self) {
        let worker = self.payloads.borrow().clone();
        if let Some(worker) = worker {
            tokio::spawn(async move { worker.send(Bytes::new()).await });
        }
    }

    /// Takes nothing from a channel any more.
    pub(super) fn close(&mut self, channel: ChannelId) {
        self.taking.remove(&channel);
    }
}

struct Life {
    slice: SliceId,
    meter: Arc<OnceLock<Meter>>,
    told: mpsc::Sender<(SliceId, Told)>,
    payloads: watch::Sender<Option<mpsc::Sender<Bytes>>>,
    targets: watch::Receiver<Target>,
    cut: watch::Sender<Target>,
    cuts: watch::Receiver<Target>,
}

impl Life {
    async fn run(self, order: Order) {
        // The other stages may need what is here.
        let _share = order.slices.share(order.wanted.manifest);
        let made = self.make(&order).await;
        let mut config = order.worker;
        match made {
            Ok(slice) => {
                config.slice.file = slice.file;
                config.slice.is_last = slice.is_last;
                config.slice.input_scale = match &order.part {
                    Part::Layers(layers) if layers.start > 0 => slice.scales.between,
                    _ => 1.0,
                };
            }
            Err(error) => {
                warn!(%error, "a slice could not be made");
                return;
            }
        }
        let (worker, said) = SliceWorker::spawn(config);
        // Set once, here.
        let _ = self.meter.set(worker.meter());
        self.payloads.send_replace(Some(worker.payloads()));
        let carrier = Carrier {
            channels: order.channels,
            targets: self.targets.clone(),
            cut: self.cut.clone(),
            cuts: self.cuts.clone(),
            open: None,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(carrier.run(said));
        let mut state = worker.state();
        loop {
            let now = state.borrow_and_update().clone();
            let is_over = matches!(now, SliceState::Ended(_));
            self.tell(Told::State(now)).await;
            if is_over || state.changed().await.is_err() {
                return;
            }
        }
    }

    async fn make(
        &self,
        order: &Order,
    ) -> Result<crate::chain::slices::Slice, crate::chain::SliceError> {
        let source = order.slices.source_of(&order.wanted).await?;
        let (slice, told) = (self.slice, self.told.clone());
        let progress = move |done| {
            // A report that finds no room is not missed.
            let _ = told.try_send((slice, Told::Making(done)));
        };
        order
            .slices
            .make(&source, order.part.clone(), progress)
            .await
    }

    async fn tell(&self, told: Told) {
        // The actor ends after its slices.
        let _ = self.told.send((self.slice, told)).await;
    }
}

/// Carries what the slice computes to the next of the ring.
struct Carrier {
    channels: Channels,
    targets: watch::Receiver<Target>,
    cut: watch::Sender<Target>,
    cuts: watch::Receiver<Target>,
    open: Option<(NodeId, ChannelId, Sender)>,
}

impl Carrier {
    async fn run(mut self, mut said: mpsc::Receiver<FromStage>) {
        loop {
            let said = tokio::select! {
                said = said.recv() => said,
                Ok(()) = self.cuts.changed() => {
                    let cut = *self.cuts.borrow_and_update();
                    if self.open.as_ref().map(|(peer, channel, _)| (*peer, *channel)) == cut {
                        self.open = None;
                    }
                    continue;
                }
            };
            let Some(said) = said else { return };
            let (kind, payload) = match said {
                FromStage::Next(payload) => (StageKind::Forward, payload),
                FromStage::Back(payload) => (StageKind::Back, payload),
                FromStage::Nothing => continue,
                FromStage::Broken(cause) => {
                    debug!(%cause, "a ring is broken");
                    self.cut();
                    continue;
                }
            };
            self.pass_on(kind, payload).await;
        }
    }

    async fn pass_on(&mut self, kind: StageKind, payload: Bytes) {
        let Some((peer, channel)) = *self.targets.borrow_and_update() else {
            return;
        };
        if *self.cuts.borrow() == Some((peer, channel)) {
            return;
        }
        let is_open = matches!(&self.open, Some((p, c, _)) if (*p, *c) == (peer, channel));
        if !is_open {
            match self.channels.open(peer, channel).await {
                Ok(sender) => self.open = Some((peer, channel, sender)),
                Err(error) => {
                    debug!(%error, %peer, "a stage cannot reach the next one");
                    return self.cut();
                }
            }
        }
        let Some((_, _, sender)) = &self.open else {
            return;
        };
        // A neighbour that stands still holds nothing up once it is another's turn.
        let sent = tokio::select! {
            sent = sender.send(kind, payload) => sent.map_err(|error| error.to_string()),
            () = until_cut(&mut self.cuts, Some((peer, channel))) => {
                Err("the ring is cut".to_owned())
            }
            _ = self.targets.changed() => return,
        };
        if let Err(error) = sent {
            debug!(%error, %peer, "a stage does not send to the next one");
            self.cut();
        }
    }

    /// The ring that is sent to is of no use: the channel's end tells the next stage, and so the
    /// head; and the one before is told, too.
    fn cut(&mut self) {
        self.open = None;
        let target = *self.targets.borrow();
        self.cut.send_replace(target);
    }
}

/// Waits until this ring is cut.
async fn until_cut(cuts: &mut watch::Receiver<Target>, ring: Target) {
    let is_cut = cuts.wait_for(|cut| ring.is_some() && *cut == ring);
    let is_gone = is_cut.await.is_err();
    if is_gone {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests;
