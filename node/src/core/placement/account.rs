//! What the placement does and why, in words for people. It changes nothing.

use std::time::Instant;

use protocol::ModelName;

use super::{Phase, Placement};

/// One model, and what this node does about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The model.
    pub model: ModelName,
    /// `considered`, `announced`, `loading`, `held`, `leaving`, `resting`, or `left` to others.
    pub state: &'static str,
    /// Why, in one line.
    pub why: String,
}

impl Placement {
    /// What is done about each model that is held, about to be, or lacks servers; by name.
    pub fn accounts(&self, now: Instant) -> Vec<Account> {
        let places = self.places.iter().map(|(model, place)| Account {
            model: model.clone(),
            state: state(&place.phase),
            why: place.why.clone(),
        });
        let absent = self.scene.asked.keys();
        let absent = absent.filter(|model| !self.places.contains_key(*model));
        let left = absent.filter_map(|model| self.left(model, now));
        let mut accounts: Vec<Account> = places.chain(left).collect();
        accounts.sort_by(|one, other| one.model.cmp(&other.model));
        accounts
    }

    /// A model that lacks servers and is not taken on here.
    fn left(&self, model: &ModelName, now: Instant) -> Option<Account> {
        self.need(model, now)?;
        if self.scene.held.contains_key(model) {
            return None;
        }
        let why = match (self.scene.closed, self.scene.candidates.get(model)) {
            (Some(reason), _) => reason.to_owned(),
            (None, None) => "it is neither on the disk nor in the catalog, or its owner does not \
                             allow it here"
                .to_owned(),
            (None, Some(candidate)) if candidate.need_bytes > self.scene.free_bytes => format!(
                "it needs {} MB of memory, {} MB are free",
                candidate.need_bytes / 1_000_000,
                self.scene.free_bytes / 1_000_000
            ),
            (None, Some(_)) => "others take it on".to_owned(),
        };
        Some(Account {
            model: model.clone(),
            state: "left",
            why,
        })
    }
}

fn state(phase: &Phase) -> &'static str {
    match phase {
        Phase::Drawn { .. } => "considered",
        Phase::Announced { .. } | Phase::Asking { .. } => "announced",
        Phase::Taking { .. } => "loading",
        Phase::Holding { .. } | Phase::Doubting { .. } => "held",
        Phase::Parting { .. } | Phase::Dropping { .. } => "leaving",
        Phase::Resting { .. } => "resting",
    }
}
