//! Rule 1: one machine that holds the whole model.

use std::time::Duration;

use super::ring::Ring;
use super::{Peer, Plan, Question, Verdict, prediction, verdict};

/// The fastest peer that holds the whole model by itself, if there is one.
pub(super) fn best(question: &Question<'_>) -> Option<Plan> {
    let able = question.peers.iter().filter(|peer| fits(question, peer));
    let mut rings: Vec<Ring> = able.map(|peer| whole(question, peer)).collect();
    rings.sort_by_key(|ring| {
        let stage = ring.stages.first();
        let fetch = stage.map_or(0, |stage| stage.fetch_bytes);
        (ring.token(), fetch, stage.map(|stage| stage.peer))
    });
    let mut rings = rings.into_iter();
    let best = rings.next()?;
    let slower: Vec<Ring> = rings.collect();
    Some(Plan {
        head: question.head,
        prediction: prediction::of(question, &best),
        out: beside(question, &best, &slower),
        stages: best.stages,
    })
}

fn whole(question: &Question<'_>, peer: &Peer) -> Ring {
    Ring::of(question, &[(peer.node, 0..question.shape.count())])
}

fn fits(question: &Question<'_>, peer: &Peer) -> bool {
    if verdict::is_out_of_reach(question, peer).is_some() {
        return false;
    }
    let shape = question.shape;
    if peer.node == question.head {
        return shape.whole_bytes <= peer.free_bytes;
    }
    let head = question.head_peer();
    let head_fits = head.is_some_and(|head| head.free_bytes >= shape.head_bytes);
    head_fits && shape.slice_bytes(0..shape.count()) <= peer.free_bytes
}

fn beside(
    question: &Question<'_>,
    best: &Ring,
    slower: &[Ring],
) -> Vec<(protocol::NodeId, Verdict)> {
    verdict::of_others(question, best, |peer| {
        let other = slower.iter().find(|ring| ring.has(peer.node));
        let by = other.map_or(Duration::ZERO, |ring| ring.token() - best.token());
        verdict::slower_by(by)
    })
}
