//! Which shard answers a session. It knows neither load nor distance: whoever asks has left out the
//! shards that cannot answer.
//!
//! A session goes to the shard that wins its rendezvous (highest random weight: Thaler and
//! Ravishankar, 1998), so that it stays where its prompt is cached, and a shard that leaves moves its
//! own sessions only, to all others alike. Where it was measured how well each shard suits the prompt,
//! only those that suit it about as well as the best one take part.

use protocol::NodeId;

/// Shards that retain this much less of a prompt's routed mass than the best one suit it as well:
/// routed mass differs by as much from one part of a text to the next.
const MARGIN: f64 = 0.01;

/// A shard that could answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Who has it.
    pub node: NodeId,
    /// The share of the prompt's routed mass that its experts have, 0 to 1; `None`: not measured.
    pub retained: Option<f64>,
}

/// The shards in the order in which a session should try them. `session`: whatever stays the same
/// while a prompt's beginning does.
#[must_use]
pub fn order(session: &[u8], shards: &[Candidate]) -> Vec<NodeId> {
    let known = shards.iter().filter_map(|shard| shard.retained);
    let best = known.filter(|share| share.is_finite()).reduce(f64::max);
    // 0 for those that suit as well as the best one, then the worse ones after the better ones.
    let lack = |shard: &Candidate| match (best, shard.retained) {
        (None, _) => 0.0,
        (Some(best), Some(share)) if share >= best - MARGIN => 0.0,
        (Some(best), Some(share)) if share.is_finite() => best - share,
        (Some(_), _) => f64::INFINITY,
    };
    let mut ranked: Vec<_> = shards
        .iter()
        .map(|shard| (lack(shard), weight(session, shard.node), shard.node))
        .collect();
    ranked.sort_by(|a, b| {
        let by_weight = b.1.cmp(&a.1).then(a.2.cmp(&b.2));
        a.0.total_cmp(&b.0).then(by_weight)
    });
    ranked.into_iter().map(|(_, _, node)| node).collect()
}

/// The same for the same session and node everywhere, and otherwise by chance.
fn weight(session: &[u8], node: NodeId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(node.as_bytes());
    hasher.update(session);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    use super::*;

    fn candidate(number: u8, retained: Option<f64>) -> Candidate {
        Candidate {
            node: NodeId::from(&SigningKey::from_bytes(&[number + 1; 32])),
            retained,
        }
    }

    fn unknown(count: u8) -> Vec<Candidate> {
        (0..count).map(|number| candidate(number, None)).collect()
    }

    #[test]
    fn sessions_spread_over_all_shards() {
        let shards = unknown(4);
        let first = |session: u32| order(&session.to_le_bytes(), &shards)[0];
        for shard in &shards {
            let count = (0..1000).filter(|s| first(*s) == shard.node).count();
            assert!((190..310).contains(&count), "{count}");
        }
    }

    #[test]
    fn what_suits_the_prompt_clearly_better_comes_first() {
        let shares = [Some(0.71), Some(0.90), None, Some(0.895), Some(f64::NAN)];
        let shards: Vec<Candidate> = (0..)
            .zip(shares)
            .map(|(number, share)| candidate(number, share))
            .collect();
        let mut firsts = Vec::new();
        for session in 0..50_u32 {
            let order = order(&session.to_le_bytes(), &shards);
            firsts.push(order[0]);
            let best = [shards[1].node, shards[3].node];
            assert!(best.contains(&order[0]) && best.contains(&order[1]));
            assert_eq!(order[2], shards[0].node);
            assert_eq!(order.len(), 5);
        }
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 2, "equals share the sessions");
        assert_eq!(order(b"", &[]), []);
    }

    proptest! {
        #[test]
        fn who_leaves_moves_its_own_sessions_only(
            session in any::<[u8; 8]>(),
            count in 2_u8..9,
            who in any::<proptest::sample::Index>(),
        ) {
            let mut shards = unknown(count);
            let before = order(&session, &shards);
            let gone = shards.remove(who.index(shards.len())).node;
            let after = order(&session, &shards);
            let rest: Vec<NodeId> = before.into_iter().filter(|node| *node != gone).collect();
            prop_assert_eq!(after, rest);
        }
    }
}
