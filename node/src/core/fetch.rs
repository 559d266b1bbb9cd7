//! Fetching some byte ranges of a model's files from several sources at once: which chunks are
//! asked of whom, what is believed, when a source is left alone, and when it is over.
//!
//! The ranges are rounded out to chunks. A chunk is in the hands of one source at a time; what a
//! source gives counts chunk by chunk, each checked against the manifest. One wrong chunk ends a
//! source for good and is told ([`Output::Distrust`]), for every honest source checks what it holds.
//!
//! States of a chunk: free → asked ([`Output::Ask`]) → done by [`Input::Verified`], or free again
//! when its ask ends, is late, is cut short for an idle source, or its source goes.
//! States of a source: usable → resting after a refusal or a failure → usable; → dropped after
//! [`MAX_FAILURES`] in a row, a refusal for good, or a wrong chunk; a dropped one may be found anew
//! unless its bytes were wrong.
//!
//! It knows no stream, no file and no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use protocol::weights::{ChunkSet, Layout, Span};

mod ask;
pub mod distrust;
mod event;
mod share;
mod source;
#[cfg(test)]
mod tests;

use self::ask::Ask;
pub use self::event::{AskId, End, Failure, Input, Offer, Output, Source};
use self::source::Known;
pub use self::source::{MAX_FAILURES, MAX_REST};

/// How a fetch behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Asks of one source under way. Two: while the last bytes of one come, the next is there.
    pub lanes: usize,
    /// Asks of all sources under way: each may hold a chunk in memory.
    pub asks: usize,
    /// Without a new chunk for so long, it is over.
    pub patience: Duration,
    /// Bytes that may come in vain: wrong ones, and beginnings of chunks that broke off. Beyond, it
    /// is over.
    pub waste_bytes: u64,
}

impl Default for Policy {
    /// Patience outlasts a source's rest; waste is a few chunks of each of many liars.
    fn default() -> Self {
        Self {
            lanes: 2,
            asks: 16,
            patience: Duration::from_secs(180),
            waste_bytes: 64 << 20,
        }
    }
}

/// A range that the model's files do not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the model's files have no {} bytes at {} of file {}", .0.length, .0.offset, .0.file)]
pub struct NoSuchRange(pub Span);

/// One fetch.
#[derive(Debug)]
pub struct Fetch {
    layout: Layout,
    policy: Policy,
    wanted: ChunkSet,
    done: ChunkSet,
    free: ChunkSet,
    sources: BTreeMap<Source, Known>,
    /// Sent wrong bytes; never asked again.
    liars: BTreeSet<Source>,
    asks: BTreeMap<AskId, Ask>,
    next: u64,
    wanted_bytes: u64,
    done_bytes: u64,
    wasted: u64,
    progress_at: Instant,
    /// The last moment that anything was looked at.
    now: Instant,
    ended: bool,
}

/// The chunks that hold these ranges.
///
/// # Errors
/// [`NoSuchRange`].
pub fn chunks_of(layout: &Layout, ranges: &[Span]) -> Result<ChunkSet, NoSuchRange> {
    let mut chunks = ChunkSet::none(layout.chunk_count());
    for range in ranges.iter().filter(|range| range.length > 0) {
        let run = layout.chunks_of(*range).ok_or(NoSuchRange(*range))?;
        chunks.insert_run(run);
    }
    Ok(chunks)
}

impl Fetch {
    /// Fetches `wanted`, of which `have` is there already. Nothing is asked before a source was
    /// found; the first [`Input::Tick`] finishes it if nothing is missing.
    pub fn new(
        layout: Layout,
        wanted: ChunkSet,
        have: &ChunkSet,
        policy: Policy,
        now: Instant,
    ) -> Self {
        let done = wanted.within(have);
        Self {
            policy,
            wanted_bytes: bytes_of(&layout, &wanted),
            done_bytes: bytes_of(&layout, &done),
            free: wanted.without(have),
            done,
            wanted,
            sources: BTreeMap::new(),
            liars: BTreeSet::new(),
            asks: BTreeMap::new(),
            next: 0,
            wasted: 0,
            progress_at: now,
            now,
            ended: false,
            layout,
        }
    }

    /// Takes what happened; appends what is to be done. After [`Output::Finished`] or
    /// [`Output::Failed`] nothing is.
    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Output>) {
        if self.ended {
            return;
        }
        self.now = now;
        match input {
            Input::Found { source, offer } => self.on_found(source, offer),
            Input::Gone(source) => self.drop_source(source, out),
            Input::Verified { ask, chunk } => self.on_verified(ask, chunk),
            Input::Corrupt { ask, chunk } => self.on_corrupt(ask, chunk, out),
            Input::Ended { ask, end } => self.on_ended(ask, end, out),
            Input::Tick => {}
        }
        self.drive(out);
    }

    /// When [`Input::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        let asks = self.asks.values();
        let asks = asks.flat_map(|ask| [ask.deadline(&self.layout), self.late_at(ask)]);
        let rests = self.sources.values().filter_map(|known| known.rests_until);
        let ahead = asks.chain(rests).filter(|at| *at > self.now);
        let give_up = self.progress_at + self.policy.patience;
        Some(ahead.fold(give_up, Instant::min))
    }

    /// Wanted chunks that are there.
    pub fn done(&self) -> &ChunkSet {
        &self.done
    }

    /// Bytes of the wanted chunks, and of those that are there.
    pub fn bytes(&self) -> (u64, u64) {
        (self.wanted_bytes, self.done_bytes)
    }

    /// Bytes that came in vain so far.
    pub fn wasted_bytes(&self) -> u64 {
        self.wasted
    }

    fn length_of(&self, chunk: u32) -> u64 {
        self.layout.span(chunk).map_or(0, |span| span.length)
    }

    fn on_found(&mut self, source: Source, offer: Offer) {
        if self.liars.contains(&source) {
            return;
        }
        match self.sources.get_mut(&source) {
            Some(known) => known.held = offer.held,
            None => {
                self.sources.insert(source, Known::new(offer));
            }
        }
    }

    fn on_verified(&mut self, id: AskId, chunk: u32) {
        let bytes = self.length_of(chunk);
        if self.wanted.contains(chunk) && self.done.insert(chunk) {
            self.done_bytes += bytes;
            self.progress_at = self.now;
        }
        self.free.remove(chunk);
        let Some(ask) = self.asks.get_mut(&id).filter(|ask| ask.next == chunk) else {
            return;
        };
        ask.advance(bytes, self.now);
        if let Some(known) = self.sources.get_mut(&ask.source) {
            known.on_bytes(ask.rate(self.now));
        }
    }

    fn on_corrupt(&mut self, id: AskId, chunk: u32, out: &mut Vec<Output>) {
        let Some(source) = self.asks.get(&id).map(|ask| ask.source) else {
            return;
        };
        self.wasted += self.length_of(chunk);
        self.liars.insert(source);
        self.drop_source(source, out);
        out.push(Output::Distrust(source));
    }

    fn on_ended(&mut self, id: AskId, end: End, out: &mut Vec<Output>) {
        let Some(ask) = self.take(id) else { return };
        let missing = ask.next..ask.end;
        let now = self.now;
        let Some(known) = self.sources.get_mut(&ask.source) else {
            return;
        };
        match end {
            End::Whole if missing.is_empty() => {}
            End::Busy(after) => known.rest(after, now),
            End::NotHeld => {
                for chunk in missing {
                    known.held.remove(chunk);
                }
            }
            End::Refused => self.drop_source(ask.source, out),
            End::Whole | End::Broken => self.on_failed(ask.source, missing, out),
        }
    }

    /// An ask broke off: what had come of its next chunk is lost.
    fn on_failed(&mut self, source: Source, missing: Range<u32>, out: &mut Vec<Output>) {
        if !missing.is_empty() {
            self.wasted += self.length_of(missing.start);
        }
        let now = self.now;
        let known = self.sources.get_mut(&source);
        if known.is_some_and(|known| !known.fail(now)) {
            self.drop_source(source, out);
        }
    }

    /// Its chunks are free again.
    fn take(&mut self, id: AskId) -> Option<Ask> {
        let ask = self.asks.remove(&id)?;
        for chunk in (ask.next..ask.end).filter(|chunk| !self.done.contains(*chunk)) {
            self.free.insert(chunk);
        }
        Some(ask)
    }

    fn drop_source(&mut self, source: Source, out: &mut Vec<Output>) {
        self.sources.remove(&source);
        let asks = self.asks.iter();
        let own: Vec<_> = asks.filter(|(_, ask)| ask.source == source).collect();
        let own: Vec<_> = own.into_iter().map(|(id, _)| *id).collect();
        for id in own {
            self.take(id);
            out.push(Output::Cancel(id));
        }
    }

    fn drive(&mut self, out: &mut Vec<Output>) {
        self.expire(out);
        if self.done.count() == self.wanted.count() {
            return self.end(Output::Finished, out);
        }
        if self.wasted > self.policy.waste_bytes {
            return self.end(Output::Failed(Failure::Waste), out);
        }
        if self.now >= self.progress_at + self.policy.patience {
            let failure = self.why_stalled();
            return self.end(Output::Failed(failure), out);
        }
        self.share(out);
    }

    /// Ends asks of which nothing came for too long.
    fn expire(&mut self, out: &mut Vec<Output>) {
        let asks = self.asks.iter();
        let late = asks.filter(|(_, ask)| ask.deadline(&self.layout) <= self.now);
        let late: Vec<_> = late.map(|(id, _)| *id).collect();
        for id in late {
            self.break_off(id, out);
        }
    }

    fn break_off(&mut self, id: AskId, out: &mut Vec<Output>) {
        if let Some(ask) = self.take(id) {
            out.push(Output::Cancel(id));
            self.on_failed(ask.source, ask.next..ask.end, out);
        }
    }

    fn why_stalled(&self) -> Failure {
        let missing = self.wanted.without(&self.done);
        let mut sources = self.sources.values();
        if sources.any(|known| !known.held.within(&missing).is_empty()) {
            return Failure::Stalled;
        }
        Failure::NoSource
    }

    fn end(&mut self, last: Output, out: &mut Vec<Output>) {
        let asks = std::mem::take(&mut self.asks);
        out.extend(asks.into_keys().map(Output::Cancel));
        out.push(last);
        self.ended = true;
    }
}

fn bytes_of(layout: &Layout, chunks: &ChunkSet) -> u64 {
    let length = |chunk| layout.span(chunk).map_or(0, |span| span.length);
    chunks.runs().flatten().map(length).sum()
}
