//! Names of protocols and topics, all under the swarm's own name.
//!
//! Never an IPFS name: our DHT and gossip are ours. Which of them a peer may speak is the
//! gate's decision, not known here.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{ids::NodeId, limits::MAX_SWARM_NAME_BYTES, record_key::node_key};

/// The mesh that a node joins with no configuration.
pub const PUBLIC_SWARM: &str = "public";

/// A swarm's name: 1 to [`MAX_SWARM_NAME_BYTES`] lower-case letters, digits and inner hyphens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SwarmName(String);

/// Why a text is no swarm's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SwarmNameError {
    /// Empty or over the limit.
    #[error("a swarm's name has 1 to {MAX_SWARM_NAME_BYTES} characters, not {0}")]
    Length(usize),
    /// Another character, or a hyphen at an end.
    #[error("a swarm's name has lower-case letters, digits and inner hyphens only")]
    Character,
}

/// A protocol that two peers speak on a stream. `Display` of [`Protocol::of`] is its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// Proof of membership, before anything else. Its name is the same in every swarm: it is
    /// what a stranger is told.
    Admission,
    /// A request to a head and its stream of events.
    Generate,
    /// A request for embeddings and its answer.
    Embed,
    /// A head's request for a stage and its answer.
    Lease,
    /// Hidden states and tokens between the stages of a chain.
    Stage,
    /// Round-trip time.
    Probe,
    /// The swarm's own distributed hash table.
    Kademlia,
    /// Asking for adverts of given peers.
    Adverts,
    /// Who has newer lists of revocations, and the lists.
    Revocations,
    /// Parts of a model's files.
    Weights,
    /// What two peers have of a board, told apart and made up; attachments.
    Boards,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 11] = [
        Self::Admission,
        Self::Generate,
        Self::Embed,
        Self::Lease,
        Self::Stage,
        Self::Probe,
        Self::Kademlia,
        Self::Adverts,
        Self::Revocations,
        Self::Weights,
        Self::Boards,
    ];

    /// The protocol's name in a swarm: `/shoal/<swarm>/<protocol>/<version>`; of admission,
    /// which comes before a swarm is named, `/shoal/admission/1`.
    pub fn of(self, swarm: &SwarmName) -> String {
        let (name, version) = match self {
            Self::Admission => return "/shoal/admission/1".to_owned(),
            Self::Generate => ("generate", 1),
            Self::Embed => ("embed", 1),
            Self::Lease => ("lease", 1),
            Self::Stage => ("stage", 1),
            Self::Probe => ("probe", 1),
            Self::Kademlia => ("kad", 1),
            Self::Adverts => ("adverts", 1),
            Self::Revocations => ("revocations", 1),
            Self::Weights => ("weights", 1),
            Self::Boards => ("boards", 1),
        };
        format!("/shoal/{swarm}/{name}/{version}")
    }
}

/// A gossip topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Topic {
    /// Adverts of one shard of the swarm.
    Adverts {
        /// The cell of the network's coordinates.
        cell: u16,
        /// The shard within the cell.
        prefix: ShardPrefix,
    },
    /// What is asked for.
    Demand,
}

impl Topic {
    /// The topic's name in a swarm.
    pub fn of(self, swarm: &SwarmName) -> String {
        match self {
            Self::Adverts { cell, prefix } => format!("/shoal/{swarm}/adverts/1/{cell}/{prefix}"),
            Self::Demand => format!("/shoal/{swarm}/demand/1"),
        }
    }
}

/// The leading bits of a peer's hash that choose its shard; `*` with no bits, else `0`s and
/// `1`s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardPrefix {
    bits: u32,
    length: u8,
}

impl ShardPrefix {
    /// More shards than there can be peers.
    pub const MAX_LENGTH: u8 = 32;

    /// The first `length` bits of `hash` (its highest), at most [`ShardPrefix::MAX_LENGTH`].
    pub fn new(hash: u32, length: u8) -> Self {
        let length = length.min(Self::MAX_LENGTH);
        let dropped = u32::from(Self::MAX_LENGTH - length);
        let bits = hash
            .checked_shr(dropped)
            .unwrap_or(0)
            .checked_shl(dropped)
            .unwrap_or(0);
        Self { bits, length }
    }

    /// The hash of a peer that chooses its shard: the beginning of its key in the swarm's
    /// distributed hash table, so that the peers of its shard are those around it there.
    pub fn hash(node: &NodeId) -> u32 {
        let [a, b, c, d, ..] = node_key(node);
        u32::from_be_bytes([a, b, c, d])
    }

    /// Whether a peer with this hash belongs to the shard.
    pub fn contains(self, hash: u32) -> bool {
        Self::new(hash, self.length) == self
    }

    /// The number of bits.
    pub fn length(self) -> u8 {
        self.length
    }
}

impl fmt::Display for ShardPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length == 0 {
            return f.write_str("*");
        }
        (0..self.length)
            .map(|at| (self.bits >> (31 - at)) & 1)
            .try_for_each(|bit| write!(f, "{bit}"))
    }
}

impl SwarmName {
    /// The public mesh.
    pub fn public() -> Self {
        Self(PUBLIC_SWARM.to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn check(text: &str) -> Result<(), SwarmNameError> {
        if text.is_empty() || text.len() > MAX_SWARM_NAME_BYTES {
            return Err(SwarmNameError::Length(text.len()));
        }
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if !text.bytes().all(plain) || text.starts_with('-') || text.ends_with('-') {
            return Err(SwarmNameError::Character);
        }
        Ok(())
    }
}

impl FromStr for SwarmName {
    type Err = SwarmNameError;

    fn from_str(text: &str) -> Result<Self, SwarmNameError> {
        Self::check(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for SwarmName {
    type Error = SwarmNameError;

    fn try_from(text: String) -> Result<Self, SwarmNameError> {
        Self::check(&text)?;
        Ok(Self(text))
    }
}

impl From<SwarmName> for String {
    fn from(name: SwarmName) -> Self {
        name.0
    }
}

impl fmt::Display for SwarmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn protocol_names_are_golden() {
        let swarm = SwarmName::public();
        let names = Protocol::ALL.map(|protocol| protocol.of(&swarm));
        assert_eq!(
            names,
            [
                "/shoal/admission/1",
                "/shoal/public/generate/1",
                "/shoal/public/embed/1",
                "/shoal/public/lease/1",
                "/shoal/public/stage/1",
                "/shoal/public/probe/1",
                "/shoal/public/kad/1",
                "/shoal/public/adverts/1",
                "/shoal/public/revocations/1",
                "/shoal/public/weights/1",
                "/shoal/public/boards/1",
            ]
        );
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn topic_names_are_golden() {
        let swarm: SwarmName = "lab-2".parse().unwrap();
        let adverts = |hash, length| {
            let prefix = ShardPrefix::new(hash, length);
            Topic::Adverts { cell: 7, prefix }.of(&swarm)
        };
        assert_eq!(adverts(0xA000_0000, 3), "/shoal/lab-2/adverts/1/7/101");
        assert_eq!(adverts(0xA000_0000, 0), "/shoal/lab-2/adverts/1/7/*");
        assert_eq!(Topic::Demand.of(&swarm), "/shoal/lab-2/demand/1");
    }

    #[test]
    fn equal_shards_have_equal_prefixes() {
        assert_eq!(
            ShardPrefix::new(0xA000_0000, 3),
            ShardPrefix::new(0xBFFF_FFFF, 3)
        );
        assert_ne!(
            ShardPrefix::new(0xA000_0000, 3),
            ShardPrefix::new(0xA000_0000, 4)
        );
        let shard = ShardPrefix::new(0xA000_0000, 3);
        assert!(shard.contains(0xBFFF_FFFF) && !shard.contains(0xC000_0000));
        assert!(ShardPrefix::new(7, 0).contains(u32::MAX));
        assert_eq!(ShardPrefix::new(1, 200).length(), ShardPrefix::MAX_LENGTH);
        assert_eq!(ShardPrefix::new(1, 32).to_string().len(), 32);
        assert_eq!(ShardPrefix::new(u32::MAX, 0), ShardPrefix::new(0, 0));
    }

    #[test]
    fn a_peers_hash_is_golden() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let hash = ShardPrefix::hash(&NodeId::from(&key));
        assert_eq!(format!("{hash:08x}"), "f88ff96e");
    }

    #[test]
    fn names_that_would_confuse_are_refused() {
        assert_eq!("".parse::<SwarmName>(), Err(SwarmNameError::Length(0)));
        let long = "x".repeat(33);
        assert_eq!(long.parse::<SwarmName>(), Err(SwarmNameError::Length(33)));
        for text in ["a/b", "A", "-a", "a-", "a b", "ü", "a.b", "a\n"] {
            assert_eq!(
                text.parse::<SwarmName>(),
                Err(SwarmNameError::Character),
                "{text:?}"
            );
        }
    }
}
