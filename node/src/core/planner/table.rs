//! What the search works with: costs of one question for a few candidates, and the table of what
//! was found so far. Costs are single numbers that compare as rule 3 wants: time first, then what
//! must be fetched.

use protocol::NodeId;

use super::Question;
use super::costs::{Carries, overhead_nanos};

/// Bits of a cost for mebibytes to fetch: 16 TiB. Above them are nanoseconds, 38 bits at most.
const FETCH_BITS: u32 = 24;

/// More than any cost, and twice as much is still a number.
pub(super) const NEVER: u64 = 1 << 63;

/// A set of candidates: bit `i` is candidate `i`.
pub(super) type Set = u16;

/// One candidate's costs, by cuts: cut 0 is in front of the first layer.
pub(super) struct Costs {
    /// Reading everything in front of a cut.
    pub(super) sums: Vec<u64>,
    /// For each cut the first at which a slice may begin that ends there.
    pub(super) begins: Vec<usize>,
    /// What a stage costs whatever it holds.
    pub(super) overhead: u64,
    /// Reading the output.
    pub(super) output: u64,
    /// From the head.
    pub(super) from_head: u64,
    /// Back to the head, with a token.
    pub(super) to_head: u64,
    /// To each candidate.
    pub(super) hops: Vec<u64>,
    /// With whom it may be in a ring, itself among them.
    pub(super) near: Set,
}

/// The time in a cost.
pub(super) fn nanos_of(cost: u64) -> u64 {
    cost >> FETCH_BITS
}

/// The costs of these candidates, in their order.
pub(super) fn costs(question: &Question<'_>, nodes: &[NodeId], cuts: &[u32]) -> Vec<Costs> {
    let of = |node: &NodeId| one(question, *node, nodes, cuts);
    nodes.iter().filter_map(of).collect()
}

fn one(question: &Question<'_>, node: NodeId, nodes: &[NodeId], cuts: &[u32]) -> Option<Costs> {
    let peer = question.peer(node)?;
    let shape = question.shape;
    let hop = |from, to, carries| question.hop_nanos(from, to, carries) << FETCH_BITS;
    let mut sums = vec![0];
    let mut held = vec![0_u64];
    for piece in cuts.windows(2) {
        let layers = piece[0]..piece[1];
        let slice = shape.slice(layers.clone());
        let read: u64 = slice
            .iter()
            .map(|l| question.read_nanos(peer, &l.weights))
            .sum();
        let fetch = mebibytes(question.fetch_bytes(peer, layers), cuts.len());
        let cost = (read << FETCH_BITS) + fetch;
        sums.push(sums.last().copied().unwrap_or(0) + cost);
        let bytes = slice.iter().map(super::Layer::bytes);
        let before = held.last().copied().unwrap_or(0);
        held.push(bytes.fold(before, u64::saturating_add));
    }
    let room = question.layer_room(peer);
    let near = nodes.iter().enumerate().fold(0, |set: Set, (at, other)| {
        set | Set::from(question.distances.are_near(node, *other)) << at
    });
    Some(Costs {
        sums,
        begins: begins(&held, room, shape.output_bytes()),
        overhead: overhead_nanos(peer) << FETCH_BITS,
        output: question.read_nanos(peer, &shape.output) << FETCH_BITS,
        from_head: hop(question.head, node, Carries::State),
        to_head: hop(node, question.head, Carries::Token),
        hops: nodes
            .iter()
            .map(|to| hop(node, *to, Carries::State))
            .collect(),
        near,
    })
}

/// A piece's share of the bits for fetching, rounded up.
fn mebibytes(bytes: u64, pieces: usize) -> u64 {
    let most = (1 << FETCH_BITS) / (pieces as u64 + 1);
    bytes.div_ceil(1 << 20).min(most)
}

/// For each cut, where the longest slice begins that ends there and fits; the cut itself: none
/// does. The slice that ends last holds the output, too.
fn begins(held: &[u64], room: u64, output_bytes: u64) -> Vec<usize> {
    let end = held.len() - 1;
    let first = |cut: usize| {
        let extra = if cut == end { output_bytes } else { 0 };
        let is_too_long = |before: &u64| (held[cut] - before).saturating_add(extra) > room;
        held[..cut].partition_point(is_too_long)
    };
    (0..=end).map(first).collect()
}

/// For sets of candidates, each of them as the last so far, and each cut as the end so far: the
/// least that it costs to come there. Only sets have rows whose members are all near one another.
pub(super) struct Table {
    /// Where the rows of a set begin.
    rows: Vec<Option<usize>>,
    least: Vec<u64>,
    width: usize,
}

impl Table {
    /// An empty one for this many candidates and cuts.
    pub(super) fn new(candidates: usize, width: usize) -> Self {
        Self {
            rows: vec![None; 1 << candidates],
            least: Vec::new(),
            width,
        }
    }

    /// Makes room for a set.
    pub(super) fn add(&mut self, set: Set) {
        self.rows[usize::from(set)] = Some(self.least.len());
        let more = set.count_ones() as usize * self.width;
        self.least.resize(self.least.len() + more, NEVER);
    }

    /// Whether a set has rows.
    pub(super) fn has(&self, set: Set) -> bool {
        self.rows[usize::from(set)].is_some()
    }

    /// The costs of a set that ends with one of its members; empty for a set without rows.
    pub(super) fn row(&self, set: Set, last: usize) -> &[u64] {
        self.range(set, last)
            .map_or(&[], |range| &self.least[range])
    }

    /// The same to write to.
    pub(super) fn row_mut(&mut self, set: Set, last: usize) -> &mut [u64] {
        match self.range(set, last) {
            Some(range) => &mut self.least[range],
            None => &mut [],
        }
    }

    fn range(&self, set: Set, last: usize) -> Option<std::ops::Range<usize>> {
        let below = set & ((1 << last) - 1);
        let start = self.rows[usize::from(set)]? + below.count_ones() as usize * self.width;
        Some(start..start + self.width)
    }
}

/// The members of a set, in order.
pub(super) fn members(set: Set) -> impl Iterator<Item = usize> {
    (0..Set::BITS as usize).filter(move |at| set >> at & 1 == 1)
}
