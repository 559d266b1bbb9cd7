//! Scores under any sequence of offences, and tables under a flood of strangers.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

fn peer(n: u32) -> NodeId {
    let mut secret = [1; 32];
    secret[..4].copy_from_slice(&n.to_le_bytes());
    NodeId::from(&ed25519_dalek::SigningKey::from_bytes(&secret))
}

fn offences() -> impl Strategy<Value = Offence> {
    select(
        &[
            Offence::InvalidMessage,
            Offence::RateExcess,
            Offence::ProtocolViolation,
            Offence::FailedRequest,
        ][..],
    )
}

proptest! {
    #[test]
    fn penalties_stay_within_bounds_and_bans_hold(
        offences in vec((0_u32..3, offences(), 0_u64..120), 0..200),
    ) {
        let peers = [peer(0), peer(1), peer(2)];
        let mut scores = Scores::default();
        let mut now = Instant::now();
        let mut banned: BTreeMap<NodeId, Instant> = BTreeMap::new();
        for (who, offence, wait_s) in offences {
            now += Duration::from_secs(wait_s);
            let who = peers[who as usize];
            let standing = scores.on_offence(who, offence, now);
            prop_assert_eq!(scores.standing(who, now), standing);
            prop_assert!((0.0..=BAN_AT).contains(&scores.penalty(who, now)));
            if let Standing::Banned(until) = standing {
                prop_assert!(until <= now + MAX_BAN);
                banned.insert(who, until);
            }
            for (peer, until) in banned.iter().filter(|(_, until)| **until > now) {
                prop_assert_eq!(scores.standing(*peer, now), Standing::Banned(*until));
            }
        }
        // All is forgiven after a day without offences.
        let later = now + MAX_BAN + Duration::from_secs(1);
        prop_assert!(peers.iter().all(|p| scores.standing(*p, later) == Standing::Good));
    }

    #[test]
    fn failures_alone_are_only_ignored(count in 0_usize..500, wait_ms in 0_u64..1000) {
        let mut scores = Scores::default();
        let mut now = Instant::now();
        for _ in 0..count {
            now += Duration::from_millis(wait_ms);
            let standing = scores.on_offence(peer(0), Offence::FailedRequest, now);
            prop_assert!(matches!(standing, Standing::Good | Standing::Ignored));
        }
    }
}

#[test]
fn ignoring_has_hysteresis() {
    let mut scores = Scores::default();
    let start = Instant::now();
    scores.on_offence(peer(0), Offence::InvalidMessage, start);
    assert_eq!(scores.standing(peer(0), start), Standing::Good);
    scores.on_offence(peer(0), Offence::InvalidMessage, start);
    assert_eq!(scores.standing(peer(0), start), Standing::Ignored);
    assert_eq!(
        scores.standing(peer(0), start + HALF_LIFE / 2),
        Standing::Ignored
    );
    let after = start + HALF_LIFE + Duration::from_secs(1);
    assert_eq!(scores.standing(peer(0), after), Standing::Good);
}

#[test]
fn each_ban_is_longer() {
    let mut scores = Scores::default();
    let mut now = Instant::now();
    let mut last = Duration::ZERO;
    for _ in 0..8 {
        let until = loop {
            match scores.on_offence(peer(0), Offence::ProtocolViolation, now) {
                Standing::Banned(until) => break until,
                _ => continue,
            }
        };
        let time = until - now;
        assert!(time > last || time == MAX_BAN);
        (last, now) = (time, until);
    }
    assert_eq!(last, MAX_BAN);
}

#[test]
fn strangers_do_not_push_out_bans_nor_the_guilty() {
    let mut scores = Scores::default();
    let now = Instant::now();
    let violate = |scores: &mut Scores, n, times| {
        let mut standing = Standing::Good;
        for _ in 0..times {
            standing = scores.on_offence(peer(n), Offence::ProtocolViolation, now);
        }
        standing
    };
    violate(&mut scores, 0, 3);
    let guilty = scores.standing(peer(0), now);
    assert_eq!(guilty, Standing::Disconnect);
    let strangers = u32::try_from(MAX_BANS).unwrap() + 10;
    for n in 1..=strangers {
        violate(&mut scores, n, 4);
        scores.on_offence(peer(n + strangers), Offence::RateExcess, now);
    }
    assert_eq!(scores.len(), (MAX_SCORES, MAX_BANS));
    assert!(matches!(scores.standing(peer(1), now), Standing::Banned(_)));
    assert_eq!(scores.standing(peer(0), now), guilty);
    // No room for a ban: cut off each time all the same.
    assert_eq!(violate(&mut scores, strangers, 1), Standing::Disconnect);
}
