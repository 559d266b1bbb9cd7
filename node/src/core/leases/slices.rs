//! The slices that take memory: loading, loaded, kept warm, on their way out. It knows whose
//! they are only as far as that somebody holds them.
//!
//! A slice's states: loading → ready → (warm → ready …) → unloading → gone, and from each of
//! them → gone when its worker says so.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use protocol::{
    chain::Reserve,
    limits::{MAX_DECODE_SECONDS, MAX_SLOWNESS},
};

use super::event::{LoadStep, Output, SliceId};
use super::{KEEP_WARM, MAX_SLICES, MAX_WARM};

/// How far a slice is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    Loading(LoadStep, f32),
    Ready,
    Unloading,
}

/// A slice that takes memory.
#[derive(Debug)]
pub(super) struct Slice {
    reserve: Reserve,
    bytes: u64,
    pub(super) step: Step,
    pub(super) decode_seconds: Option<f32>,
    /// How many times slower than at its best it is.
    pub(super) slowness: Option<f32>,
    /// Nobody holds it since then.
    warm_since: Option<Instant>,
}

/// Every slice that takes memory.
#[derive(Debug, Default)]
pub(super) struct Slices {
    table: BTreeMap<SliceId, Slice>,
    next: u64,
}

impl Slices {
    pub(super) fn by_id(&self, id: SliceId) -> Option<&Slice> {
        self.table.get(&id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Memory that is taken, bytes.
    pub(super) fn held_bytes(&self) -> u64 {
        self.table.values().map(|slice| slice.bytes).sum()
    }

    /// Loads one, where there is room for it below `limit`.
    pub(super) fn try_load(
        &mut self,
        reserve: &Reserve,
        bytes: u64,
        limit: u64,
    ) -> Option<SliceId> {
        if self.len() >= MAX_SLICES || self.held_bytes().saturating_add(bytes) > limit {
            return None;
        }
        let id = SliceId(self.next);
        self.next += 1;
        let slice = Slice {
            reserve: reserve.clone(),
            bytes,
            step: Step::Loading(LoadStep::Fetching, 0.0),
            decode_seconds: None,
            slowness: None,
            warm_since: None,
        };
        self.table.insert(id, slice);
        Some(id)
    }

    /// A warm slice that is what a reservation asks for; it is warm no more.
    pub(super) fn adopt(&mut self, reserve: &Reserve, bytes: u64) -> Option<SliceId> {
        let fits = |slice: &&mut Slice| {
            slice.warm_since.is_some() && slice.bytes == bytes && is_alike(&slice.reserve, reserve)
        };
        let (id, slice) = self.table.iter_mut().find(|(_, slice)| fits(slice))?;
        slice.warm_since = None;
        Some(*id)
    }

    pub(super) fn on_progress(&mut self, id: SliceId, step: LoadStep, progress: f32) {
        if let Some(slice) = self.table.get_mut(&id)
            && matches!(slice.step, Step::Loading(..))
        {
            let progress = if progress.is_nan() { 0.0 } else { progress };
            slice.step = Step::Loading(step, progress.clamp(0.0, 1.0));
        }
    }

    /// Whether it is ready now and was not before.
    pub(super) fn on_loaded(&mut self, id: SliceId, decode_seconds: Option<f32>) -> bool {
        let slice = self.table.get_mut(&id);
        let Some(slice) = slice.filter(|slice| matches!(slice.step, Step::Loading(..))) else {
            return false;
        };
        slice.step = Step::Ready;
        // What no message can say was not measured.
        slice.decode_seconds = decode_seconds.filter(|s| *s > 0.0 && *s <= MAX_DECODE_SECONDS);
        true
    }

    pub(super) fn on_measured(&mut self, id: SliceId, slowness: Option<f32>) {
        if let Some(slice) = self.table.get_mut(&id) {
            let number = slowness.filter(|times| times.is_finite() && *times > 0.0);
            slice.slowness = number.map(|times| times.min(MAX_SLOWNESS));
        }
    }

    pub(super) fn on_ended(&mut self, id: SliceId) -> Option<Slice> {
        self.table.remove(&id)
    }

    /// Nobody holds it any more: it stays for a while, if it is loaded.
    pub(super) fn let_go(&mut self, id: SliceId, now: Instant, out: &mut VecDeque<Output>) {
        let slice = self.table.get_mut(&id);
        let Some(slice) = slice.filter(|slice| slice.step == Step::Ready) else {
            return self.unload(id, out);
        };
        slice.warm_since = Some(now);
        out.push_back(Output::Clear(id));
        if self.warm().count() > MAX_WARM {
            self.unload_oldest(out);
        }
    }

    pub(super) fn unload(&mut self, id: SliceId, out: &mut VecDeque<Output>) {
        if let Some(slice) = self.table.get_mut(&id)
            && slice.step != Step::Unloading
        {
            slice.step = Step::Unloading;
            slice.warm_since = None;
            out.push_back(Output::Unload(id));
        }
    }

    /// Unloads warm slices, the oldest first, until what stays and `bytes` more are below `limit`.
    pub(super) fn make_room(&mut self, bytes: u64, limit: u64, out: &mut VecDeque<Output>) {
        while self.staying_bytes().saturating_add(bytes) > limit && self.unload_oldest(out) {}
    }

    /// Unloads what was warm for long enough.
    pub(super) fn cool(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        while self.cools_at().is_some_and(|at| at <= now) && self.unload_oldest(out) {}
    }

    /// When the oldest warm slice is to go.
    pub(super) fn cools_at(&self) -> Option<Instant> {
        self.warm().map(|(_, since)| since + KEEP_WARM).min()
    }

    fn staying_bytes(&self) -> u64 {
        let staying = self
            .table
            .values()
            .filter(|slice| slice.step != Step::Unloading);
        staying.map(|slice| slice.bytes).sum()
    }

    fn warm(&self) -> impl Iterator<Item = (SliceId, Instant)> {
        let warm = |(id, slice): (&SliceId, &Slice)| Some((*id, slice.warm_since?));
        self.table.iter().filter_map(warm)
    }

    /// Whether there was a warm one.
    fn unload_oldest(&mut self, out: &mut VecDeque<Output>) -> bool {
        let oldest = self.warm().min_by_key(|(_, since)| *since);
        if let Some((id, _)) = oldest {
            self.unload(id, out);
        }
        oldest.is_some()
    }
}

/// The deployment is another, and what it is to be there; the rest is the same.
fn is_alike(a: &Reserve, b: &Reserve) -> bool {
    let b = Reserve {
        deployment: a.deployment,
        is_spare: a.is_spare,
        ..b.clone()
    };
    *a == b
}
