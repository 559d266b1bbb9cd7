//! How missing chunks are shared out. Each source first gets what no other one has; then whoever
//! has a free lane takes the longest run that it can, as large as its part of the speed of all, and
//! half of that, so that asks shrink towards the end and all end at about one time. Where nothing is
//! free an idle source takes the end of an ask that would go on for long, or all of one that
//! stands still.

use std::ops::Range;
use std::time::{Duration, Instant};

use protocol::limits::MAX_RANGE_BYTES;
use protocol::weights::ChunkSet;

use super::Fetch;
use super::ask::{Ask, as_f64};
use super::event::{AskId, Output, Source};

/// The smallest ask, where there is as much: each costs a stream, and peers count streams.
const MIN_ASK_BYTES: f64 = 262_144.0;

/// An ask whose rest takes less than this is left to its source: what is on the way already would
/// come in vain.
const WORTH: f64 = 2.0;

/// An ask stands still when it took this, and four times what its chunk should have.
const LATE: Duration = Duration::from_secs(5);
const LATE_FACTOR: f64 = 4.0;

/// The longest that is believed of a slow source.
const LONGEST: Duration = Duration::from_secs(3600);

impl Fetch {
    pub(super) fn share(&mut self, out: &mut Vec<Output>) {
        loop {
            while let Some((source, chunks)) = self.next_ask() {
                self.ask(source, chunks, out);
            }
            // Each relief fills a lane, and lanes are few.
            if !self.relieve(out) {
                return;
            }
        }
    }

    fn ask(&mut self, source: Source, chunks: Range<u32>, out: &mut Vec<Output>) {
        let ask = AskId(self.next);
        self.next += 1;
        for chunk in chunks.clone() {
            self.free.remove(chunk);
        }
        self.asks
            .insert(ask, Ask::new(source, chunks.clone(), self.now));
        out.push(Output::Ask {
            ask,
            source,
            chunks,
        });
    }

    /// Sources that may be asked now.
    fn idle(&self) -> impl Iterator<Item = Source> + '_ {
        let has_room = self.asks.len() < self.policy.asks;
        let usable = self.sources.iter().filter(move |(source, known)| {
            let lanes = self.asks.values().filter(|ask| ask.source == **source);
            has_room && known.is_usable(self.now) && lanes.count() < self.policy.lanes
        });
        usable.map(|(source, _)| *source)
    }

    /// The fastest idle source that can give anything, and what.
    fn next_ask(&self) -> Option<(Source, Range<u32>)> {
        let mut idle: Vec<Source> = self.idle().collect();
        idle.sort_by(|a, b| self.rate(*b).total_cmp(&self.rate(*a)));
        let choose = |source| Some((source, self.choose(source)?));
        idle.into_iter().find_map(choose)
    }

    fn choose(&self, source: Source) -> Option<Range<u32>> {
        let candidates = self.candidates(source);
        let rare = self.rare(source, &candidates);
        let from = if rare.is_empty() { candidates } else { rare };
        let runs = from.runs();
        let longest = runs.max_by_key(|run| (run.end - run.start, std::cmp::Reverse(run.start)))?;
        let end = longest.end.min(self.layout.file_end(longest.start));
        let most = self.share_of(source);
        Some(longest.start..end.min(longest.start.saturating_add(most)))
    }

    fn candidates(&self, source: Source) -> ChunkSet {
        let known = self.sources.get(&source);
        known.map_or_else(
            || ChunkSet::none(self.free.universe()),
            |known| self.free.within(&known.held),
        )
    }

    /// Those of the candidates that no other source holds.
    fn rare(&self, source: Source, candidates: &ChunkSet) -> ChunkSet {
        let others = self.sources.iter().filter(|(other, _)| **other != source);
        others.fold(candidates.clone(), |rare, (_, known)| {
            rare.without(&known.held)
        })
    }

    /// Chunks that the next ask of a source may have.
    fn share_of(&self, source: Source) -> u32 {
        let chunk = as_f64(self.layout.chunk_bytes());
        let usable = self.sources.iter();
        let usable = usable.filter(|(_, known)| known.is_usable(self.now));
        let all: f64 = usable.map(|(_, known)| known.rate).sum();
        let lanes = f64::from(u32::try_from(self.policy.lanes).unwrap_or(u32::MAX));
        let part = self.rate(source) / (all.max(1.0) * lanes * 2.0);
        let bytes = f64::from(self.free.count()) * chunk * part;
        let bytes = bytes.clamp(MIN_ASK_BYTES, as_f64(MAX_RANGE_BYTES));
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and 16384"
        )]
        let chunks = (bytes / chunk).floor().max(1.0) as u32;
        chunks
    }

    /// Lets an idle source take over from one that is slower. False: nobody needs it.
    fn relieve(&mut self, out: &mut Vec<Output>) -> bool {
        let idle: Vec<Source> = self.idle().collect();
        for source in idle {
            if !self.candidates(source).is_empty() {
                continue;
            }
            if let Some(id) = self.standing_still(source) {
                self.break_off(id, out);
                self.take_free(source, out);
                return true;
            }
            if let Some((id, end)) = self.long_one(source) {
                self.cut_short(id, end, out);
                self.take_free(source, out);
                return true;
            }
        }
        false
    }

    fn take_free(&mut self, source: Source, out: &mut Vec<Output>) {
        if let Some(chunks) = self.choose(source) {
            self.ask(source, chunks, out);
        }
    }

    /// An ask of somebody else that stands still, at a chunk that this source has.
    fn standing_still(&self, source: Source) -> Option<AskId> {
        let mut others = self.of_others(source);
        let found = others.find(|(_, ask)| {
            self.late_at(ask) <= self.now && ask.missing() > 0 && self.holds(source, ask.next)
        });
        found.map(|(id, _)| id)
    }

    /// The ask of somebody else that takes longest, and where this source goes on.
    fn long_one(&self, source: Source) -> Option<(AskId, u32)> {
        let own = self.rate(source);
        let splits = self.of_others(source).filter_map(|(id, ask)| {
            let rate = self.rate(ask.source);
            let chunk = as_f64(self.layout.chunk_bytes());
            let time = f64::from(ask.missing()) * chunk / rate;
            // Both then end at about one time; the chunk under way stays.
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a part of a number of chunks"
            )]
            let stays = (f64::from(ask.missing()) * rate / (rate + own)).ceil() as u32;
            let end = ask.next + stays.max(1);
            let is_worth = time > WORTH && end < ask.end;
            (is_worth && self.holds(source, end)).then_some((time, id, end))
        });
        let longest = splits.max_by(|a, b| a.0.total_cmp(&b.0));
        longest.map(|(_, id, end)| (id, end))
    }

    fn cut_short(&mut self, id: AskId, end: u32, out: &mut Vec<Output>) {
        let Some(ask) = self.asks.get_mut(&id) else {
            return;
        };
        let old = std::mem::replace(&mut ask.end, end);
        self.free.insert_run(end..old);
        out.push(Output::Shorten { ask: id, end });
    }

    fn of_others(&self, source: Source) -> impl Iterator<Item = (AskId, &Ask)> {
        let asks = self.asks.iter();
        let others = asks.filter(move |(_, ask)| ask.source != source);
        others.map(|(id, ask)| (*id, ask))
    }

    fn holds(&self, source: Source, chunk: u32) -> bool {
        let known = self.sources.get(&source);
        known.is_some_and(|known| known.held.contains(chunk))
    }

    fn rate(&self, source: Source) -> f64 {
        self.sources.get(&source).map_or(1.0, |known| known.rate)
    }

    /// When an ask stands still, if nothing comes until then.
    pub(super) fn late_at(&self, ask: &Ask) -> Instant {
        let chunk = as_f64(self.layout.chunk_bytes());
        let due = LATE_FACTOR * chunk / self.rate(ask.source);
        let due = Duration::try_from_secs_f64(due).unwrap_or(LONGEST);
        ask.progress_at + LATE + due.min(LONGEST)
    }
}
