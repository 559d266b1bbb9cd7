//! Stages that this node holds for heads: one task that owns [`crate::core::leases`] and the
//! slices behind it. It translates and decides nothing.

mod desk;
mod slice;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use llama_sys::supervisor::{SliceState, SliceWorkerConfig};
use protocol::chain::{LeaseReply, LeaseRequest, Refusal, Reserve};
use protocol::{ModelName, NodeId};
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::desk::Desk;
use self::slice::{Running, Told};
use super::channels::Channels;
use super::holders::Wanted;
use super::precision::to_engine;
use super::slices::{Part, Slices};
use crate::core::leases::{Asker, Input, Leases, Limits, LoadStep, Need, Output, SliceId, Ticket};
use crate::residency::View;

/// Requests of heads that wait at most: each is answered out of tables, or after a file's header
/// was read.
const REQUESTS: usize = 64;

/// What slices tell at most before it is looked at.
const TOLD: usize = 64;

/// A worker may take this much beyond its need before it is stopped.
const MEMORY_SLACK_BYTES: u64 = 512 << 20;

/// What stages are made with.
#[derive(Clone)]
pub struct StageSetup {
    /// Slices on the disk.
    pub slices: Slices,
    /// The channels.
    pub channels: Channels,
    /// The program whose hidden command is the worker.
    pub program: PathBuf,
    /// Threads of a stage; `None`: the physical cores.
    pub threads: Option<u32>,
    /// Whether peers that are not trusted get leases.
    pub serves_strangers: bool,
    /// The models that slices may be of; `None`: any.
    pub models: Option<BTreeSet<ModelName>>,
    /// Memory for slices and whole models together, bytes.
    pub memory_bytes: u64,
    /// What live leases get when the node stops.
    pub drain: Duration,
}

/// A handle to the stages. Clones share them.
#[derive(Clone)]
pub struct Stages {
    requests: mpsc::Sender<Request>,
    promised: watch::Receiver<u64>,
}

struct Request {
    from: Asker,
    request: LeaseRequest,
    need: Need,
    reply: oneshot::Sender<LeaseReply>,
}

impl Stages {
    /// The desk, and the task that runs until `stop` is cancelled and every stage is gone.
    /// `resident` says what whole models take.
    pub fn start(
        setup: StageSetup,
        resident: watch::Receiver<View>,
        stop: CancellationToken,
    ) -> (Desk, impl Future<Output = ()> + Send + 'static) {
        let (requests, received) = mpsc::channel(REQUESTS);
        let (told, heard) = mpsc::channel(TOLD);
        let (shown, promised) = watch::channel(0);
        let limits = limits(&setup, resident.borrow().taken_bytes);
        let desk = Desk::new(Self { requests, promised }, &setup);
        let actor = Actor {
            core: Leases::new(limits, rand::make_rng()),
            setup,
            resident,
            running: BTreeMap::new(),
            replies: BTreeMap::new(),
            next: 0,
            told,
            shown,
        };
        (desk, actor.run(received, heard, stop))
    }

    /// Memory that is promised to heads, always the newest.
    pub fn promised(&self) -> watch::Receiver<u64> {
        self.promised.clone()
    }

    async fn ask(&self, from: Asker, request: LeaseRequest, need: Need) -> LeaseReply {
        let (reply, answer) = oneshot::channel();
        let request = Request {
            from,
            request,
            need,
            reply,
        };
        if self.requests.send(request).await.is_err() {
            return LeaseReply::Refused(Refusal::Draining.into());
        }
        let stopping = |_| LeaseReply::Refused(Refusal::Draining.into());
        answer.await.unwrap_or_else(stopping)
    }
}

fn limits(setup: &StageSetup, resident_bytes: u64) -> Limits {
    Limits {
        memory_bytes: setup.memory_bytes,
        resident_bytes,
        serves_strangers: setup.serves_strangers,
        models: setup.models.clone(),
    }
}

struct Actor {
    core: Leases<StdRng>,
    setup: StageSetup,
    resident: watch::Receiver<View>,
    running: BTreeMap<SliceId, Running>,
    replies: BTreeMap<Ticket, oneshot::Sender<LeaseReply>>,
    next: u64,
    told: mpsc::Sender<(SliceId, Told)>,
    shown: watch::Sender<u64>,
}

enum Action {
    Request(Request),
    Told(SliceId, Told),
    Resident,
    Tick,
    Stop,
}

impl Actor {
    async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut heard: mpsc::Receiver<(SliceId, Told)>,
        stop: CancellationToken,
    ) {
        let mut is_stopping = false;
        loop {
            let deadline = self.core.next_deadline();
            let timer = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            let action = tokio::select! {
                biased;
                () = stop.cancelled(), if !is_stopping => Action::Stop,
                Some((slice, told)) = heard.recv() => Action::Told(slice, told),
                () = timer => Action::Tick,
                Ok(()) = self.resident.changed() => Action::Resident,
                Some(request) = requests.recv() => Action::Request(request),
            };
            is_stopping |= matches!(action, Action::Stop);
            self.apply(action);
            if self.drive() {
                return;
            }
            self.shown.send_if_modified(|shown| {
                let promised = self.core.promised_bytes();
                std::mem::replace(shown, promised) != promised
            });
        }
    }

    fn apply(&mut self, action: Action) {
        let input = match action {
            Action::Stop => Input::Stop(self.setup.drain),
            Action::Tick => Input::Tick,
            Action::Resident => {
                let taken = self.resident.borrow_and_update().taken_bytes;
                Input::Limits(limits(&self.setup, taken))
            }
            Action::Told(slice, told) => match self.on_told(slice, told) {
                Some(input) => input,
                None => return,
            },
            Action::Request(request) => {
                self.measure();
                self.input(request)
            }
        };
        self.core.handle(input, Instant::now());
    }

    /// Heads are told how fast slices are when they ask.
    fn measure(&mut self) {
        for (slice, running) in &self.running {
            let (slice, slowness) = (*slice, running.slowness());
            let measured = Input::Measured { slice, slowness };
            self.core.handle(measured, Instant::now());
        }
    }

    fn input(&mut self, request: Request) -> Input {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.replies.insert(ticket, request.reply);
        let from = request.from;
        match request.request {
            LeaseRequest::Reserve(reserve) => Input::Reserve {
                ticket,
                from,
                reserve,
                need: request.need,
            },
            LeaseRequest::Link(link) => Input::Link {
                ticket,
                from: from.peer,
                link,
            },
            LeaseRequest::Renew(lease) => Input::Renew {
                ticket,
                from: from.peer,
                lease,
            },
            LeaseRequest::Release(lease) => Input::Release {
                ticket,
                from: from.peer,
                lease,
            },
        }
    }

    /// Does what the core wants; true once nothing is left to be done, for the node stops.
    fn drive(&mut self) -> bool {
        let mut is_drained = false;
        while let Some(output) = self.core.next_output() {
            match output {
                Output::Reply { ticket, reply } => {
                    if let Some(waiting) = self.replies.remove(&ticket) {
                        // Who asked may be gone.
                        let _ = waiting.send(reply);
                    }
                }
                Output::Load {
                    slice,
                    head,
                    reserve,
                } => self.load(slice, head, &reserve),
                Output::Clear(slice) => {
                    if let Some(running) = self.running.get(&slice) {
                        running.clear();
                    }
                }
                Output::Unload(slice) => self.unload(slice),
                Output::OpenChannel {
                    channel,
                    slice,
                    previous,
                } => {
                    let arrivals = self.setup.channels.register(channel, previous);
                    match (arrivals, self.running.get_mut(&slice)) {
                        (Ok(arrivals), Some(running)) => running.take_in(channel, arrivals),
                        (Err(error), _) => warn!(%error, "a stage cannot take in payloads"),
                        (Ok(_), None) => {}
                    }
                }
                Output::CloseChannel(channel) => {
                    self.running.values_mut().for_each(|r| r.close(channel));
                }
                Output::LinkTo {
                    slice,
                    next,
                    next_channel,
                } => {
                    if let Some(running) = self.running.get(&slice) {
                        running.link(next, next_channel);
                    }
                }
                Output::Told { lease, head, event } => {
                    info!(%lease, %head, ?event, "lease");
                }
                Output::Drained => is_drained = true,
            }
        }
        is_drained
    }

    fn load(&mut self, slice: SliceId, head: NodeId, reserve: &Reserve) {
        let layers = reserve.first_layer..reserve.last_layer;
        let name = format!("{} {}-{}", reserve.model.name, layers.start, layers.end);
        let limit = self.core.held_bytes().max(MEMORY_SLACK_BYTES);
        let order = slice::Order {
            slices: self.setup.slices.clone(),
            channels: self.setup.channels.clone(),
            wanted: Wanted {
                name: reserve.model.name.clone(),
                manifest: reserve.model.manifest,
                head,
            },
            part: Part::Layers(layers),
            worker: SliceWorkerConfig::new(
                &self.setup.program,
                name,
                llama_sys::stage::SliceConfig {
                    file: PathBuf::new(),
                    cells: reserve.cells,
                    sequences: reserve.sequences,
                    batch_tokens: reserve.batch_tokens,
                    threads: self.setup.threads,
                    gpu_layers: None,
                    is_last: false,
                    input_scale: 1.0,
                    precision: to_engine(reserve.precision),
                    memory_limit_bytes: Some(limit.saturating_mul(2) + MEMORY_SLACK_BYTES),
                },
            ),
        };
        let running = Running::start(order, slice, self.told.clone());
        self.running.insert(slice, running);
    }

    fn unload(&mut self, slice: SliceId) {
        match self.running.get(&slice) {
            // Its end is told by its task.
            Some(running) => running.end(),
            None => self.core.handle(Input::Ended(slice), Instant::now()),
        }
    }

    fn on_told(&mut self, slice: SliceId, told: Told) -> Option<Input> {
        Some(match told {
            Told::Making(progress) => Input::Progress {
                slice,
                step: LoadStep::Fetching,
                progress,
            },
            Told::State(SliceState::Loading(progress)) => Input::Progress {
                slice,
                step: LoadStep::Loading,
                progress,
            },
            Told::State(SliceState::Ready(info)) => Input::Loaded {
                slice,
                decode_seconds: Some(info.token_time.as_secs_f32()),
            },
            Told::State(SliceState::Ended(cause)) => {
                warn!(%cause, "a stage ended");
                return None;
            }
            Told::Gone => {
                self.running.remove(&slice);
                Input::Ended(slice)
            }
        })
    }
}
