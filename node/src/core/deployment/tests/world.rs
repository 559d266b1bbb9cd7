//! A world of stage peers and heads with both cores in it: messages take time and get lost, peers
//! crash and come back, and every promise is checked after each event.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use protocol::{
    ChannelId, DeploymentId, ManifestId, NodeId,
    chain::{LeaseReply, LeaseRequest, ModelRef, Precision},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::super::{
    CallError, CallId, Deployment, Doing, FailureCause, Generation, Input, Output, Place, Plan,
    PlanReason, Ring, RingEnd, Slow, Work,
};
use crate::core::leases::{self, Asker, Leases, Limits, LoadStep, Need, SliceId, Ticket};
use crate::core::planner::is_clearly_better;

pub(super) const LAYERS: u32 = 12;
pub(super) const SLICE_BYTES: u64 = 10;

pub(super) fn node(n: u8) -> NodeId {
    let key = SigningKey::from_bytes(&[n; 32]).verifying_key();
    NodeId::from_bytes(key.as_bytes()).unwrap()
}

/// How the world is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nature {
    pub(super) loss: f64,
    pub(super) most_delay: Duration,
    pub(super) load: Duration,
    /// How often a load fails.
    pub(super) broken: f64,
    pub(super) stages: u32,
    pub(super) spares: usize,
    /// Spares that are found when they are looked for.
    pub(super) later_spares: usize,
}

impl Default for Nature {
    fn default() -> Self {
        Self {
            loss: 0.0,
            most_delay: Duration::from_millis(40),
            load: Duration::from_secs(3),
            broken: 0.0,
            stages: 3,
            spares: 0,
            later_spares: 0,
        }
    }
}

pub(super) struct StagePeer {
    pub(super) leases: Leases<StdRng>,
    pub(super) limit: u64,
    pub(super) is_alive: bool,
    life: u64,
    open: BTreeMap<ChannelId, (SliceId, NodeId)>,
    next: BTreeMap<SliceId, (NodeId, ChannelId)>,
    asked: BTreeMap<Ticket, (usize, CallId)>,
    pub(super) loads: u32,
    pub(super) drained: bool,
    /// How many times as long as it should its batches take.
    pub(super) pace: f64,
    /// The least of that since each slice was loaded.
    best: BTreeMap<SliceId, f64>,
}

pub(super) struct Head {
    pub(super) id: NodeId,
    pub(super) deployment: Deployment<StdRng>,
    pub(super) is_alive: bool,
    pub(super) ring: Option<Ring>,
    last: Option<Generation>,
    is_published: bool,
    pub(super) failed: Option<FailureCause>,
    pub(super) has_ended: bool,
    pub(super) losses: Vec<(Instant, RingEnd)>,
    pub(super) ready: Vec<(Instant, Ring)>,
    pub(super) plans: u32,
    /// How often a plan was wanted that is better than a ring that works.
    pub(super) changes_wanted: u32,
    /// Peers that the planner may use.
    pub(super) group: Vec<NodeId>,
}

#[derive(Debug, Clone)]
pub(super) enum Event {
    Request(NodeId, usize, CallId, LeaseRequest),
    Reply(usize, CallId, Result<LeaseReply, CallError>),
    Loading(NodeId, u64, SliceId),
    Loaded(NodeId, u64, SliceId),
    Ended(NodeId, u64, SliceId),
    Probe(usize, Ring),
    Probed(usize, Generation, Result<(), Option<NodeId>>),
    Plan(usize, Plan),
    NoPlan(usize),
    Spares(usize, Vec<Place>),
    Traffic,
    Gone(usize, NodeId),
    CrashStage(NodeId),
    /// It hangs: nobody is told.
    Freeze(NodeId),
    Restart(NodeId),
    StopStage(NodeId, Duration),
    CrashHead(usize),
    StopHead(usize),
}

pub(super) struct World {
    /// No session uses a ring.
    pub(super) is_quiet: bool,
    pub(super) now: Instant,
    queue: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
    pub(super) rng: StdRng,
    pub(super) nature: Nature,
    pub(super) stages: BTreeMap<NodeId, StagePeer>,
    pub(super) heads: Vec<Head>,
    pub(super) steps: u64,
}

impl StagePeer {
    pub(super) fn limits(&self) -> Limits {
        Limits {
            memory_bytes: self.limit,
            resident_bytes: 0,
            serves_strangers: true,
            models: None,
        }
    }
}

impl World {
    /// Peers 1.. with room for so many slices each; heads 101...
    pub(super) fn new(seed: u64, nature: Nature, room: &[u64], heads: u8) -> Self {
        let start = Instant::now();
        let mut world = Self {
            is_quiet: false,
            now: start,
            queue: BTreeMap::new(),
            sequence: 0,
            rng: StdRng::seed_from_u64(seed),
            nature,
            stages: BTreeMap::new(),
            heads: Vec::new(),
            steps: 0,
        };
        let peers = (1u8..)
            .zip(room)
            .map(|(n, room)| (node(n), room * SLICE_BYTES));
        for (peer, limit) in peers.collect::<Vec<_>>() {
            let stage = world.new_stage(limit);
            world.stages.insert(peer, stage);
        }
        for n in 0..heads {
            let head = world.new_head(n);
            world.heads.push(head);
            world.want_plan(n.into(), &[], &[]);
        }
        world.after(Duration::from_secs(1), Event::Traffic);
        world
    }

    fn new_stage(&mut self, limit: u64) -> StagePeer {
        let limits = Limits {
            memory_bytes: limit,
            resident_bytes: 0,
            serves_strangers: true,
            models: None,
        };
        StagePeer {
            leases: Leases::new(limits, StdRng::seed_from_u64(self.rng.random())),
            limit,
            is_alive: true,
            life: self.rng.random(),
            open: BTreeMap::new(),
            next: BTreeMap::new(),
            asked: BTreeMap::new(),
            loads: 0,
            drained: false,
            pace: 1.0,
            best: BTreeMap::new(),
        }
    }

    fn new_head(&mut self, n: u8) -> Head {
        let id = node(101 + n);
        let work = Work {
            deployment: DeploymentId([n; 16]),
            model: ModelRef {
                name: "tiny".parse().unwrap(),
                manifest: ManifestId::new([7; 32]),
                layers: LAYERS,
            },
            cells: 1024,
            sequences: 4,
            batch_tokens: 64,
            precision: Precision::F32,
        };
        let rng = StdRng::seed_from_u64(self.rng.random());
        Head {
            id,
            deployment: Deployment::new(id, work, rng),
            is_alive: true,
            ring: None,
            last: None,
            is_published: false,
            failed: None,
            has_ended: false,
            losses: Vec::new(),
            ready: Vec::new(),
            plans: 0,
            changes_wanted: 0,
            group: self.stages.keys().copied().collect(),
        }
    }

    pub(super) fn after(&mut self, delay: Duration, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), event);
    }

    fn delay(&mut self) -> Duration {
        self.nature
            .most_delay
            .mul_f64(self.rng.random_range(0.1..=1.0))
    }

    fn is_lost(&mut self) -> bool {
        self.rng.random_bool(self.nature.loss)
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {
            self.steps += 1;
            assert!(self.steps < 2_000_000, "it does not come to rest");
        }
        self.now = end;
    }

    /// Runs until this holds; how long it took.
    pub(super) fn run_until(&mut self, most: Duration, test: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        while !test(self) {
            assert!(
                self.step(start + most),
                "not within {most:?}: {:?}",
                self.doings()
            );
        }
        self.now - start
    }

    pub(super) fn doings(&self) -> Vec<Doing> {
        let heads = self.heads.iter();
        heads.map(|head| head.deployment.status().doing).collect()
    }

    fn step(&mut self, end: Instant) -> bool {
        let event = self.queue.keys().next().map(|(at, _)| *at);
        let stages = self.stages.values().filter(|stage| stage.is_alive);
        let stages = stages.filter_map(|stage| stage.leases.next_deadline());
        let heads = self.heads.iter().filter(|head| head.is_alive);
        let heads = heads.filter_map(|head| head.deployment.next_deadline());
        let tick = stages.chain(heads).min();
        let Some(next) = event.into_iter().chain(tick).min().filter(|at| *at <= end) else {
            return false;
        };
        self.now = self.now.max(next);
        if event.is_some_and(|at| at <= self.now) {
            let (_, event) = self.queue.pop_first().unwrap();
            self.on(event);
        } else {
            self.tick();
        }
        self.check();
        true
    }

    fn tick(&mut self) {
        let now = self.now;
        for peer in self.stages.keys().copied().collect::<Vec<_>>() {
            let stage = self.stages.get_mut(&peer).unwrap();
            if stage.is_alive && stage.leases.next_deadline().is_some_and(|at| at <= now) {
                self.stage(peer, leases::Input::Tick);
                let next = self.stages[&peer].leases.next_deadline();
                assert!(
                    next.is_none_or(|at| at > now),
                    "a stage's timer does not move"
                );
            }
        }
        for at in 0..self.heads.len() {
            let head = &self.heads[at];
            if head.is_alive && head.deployment.next_deadline().is_some_and(|at| at <= now) {
                self.head(at, Input::Tick);
                let next = self.heads[at].deployment.next_deadline();
                assert!(
                    next.is_none_or(|at| at > now),
                    "a head's timer does not move"
                );
            }
        }
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Request(peer, head, call, request) => self.on_request(peer, head, call, request),
            Event::Reply(head, call, result) => self.head(head, Input::Answered { call, result }),
            Event::Loading(peer, life, slice) if self.lives(peer, life) => {
                let (step, progress) = (LoadStep::Loading, 0.5);
                self.stage(
                    peer,
                    leases::Input::Progress {
                        slice,
                        step,
                        progress,
                    },
                );
            }
            Event::Loaded(peer, life, slice) if self.lives(peer, life) => {
                let decode_seconds = Some(0.1);
                self.stage(
                    peer,
                    leases::Input::Loaded {
                        slice,
                        decode_seconds,
                    },
                );
            }
            Event::Ended(peer, life, slice) if self.lives(peer, life) => {
                self.stage(peer, leases::Input::Ended(slice));
            }
            Event::Loading(..) | Event::Loaded(..) | Event::Ended(..) => {}
            Event::Probe(head, ring) => self.on_probe(head, &ring),
            Event::Probed(head, generation, result) => {
                self.head(head, Input::Probed { generation, result });
            }
            Event::Plan(head, plan) => self.head(head, Input::Plan(plan)),
            Event::NoPlan(head) => self.head(head, Input::NoPlan),
            Event::Spares(head, places) => self.head(head, Input::Spares(places)),
            Event::Traffic => self.on_traffic(),
            Event::Gone(head, peer) => self.head(head, Input::PeerGone(peer)),
            Event::CrashStage(peer) => self.on_crash(peer),
            Event::Freeze(peer) => self.stages.get_mut(&peer).unwrap().is_alive = false,
            Event::Restart(peer) => {
                let limit = self.stages[&peer].limit;
                let stage = self.new_stage(limit);
                self.stages.insert(peer, stage);
            }
            Event::StopStage(peer, drain) => self.stage(peer, leases::Input::Stop(drain)),
            Event::CrashHead(head) => self.heads[head].is_alive = false,
            Event::StopHead(head) => self.head(head, Input::Stop),
        }
    }

    fn lives(&self, peer: NodeId, life: u64) -> bool {
        self.stages[&peer].is_alive && self.stages[&peer].life == life
    }

    fn on_crash(&mut self, peer: NodeId) {
        self.stages.get_mut(&peer).unwrap().is_alive = false;
        for head in 0..self.heads.len() {
            let delay = Duration::from_millis(self.rng.random_range(10..500));
            self.after(delay, Event::Gone(head, peer));
        }
    }

    fn on_request(&mut self, peer: NodeId, head: usize, call: CallId, request: LeaseRequest) {
        if !self.stages[&peer].is_alive {
            return;
        }
        let from = self.heads[head].id;
        self.sequence += 1;
        let ticket = Ticket(self.sequence);
        let stage = self.stages.get_mut(&peer).unwrap();
        stage.asked.insert(ticket, (head, call));
        let input = match request {
            LeaseRequest::Reserve(reserve) => leases::Input::Reserve {
                ticket,
                from: Asker {
                    peer: from,
                    is_stranger: true,
                },
                reserve,
                need: Need::Bytes(SLICE_BYTES),
            },
            LeaseRequest::Link(link) => leases::Input::Link { ticket, from, link },
            LeaseRequest::Renew(lease) => leases::Input::Renew {
                ticket,
                from,
                lease,
            },
            LeaseRequest::Release(lease) => leases::Input::Release {
                ticket,
                from,
                lease,
            },
        };
        self.measure(peer);
        self.stage(peer, input);
        assert!(
            self.stages[&peer].asked.is_empty(),
            "a request was not answered"
        );
    }

    /// Every slice is always in use.
    fn measure(&mut self, peer: NodeId) {
        let stage = self.stages.get_mut(&peer).unwrap();
        let pace = stage.pace;
        let slowness = |(slice, best): (&SliceId, &mut f64)| {
            *best = best.min(pace);
            #[expect(clippy::cast_possible_truncation, reason = "a small number")]
            let slowness = (pace / *best) as f32;
            (*slice, Some(slowness))
        };
        let measured: Vec<_> = stage.best.iter_mut().map(slowness).collect();
        for (slice, slowness) in measured {
            self.stage(peer, leases::Input::Measured { slice, slowness });
        }
    }

    pub(super) fn stage(&mut self, peer: NodeId, input: leases::Input) {
        let stage = self.stages.get_mut(&peer).unwrap();
        stage.leases.handle(input, self.now);
        while let Some(output) = self.stages.get_mut(&peer).unwrap().leases.next_output() {
            self.on_stage_output(peer, output);
        }
    }

    fn on_stage_output(&mut self, peer: NodeId, output: leases::Output) {
        let stage = self.stages.get_mut(&peer).unwrap();
        let life = stage.life;
        match output {
            leases::Output::Reply { ticket, reply } => {
                let (head, call) = stage.asked.remove(&ticket).expect("answered twice");
                if !self.is_lost() {
                    let delay = self.delay();
                    self.after(delay, Event::Reply(head, call, Ok(reply)));
                }
            }
            leases::Output::Load { slice, .. } => {
                stage.loads += 1;
                stage.best.insert(slice, stage.pace);
                let load = self.nature.load.mul_f64(self.rng.random_range(0.5..=1.0));
                self.after(load / 2, Event::Loading(peer, life, slice));
                let event = if self.rng.random_bool(self.nature.broken) {
                    Event::Ended(peer, life, slice)
                } else {
                    Event::Loaded(peer, life, slice)
                };
                self.after(load, event);
            }
            leases::Output::Unload(slice) => {
                stage.next.remove(&slice);
                let delay = Duration::from_millis(self.rng.random_range(1..500));
                self.after(delay, Event::Ended(peer, life, slice));
            }
            leases::Output::OpenChannel {
                channel,
                slice,
                previous,
            } => {
                let old = stage.open.insert(channel, (slice, previous));
                assert!(old.is_none(), "opened twice");
            }
            leases::Output::CloseChannel(channel) => {
                assert!(stage.open.remove(&channel).is_some(), "closed twice");
            }
            leases::Output::LinkTo {
                slice,
                next,
                next_channel,
            } => drop(stage.next.insert(slice, (next, next_channel))),
            leases::Output::Drained => stage.drained = true,
            leases::Output::Clear(_) | leases::Output::Told { .. } => {}
        }
    }

    pub(super) fn head(&mut self, at: usize, input: Input) {
        if !self.heads[at].is_alive {
            return;
        }
        self.heads[at].deployment.handle(input, self.now);
        while let Some(output) = self.heads[at].deployment.next_output() {
            self.on_head_output(at, output);
        }
    }

    fn on_head_output(&mut self, at: usize, output: Output) {
        let now = self.now;
        let head = &mut self.heads[at];
        assert!(!head.has_ended, "{output:?} after the end");
        match output {
            Output::Call {
                call,
                peer,
                request,
            } => {
                if !self.is_lost() {
                    let delay = self.delay();
                    self.after(delay, Event::Request(peer, at, call, request));
                }
            }
            Output::Probe(ring) => {
                let delay = self.delay() * (self.nature.stages + 1);
                self.after(delay, Event::Probe(at, ring));
            }
            Output::RingReady(ring) => {
                assert!(head.ring.is_none(), "two rings are ready");
                assert!(head.last < Some(ring.generation), "an old ring comes back");
                head.last = Some(ring.generation);
                head.ring = Some(ring.clone());
                head.ready.push((now, ring));
            }
            Output::RingLost { generation, end } => {
                let ring = head.ring.take().expect("a ring was ready");
                assert_eq!(ring.generation, generation);
                head.losses.push((now, end));
            }
            Output::Publish => assert!(!std::mem::replace(&mut head.is_published, true)),
            Output::Withdraw => assert!(std::mem::replace(&mut head.is_published, false)),
            Output::WantPlan {
                reason,
                excluding,
                held,
                slow,
                ..
            } => {
                let excluded: Vec<_> = excluding.iter().map(|excluded| excluded.peer).collect();
                match reason {
                    PlanReason::Slow => self.want_better(at, &excluded, &slow),
                    _ => self.want_plan(at, &excluded, &held),
                }
            }
            Output::WantSpares {
                stages,
                wanted,
                excluding,
                ..
            } => {
                let out = excluding.iter().map(|excluded| excluded.peer);
                let out: Vec<_> = out.chain(stages.iter().map(|s| s.peer)).collect();
                self.find_spares(at, wanted, &out);
            }
            Output::Failed(cause) => head.failed = Some(cause),
            Output::Ended => head.has_ended = true,
        }
    }

    fn find_spares(&mut self, at: usize, wanted: Vec<Place>, out: &[NodeId]) {
        let mut free = self.heads[at].group.clone();
        free.retain(|peer| !out.contains(peer));
        let count = self.nature.later_spares;
        let spares = free.into_iter().zip(wanted).take(count);
        let spares = spares.map(|(peer, like)| Place { peer, ..like }).collect();
        self.after(Duration::from_millis(5), Event::Spares(at, spares));
    }

    /// A planner that knows the group and nothing of who is alive or full.
    fn want_plan(&mut self, at: usize, excluded: &[NodeId], held: &[Place]) {
        self.heads[at].plans += 1;
        let mut free = self.heads[at].group.clone();
        free.retain(|peer| !excluded.contains(peer));
        let size = LAYERS / self.nature.stages;
        let mut stages = Vec::new();
        for n in 0..self.nature.stages {
            let (first_layer, last_layer) = (n * size, (n + 1) * size);
            let is_free = |peer: NodeId| free.contains(&peer);
            let kept = held
                .iter()
                .find(|p| p.first_layer == first_layer && is_free(p.peer));
            let others: Vec<_> = free
                .iter()
                .filter(|peer| !held.iter().any(|place| place.peer == **peer))
                .collect();
            let pool = if others.is_empty() {
                free.iter().collect()
            } else {
                others
            };
            let peer = match kept {
                Some(place) => place.peer,
                None if pool.is_empty() => {
                    return self.after(Duration::from_millis(5), Event::NoPlan(at));
                }
                None => *pool[self.rng.random_range(0..pool.len())],
            };
            free.retain(|other| *other != peer);
            stages.push(Place {
                peer,
                first_layer,
                last_layer,
            });
        }
        let mut spares = Vec::new();
        for _ in 0..self.nature.spares.min(free.len()) {
            let peer = free.swap_remove(self.rng.random_range(0..free.len()));
            let like = stages[self.rng.random_range(0..stages.len())];
            spares.push(Place { peer, ..like });
        }
        let plan = Plan::new(stages, spares, LAYERS).unwrap();
        self.after(Duration::from_millis(5), Event::Plan(at, plan));
    }

    /// A planner that takes every peer for equally fast, but for those of whom it is told.
    fn want_better(&mut self, at: usize, excluded: &[NodeId], slow: &[Slow]) {
        self.heads[at].changes_wanted += 1;
        let factor = |peer: NodeId| {
            let known = slow.iter().find(|slow| slow.peer == peer);
            known.map_or(1.0, |slow| slow.factor)
        };
        let ring = self.heads[at].ring.as_ref().unwrap().stages.clone();
        let token = |stages: &[Place]| {
            let stages = stages.iter().map(|stage| factor(stage.peer));
            Duration::from_millis(10).mul_f64(stages.sum::<f64>() + 1.0)
        };
        let mut free = self.heads[at].group.clone();
        free.retain(|peer| !excluded.contains(peer) && ring.iter().all(|s| s.peer != *peer));
        free.sort_by(|a, b| factor(*a).total_cmp(&factor(*b)));
        let mut stages = ring.clone();
        let slow = stages.iter_mut().filter(|stage| factor(stage.peer) > 1.0);
        for (stage, peer) in slow.zip(free) {
            stage.peer = peer;
        }
        let is_better = is_clearly_better(token(&stages), token(&ring), 1000);
        let event = match is_better {
            true => Event::Plan(at, Plan::new(stages, Vec::new(), LAYERS).unwrap()),
            false => Event::NoPlan(at),
        };
        self.after(Duration::from_millis(5), event);
    }

    fn on_probe(&mut self, at: usize, ring: &Ring) {
        let result = match self.walk(at, ring) {
            Ok(()) => Ok(()),
            Err(peer) => Err(self.rng.random_bool(0.5).then_some(peer)),
        };
        let delay = self.delay();
        self.after(delay, Event::Probed(at, ring.generation, result));
    }

    /// One frame around the ring; `Err`: who did not take it or pass it on.
    fn walk(&self, at: usize, ring: &Ring) -> Result<(), NodeId> {
        let head = &self.heads[at];
        let (mut from, mut to, mut channel) = (head.id, ring.first.peer, ring.first.channel);
        for _ in 0..=ring.stages.len() {
            if to == head.id {
                let is_ours = head.deployment.may_receive(channel, from);
                return is_ours.then_some(()).ok_or(from);
            }
            let stage = self
                .stages
                .get(&to)
                .filter(|stage| stage.is_alive)
                .ok_or(to)?;
            if !stage.leases.may_receive(channel, from, self.now) {
                return Err(to);
            }
            let (slice, previous) = stage.open.get(&channel).ok_or(to)?;
            assert_eq!(*previous, from);
            let (next, next_channel) = stage.next.get(slice).ok_or(to)?;
            (from, to, channel) = (to, *next, *next_channel);
        }
        Err(to)
    }

    /// Sessions notice a ring that does not work.
    fn on_traffic(&mut self) {
        for at in 0..self.heads.len() {
            let ring = self.heads[at].ring.clone().filter(|_| !self.is_quiet);
            let Some(ring) = ring else {
                continue;
            };
            if let Err(peer) = self.walk(at, &ring) {
                let generation = ring.generation;
                let peer = Some(peer);
                self.head(at, Input::RingFailed { generation, peer });
            }
        }
        self.after(Duration::from_secs(1), Event::Traffic);
    }

    fn check(&self) {
        for stage in self.stages.values() {
            let promised = stage.leases.promised_bytes() + stage.leases.spare_bytes();
            assert!(promised <= stage.limit, "too much is promised");
            assert!(stage.leases.held_bytes() <= stage.limit, "too much is held");
            assert!(
                stage.open.len() <= stage.leases.len(),
                "a channel without a lease"
            );
        }
    }
}
