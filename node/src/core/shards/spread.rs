//! One layer's experts over the shards of a group. It knows which expert is used how much, and
//! nothing of bytes.

use std::collections::BTreeSet;

/// A shard, in one layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// Experts that it has.
    pub(super) room: usize,
    /// What is there already, in order.
    pub(super) held: &'a [u32],
    /// How much its theme uses each expert.
    pub(super) liking: &'a [f64],
}

impl Place<'_> {
    fn likes(&self, expert: u32) -> f64 {
        self.liking.get(expert as usize).copied().unwrap_or(0.0)
    }

    /// Experts in the order in which they would fill it.
    fn wishes(&self, ranking: &[u32]) -> Vec<u32> {
        let mut wishes = ranking.to_vec();
        let is_held = |expert: u32| self.held.binary_search(&expert).is_ok();
        // Stable: among equals the most used one comes first.
        wishes.sort_by(|a, b| {
            let there = is_held(*b).cmp(&is_held(*a));
            there.then(self.likes(*b).total_cmp(&self.likes(*a)))
        });
        wishes
    }
}

/// What each place has of a layer whose experts are ranked, the most used first; the first `core` are
/// everywhere. Each expert is somewhere if the places have room for it.
pub(super) fn spread(ranking: &[u32], core: usize, places: &[Place<'_>]) -> Vec<Vec<u32>> {
    let (core, rest) = ranking.split_at(core.min(ranking.len()));
    let room = |place: &Place<'_>| place.room.saturating_sub(core.len());
    let mut free: Vec<usize> = places.iter().map(room).collect();
    let mut sets: Vec<BTreeSet<u32>> = vec![core.iter().copied().collect(); places.len()];
    let owners = Matching::of(rest, places, &free).owners;
    for (expert, owner) in rest.iter().zip(&owners) {
        if let Some(owner) = *owner {
            sets[owner].insert(*expert);
            free[owner] -= 1;
        }
    }
    let orphans = rest
        .iter()
        .zip(&owners)
        .filter(|(_, owner)| owner.is_none());
    for (expert, _) in orphans {
        let open = (0..places.len()).filter(|place| free[*place] > 0);
        let best = open.max_by(|a, b| {
            let likes = |place: usize| places[place].likes(*expert);
            let by_liking = likes(*a).total_cmp(&likes(*b));
            // Of equals the one with more room, then the first.
            by_liking.then(free[*a].cmp(&free[*b])).then(b.cmp(a))
        });
        if let Some(best) = best {
            sets[best].insert(*expert);
            free[best] -= 1;
        }
    }
    let filled = places.iter().zip(sets).map(|(place, mut set)| {
        let wishes = place.wishes(ranking);
        let most = place.room.min(ranking.len());
        for expert in wishes {
            if set.len() >= most {
                break;
            }
            set.insert(expert);
        }
        set.into_iter().collect()
    });
    filled.collect()
}

/// As many experts as can be with one that holds them already, none with more than it has room for: a
/// maximum matching by augmenting paths (Kuhn), with a capacity on one side.
struct Matching {
    /// By expert, the places that hold it, those that like it most first.
    holders: Vec<Vec<usize>>,
    owners: Vec<Option<usize>>,
    room: Vec<usize>,
}

impl Matching {
    fn of(rest: &[u32], places: &[Place<'_>], room: &[usize]) -> Self {
        let holders_of = |expert: &u32| {
            let holds = |place: &usize| places[*place].held.binary_search(expert).is_ok();
            let mut holders: Vec<usize> = (0..places.len()).filter(holds).collect();
            let likes = |place: usize| places[place].likes(*expert);
            holders.sort_by(|a, b| likes(*b).total_cmp(&likes(*a)));
            holders
        };
        let mut matching = Self {
            holders: rest.iter().map(holders_of).collect(),
            owners: vec![None; rest.len()],
            room: room.to_vec(),
        };
        for expert in 0..rest.len() {
            let mut seen = vec![false; places.len()];
            matching.place(expert, &mut seen);
        }
        matching
    }

    /// Gives an expert a place, moving others if need be. Recursion ends: each step sees a place that
    /// none before it saw.
    fn place(&mut self, expert: usize, seen: &mut [bool]) -> bool {
        for holder in self.holders[expert].clone() {
            if std::mem::replace(&mut seen[holder], true) {
                continue;
            }
            if self.room[holder] > 0 {
                self.room[holder] -= 1;
                self.owners[expert] = Some(holder);
                return true;
            }
            let owned = (0..self.owners.len()).filter(|other| self.owners[*other] == Some(holder));
            for other in owned.collect::<Vec<_>>() {
                if self.place(other, seen) {
                    self.owners[expert] = Some(holder);
                    return true;
                }
            }
        }
        false
    }
}
