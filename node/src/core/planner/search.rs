//! The best ring of a few candidates, exactly.
//!
//! Held and Karp's dynamic programme over subsets ("A Dynamic Programming Approach to Sequencing
//! Problems", 1962) finds the shortest way through all of a set by the last place visited: the
//! order in which the others were visited is of no further interest. Here a state has a third
//! coordinate, the layer reached so far:
//!
//! ```text
//! least(S, p, j) = min over i < j with layers i..j fitting on p of
//!                  min over q in S∖{p} of least(S∖{p}, q, i) + hop(q, p)
//!                  + read(p, j) − read(p, i) + STAGE_OVERHEAD
//! ```
//!
//! `read(p, j)` being the time in which p reads everything in front of layer j. As reading is a
//! difference of sums, the minimum over i is that of a sliding window, and takes one step for each
//! j (Lemire, "Streaming Maximum-Minimum Filter Using No More than Three Comparisons per Element",
//! 2006, for the queue). In all 2^m · m · m/2 steps for each cut.
//!
//! Water-filling is what comes out where all layers are alike: time is a sum, so a layer belongs
//! on the fastest peer of the set with room, the fastest are full, and one at most is partly
//! filled. It is not how the split is found, since it is wrong where layers differ, where cuts are
//! few, and where the output weighs on whoever is last.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use protocol::NodeId;

use super::Question;
use super::ring::Ring;
use super::table::{self, Costs, NEVER, Set, Table, members};

/// A token's time by the best ring with each candidate in it; `None`: there is no such ring.
pub(super) type BestWith = BTreeMap<NodeId, Option<Duration>>;

/// What a search found.
pub(super) struct Found {
    /// The best ring.
    best: Option<Best>,
    /// And with each candidate.
    with: BestWith,
}

struct Best {
    ring: Ring,
    /// Compares rings as rule 3 wants.
    rank: (u64, u32, Set),
}

impl Found {
    /// Whether its ring is better than another's.
    pub(super) fn is_better_than(&self, other: &Self) -> bool {
        let rank = |found: &Self| found.best.as_ref().map(|best| (best.rank.0, best.rank.1));
        match (rank(self), rank(other)) {
            (Some(own), Some(others)) => own < others,
            (own, _) => own.is_some(),
        }
    }

    /// The ring, if there is one, and the best with each candidate.
    pub(super) fn into_ring(self) -> Option<(Ring, BestWith)> {
        self.best.map(|best| (best.ring, self.with))
    }
}

/// Searches all rings of some of these peers; at most [`super::MAX_SEARCHED`].
pub(super) fn search(question: &Question<'_>, nodes: &[NodeId]) -> Found {
    let cuts = question.cuts();
    let costs = table::costs(question, nodes, &cuts);
    let mut search = Search {
        table: Table::new(costs.len(), cuts.len()),
        window: Window::default(),
        costs,
    };
    search.run();
    let head = question.head_peer();
    let head_fits = head.is_some_and(|head| head.free_bytes >= question.shape.head_bytes);
    let best = search.best().filter(|_| head_fits);
    let ring = |(set, last, cost): (Set, usize, u64)| Best {
        ring: Ring::of(question, &search.slices(set, last, nodes, &cuts)),
        rank: (cost, set.count_ones(), set),
    };
    Found {
        best: best.map(ring),
        with: search.best_with(nodes),
    }
}

struct Search {
    costs: Vec<Costs>,
    table: Table,
    window: Window,
}

impl Search {
    fn run(&mut self) {
        for set in self.all_sets() {
            let mut all = members(set);
            // A set of several is a group if one member is near all others, and these are one.
            let is_group = all.next().is_some_and(|first| {
                let rest = set & !(1 << first);
                self.costs[first].near & set == set && (rest == 0 || self.table.has(rest))
            });
            if is_group {
                self.table.add(set);
                for last in members(set) {
                    self.fill(set, last);
                }
            }
        }
    }

    fn all_sets(&self) -> std::ops::RangeInclusive<Set> {
        1..=Set::try_from((1_u32 << self.costs.len()) - 1).unwrap_or(Set::MAX)
    }

    /// All ways to end with `last`, for each cut.
    fn fill(&mut self, set: Set, last: usize) {
        let costs = &self.costs[last];
        let mut entering = std::mem::take(&mut self.window.entering);
        entering.clear();
        entering.resize(costs.sums.len(), NEVER);
        let rest = set & !(1 << last);
        if rest == 0 {
            entering[0] = costs.from_head;
        }
        for before in members(rest) {
            let hop = self.costs[before].hops[last];
            let row = self.table.row(rest, before);
            for (least, cost) in entering.iter_mut().zip(row) {
                *least = (*least).min(*cost + hop);
            }
        }
        self.window.entering = entering;
        self.window.slide(costs, self.table.row_mut(set, last));
    }

    /// What the whole way costs that ends with `last`.
    fn whole(&self, set: Set, last: usize) -> u64 {
        self.table.row(set, last).last().copied().unwrap_or(NEVER)
    }

    /// The sets that reach the end, by whom, and at what cost.
    fn ends(&self) -> impl Iterator<Item = (Set, usize, u64)> {
        let sets = self.all_sets().filter(|set| self.table.has(*set));
        let ends = sets.flat_map(|set| members(set).map(move |last| (set, last)));
        ends.map(|(set, last)| (set, last, self.whole(set, last)))
            .filter(|(_, _, cost)| *cost < NEVER)
    }

    fn best(&self) -> Option<(Set, usize, u64)> {
        self.ends()
            .min_by_key(|(set, last, cost)| (*cost, set.count_ones(), *set, *last))
    }

    fn best_with(&self, nodes: &[NodeId]) -> BestWith {
        let mut least = vec![NEVER; nodes.len()];
        for (set, _, cost) in self.ends() {
            for member in members(set) {
                least[member] = least[member].min(cost);
            }
        }
        let token = |cost: u64| (cost < NEVER).then(|| Duration::from_nanos(table::nanos_of(cost)));
        nodes
            .iter()
            .copied()
            .zip(least.into_iter().map(token))
            .collect()
    }

    /// Who holds what on the best way that ends with `last`, found by going back through it.
    fn slices(
        &self,
        mut set: Set,
        mut last: usize,
        nodes: &[NodeId],
        cuts: &[u32],
    ) -> Vec<(NodeId, Range<u32>)> {
        let mut slices = Vec::new();
        let mut end = cuts.len() - 1;
        while let Some((begin, before)) = self.step_back(set, last, end) {
            slices.push((nodes[last], cuts[begin]..cuts[end]));
            let Some(before) = before else { break };
            set &= !(1 << last);
            (last, end) = (before, begin);
        }
        slices.reverse();
        slices
    }

    /// Where the slice began that ends here, and who came before; the first that fits the cost.
    fn step_back(&self, set: Set, last: usize, end: usize) -> Option<(usize, Option<usize>)> {
        let costs = &self.costs[last];
        let cost = *self.table.row(set, last).get(end)?;
        let rest = set & !(1 << last);
        (costs.begins[end]..end).find_map(|begin| {
            let slice = costs.slice(begin, end);
            if rest == 0 {
                let fits = begin == 0 && costs.from_head + slice == cost;
                return fits.then_some((0, None));
            }
            let before = members(rest).find(|before| {
                let hop = self.costs[*before].hops[last];
                self.table.row(rest, *before)[begin] + hop + slice == cost
            });
            before.map(|before| (begin, Some(before)))
        })
    }
}

impl Costs {
    /// What it costs to hold the layers between two cuts.
    fn slice(&self, begin: usize, end: usize) -> u64 {
        let read = self.sums[end] - self.sums[begin];
        read + self.overhead + self.end(end)
    }

    /// What comes on top behind the last layer.
    fn end(&self, cut: usize) -> u64 {
        match cut + 1 == self.sums.len() {
            true => self.output + self.to_head,
            false => 0,
        }
    }
}

/// The least of a window whose ends only move on.
#[derive(Default)]
struct Window {
    /// What it costs to begin at each cut.
    entering: Vec<u64>,
    /// Cuts in the window that may still become the least, by rising cost.
    queue: VecDeque<usize>,
}

impl Window {
    /// Writes the cost of ending at each cut.
    fn slide(&mut self, costs: &Costs, row: &mut [u64]) {
        let Self { entering, queue } = self;
        let last = costs.sums.len() - 1;
        // The cost of beginning here and reading all the rest: comparable between cuts.
        let key = |begin: usize| entering[begin] + (costs.sums[last] - costs.sums[begin]);
        let ended = |begin: usize, end: usize| {
            let cost = entering[begin] + costs.slice(begin, end);
            cost.min(NEVER)
        };
        queue.clear();
        for (end, cost) in row.iter_mut().enumerate().take(last).skip(1) {
            let begin = end - 1;
            while queue.back().is_some_and(|back| key(*back) > key(begin)) {
                queue.pop_back();
            }
            queue.push_back(begin);
            while queue
                .front()
                .is_some_and(|front| *front < costs.begins[end])
            {
                queue.pop_front();
            }
            if let Some(front) = queue.front() {
                *cost = ended(*front, end);
            }
        }
        // With the output less fits, so this window is another.
        let ways = (costs.begins[last]..last).map(|begin| ended(begin, last));
        row[last] = ways.min().unwrap_or(NEVER);
    }
}
