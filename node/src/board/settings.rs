//! What a person of this machine said of boards, kept across restarts.

use std::collections::BTreeSet;

use protocol::board::BoardName;
use serde::{Deserialize, Serialize};

use crate::core::board::standing::Standing;
use crate::store::Record;

/// Of one swarm's boards.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    /// Whether this node posts; `None`: nobody said.
    pub(super) posting: Option<bool>,
    /// Followed beyond what the configuration names.
    pub(super) followed: BTreeSet<BoardName>,
    /// Not followed, whatever the configuration names.
    pub(super) left: BTreeSet<BoardName>,
}

impl Record for Settings {
    const TABLE: &'static str = "board_settings";
}

impl Record for Standing {
    const TABLE: &'static str = "board_authors";
}

impl Settings {
    /// The boards to follow from the start.
    pub(super) fn followed(&self, configured: &[BoardName]) -> BTreeSet<BoardName> {
        let configured = configured
            .iter()
            .filter(|board| !self.left.contains(*board));
        self.followed.iter().chain(configured).cloned().collect()
    }

    /// With a board followed or not.
    pub(super) fn following(&self, board: &BoardName, followed: bool) -> Self {
        let mut next = self.clone();
        let (into, out) = match followed {
            true => (&mut next.followed, &mut next.left),
            false => (&mut next.left, &mut next.followed),
        };
        out.remove(board);
        into.insert(board.clone());
        next
    }
}
