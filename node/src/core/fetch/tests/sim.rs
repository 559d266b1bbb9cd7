//! A simulator of sources: each gives its chunks one after the other at its speed, shared by its
//! asks, as its kind is. Every output of the core is checked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use protocol::weights::{ChunkSet, Layout, Span};

use super::super::{AskId, End, Fetch, Input, Offer, Output, Policy, Source, chunks_of};

/// Events after which something is wrong.
const MAX_EVENTS: usize = 200_000;

/// How long anything takes to reach a source and come back.
const ROUND_TRIP: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Honest,
    /// Gives wrong bytes after so many right chunks.
    Hostile {
        honest_chunks: u32,
    },
    /// Says nothing more after so many chunks.
    Hangs {
        after: u32,
    },
    /// Breaks off each time that so many chunks came.
    Breaks {
        every: u32,
    },
    /// Refuses every third ask.
    Busy,
}

struct Giver {
    kind: Kind,
    rate: f64,
    held: ChunkSet,
    chunks: u32,
    asks: u32,
    bytes: u64,
}

struct Live {
    source: Source,
    next: u32,
    end: u32,
    due: Option<Instant>,
    is_refused: bool,
}

pub(super) struct Sim {
    layout: Layout,
    wanted: ChunkSet,
    /// What is on the disk.
    disk: ChunkSet,
    fetch: Fetch,
    givers: BTreeMap<Source, Giver>,
    live: BTreeMap<AskId, Live>,
    start: Instant,
    now: Instant,
    seed: u64,
    pub(super) came: u64,
    pub(super) distrusted: Vec<Source>,
    pub(super) ended: Option<Output>,
}

pub(super) fn seconds(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes).unwrap())
}

impl Sim {
    pub(super) fn new(layout: Layout, ranges: &[Span], seed: u64) -> Self {
        let wanted = chunks_of(&layout, ranges).unwrap();
        let disk = ChunkSet::none(wanted.universe());
        let now = Instant::now();
        let policy = Policy::default();
        Self {
            fetch: Fetch::new(layout.clone(), wanted.clone(), &disk, policy, now),
            layout,
            wanted,
            disk,
            givers: BTreeMap::new(),
            live: BTreeMap::new(),
            start: now,
            now,
            seed,
            came: 0,
            distrusted: Vec::new(),
            ended: None,
        }
    }

    pub(super) fn add(&mut self, source: Source, kind: Kind, rate: f64) {
        let giver = Giver {
            kind,
            rate,
            held: ChunkSet::all(self.layout.chunk_count()),
            chunks: 0,
            asks: 0,
            bytes: 0,
        };
        self.givers.insert(source, giver);
    }

    pub(super) fn holds_only_every(&mut self, source: Source, step: u64) {
        let step = u32::try_from(step).unwrap();
        let len = self.layout.chunk_count();
        let runs = (0..len / step / 16).map(|n| n * step * 16..n * step * 16 + 16);
        self.givers.get_mut(&source).unwrap().held = ChunkSet::of_runs(len, runs);
    }

    pub(super) fn given(&self, source: Source) -> u64 {
        self.givers[&source].bytes
    }

    pub(super) fn wanted_bytes(&self) -> u64 {
        self.fetch.bytes().0
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    pub(super) fn is_whole(&self) -> bool {
        self.disk.contains_all(&self.wanted)
    }

    /// To the end.
    pub(super) fn run(&mut self) -> Option<Output> {
        self.run_for(MAX_EVENTS);
        self.ended.clone()
    }

    pub(super) fn run_for(&mut self, events: usize) {
        if self.live.is_empty() {
            self.introduce();
        }
        for _ in 0..events {
            if self.ended.is_some() {
                return;
            }
            self.step();
        }
    }

    /// The process ends and begins anew: what is on the disk stays.
    pub(super) fn restart(&mut self) {
        if self.ended.is_some() {
            return;
        }
        self.live.clear();
        let policy = Policy::default();
        let (layout, wanted) = (self.layout.clone(), self.wanted.clone());
        self.fetch = Fetch::new(layout, wanted, &self.disk, policy, self.now);
    }

    fn introduce(&mut self) {
        self.feed(Input::Tick);
        let offers: Vec<_> = self
            .givers
            .iter()
            .map(|(source, giver)| {
                let offer = Offer {
                    held: giver.held.clone(),
                    bytes_per_second: None,
                };
                Input::Found {
                    source: *source,
                    offer,
                }
            })
            .collect();
        offers.into_iter().for_each(|found| self.feed(found));
    }

    /// The next thing that happens.
    fn step(&mut self) {
        let due = self
            .live
            .iter()
            .filter_map(|(id, live)| Some((live.due?, *id)));
        let next = due.min();
        let deadline = self.fetch.next_deadline().unwrap();
        assert!(deadline > self.now, "a deadline that has passed");
        match next {
            Some((at, id)) if at <= deadline => {
                self.now = self.now.max(at);
                self.give(id);
            }
            _ => {
                self.now = deadline;
                self.feed(Input::Tick);
            }
        }
    }

    fn give(&mut self, ask: AskId) {
        let live = self.live.get_mut(&ask).unwrap();
        let source = live.source;
        let giver = self.givers.get_mut(&source).unwrap();
        if live.is_refused {
            self.live.remove(&ask);
            let end = End::Busy(Some(Duration::from_secs(2)));
            return self.feed(Input::Ended { ask, end });
        }
        if live.next >= live.end {
            self.live.remove(&ask);
            let end = End::Whole;
            return self.feed(Input::Ended { ask, end });
        }
        let chunk = live.next;
        let bytes = self.layout.span(chunk).unwrap().length;
        giver.chunks += 1;
        match giver.kind {
            Kind::Hangs { after } if giver.chunks > after => {
                live.due = None;
                return;
            }
            Kind::Breaks { every } if giver.chunks.is_multiple_of(every) => {
                self.came += bytes / 2;
                self.live.remove(&ask);
                let end = End::Broken;
                return self.feed(Input::Ended { ask, end });
            }
            _ => {}
        }
        live.next += 1;
        self.came += bytes;
        giver.bytes += bytes;
        if matches!(giver.kind, Kind::Hostile { honest_chunks } if giver.chunks > honest_chunks) {
            self.live.remove(&ask);
            return self.feed(Input::Corrupt { ask, chunk });
        }
        self.disk.insert(chunk);
        self.schedule(ask, Duration::ZERO);
        self.feed(Input::Verified { ask, chunk });
    }

    fn schedule(&mut self, ask: AskId, after: Duration) {
        let source = self.live[&ask].source;
        let lanes = self
            .live
            .values()
            .filter(|live| live.source == source)
            .count();
        let live = self.live.get_mut(&ask).unwrap();
        let chunk = if live.next < live.end {
            self.layout.chunk_bytes()
        } else {
            0
        };
        let time =
            seconds(chunk) * f64::from(u32::try_from(lanes).unwrap()) / self.givers[&source].rate;
        live.due = Some(self.now + after + Duration::from_secs_f64(time));
    }

    fn feed(&mut self, input: Input) {
        let mut out = Vec::new();
        self.fetch.handle(input, self.now, &mut out);
        for output in out {
            self.obey(output);
        }
        self.check();
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Ask {
                ask,
                source,
                chunks,
            } => {
                assert!(!self.distrusted.contains(&source), "a liar was asked again");
                assert!(
                    self.layout.span_of(chunks.clone()).is_some(),
                    "over a file's end"
                );
                let giver = self.givers.get_mut(&source).unwrap();
                giver.asks += 1;
                for chunk in chunks.clone() {
                    assert!(self.wanted.contains(chunk) && !self.disk.contains(chunk));
                    assert!(giver.held.contains(chunk), "asked of whom it does not hold");
                    let others = self.live.values();
                    assert!(
                        others
                            .into_iter()
                            .all(|live| !(live.next..live.end).contains(&chunk))
                    );
                }
                self.seed = self
                    .seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let jitter = Duration::from_micros(self.seed >> 50);
                let live = Live {
                    source,
                    next: chunks.start,
                    end: chunks.end,
                    due: None,
                    is_refused: giver.kind == Kind::Busy && giver.asks.is_multiple_of(3),
                };
                self.live.insert(ask, live);
                self.schedule(ask, ROUND_TRIP + jitter);
            }
            Output::Shorten { ask, end } => {
                let live = self.live.get_mut(&ask).unwrap();
                assert!(end > live.next && end < live.end);
                live.end = end;
            }
            Output::Cancel(ask) => {
                self.live.remove(&ask);
            }
            Output::Distrust(source) => self.distrusted.push(source),
            end @ (Output::Finished | Output::Failed(_)) => self.ended = Some(end),
        }
    }

    fn check(&self) {
        let policy = Policy::default();
        assert!(self.live.len() <= policy.asks);
        for source in self.givers.keys() {
            let lanes = self.live.values().filter(|live| live.source == *source);
            assert!(lanes.count() <= policy.lanes, "too many asks of one source");
        }
        assert!(self.disk.contains_all(self.fetch.done()));
    }
}
