//! Golden bytes, what is refused, and that the largest messages fit.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use proptest::prelude::*;

use super::*;
use crate::{
    Signed, UnixMillis,
    limits::{MAX_REVOCATIONS_LIFETIME, MAX_REVOKED},
    membership::{Delegation, Revocations, Swarm},
};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn key(number: u16) -> SigningKey {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    SigningKey::from_bytes(&seed)
}

fn node(number: u16) -> NodeId {
    NodeId::from(&key(number))
}

fn swarm() -> Swarm {
    Swarm {
        name: "a-name-of-thirty-two-characters-"
            .trim_end_matches('-')
            .parse()
            .unwrap(),
        root: node(1),
    }
}

fn list(author: u16, sequence: u64, revoked: &[u16]) -> Chain<wire::Revocations> {
    let statement = wire::Revocations::from(&Revocations {
        swarm: swarm(),
        revoked: revoked.iter().map(|peer| (node(*peer), NOW)).collect(),
    });
    let expires = NOW.saturating_add(MAX_REVOCATIONS_LIFETIME);
    Chain::by_root(&key(author), Sequence(sequence), expires, &statement).unwrap()
}

fn head(sequence: u64, digest: u8) -> ListHead {
    ListHead {
        sequence: Sequence(sequence),
        digest: [digest; LIST_DIGEST_BYTES],
    }
}

#[test]
fn golden_bytes() {
    let heads = BTreeMap::from([(node(1), head(300, 5))]);
    let request = RevocationsRequest { heads };
    let author = hex::encode(node(1).as_bytes());
    let expected = format!("0a470a20{author}10ac021a20{}", "05".repeat(32));
    assert_eq!(hex::encode(request.encode()), expected);
    assert_eq!(RevocationsRequest::decode(&request.encode()), Ok(request));
}

#[test]
fn a_head_tells_what_a_list_says_and_not_how_it_is_wrapped() {
    let of = |chain: &Chain<_>| ListHead::of(Sequence(1), chain).unwrap();
    let one = of(&list(1, 1, &[4, 5]));
    assert_eq!(one, of(&list(2, 9, &[5, 4])));
    assert_ne!(one.digest, of(&list(1, 1, &[4])).digest);
}

#[test]
fn newer_and_other_lists_are_news() {
    let held = head(4, 1);
    assert!(head(1, 1).is_news_to(None));
    assert!(head(5, 1).is_news_to(Some(&held)));
    assert!(head(4, 2).is_news_to(Some(&held)));
    assert!(!head(4, 1).is_news_to(Some(&held)));
    assert!(!head(3, 2).is_news_to(Some(&held)));
}

#[test]
fn the_largest_reply_fits_and_one_more_list_is_refused() {
    let peers: Vec<u16> = (0..u16::try_from(MAX_REVOKED).unwrap()).collect();
    let delegation = Signed::sign(
        &key(1),
        Sequence(u64::MAX),
        NOW,
        &wire::Delegation::from(&Delegation {
            swarm: swarm(),
            delegate: node(2),
            not_before: NOW,
            may_admit_members: true,
            may_admit_clients: true,
            may_revoke: true,
        }),
    );
    let longest = list(2, u64::MAX, &peers).with_delegation(delegation.unwrap());
    let count = u16::try_from(MAX_REVOCATION_LISTS).unwrap();
    let mut reply = RevocationsReply {
        heads: (0..count)
            .map(|author| (node(author), head(u64::MAX, 1)))
            .collect(),
        lists: vec![longest.clone(); MAX_REVOCATION_LISTS],
    };
    let request = RevocationsRequest {
        heads: reply.heads.clone(),
    };
    assert!(request.encode().len() <= MAX_REVOCATIONS_REQUEST_BYTES);
    assert!(reply.encode().len() <= MAX_REVOCATIONS_REPLY_BYTES);
    assert_eq!(
        RevocationsReply::decode(&reply.encode()).as_ref(),
        Ok(&reply)
    );
    reply.lists.push(longest);
    let error = RevocationsReply::decode(&reply.encode());
    assert!(matches!(
        error,
        Err(RevocationsMessageError::TooMany(18) | RevocationsMessageError::TooLarge { .. })
    ));
}

#[test]
fn what_makes_no_sense_is_refused() {
    use RevocationsMessageError as E;
    let author = |number| node(number).as_bytes().to_vec();
    let one = |author: Vec<u8>, digest: usize| wire::RevocationsHead {
        author,
        sequence: 1,
        digest: vec![0; digest],
    };
    let decode = |heads: Vec<wire::RevocationsHead>| {
        let bytes = wire::RevocationsRequest { heads }.encode_to_vec();
        RevocationsRequest::decode(&bytes).unwrap_err()
    };
    let twice = vec![one(author(1), 32), one(author(1), 32)];
    assert_eq!(decode(twice), E::Order);
    assert_eq!(decode(vec![one(author(1), 31)]), E::Digest(31));
    assert!(matches!(decode(vec![one(vec![1], 32)]), E::Author(_)));
    let many = vec![one(author(1), 32); MAX_REVOCATION_LISTS + 1];
    assert_eq!(decode(many), E::TooMany(MAX_REVOCATION_LISTS + 1));
    let huge = vec![0; MAX_REVOCATIONS_REQUEST_BYTES + 1];
    assert!(matches!(
        RevocationsRequest::decode(&huge),
        Err(E::TooLarge { .. })
    ));
    let lists = vec![wire::Chain::default()];
    let reply = wire::RevocationsReply {
        lists,
        heads: Vec::new(),
    };
    assert_eq!(
        RevocationsReply::decode(&reply.encode_to_vec()),
        Err(E::List(ChainDecodeError::Missing))
    );
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(request) = RevocationsRequest::decode(&bytes) {
            prop_assert_eq!(RevocationsRequest::decode(&request.encode()), Ok(request));
        }
        if let Ok(reply) = RevocationsReply::decode(&bytes) {
            prop_assert_eq!(RevocationsReply::decode(&reply.encode()), Ok(reply));
        }
    }
}
