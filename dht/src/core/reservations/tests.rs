//! Relays that offer, refuse, end and come back, in time that is told.

use ed25519_dalek::SigningKey;
use proptest::{collection::vec, prelude::*};
use rand::{SeedableRng, rngs::StdRng};

use super::*;

fn node(seed: u8) -> NodeId {
    NodeId::from(&SigningKey::from_bytes(&[seed; 32]))
}

fn poll(reservations: &mut Reservations, now: Instant) -> Vec<Output> {
    let mut out = Vec::new();
    reservations.poll(now, &mut StdRng::seed_from_u64(1), &mut out);
    out
}

#[test]
fn two_are_asked_after_a_while_and_a_third_when_one_goes() {
    let now = Instant::now();
    let mut reservations = Reservations::default();
    for seed in 1..=3 {
        reservations.on_offer(node(seed), now);
    }
    assert!(poll(&mut reservations, now).is_empty(), "it may be public");
    let later = now + PATIENCE;
    assert_eq!(reservations.next_deadline(), Some(later));
    let asked = poll(&mut reservations, later);
    let [Output::Reserve(first), Output::Reserve(second)] = asked[..] else {
        panic!("{asked:?}");
    };
    reservations.on_held(first);
    reservations.on_held(second);
    assert_eq!(reservations.held().count(), WANTED);
    reservations.on_gone(first);
    let [Output::Reserve(third)] = poll(&mut reservations, later)[..] else {
        panic!("a third is asked");
    };
    assert!(third != first && third != second);
}

#[test]
fn a_public_node_gives_back_what_it_holds() {
    let now = Instant::now();
    let mut reservations = Reservations::default();
    reservations.on_offer(node(1), now);
    let later = now + PATIENCE;
    poll(&mut reservations, later);
    reservations.on_held(node(1));
    reservations.set_public(true);
    assert_eq!(poll(&mut reservations, later), [Output::Release(node(1))]);
    assert!(poll(&mut reservations, later).is_empty());
    reservations.set_public(false);
    assert_eq!(poll(&mut reservations, later), [Output::Reserve(node(1))]);
}

#[test]
fn a_relay_that_refuses_or_is_silent_rests() {
    let mut now = Instant::now();
    let mut reservations = Reservations::default();
    reservations.on_offer(node(1), now);
    now += PATIENCE;
    assert_eq!(poll(&mut reservations, now), [Output::Reserve(node(1))]);
    reservations.on_lost(node(1), now);
    assert!(poll(&mut reservations, now).is_empty());
    now += FIRST_PAUSE;
    assert_eq!(poll(&mut reservations, now), [Output::Reserve(node(1))]);
    now += ASK_TIMEOUT;
    assert_eq!(poll(&mut reservations, now), [Output::Release(node(1))]);
    for _ in 0..40 {
        reservations.on_lost(node(1), now);
        let due = reservations.next_deadline().unwrap();
        assert!(due <= now + LONGEST_PAUSE);
    }
}

proptest! {
    /// Whatever happens: never more than wanted, none while public, nothing asked twice.
    #[test]
    fn bounds_hold(events in vec((0_u8..6, 0_u8..20, 0_u64..40), 0..300), seed: u64) {
        let mut now = Instant::now();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut reservations = Reservations::default();
        let mut open: Vec<NodeId> = Vec::new();
        let mut is_public = false;
        for (event, who, seconds) in events {
            now += Duration::from_secs(seconds);
            let who = node(who);
            match event {
                0 => reservations.on_offer(who, now),
                1 => { reservations.on_gone(who); open.retain(|o| *o != who); }
                2 => reservations.on_held(who),
                3 => { reservations.on_lost(who, now); open.retain(|o| *o != who); }
                _ => { is_public = event == 4; reservations.set_public(is_public); }
            }
            let mut out = Vec::new();
            reservations.poll(now, &mut rng, &mut out);
            for output in out {
                match output {
                    Output::Reserve(node) => {
                        prop_assert!(!is_public && !open.contains(&node));
                        open.push(node);
                    }
                    Output::Release(node) => open.retain(|o| *o != node),
                }
            }
            prop_assert!(open.len() <= WANTED, "{open:?}");
            prop_assert!(reservations.held().all(|held| open.contains(&held)));
        }
    }
}
