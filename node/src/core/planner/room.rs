//! How much memory there is at all, to say what is missing where there is no plan.

use super::{MAX_SEARCHED, Peer, Question, shortlist, verdict};

/// What the best group gives to layers, as if they could be cut into crumbs, bytes.
pub(super) fn of_best_group(question: &Question<'_>) -> u64 {
    let in_reach = question.peers.iter();
    let in_reach: Vec<&Peer> = in_reach
        .filter(|peer| verdict::is_out_of_reach(question, peer).is_none())
        .collect();
    let lists = shortlist::shortlists(question, in_reach);
    let rooms = lists.iter().map(|list| {
        let peers = list.iter().filter_map(|node| question.peer(*node));
        of_best_of(question, &peers.collect::<Vec<_>>())
    });
    rooms.max().unwrap_or(0)
}

fn of_best_of(question: &Question<'_>, peers: &[&Peer]) -> u64 {
    debug_assert!(peers.len() <= MAX_SEARCHED);
    let near = |a: &Peer, b: &Peer| question.distances.are_near(a.node, b.node);
    // Groups that end with each peer so far, as who is in them and how much they have.
    let mut groups: Vec<(Vec<&Peer>, u64)> = vec![(Vec::new(), 0)];
    for peer in peers {
        let room = question.layer_room(peer);
        let with = groups
            .iter()
            .filter(|(group, _)| group.iter().all(|p| near(p, peer)));
        let larger: Vec<_> = with
            .map(|(group, bytes)| {
                let group = group.iter().copied().chain(std::iter::once(*peer));
                (group.collect(), bytes.saturating_add(room))
            })
            .collect();
        groups.extend(larger);
    }
    groups
        .into_iter()
        .map(|(_, bytes)| bytes)
        .max()
        .unwrap_or(0)
}
