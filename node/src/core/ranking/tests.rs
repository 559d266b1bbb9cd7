//! The order of heads: what is never asked, what makes a head better, what failures do.
#![allow(clippy::unwrap_used, reason = "tests")]

use ed25519_dalek::SigningKey;
use proptest::prelude::*;

use super::*;

fn peer(n: u8) -> Target {
    Target::Peer(NodeId::from(&SigningKey::from_bytes(&[n; 32])))
}

fn remote(n: u8) -> Offer {
    Offer {
        target: peer(n),
        context_tokens: Some(8192),
        parallel: 4,
        running: 0,
        queued: 0,
        prefill_tokens_per_second: Some(500.0),
        decode_tokens_per_second: Some(30.0),
        rtt: Some(Duration::from_millis(20)),
        is_relayed: false,
        is_trusted: false,
        is_loaded: true,
    }
}

fn own() -> Offer {
    Offer {
        target: Target::Own,
        context_tokens: None,
        prefill_tokens_per_second: None,
        decode_tokens_per_second: None,
        rtt: None,
        ..remote(0)
    }
}

fn ask(tokens: usize) -> Ask {
    Ask {
        prompt: PromptSize::exactly(tokens),
        max_tokens: Some(100),
        level: Level::Swarm,
        salt: 7,
    }
}

fn order(ask: &Ask, offers: &[Offer]) -> Vec<Target> {
    let choices = rank(ask, offers, &Failures::default(), Instant::now()).unwrap();
    choices.into_iter().map(|choice| choice.target).collect()
}

#[test]
fn the_own_model_runs_here_unless_it_is_clearly_worse() {
    let idle = order(&ask(100), &[remote(1), own(), remote(2)]);
    assert_eq!(idle[0], Target::Own);
    let stored = Offer {
        is_loaded: false,
        ..own()
    };
    assert_eq!(order(&ask(100), &[remote(1), stored])[0], Target::Own);
    let crowded = Offer {
        running: 4,
        queued: 40,
        ..own()
    };
    assert_eq!(order(&ask(100), &[remote(1), crowded])[0], peer(1));
}

#[test]
fn privacy_decides_who_is_asked_at_all() {
    let trusted = Offer {
        is_trusted: true,
        ..remote(2)
    };
    let at = |level| Ask { level, ..ask(10) };
    let fresh = Failures::default();
    let now = Instant::now();
    let offers = [remote(1), trusted];
    assert_eq!(order(&at(Level::Trusted), &offers), [peer(2)]);
    assert_eq!(
        rank(&at(Level::Local), &offers, &fresh, now),
        Err(NobodyLeft::Forbidden)
    );
    assert_eq!(
        rank(&at(Level::Trusted), &offers[..1], &fresh, now),
        Err(NobodyLeft::Forbidden)
    );
    let with_own = [remote(1), own()];
    assert_eq!(order(&at(Level::Local), &with_own), [Target::Own]);
    assert_eq!(rank(&ask(1), &[], &fresh, now), Err(NobodyLeft::NoOffer));
}

#[test]
fn a_context_that_is_surely_too_small_is_never_asked() {
    let small = Offer {
        context_tokens: Some(1000),
        ..remote(1)
    };
    let slow = Offer {
        decode_tokens_per_second: Some(1.0),
        ..remote(2)
    };
    assert_eq!(order(&ask(2000), &[small, slow]), [peer(2)]);
    let none = rank(&ask(2000), &[small], &Failures::default(), Instant::now());
    assert_eq!(none, Err(NobodyLeft::TooLong(1000)));
    // 6,000 bytes are 750 to 2,000 tokens: perhaps, and therefore last.
    let perhaps = Ask {
        prompt: PromptSize::of_bytes(6000),
        ..ask(0)
    };
    assert_eq!(order(&perhaps, &[small, slow]), [peer(2), peer(1)]);
}

#[test]
fn a_failed_peer_comes_later_and_is_forgiven_in_time() {
    let (now, mut failures) = (Instant::now(), Failures::default());
    let offers = [remote(1), remote(2)];
    let first = |failures: &Failures, now| {
        let choices = rank(&ask(10), &offers, failures, now).unwrap();
        choices[0].target
    };
    let best = first(&failures, now);
    failures.blame(&best, now);
    assert_ne!(first(&failures, now), best);
    assert_eq!(rank(&ask(10), &offers, &failures, now).unwrap().len(), 2);
    let later = now + Duration::from_secs(600);
    assert_eq!(first(&failures, later), best);
    failures.praise(&best, now);
    assert!(failures.penalty(&best, now) < Duration::from_secs(6));
}

#[test]
fn the_memory_of_failures_is_bounded() {
    let (now, mut failures) = (Instant::now(), Failures::default());
    for n in 0..400_u32 {
        let mut secret = [0; 32];
        secret[..4].copy_from_slice(&n.to_le_bytes());
        let node = NodeId::from(&SigningKey::from_bytes(&secret));
        failures.blame(&Target::Peer(node), now + Duration::from_millis(n.into()));
        assert!(failures.len() <= MAX_REMEMBERED);
    }
    failures.blame(&Target::Own, now);
    assert_eq!(failures.penalty(&Target::Own, now), Duration::ZERO);
}

#[test]
fn heads_that_are_alike_are_asked_in_different_orders() {
    let offers: Vec<_> = (1..5).map(remote).collect();
    let firsts = (0..200).map(|salt| order(&Ask { salt, ..ask(10) }, &offers)[0]);
    let firsts: std::collections::BTreeSet<_> = firsts.collect();
    assert_eq!(firsts.len(), 4);
}

#[test]
fn prompts_are_estimated() {
    use protocol::generate::generate_request::Prompt;
    use protocol::generate::{GenerateRequest, TokenPrompt};
    let sized = |prompt| {
        PromptSize::of(&GenerateRequest {
            prompt: Some(prompt),
            ..GenerateRequest::default()
        })
    };
    let exact = sized(Prompt::Tokens(TokenPrompt { tokens: vec![1; 9] }));
    assert_eq!((exact.least, exact.likely(), exact.most), (9, 9, 9));
    let text = sized(Prompt::Text("x".repeat(2400)));
    assert_eq!((text.least, text.likely(), text.most), (300, 600, 800));
}

fn any_rate() -> impl Strategy<Value = Option<f32>> {
    prop_oneof![
        Just(None),
        (0.1_f32..1e4).prop_map(Some),
        any::<f32>().prop_map(Some)
    ]
}

prop_compose! {
    fn any_offer()(
        n in 0..12_u8,
        context_tokens in proptest::option::of(0..20_000_u32),
        (parallel, running, queued) in (0..8_u32, 0..10_u32, 0..1000_u32),
        (prefill_tokens_per_second, decode_tokens_per_second) in (any_rate(), any_rate()),
        rtt in proptest::option::of((0..u64::MAX).prop_map(Duration::from_micros)),
        (is_relayed, is_trusted, is_loaded) in any::<(bool, bool, bool)>(),
    ) -> Offer {
        let target = if n == 0 { Target::Own } else { peer(n) };
        Offer {
            target, context_tokens, parallel, running, queued, prefill_tokens_per_second,
            decode_tokens_per_second, rtt, is_relayed, is_trusted, is_loaded,
        }
    }
}

prop_compose! {
    fn any_ask()(
        bytes in 0..60_000_usize,
        max_tokens in any::<Option<u32>>(),
        level in prop_oneof![Just(Level::Local), Just(Level::Trusted), Just(Level::Swarm)],
        salt in any::<u64>(),
    ) -> Ask {
        Ask { prompt: PromptSize::of_bytes(bytes), max_tokens, level, salt }
    }
}

proptest! {
    #[test]
    fn whoever_is_asked_may_and_can(
        ask in any_ask(),
        offers in proptest::collection::vec(any_offer(), 0..40),
    ) {
        let now = Instant::now();
        let Ok(choices) = rank(&ask, &offers, &Failures::default(), now) else {
            return Ok(());
        };
        prop_assert!(!choices.is_empty() && choices.len() <= MAX_CHOICES);
        let mut seen = std::collections::BTreeSet::new();
        for choice in &choices {
            prop_assert!(seen.insert(choice.target), "asked twice");
            // What a head offers twice is one of its offers.
            let allowed = offers.iter().any(|offer| {
                offer.target == choice.target
                    && offer.context_tokens == choice.context_tokens
                    && (offer.target == Target::Own || ask.level == Level::Swarm
                        || (ask.level == Level::Trusted && offer.is_trusted))
            });
            prop_assert!(allowed);
            prop_assert!(choice.context_tokens.is_none_or(|c| c >= ask.prompt.least));
            prop_assert!(choice.first_token <= LONGEST);
        }
    }

    #[test]
    fn the_order_of_offers_does_not_matter(
        ask in any_ask(),
        offers in proptest::collection::vec(any_offer(), 0..20),
    ) {
        // Two offers of one head are one of them, whichever is better.
        let by_target: std::collections::BTreeMap<_, _> =
            offers.into_iter().map(|offer| (offer.target, offer)).collect();
        let mut offers: Vec<_> = by_target.into_values().collect();
        let now = Instant::now();
        let forward = rank(&ask, &offers, &Failures::default(), now);
        offers.reverse();
        prop_assert_eq!(forward, rank(&ask, &offers, &Failures::default(), now));
    }

    #[test]
    fn a_better_head_is_asked_no_later(
        ask in any_ask(),
        others in proptest::collection::vec(any_offer(), 0..10),
        before in any_offer(),
        better in 0..5,
    ) {
        let before = Offer { target: peer(99), is_trusted: true, ..before };
        let quicker = |rate: Option<f32>| {
            rate.filter(|r| r.is_finite() && *r > 0.0).map(|r| r.max(0.01) * 2.0)
        };
        let after = match better {
            0 => Offer { queued: before.queued / 2, ..before },
            1 => Offer { is_relayed: false, ..before },
            2 => Offer { rtt: before.rtt.map(|rtt| rtt / 2), ..before },
            3 => Offer {
                decode_tokens_per_second: quicker(before.decode_tokens_per_second)
                    .or(before.decode_tokens_per_second),
                ..before
            },
            _ => Offer { running: before.running / 2, ..before },
        };
        // Of the own head's speed nothing is known, so it is measured by others'.
        let others: Vec<_> = others.into_iter().filter(|o| o.target != Target::Own).collect();
        let now = Instant::now();
        let place = |offer| {
            let mut offers = others.clone();
            offers.push(offer);
            let choices = rank(&ask, &offers, &Failures::default(), now).ok()?;
            choices.iter().position(|choice| choice.target == peer(99))
        };
        let (old, new) = (place(before), place(after));
        prop_assert!(old.is_none() || new.is_some_and(|new| Some(new) <= old), "{old:?} {new:?}");
    }
}
