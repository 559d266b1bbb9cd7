//! A model whose files were replaced: the newer ones are loaded beside what is loaded, which goes on
//! answering until they are ready, and then until the answers that it began have ended.
//!
//! Where there is no room for both, or both together could not be loaded, the older is let go first:
//! as soon as nobody uses it, or after [`UPDATE_PATIENCE`] as soon as the answers that it began have ended.
//! Whoever asks meanwhile waits for the newer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use protocol::ModelName;

use super::{LoadId, Output, Phase, Residency, Resident, Want};

/// How long what is busy may answer with files that are not there any more, where the newer ones
/// cannot be loaded beside it.
pub const UPDATE_PATIENCE: Duration = Duration::from_secs(60);

/// The files that a loaded model's name means are others now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outdated {
    since: Instant,
    /// They could not be loaded beside it.
    is_alone: bool,
}

impl Residency {
    /// Whether the files that are wanted are those that are loaded; if not, something is done. A
    /// guest is answered by what is there.
    pub(super) fn update(&mut self, want: &Want, now: Instant, out: &mut Vec<Output>) {
        let resident = self.residents.get_mut(&want.model);
        let Some(resident) = resident.filter(|r| r.phase == Phase::Ready && !want.guest) else {
            return;
        };
        if resident.version == want.version {
            resident.outdated = None;
            return;
        }
        let outdated = *resident.outdated.get_or_insert(Outdated {
            since: now,
            is_alone: false,
        });
        let is_idle = resident.leases == 0;
        let is_of_it = |(model, _): &(ModelName, Resident)| *model == want.model;
        if self.updates.contains_key(&want.model) || self.retired.iter().any(is_of_it) {
            return;
        }
        if !outdated.is_alone && !self.is_room_awaited() && self.free_bytes() >= want.need_bytes {
            let resident = self.new_load(want, now, out);
            self.updates.insert(want.model.clone(), resident);
        } else if is_idle || outdated.since + UPDATE_PATIENCE <= now {
            self.retire(&want.model);
        }
    }

    /// Whether somebody waits for room for a model that is not loaded.
    fn is_room_awaited(&self) -> bool {
        let is_absent = |model: &ModelName| !self.residents.contains_key(model);
        self.waiting
            .iter()
            .any(|waiting| is_absent(&waiting.want.model))
    }

    /// What is loaded of this model begins no answer any more, and ends with those that it began.
    fn retire(&mut self, model: &ModelName) {
        if let Some(resident) = self.residents.remove(model) {
            self.retired.push((model.clone(), resident));
        }
    }

    /// The newer files of a model are loaded. Whether this was such a load.
    pub(super) fn on_update_loaded(&mut self, load: LoadId, now: Instant) -> bool {
        let Some(model) = name_of(&self.updates, load) else {
            return false;
        };
        let update = self.updates.get(&model);
        if update.is_none_or(|update| update.phase != Phase::Loading) {
            return true;
        }
        self.retire(&model);
        if let Some(update) = self.updates.remove(&model) {
            let ready = Resident {
                phase: Phase::Ready,
                last_used: now,
                ..update
            };
            self.residents.insert(model, ready);
        }
        true
    }

    /// Newer files were not loaded, or older ones are gone. Whether this was such a load.
    pub(super) fn on_update_ended(&mut self, load: LoadId) -> bool {
        if let Some(model) = name_of(&self.updates, load) {
            self.updates.remove(&model);
            let resident = self.residents.get_mut(&model);
            if let Some(outdated) = resident.and_then(|resident| resident.outdated.as_mut()) {
                outdated.is_alone = true;
            }
            return true;
        }
        let before = self.retired.len();
        self.retired.retain(|(_, resident)| resident.load != load);
        self.retired.len() < before
    }

    /// The older is gone before the newer was ready. Whether there is a newer.
    pub(super) fn promote(&mut self, model: &ModelName) -> bool {
        let update = self.updates.remove(model);
        let has_newer = update.is_some();
        self.residents
            .extend(update.map(|update| (model.clone(), update)));
        has_newer
    }

    /// Older ones whose last answer ended are let go.
    pub(super) fn let_go_retired(&mut self, out: &mut Vec<Output>) {
        let idle = self.retired.iter_mut().filter(|(_, r)| r.leases == 0);
        idle.for_each(|(_, resident)| resident.drain(out));
    }

    /// Everything of this name but what answers ends.
    pub(super) fn drain_updates(&mut self, model: &ModelName, out: &mut Vec<Output>) {
        let update = self.updates.get_mut(model);
        update.into_iter().for_each(|update| update.drain(out));
        let retired = self.retired.iter_mut().filter(|(name, _)| name == model);
        retired.for_each(|(_, resident)| resident.drain(out));
    }
}

/// The model of a load.
pub(super) fn name_of(table: &BTreeMap<ModelName, Resident>, load: LoadId) -> Option<ModelName> {
    let mut entries = table.iter();
    let found = entries.find(|(_, resident)| resident.load == load);
    found.map(|(model, _)| model.clone())
}
