//! One fetch under way: the task that owns the core, asks givers, and notes what came. What is asked of
//! whom is the core's to decide.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use protocol::ManifestId;
use protocol::weights::{ChunkSet, Layout};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, sleep_until};
use tracing::{debug, warn};

use super::super::asking::{Asking, Event};
use super::super::error::FetchError;
use super::super::giver::{GiveError, Giver};
use super::super::slice::Slice;
use super::super::{Claim, Weights};
use super::{Fetched, Givers, LOOK_AGAIN, Progress};
use crate::core::fetch::{AskId, End, Fetch, Input, Offer, Output, Policy, Source};
use crate::models::blocking;

/// What the tasks may be ahead of the fetch.
const EVENTS: usize = 64;

/// Chunks that came are noted so often: what comes in between is fetched again after a crash.
const NOTE_EVERY: Duration = Duration::from_secs(5);

/// One fetch under way. Its tasks end with it.
pub(super) struct Fetching {
    weights: Weights,
    _claim: Claim,
    slice: Slice,
    layout: Arc<Layout>,
    core: Fetch,
    progress: watch::Sender<Progress>,
    givers: BTreeMap<Source, (Arc<dyn Giver>, AbortHandle)>,
    asks: BTreeMap<AskId, (AbortHandle, Arc<AtomicU32>)>,
    tasks: JoinSet<()>,
    sender: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    begun_with: u64,
    note_at: Instant,
    liars: Vec<Source>,
    over: Option<Result<(), FetchError>>,
}

impl Fetching {
    pub(super) fn new(
        weights: Weights,
        claim: Claim,
        slice: Slice,
        wanted: ChunkSet,
        progress: watch::Sender<Progress>,
    ) -> Self {
        let (sender, events) = mpsc::channel(EVENTS);
        let layout = slice.layout().clone();
        let policy = Policy::default();
        let core = Fetch::new(layout.clone(), wanted, slice.noted(), policy, now());
        let begun_with = core.bytes().1;
        Self {
            weights,
            _claim: claim,
            slice,
            layout: Arc::new(layout),
            core,
            progress,
            givers: BTreeMap::new(),
            asks: BTreeMap::new(),
            tasks: JoinSet::new(),
            sender,
            events,
            begun_with,
            note_at: now() + NOTE_EVERY,
            liars: Vec::new(),
            over: None,
        }
    }

    pub(super) async fn run(mut self, mut givers: Givers) -> Result<Fetched, FetchError> {
        self.apply(Input::Tick);
        let mut has_more = true;
        self.meet(&mut givers);
        while self.over.is_none() {
            let deadline = self.core.next_deadline().unwrap_or(self.note_at);
            let deadline = deadline.min(self.note_at);
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => self.on_event(event),
                () = sleep_until(deadline.into()) => self.apply(Input::Tick),
                changed = givers.changed(), if has_more => {
                    has_more = changed.is_ok();
                    self.meet(&mut givers);
                }
            }
            while self.tasks.try_join_next().is_some() {}
            self.remember_liars().await;
            if now() >= self.note_at {
                self.note().await?;
            }
        }
        // Whatever the end was, what came is kept.
        self.note().await?;
        self.over.take().unwrap_or(Ok(()))?;
        let held = self.slice.held();
        let done = self.core.bytes().1 - self.begun_with;
        Ok(Fetched {
            files: held.paths(),
            manifest: held.manifest,
            came_bytes: done + self.core.wasted_bytes(),
        })
    }

    /// Takes those in who came, and lets go of those who went.
    fn meet(&mut self, givers: &mut Givers) {
        let now: Vec<_> = givers.borrow_and_update().clone();
        let sources: BTreeSet<Source> = now.iter().map(|giver| giver.source()).collect();
        let known = self.givers.keys();
        let gone: Vec<Source> = known.filter(|s| !sources.contains(s)).copied().collect();
        for source in gone {
            if let Some((_, looking)) = self.givers.remove(&source) {
                looking.abort();
            }
            self.apply(Input::Gone(source));
        }
        for giver in now {
            let source = giver.source();
            if !self.givers.contains_key(&source) && self.weights.trusts(source) {
                let layout = Arc::clone(&self.layout);
                let looking = look(
                    Arc::clone(&giver),
                    self.slice.id(),
                    layout,
                    self.sender.clone(),
                );
                let looking = self.tasks.spawn(looking);
                self.givers.insert(source, (giver, looking));
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Input(input) => self.apply(input),
            Event::Disk(error) => self.over = Some(Err(FetchError::Disk(error))),
        }
    }

    fn apply(&mut self, input: Input) {
        if let Input::Ended { ask, .. } = &input {
            self.asks.remove(ask);
        }
        let mut outputs = Vec::new();
        self.core.handle(input, now(), &mut outputs);
        for output in outputs {
            self.obey(output);
        }
        let (wanted_bytes, done_bytes) = self.core.bytes();
        self.progress.send_replace(Progress {
            wanted_bytes,
            done_bytes,
        });
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Ask {
                ask,
                source,
                chunks,
            } => self.ask(ask, source, chunks),
            Output::Shorten { ask, end } => {
                if let Some((_, until)) = self.asks.get(&ask) {
                    until.store(end, Ordering::Relaxed);
                }
            }
            Output::Cancel(ask) => {
                if let Some((task, _)) = self.asks.remove(&ask) {
                    task.abort();
                }
            }
            Output::Distrust(source) => self.liars.push(source),
            Output::Finished => self.over = Some(Ok(())),
            Output::Failed(failure) => self.over = Some(Err(failure.into())),
        }
    }

    fn ask(&mut self, ask: AskId, source: Source, chunks: Range<u32>) {
        let Some((giver, _)) = self.givers.get(&source) else {
            return;
        };
        let end = Arc::new(AtomicU32::new(chunks.end));
        let asking = Asking {
            id: self.slice.id(),
            ask,
            giver: Arc::clone(giver),
            chunks,
            end: Arc::clone(&end),
            layout: Arc::clone(&self.layout),
            writer: self.slice.writer(),
            received: self.weights.received(),
            events: self.sender.clone(),
        };
        let task = self.tasks.spawn(asking.run());
        self.asks.insert(ask, (task, end));
    }

    async fn remember_liars(&mut self) {
        for source in std::mem::take(&mut self.liars) {
            warn!(
                ?source,
                "a source sent wrong bytes of a model; it is left alone"
            );
            if let Some((giver, looking)) = self.givers.get(&source) {
                looking.abort();
                giver.blame();
            }
            let Source::Peer(peer) = source else { continue };
            let weights = self.weights.clone();
            let kept = tokio::task::spawn_blocking(move || weights.distrust(peer)).await;
            if let Ok(Err(error)) = kept {
                warn!(%error, "who sent wrong bytes is not remembered beyond this run");
            }
        }
    }

    /// Makes what came last, and lets peers have it.
    async fn note(&mut self) -> Result<(), FetchError> {
        self.note_at = now() + NOTE_EVERY;
        let noting = self.slice.note(self.core.done());
        let noted = blocking(noting).await.map_err(FetchError::Disk)?;
        self.slice.noted_are(noted);
        self.weights.state().hold(self.slice.held());
        Ok(())
    }
}

/// Asks a giver what it has, now and again.
async fn look(
    giver: Arc<dyn Giver>,
    id: ManifestId,
    layout: Arc<Layout>,
    events: mpsc::Sender<Event>,
) {
    let source = giver.source();
    loop {
        match giver.held(id, &layout).await {
            Ok(held) => {
                let is_all = held.count() == layout.chunk_count();
                let offer = Offer {
                    held,
                    bytes_per_second: None,
                };
                let found = Event::Input(Input::Found { source, offer });
                if events.send(found).await.is_err() || is_all {
                    return;
                }
            }
            Err(GiveError(End::Refused)) => return,
            Err(error) => debug!(?source, %error, "a giver says nothing of a model"),
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// The runtime's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
