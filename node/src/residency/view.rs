//! What others see of the loaded models: a snapshot for those who share them out, and for the
//! node's advert. It knows neither tickets nor engines.

use std::collections::{BTreeMap, BTreeSet};

use protocol::ModelName;
use protocol::advert::Abilities;

use crate::core::residency::{LoadId, Phase, Residency};

/// The loaded models and how they are used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// By full name; those that end are not here.
    pub models: BTreeMap<ModelName, Seen>,
    /// Models that could not be loaded, or did not stay so, a moment ago.
    pub failed: BTreeSet<ModelName>,
    /// Models that stay once they are loaded.
    pub pinned: BTreeSet<ModelName>,
    /// Memory that all of them take, those that end too, bytes.
    pub taken_bytes: u64,
    /// What another one could take, bytes.
    pub free_bytes: u64,
    /// A request of the node's own user waits for a load or for room.
    pub owner_waits: bool,
}

/// One loaded model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// It answers now. Else it is being loaded, or started again after a crash.
    pub ready: bool,
    /// Sequences that it runs at a time; 0: not known yet.
    pub parallel: u32,
    /// Tokens of one sequence; 0: not known yet.
    pub context_tokens: u32,
    /// Requests that use it.
    pub leases: u32,
    /// Of these, guests'.
    pub guests: u32,
    /// The node's own user used it since it was loaded, or had it loaded.
    pub is_owners: bool,
    /// What it can do.
    pub abilities: Abilities,
}

/// What an engine that answers says of itself: sequences at a time, tokens of one.
pub(super) type Info = (u32, u32);

/// The view of the models, by what is known of each load.
pub(super) fn of(
    core: &Residency,
    pinned: &[ModelName],
    known: impl Fn(LoadId) -> (Option<Info>, Abilities),
) -> View {
    let residents = core.residents().iter();
    let stays = residents.filter(|(_, resident)| resident.phase != Phase::Draining);
    let models = stays.map(|(name, resident)| {
        let (info, abilities) = known(resident.load);
        let (parallel, context_tokens) = info.unwrap_or_default();
        let seen = Seen {
            ready: info.is_some() && resident.phase == Phase::Ready,
            parallel,
            context_tokens,
            leases: resident.leases,
            guests: resident.guests,
            is_owners: !resident.guests_only,
            abilities,
        };
        (name.clone(), seen)
    });
    // What is about to be replaced is not gone.
    let replaced = core.replaced().map(|name| (name.clone(), Seen::default()));
    let taken_bytes = core.all().fold(0u64, |sum, (_, resident)| {
        sum.saturating_add(resident.need_bytes)
    });
    View {
        models: replaced.chain(models).collect(),
        taken_bytes,
        free_bytes: core.free_bytes(),
        failed: core.failed().cloned().collect(),
        pinned: pinned.iter().cloned().collect(),
        owner_waits: core.owner_waits(),
    }
}
