//! Whom the exact search looks at. With up to [`MAX_SEARCHED`] candidates: all of them. Of more,
//! four lists are searched and the best plan counts, so a larger group may have a better one:
//! the fastest, the largest, and of each the first that are all near one another.

use protocol::NodeId;

use super::{Peer, Question, verdict};

/// Candidates that are searched exactly: 12 peers and 80 layers take a few milliseconds and 16 MiB,
/// each further peer twice as much.
pub const MAX_SEARCHED: usize = 12;

/// Everybody who could hold a stage.
pub(super) fn candidates<'a>(question: &Question<'a>) -> Vec<&'a Peer> {
    let peers = question.peers.iter();
    peers
        .filter(|peer| verdict::is_unfit(question, peer).is_none())
        .collect()
}

/// The lists to search.
pub(super) fn shortlists(question: &Question<'_>, mut all: Vec<&Peer>) -> Vec<Vec<NodeId>> {
    all.sort_by_key(|peer| peer.node);
    if all.len() <= MAX_SEARCHED {
        return vec![all.iter().map(|peer| peer.node).collect()];
    }
    let fastest = |peer: &&Peer| nanos_per_byte(question, peer);
    let mut by_speed = all.clone();
    by_speed.sort_by(|a, b| fastest(a).total_cmp(&fastest(b)));
    let mut by_room = all;
    by_room.sort_by_key(|peer| std::cmp::Reverse(question.slice_room(peer)));
    [by_speed, by_room]
        .iter()
        .flat_map(|order| [first(order), first_together(question, order)])
        .collect()
}

/// What a byte of weights costs on a peer that is given as much as it can hold: the way there and
/// back spread over it, and the reading.
fn nanos_per_byte(question: &Question<'_>, peer: &Peer) -> f64 {
    let there = question.hop_nanos(question.head, peer.node, super::costs::Carries::State);
    let back = question.hop_nanos(peer.node, question.head, super::costs::Carries::State);
    let room = question.layer_room(peer).min(question.shape.split_bytes());
    let trip = (there + back + super::costs::overhead_nanos(peer)) as f64;
    trip / (room as f64).max(1.0) + 1e9 / peer.bandwidth()
}

fn first(order: &[&Peer]) -> Vec<NodeId> {
    let mut nodes: Vec<_> = order.iter().map(|peer| peer.node).collect();
    nodes.truncate(MAX_SEARCHED);
    nodes.sort();
    nodes
}

/// The first of the order, without whoever is not near all before.
fn first_together(question: &Question<'_>, order: &[&Peer]) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = Vec::new();
    for peer in order {
        let near = |node: &NodeId| question.distances.are_near(*node, peer.node);
        if nodes.len() < MAX_SEARCHED && nodes.iter().all(near) {
            nodes.push(peer.node);
        }
    }
    nodes.sort();
    nodes
}
