//! Who could hold layers that are to be held beside a ring that works, or instead of a stage that it
//! lost: the rest of the ring stays as it is.

use std::collections::BTreeMap;
use std::ops::Range;

use protocol::NodeId;

use super::{Peer, Question, verdict};

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vacancy {
    /// Who holds which stage: nobody of them, and nobody far from one of those that stay.
    pub ring: Vec<(NodeId, Range<u32>)>,
    /// The layers, each to be held by somebody.
    pub layers: Vec<Range<u32>>,
    /// They are to be stages of one ring, so nobody gets two. Else they are spares, and whoever has
    /// room may hold several.
    pub is_for_ring: bool,
}

/// Somebody for each of the layers for whom there is anybody, what takes most memory first: its
/// loss costs most. Of those who have room the fastest is taken.
pub fn stand_ins(question: &Question<'_>, vacancy: &Vacancy) -> Vec<(NodeId, Range<u32>)> {
    let mut rooms: BTreeMap<NodeId, (&Peer, u64)> = candidates(question, vacancy)
        .map(|peer| (peer.node, (peer, question.slice_room(peer))))
        .collect();
    let mut wanted = vacancy.layers.clone();
    let bytes = |layers: &Range<u32>| question.shape.slice_bytes(layers.clone());
    wanted.sort_by_key(|layers| (std::cmp::Reverse(bytes(layers)), layers.start));
    let mut found = Vec::new();
    for layers in wanted {
        let need = bytes(&layers);
        let fitting = rooms.values().filter(|(peer, room)| {
            *room >= need && is_near_others(question, vacancy, peer, &layers)
        });
        let best = fitting.max_by(|(a, a_room), (b, b_room)| {
            let by_speed = a.bandwidth().total_cmp(&b.bandwidth());
            let by_room = by_speed.then(a_room.cmp(b_room));
            by_room.then(b.node.cmp(&a.node))
        });
        let Some(node) = best.map(|(peer, _)| peer.node) else {
            continue;
        };
        if vacancy.is_for_ring {
            rooms.remove(&node);
        } else if let Some((_, room)) = rooms.get_mut(&node) {
            *room -= need;
        }
        found.push((node, layers));
    }
    found
}

fn candidates<'a>(question: &Question<'a>, vacancy: &Vacancy) -> impl Iterator<Item = &'a Peer> {
    question.peers.iter().filter(move |peer| {
        let has_stage = vacancy.ring.iter().any(|(node, _)| *node == peer.node);
        verdict::is_out_of_reach(question, peer).is_none() && !has_stage
    })
}

/// Whoever holds these layers now is gone when somebody else does.
fn is_near_others(
    question: &Question<'_>,
    vacancy: &Vacancy,
    peer: &Peer,
    layers: &Range<u32>,
) -> bool {
    let mut stay = vacancy.ring.iter().filter(|(_, held)| held != layers);
    stay.all(|(node, _)| question.distances.are_near(*node, peer.node))
}
