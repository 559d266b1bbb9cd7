//! The handshake's tags: hashes keyed with the swarm, over the step, both ends and the nonces.
//!
//! Whoever knows the swarm's root can make them. What they prove, the handshake says.

use protocol::{
    NodeId,
    membership::{NONCE_BYTES, Swarm, TAG_BYTES},
};

/// Makes the tags' key from the root and the name; a constant of the protocol.
const KEY_CONTEXT: &str = "shoal admission 1: key of the tags";

/// What a tag stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    DialerHello = 1,
    ListenerHello = 2,
    Proof = 3,
    Redeem = 4,
}

/// The nonces that a tag covers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nonces {
    pub(super) dialer: [u8; NONCE_BYTES],
    /// Zeroes in the first message, before there is one.
    pub(super) listener: [u8; NONCE_BYTES],
}

/// What all tags of one handshake are over.
#[derive(Debug)]
pub(super) struct Transcript {
    key: [u8; 32],
    dialer: NodeId,
    listener: NodeId,
}

impl Transcript {
    pub(super) fn new(swarm: &Swarm, dialer: NodeId, listener: NodeId) -> Self {
        // The root has a fixed length, so no two swarms give the same bytes.
        let secret = [swarm.root.as_bytes(), swarm.name.as_str().as_bytes()].concat();
        Self {
            key: blake3::derive_key(KEY_CONTEXT, &secret),
            dialer,
            listener,
        }
    }

    pub(super) fn tag(&self, step: Step, nonces: &Nonces) -> [u8; TAG_BYTES] {
        *self.hash(step, nonces).as_bytes()
    }

    /// Compares in constant time, as hashes of `blake3` do.
    pub(super) fn is_tag(&self, tag: [u8; TAG_BYTES], step: Step, nonces: &Nonces) -> bool {
        self.hash(step, nonces) == blake3::Hash::from_bytes(tag)
    }

    /// Every part has a fixed length: no two tags are over the same bytes.
    fn hash(&self, step: Step, nonces: &Nonces) -> blake3::Hash {
        let parts = [
            &[step as u8],
            self.dialer.as_bytes().as_slice(),
            self.listener.as_bytes(),
            &nonces.dialer,
            &nonces.listener,
        ];
        blake3::keyed_hash(&self.key, &parts.concat())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::core::membership::fixture::{node, swarm};

    const NONCES: Nonces = Nonces {
        dialer: [1; 32],
        listener: [2; 32],
    };

    #[test]
    fn tags_are_golden() {
        let tag = Transcript::new(&swarm(), node(5), node(6)).tag(Step::Proof, &NONCES);
        let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "5b65048b1e9d1efa09f545a4d444d9781bb9c927bff52fb0b76dbcdb59ce0fab"
        );
    }

    #[test]
    fn each_part_changes_the_tag() {
        let mut other = swarm();
        other.name = "lab2".parse().unwrap();
        let transcripts = [
            Transcript::new(&swarm(), node(5), node(6)),
            Transcript::new(&swarm(), node(6), node(5)),
            Transcript::new(&swarm(), node(5), node(7)),
            Transcript::new(&other, node(5), node(6)),
        ];
        let swapped = Nonces {
            dialer: NONCES.listener,
            listener: NONCES.dialer,
        };
        let steps = [
            Step::DialerHello,
            Step::ListenerHello,
            Step::Proof,
            Step::Redeem,
        ];
        let mut tags = BTreeSet::new();
        for transcript in &transcripts {
            for step in steps {
                tags.insert(transcript.tag(step, &NONCES));
                tags.insert(transcript.tag(step, &swapped));
            }
        }
        assert_eq!(tags.len(), 32);
    }
}
