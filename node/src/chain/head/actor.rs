//! The task of one chain.

mod asking;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dht::view::View;
use llama_sys::engine::{Engine as _, EngineState};
use llama_sys::supervisor::{RingPort, WorkerEngine};
use protocol::chain::LeaseReply;
use protocol::{ModelName, NodeId};
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::mending::{Hole, Mending};
use super::probe::probed;
use super::ring::{Joiner, RingEvent};
use super::stages_of;
use crate::core::deployment::{
    CallError, CallId, Deployment, Doing, FailureCause, Generation, Input, Output, Place, Plan,
    PlanReason, Ring, RingEnd,
};
use crate::planning::Planned;

/// One token, with cold caches: the core's own patience is a little longer.
const PROBE_PATIENCE: Duration = Duration::from_secs(12);

/// What the task speaks to.
pub(super) struct Outside {
    /// The planner, without what is known against peers.
    pub(super) mending: Mending,
    pub(super) model: ModelName,
    pub(super) worker: Arc<WorkerEngine>,
    pub(super) state: watch::Sender<EngineState>,
}

pub(super) struct Actor {
    core: Deployment<StdRng>,
    outside: Outside,
    first_plan: Option<Planned>,
    calls: JoinSet<(CallId, Result<LeaseReply, CallError>)>,
    probes: JoinSet<(Generation, bool)>,
    plans: JoinSet<Option<Plan>>,
    spares: JoinSet<Vec<Place>>,
    told: Told,
    ring: Option<Ring>,
    /// Peers with a stage that are connected.
    connected: BTreeSet<NodeId>,
    /// What is missing, in the planner's words.
    missing: watch::Sender<String>,
    ending: Vec<oneshot::Sender<()>>,
    is_over: bool,
}

/// What was said of the chain last, so that the log tells changes.
#[derive(Default)]
struct Told {
    spares: usize,
    doing: Option<Doing>,
    /// Since when no ring serves.
    lost_at: Option<Instant>,
}

enum Action {
    Answered(CallId, Result<LeaseReply, CallError>),
    Probed(Generation, bool),
    Planned(Option<Plan>),
    Spares(Vec<Place>),
    Ring(RingEvent),
    Peers(Arc<View>),
    Worker,
    End(Option<oneshot::Sender<()>>),
    Tick,
}

impl Actor {
    pub(super) fn new(core: Deployment<StdRng>, outside: Outside, first_plan: Planned) -> Self {
        Self {
            core,
            outside,
            first_plan: Some(first_plan),
            calls: JoinSet::new(),
            probes: JoinSet::new(),
            plans: JoinSet::new(),
            spares: JoinSet::new(),
            told: Told::default(),
            ring: None,
            connected: BTreeSet::new(),
            missing: watch::Sender::default(),
            ending: Vec::new(),
            is_over: false,
        }
    }

    pub(super) async fn run(
        mut self,
        port: RingPort,
        mut ends: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        let channels = self.outside.mending.chains.setup.channels.clone();
        let (mut joiner, mut ring_events) = Joiner::new(channels, port);
        let mut worker = self.outside.worker.state();
        let mut peers = self.outside.mending.chains.setup.network.watch();
        self.begin();
        self.drive(&mut joiner).await;
        while !self.is_over {
            let timer = sleep_until(self.core.next_deadline());
            let is_ending = !self.ending.is_empty();
            let action = tokio::select! {
                biased;
                end = ends.recv(), if !is_ending => Action::End(end),
                Some(Ok((call, result))) = self.calls.join_next() => Action::Answered(call, result),
                Some(Ok((ring, is_up))) = self.probes.join_next() => Action::Probed(ring, is_up),
                Some(Ok(plan)) = self.plans.join_next() => Action::Planned(plan),
                Some(Ok(places)) = self.spares.join_next() => Action::Spares(places),
                Some(event) = ring_events.recv() => Action::Ring(event),
                Ok(()) = worker.changed(), if !is_ending => Action::Worker,
                Ok(()) = peers.changed() => Action::Peers(peers.borrow_and_update().clone()),
                () = timer => Action::Tick,
            };
            self.apply(action);
            self.drive(&mut joiner).await;
            self.tell();
        }
        joiner.leave().await;
        for done in self.ending {
            // Who waits may be gone.
            let _ = done.send(());
        }
    }

    fn begin(&mut self) {
        let planned = self.first_plan.take();
        let plan = planned.as_ref().and_then(stages_of);
        let input = plan.map_or(Input::NoPlan, Input::Plan);
        self.handle(input);
    }

    fn handle(&mut self, input: Input) {
        self.core.handle(input, Instant::now());
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::Answered(call, result) => self.handle(Input::Answered { call, result }),
            Action::Probed(generation, is_up) => {
                let result = if is_up { Ok(()) } else { Err(None) };
                self.handle(Input::Probed { generation, result });
            }
            Action::Planned(plan) => self.handle(plan.map_or(Input::NoPlan, Input::Plan)),
            Action::Spares(places) => self.handle(Input::Spares(places)),
            Action::Ring(RingEvent::Overdue(generation)) => {
                self.handle(Input::Overdue(generation));
            }
            Action::Ring(RingEvent::Ended(generation)) => {
                let current = self.ring.as_ref().map(|ring| ring.generation);
                let generation = generation.or(current);
                if let Some(generation) = generation.filter(|ended| Some(*ended) == current) {
                    let peer = None;
                    self.handle(Input::RingFailed { generation, peer });
                }
            }
            Action::Peers(view) => self.on_peers(&view),
            Action::Worker => self.on_worker(),
            Action::End(done) => {
                self.ending.extend(done);
                self.handle(Input::Stop);
            }
            Action::Tick => self.handle(Input::Tick),
        }
    }

    /// Whoever was connected and is not any more has left the chain.
    fn on_peers(&mut self, view: &View) {
        let is_connected = |peer: &NodeId| view.peers.get(peer).is_some_and(|p| p.path.is_some());
        let stages = self.core.status().stages;
        let stages: BTreeSet<NodeId> = stages.iter().map(|stage| stage.place.peer).collect();
        let connected = stages.into_iter().filter(is_connected).collect();
        let before = std::mem::replace(&mut self.connected, connected);
        for peer in before.into_iter().filter(|peer| !is_connected(peer)) {
            self.handle(Input::PeerGone(peer));
        }
    }

    /// A head that is given up takes its chain with it.
    fn on_worker(&mut self) {
        let state = self.outside.worker.state().borrow().clone();
        if let EngineState::Failed(_) = &state {
            self.outside.state.send_replace(state);
            self.handle(Input::Stop);
        }
    }

    async fn drive(&mut self, joiner: &mut Joiner) {
        while let Some(output) = self.core.next_output() {
            match output {
                Output::Call {
                    call,
                    peer,
                    request,
                } => {
                    let chains = self.outside.mending.chains.clone();
                    self.calls
                        .spawn(async move { (call, chains.call(peer, request).await) });
                }
                Output::Probe(ring) => self.probe(ring, joiner).await,
                Output::RingReady(ring) => self.on_ready(&ring),
                Output::RingLost { generation, end } => {
                    self.on_lost(generation, end);
                    self.ring = None;
                    joiner.leave().await;
                }
                Output::Publish => self.publish(),
                Output::Withdraw => self.withdraw("the chain is being mended"),
                Output::WantPlan {
                    reason,
                    excluding,
                    slow,
                    wanted,
                    held,
                } => {
                    let mending = self.mending(&excluding, &slow);
                    match reason {
                        PlanReason::Slow => self.better(mending, &slow),
                        PlanReason::Lost => self.plan(mending, Hole::of(&wanted, &held)),
                        PlanReason::NotUp | PlanReason::Leaving => self.plan(mending, None),
                    }
                }
                Output::WantSpares {
                    stages,
                    wanted,
                    excluding,
                    slow,
                } => self.look_for_spares(self.mending(&excluding, &slow), stages, &wanted),
                Output::Failed(cause) => self.on_failed(cause),
                Output::Ended => self.is_over = true,
            }
        }
    }

    /// Joins the ring, and has the worker send one token around it.
    async fn probe(&mut self, ring: Ring, joiner: &mut Joiner) {
        let generation = ring.generation;
        // A ring that was probed before and broke.
        joiner.leave().await;
        let joined = joiner.join(&ring).await;
        self.ring = Some(ring);
        let batches = match joined {
            Ok(batches) => batches,
            Err(error) => {
                warn!(%error, "a ring is not joined");
                self.probes.spawn(async move { (generation, false) });
                return;
            }
        };
        let worker = Arc::clone(&self.outside.worker);
        self.probes.spawn(async move {
            let probed = tokio::time::timeout(PROBE_PATIENCE, probed(&worker, &batches)).await;
            (generation, probed.unwrap_or(false))
        });
    }

    fn on_ready(&mut self, ring: &Ring) {
        let model = &self.outside.model;
        let stages = ring.stages.iter().map(|stage| {
            let (first, last) = (stage.first_layer, stage.last_layer);
            format!("{}:{first}-{last}", stage.peer)
        });
        let stages = stages.collect::<Vec<_>>().join(",");
        let ring = ring.generation.number();
        let lost_at = self.told.lost_at.take();
        let mended_ms = lost_at.map(|at| at.elapsed().as_millis());
        info!(%model, ring, %stages, mended_ms, "chain ready");
    }

    /// Tells how far the mending of a chain is, and what is ready beside it.
    fn tell(&mut self) {
        let status = self.core.status();
        let model = &self.outside.model;
        if let Some(lost_at) = self.told.lost_at
            && self.told.doing != Some(status.doing)
        {
            let after_ms = lost_at.elapsed().as_millis();
            info!(%model, doing = ?status.doing, after_ms, "chain mending");
        }
        self.told.doing = Some(status.doing);
        let is_ready = |phase: protocol::chain::Phase| phase == protocol::chain::Phase::Ready;
        let spares = status.stages.iter().filter(|stage| stage.is_spare);
        let ready = spares.filter(|s| s.phase.is_some_and(|(phase, _)| is_ready(phase)));
        let ready = ready.count();
        if ready != self.told.spares {
            self.told.spares = ready;
            info!(%model, ready, "chain spares");
        }
    }

    fn on_lost(&mut self, generation: Generation, end: RingEnd) {
        let model = &self.outside.model;
        let ring = generation.number();
        self.told.lost_at = Some(Instant::now());
        match end {
            RingEnd::Stage { peer, why } => warn!(%model, ring, %peer, %why, "chain lost a stage"),
            RingEnd::Broken => warn!(%model, ring, "chain broken"),
            RingEnd::Switched | RingEnd::Stopped => info!(%model, ring, "chain left"),
        }
    }

    fn publish(&self) {
        if let EngineState::Ready(info) = &*self.outside.worker.state().borrow() {
            self.outside
                .state
                .send_replace(EngineState::Ready(info.clone()));
        }
    }

    fn withdraw(&self, cause: &str) {
        self.outside.state.send_replace(EngineState::Restarting {
            failures: 1,
            cause: cause.into(),
        });
    }

    fn on_failed(&self, cause: FailureCause) {
        let missing = self.missing.borrow().clone();
        let cause = match cause {
            FailureCause::NoPlan if !missing.is_empty() => missing,
            cause => cause.to_string(),
        };
        warn!(model = %self.outside.model, %cause, "no chain");
        self.outside.state.send_replace(EngineState::Failed(cause));
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
