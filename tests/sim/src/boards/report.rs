//! What came of it: whom each honest note reached, and when.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use protocol::board::NoteId;

use super::BoardSwarm;

/// How soon a note is to be there.
const SOON: Duration = Duration::from_secs(5);

/// Counts of a run.
#[derive(Default)]
pub struct Log {
    /// Reconciliations of honest peers.
    pub visits: u64,
    /// What they sent, both ways.
    pub visit_bytes: usize,
    /// Guests that found no room.
    pub turned_away: u64,
    /// Peers that answered, or asked, with poison: each time.
    pub poisoned: u64,
    /// Connections that were cut for that, or for other offences.
    pub cut_off: u64,
    /// Offences that honest peers were blamed for.
    pub honest_offences: u64,
    /// Adversaries' entries that were verified, and refused.
    pub looked_at: u64,
    /// Of these, forged.
    pub refused: u64,
    notes: BTreeMap<NoteId, Note>,
}

struct Note {
    written: Duration,
    author: usize,
    /// Who is to have it soon: connected when it was written, on the author's side.
    expected: Vec<usize>,
    came: BTreeMap<usize, Duration>,
}

/// How notes reached those who were connected all the time.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    /// Notes.
    pub notes: usize,
    /// Pairs of a note and a peer that was to have it.
    pub expected: usize,
    /// The share of them that had it within 5 s.
    pub soon: f64,
    /// Half of them had it by then, and 99 %.
    pub median: Duration,
    /// 99 %.
    pub p99: Duration,
    /// The share of all pairs of a note and an honest peer that is there now, that it has.
    pub complete: f64,
}

impl fmt::Debug for Log {
    /// The counts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("visits", &self.visits)
            .field("visit_bytes", &self.visit_bytes)
            .field("turned_away", &self.turned_away)
            .field("poisoned", &self.poisoned)
            .field("cut_off", &self.cut_off)
            .field("honest_offences", &self.honest_offences)
            .field("looked_at", &self.looked_at)
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

impl BoardSwarm {
    /// Counts of the run.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// A note was written: who is in the mesh is to have it soon.
    pub(super) fn expect(&mut self, message: usize) {
        let Some(entry) = self.messages[message].sound.clone() else {
            return;
        };
        let Some(author) = self.number(&entry.author) else {
            return;
        };
        let peers = 0..self.config.peers;
        let is_meant = |number: &usize| {
            let member = &self.members[*number];
            member.is_online && member.meshed_since.is_some() && !self.are_parted(author, *number)
        };
        let note = Note {
            written: self.now,
            author,
            expected: peers.filter(is_meant).collect(),
            came: BTreeMap::from([(author, self.now)]),
        };
        self.log.notes.insert(entry.id, note);
    }

    pub(super) fn arrived(&mut self, number: usize, id: &NoteId) {
        if let Some(note) = self.log.notes.get_mut(id) {
            note.came.entry(number).or_insert(self.now);
        }
    }

    /// How notes came; those of the last seconds are not counted as soon.
    pub fn delivery(&self) -> Delivery {
        let mut times = Vec::new();
        let (mut expected, mut soon) = (0, 0);
        let before = self.now.saturating_sub(SOON);
        for note in self.log.notes.values().filter(|n| n.written < before) {
            for number in &note.expected {
                // Who went meanwhile was not connected.
                let member = &self.members[*number];
                let stayed = member.is_online && member.online_since <= note.written;
                if !stayed || *number == note.author {
                    continue;
                }
                expected += 1;
                let took = note.came.get(number).map(|at| *at - note.written);
                soon += usize::from(took.is_some_and(|took| took <= SOON));
                times.push(took.unwrap_or(Duration::MAX));
            }
        }
        times.sort_unstable();
        let at = |share: usize| times.get(times.len() * share / 100).copied();
        Delivery {
            notes: self.log.notes.len(),
            expected,
            soon: share(soon, expected),
            median: at(50).unwrap_or_default(),
            p99: at(99).unwrap_or_default(),
            complete: self.complete(),
        }
    }

    fn complete(&self) -> f64 {
        let honest = self.members.iter().take(self.config.peers);
        let there: Vec<_> = honest.filter(|member| member.is_online).collect();
        let has = |id| there.iter().filter(|member| member.has(id)).count();
        let had: usize = self.log.notes.keys().map(has).sum();
        share(had, self.log.notes.len() * there.len())
    }

    /// Entries that honest peers keep and that nobody there ever wrote: forged ones.
    pub fn forged_kept(&self) -> usize {
        let ids = |members: &[super::Member]| -> Vec<NoteId> {
            let kept = members.iter().flat_map(|member| member.kept.iter());
            kept.map(|item| item.id).collect()
        };
        let (honest, hostile) = self.members.split_at(self.config.peers);
        let theirs: BTreeSet<NoteId> = ids(hostile).into_iter().collect();
        let is_real = |id: &NoteId| self.log.notes.contains_key(id) || theirs.contains(id);
        let kept = ids(honest);
        kept.iter().filter(|id| !is_real(id)).count()
    }
}

fn share(of: usize, all: usize) -> f64 {
    if all == 0 {
        return 1.0;
    }
    of as f64 / all as f64
}
