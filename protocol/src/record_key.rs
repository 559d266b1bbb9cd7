//! Under which key of a distributed hash table something is found.
//!
//! Keys are SHA-256, so that each is also a multihash as the public DHT wants it. What is stored
//! under a key, and who may store it, is not known here.

use std::fmt;

use crate::{
    board::BoardName,
    digest::{digest, plain},
    ids::{ModelName, NodeId},
    limits::MAX_PROVIDER_BUCKETS,
    names::SwarmName,
};

/// Whose hash is the public mesh's rendezvous in the public DHT.
const RENDEZVOUS: &[u8] = b"shoal/public/1";

/// The label of provider records' keys.
const PROVIDER_LABEL: &str = "shoal/provider/1";

/// The label of the keys under which those who follow a board are found.
const BOARD_LABEL: &str = "shoal/board/1";

/// The label of the hash that spreads providers over buckets.
const BUCKET_LABEL: &str = "shoal/provider-bucket/1";

/// What stands before an Ed25519 key in a peer id as Kademlia hashes it: an identity multihash of
/// 36 bytes, and in it a protobuf message of the key's type and bytes.
const PEER_ID_HEAD: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// Where a node itself stands in the swarm's table: the hash of its peer id.
pub fn node_key(node: &NodeId) -> [u8; 32] {
    plain(&[PEER_ID_HEAD.as_slice(), node.as_bytes()].concat())
}

/// A key of a distributed hash table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey([u8; 32]);

/// What a provider has of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provided {
    /// A deployment: it answers requests for the model.
    Deployment,
    /// Layers [first, last), ready to be loaded.
    Layers {
        /// The first layer.
        first: u32,
        /// The layer behind the last.
        last: u32,
    },
}

/// One of the keys over which the providers of one thing are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bucket(u16);

impl Bucket {
    /// The bucket in which a node provides when there are `count` of them; at least one and at
    /// most [`MAX_PROVIDER_BUCKETS`].
    pub fn of(node: &NodeId, count: u16) -> Self {
        let [high, low, ..] = digest(BUCKET_LABEL, &[node.as_bytes()]);
        Self(u16::from_be_bytes([high, low]) % bounded(count))
    }

    /// Every bucket that a search looks at.
    pub fn all(count: u16) -> impl Iterator<Item = Self> {
        (0..bounded(count)).map(Self)
    }
}

fn bounded(count: u16) -> u16 {
    count.clamp(1, MAX_PROVIDER_BUCKETS)
}

impl RecordKey {
    /// Where nodes of the public mesh find one another in the public DHT.
    pub fn rendezvous() -> Self {
        Self(plain(RENDEZVOUS))
    }

    /// Where the providers of a model, or of layers of it, are found in a swarm.
    pub fn provider(
        swarm: &SwarmName,
        model: &ModelName,
        provided: Provided,
        bucket: Bucket,
    ) -> Self {
        let mut slice = Vec::with_capacity(8);
        if let Provided::Layers { first, last } = provided {
            slice.extend(first.to_be_bytes());
            slice.extend(last.to_be_bytes());
        }
        Self(digest(
            PROVIDER_LABEL,
            &[
                swarm.as_str().as_bytes(),
                model.as_str().as_bytes(),
                &slice,
                &bucket.0.to_be_bytes(),
            ],
        ))
    }

    /// Where those who follow a board are found in a swarm.
    pub fn board(swarm: &SwarmName, board: &BoardName) -> Self {
        let parts = [swarm.as_str().as_bytes(), board.as_str().as_bytes()];
        Self(digest(BOARD_LABEL, &parts))
    }

    /// The hash itself.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key as a multihash: the code of SHA-256 and the length come first.
    pub fn to_multihash(self) -> [u8; 34] {
        let mut bytes = [0; 34];
        bytes[..2].copy_from_slice(&[0x12, 0x20]);
        bytes[2..].copy_from_slice(&self.0);
        bytes
    }
}

impl fmt::Debug for RecordKey {
    /// The beginning tells keys apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "RecordKey({a:02x}{b:02x}{c:02x}{d:02x})")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ed25519_dalek::SigningKey;

    use super::*;

    fn key(swarm: &str, model: &str, provided: Provided, bucket: u16) -> RecordKey {
        let (swarm, model) = (swarm.parse().unwrap(), model.parse().unwrap());
        RecordKey::provider(&swarm, &model, provided, Bucket(bucket))
    }

    #[test]
    fn keys_are_golden() {
        assert_eq!(
            hex::encode(RecordKey::rendezvous().to_multihash()),
            "12205ae125f6ee41fff2d2e5e8d9145e25430085ba983291c1693393a9c9b318c9d8"
        );
        let whole = key("public", "org/repo:Q4_K_M", Provided::Deployment, 0);
        assert_eq!(
            hex::encode(whole.as_bytes()),
            "fe8928fe2743a1d60720b20d141b002c3fbeea7134bcf254382365fe485b9c28"
        );
        let board = RecordKey::board(&SwarmName::public(), &"rust-tips".parse().unwrap());
        assert_eq!(
            hex::encode(board.as_bytes()),
            "8dd4b7df5029561db11e1935daef7b6dc49581e46ac8b1e4048a7e6749b644c6"
        );
        let layers = Provided::Layers { first: 0, last: 16 };
        let slice = key("public", "org/repo:Q4_K_M", layers, 3);
        assert_eq!(
            hex::encode(slice.as_bytes()),
            "f0d9eb668efad47b43ef161ce3199630c3bc31db40fbc1d32d86f759ec22846f"
        );
    }

    #[test]
    fn each_part_makes_another_key() {
        let layers = |first, last| Provided::Layers { first, last };
        let keys = [
            key("public", "a", Provided::Deployment, 0),
            key("lab", "a", Provided::Deployment, 0),
            key("public", "b", Provided::Deployment, 0),
            key("public", "a", layers(0, 8), 0),
            key("public", "a", layers(0, 9), 0),
            key("public", "a", layers(1, 8), 0),
            key("public", "a", Provided::Deployment, 1),
        ];
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
    }

    #[test]
    fn buckets_spread_the_providers() {
        let mut counts = [0_u32; 4];
        for secret in 0..200_u8 {
            let node = NodeId::from(&SigningKey::from_bytes(&[secret; 32]));
            let bucket = Bucket::of(&node, 4);
            assert!(Bucket::all(4).any(|b| b == bucket));
            counts[usize::from(bucket.0)] += 1;
            assert_eq!(Bucket::of(&node, 0), Bucket::default());
        }
        assert!(counts.iter().all(|&n| (25..=75).contains(&n)), "{counts:?}");
        assert_eq!(Bucket::all(u16::MAX).count(), 64);
    }
}
