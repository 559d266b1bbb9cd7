//! Plans of shards: what each must be, and what little moves when peers come and go.
#![allow(clippy::unwrap_used, reason = "tests")]

use ed25519_dalek::SigningKey;
use proptest::prelude::*;

use super::*;

const MB: u64 = 1_000_000;

fn node(number: u8) -> NodeId {
    NodeId::from(&SigningKey::from_bytes(&[number + 1; 32]))
}

/// A trunk of 10 MB, experts of 1 MB in each layer.
fn mixture(experts: u32, used: u32, layers: usize) -> Mixture {
    Mixture {
        experts,
        used,
        trunk_bytes: 10 * MB,
        expert_bytes: vec![MB; layers],
    }
}

fn room(mixture: &Mixture, kept: u32) -> u64 {
    mixture.shard_bytes(kept)
}

fn member(number: u8, mixture: &Mixture, kept: u32) -> Member {
    Member {
        node: node(number),
        room_bytes: room(mixture, kept),
        held: None,
    }
}

/// Texts that each use another part of the experts most.
fn usage(mixture: &Mixture, texts: u32) -> Vec<Usage> {
    let mass = |text: u32, layer: u32, expert: u32| {
        let turned = (expert + layer * 3 + text * mixture.experts / texts) % mixture.experts;
        1.0 / f64::from(turned + 1)
    };
    let layers = 0..u32::try_from(mixture.expert_bytes.len()).unwrap();
    let text = |text: u32| {
        let layers = layers.clone().map(|layer| {
            let experts = 0..mixture.experts;
            experts.map(|expert| mass(text, layer, expert)).collect()
        });
        Usage::try_from(layers.collect::<Vec<Vec<f64>>>()).unwrap()
    };
    (0..texts).map(text).collect()
}

fn ask<'a>(mixture: &'a Mixture, usage: &'a [Usage], members: &'a [Member]) -> Question<'a> {
    Question {
        mixture,
        usage,
        members,
        core: None,
    }
}

/// The members as they are after a plan.
fn after(members: &[Member], plan: &Plan) -> Vec<Member> {
    let update = |member: &Member| {
        let mut shards = plan.shards.iter();
        let shard = shards.find(|shard| shard.node == member.node);
        Member {
            held: shard
                .map(|shard| shard.kept.clone())
                .or(member.held.clone()),
            ..member.clone()
        }
    };
    members.iter().map(update).collect()
}

/// How many experts of a layer nobody else has.
fn only_of(members: &[Member], number: usize) -> u64 {
    let held = |member: &Member, layer: usize, expert: u32| {
        member
            .held
            .as_ref()
            .is_some_and(|held| held.has(layer, expert))
    };
    let mine = members[number].held.as_ref().unwrap();
    let mut count = 0;
    for (layer, experts) in mine.layers().iter().enumerate() {
        for expert in experts {
            let others = members
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != number);
            let mut others = others.map(|(_, member)| member);
            count += u64::from(!others.any(|member| held(member, layer, *expert)));
        }
    }
    count
}

#[test]
fn two_that_hold_three_quarters_share_half_of_them_and_hold_all() {
    let mixture = mixture(16, 2, 5);
    let usage = usage(&mixture, 4);
    let members = [member(0, &mixture, 12), member(1, &mixture, 12)];
    let plan = plan(&ask(&mixture, &usage, &members)).unwrap();
    assert_eq!((plan.core, plan.shards.len(), plan.out.len()), (6, 2, 0));
    let ranking = Usage::mean(&usage).unwrap().ranking();
    for (layer, ranking) in ranking.iter().enumerate() {
        let has = |shard: &Shard, expert: u32| shard.kept.has(layer, expert);
        assert!(
            ranking[..6]
                .iter()
                .all(|e| plan.shards.iter().all(|s| has(s, *e)))
        );
        assert!((0..16).all(|e| plan.shards.iter().any(|s| has(s, e))));
    }
    assert_eq!(plan.shards[0].bytes, 10 * MB + 12 * 5 * MB);
    assert_eq!(plan.shards[0].fetch_bytes, plan.shards[0].bytes);
}

#[test]
fn a_shard_of_a_theme_retains_more_of_it_than_the_others() {
    let mixture = mixture(16, 2, 5);
    let usage = usage(&mixture, 2);
    let members: Vec<Member> = (0..4).map(|n| member(n, &mixture, 8)).collect();
    let plan = plan(&ask(&mixture, &usage, &members)).unwrap();
    let top = Usage::mean(&usage).unwrap();
    let global = top.top(8).unwrap();
    for text in &usage {
        let retained = plan.shards.iter().map(|shard| text.retained(&shard.kept));
        let best = retained.fold(0.0, f64::max);
        assert!(best > text.retained(&global) + 0.03, "{best}");
        assert!(best > 0.9 * text.retained(&text.top(8).unwrap()), "{best}");
    }
}

#[test]
fn whoever_has_too_little_room_is_left_out() {
    let mixture = mixture(16, 2, 5);
    let usage = usage(&mixture, 1);
    let mut members = vec![
        member(0, &mixture, 7),
        member(1, &mixture, 8),
        member(2, &mixture, 15),
    ];
    members.push(Member {
        room_bytes: 9 * MB,
        ..member(3, &mixture, 8)
    });
    let found = plan(&ask(&mixture, &usage, &members)).unwrap();
    let mut out = found.out.clone();
    out.sort_unstable();
    let mut expected = vec![node(0), node(3)];
    expected.sort_unstable();
    assert_eq!(out, expected);
    let kept = found.shards.iter().map(|shard| shard.kept.kept());
    assert_eq!(kept.sum::<u32>(), 8 + 15);
    // Without the large one the rest have no room for all.
    members.remove(2);
    let refused = plan(&ask(&mixture, &usage, &members));
    assert_eq!(refused, Err(ShardError::NoRoom { missing: 8, of: 16 }));
}

#[test]
fn one_with_room_for_all_holds_the_whole_model() {
    let mixture = mixture(16, 2, 3);
    let usage = usage(&mixture, 3);
    let plan = plan(&ask(&mixture, &usage, &[member(0, &mixture, 99)])).unwrap();
    assert_eq!(plan.shards[0].kept.kept(), 16);
    assert!((plan.shards[0].retained - 1.0).abs() < 1e-9);
}

#[test]
fn what_is_no_usage_of_the_model_is_refused() {
    let mixture = mixture(16, 2, 5);
    let members = [member(0, &mixture, 16)];
    let others = [
        Vec::new(),
        usage(&super::tests::mixture(8, 2, 5), 1),
        usage(&super::tests::mixture(16, 2, 4), 1),
        usage(&mixture, 65),
    ];
    for usage in others {
        let refused = plan(&ask(&mixture, &usage, &members));
        assert_eq!(refused, Err(ShardError::Usage));
    }
    let many: Vec<Member> = (0..33).map(|n| member(n, &mixture, 8)).collect();
    let usage = usage(&mixture, 1);
    let refused = plan(&ask(&mixture, &usage, &many));
    assert_eq!(refused, Err(ShardError::TooMany(33)));
}

#[test]
fn what_another_model_left_counts_for_nothing() {
    let mixture = mixture(16, 2, 5);
    let usage = usage(&mixture, 2);
    let mut members = [member(0, &mixture, 12), member(1, &mixture, 12)];
    let clean = plan(&ask(&mixture, &usage, &members)).unwrap();
    members[0].held = Some(ExpertSets::new(16, vec![vec![1, 2]; 4]).unwrap());
    members[1].held = Some(ExpertSets::new(8, vec![vec![1, 2]; 5]).unwrap());
    assert_eq!(plan(&ask(&mixture, &usage, &members)).unwrap(), clean);
}

/// Models, usages and peers.
fn groups() -> impl Strategy<Value = (Mixture, Vec<Usage>, Vec<Member>)> {
    let sizes = (4_u32..24, 1_u32..3, 1_usize..5, 1_u32..5);
    sizes.prop_flat_map(|(experts, used, layers, texts)| {
        let mixture = mixture(experts, used, layers);
        let masses = proptest::collection::vec(0.0..1.0, experts as usize);
        let text = proptest::collection::vec(masses, layers);
        let usage = proptest::collection::vec(text, texts as usize);
        let rooms = proptest::collection::vec(1..=experts, 1..7);
        (Just(mixture), usage, rooms).prop_map(|(mixture, usage, rooms)| {
            let usage = usage.into_iter().map(|u| Usage::try_from(u).unwrap());
            let members = (0..).zip(rooms).map(|(n, kept)| member(n, &mixture, kept));
            let members = members.collect();
            (mixture, usage.collect(), members)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// All experts are somewhere, the core everywhere, nobody has more than room, and the same
    /// question has the same answer, in whatever order peers are named.
    #[test]
    fn plans_are_whole((mixture, usage, members) in groups()) {
        let Ok(found) = plan(&ask(&mixture, &usage, &members)) else {
            return Ok(());
        };
        let ranking = Usage::mean(&usage).unwrap().ranking();
        for (layer, ranking) in ranking.iter().enumerate() {
            let (core, rest) = ranking.split_at(found.core as usize);
            for expert in core {
                prop_assert!(found.shards.iter().all(|s| s.kept.has(layer, *expert)));
            }
            for expert in rest {
                prop_assert!(found.shards.iter().any(|s| s.kept.has(layer, *expert)));
            }
        }
        prop_assert_eq!(found.shards.len() + found.out.len(), members.len());
        for shard in &found.shards {
            let mut of = members.iter();
            let of = of.find(|member| member.node == shard.node).unwrap();
            prop_assert!(shard.bytes <= of.room_bytes);
            prop_assert!(shard.kept.kept() >= (mixture.used * LEAST_PER_USED).min(mixture.experts));
        }
        let mut turned = members.clone();
        turned.reverse();
        prop_assert_eq!(&plan(&ask(&mixture, &usage, &turned)).unwrap(), &found);
    }

    /// What is there is left as it is.
    #[test]
    fn a_plan_that_is_carried_out_moves_nothing((mixture, usage, members) in groups()) {
        let Ok(first) = plan(&ask(&mixture, &usage, &members)) else {
            return Ok(());
        };
        let members = after(&members, &first);
        let again = Question { core: Some(first.core), ..ask(&mixture, &usage, &members) };
        let again = plan(&again).unwrap();
        prop_assert_eq!(again.core, first.core);
        for (a, b) in again.shards.iter().zip(&first.shards) {
            prop_assert_eq!(&a.kept, &b.kept);
            prop_assert_eq!(a.fetch_bytes, 0);
        }
    }

    /// When a peer goes, exactly the experts that only it had are fetched, once each; when one comes,
    /// only it fetches. Unless the core grows.
    #[test]
    fn who_comes_and_goes_moves_as_little_as_possible(
        (mixture, usage, members) in groups(),
        who in any::<proptest::sample::Index>(),
    ) {
        let Ok(first) = plan(&ask(&mixture, &usage, &members)) else {
            return Ok(());
        };
        let seated: Vec<Member> = after(&members, &first)
            .into_iter()
            .filter(|member| member.held.is_some())
            .collect();
        let who = who.index(seated.len());
        let lost = only_of(&seated, who);
        let mut rest = seated.clone();
        let mut gone = rest.remove(who);
        let core = Some(first.core);
        let Ok(second) = plan(&Question { core, ..ask(&mixture, &usage, &rest) }) else {
            return Ok(());
        };
        let moved: u64 = second.shards.iter().map(|shard| shard.fetch_bytes).sum();
        if second.core <= first.core {
            prop_assert_eq!(moved, lost * MB);
        }
        // It comes back, having lost everything.
        let mut back = after(&rest, &second);
        gone.held = None;
        back.push(gone.clone());
        let core = Some(second.core);
        let third = plan(&Question { core, ..ask(&mixture, &usage, &back) }).unwrap();
        if third.core <= second.core {
            for shard in third.shards.iter().filter(|shard| shard.node != gone.node) {
                prop_assert_eq!(shard.fetch_bytes, 0);
            }
        }
    }
}
