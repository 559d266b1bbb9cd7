//! Between our ids and libp2p's: both stand for one Ed25519 key. It knows no peer in particular.

use libp2p::{PeerId, multihash::Multihash};
use protocol::NodeId;

/// A public key as libp2p encodes it before the key's bytes: field 1 (the key's kind) is 1, for
/// Ed25519, and field 2 (the key) has 32 bytes (libp2p specification, "Peer Ids").
const ED25519: [u8; 4] = [0x08, 0x01, 0x12, 0x20];

/// The multihash code of a digest that is the content itself.
const IDENTITY: u64 = 0;

/// libp2p's name of a node: the identity multihash of its public key (libp2p specification,
/// "Peer Ids").
/// The key is not checked again, for that takes long.
///
/// # Panics
/// Never: a key's encoding has 36 bytes.
#[must_use]
pub fn peer_id(node: &NodeId) -> PeerId {
    let mut encoded = [0; 36];
    encoded[..4].copy_from_slice(&ED25519);
    encoded[4..].copy_from_slice(node.as_bytes());
    let hash = Multihash::wrap(IDENTITY, &encoded).expect("36 bytes are below 64");
    PeerId::from_multihash(hash).expect("an identity multihash of up to 42 bytes is a peer's id")
}

/// The node that a peer is. `None` for a peer with a key of another kind, whose id does not hold
/// the key itself, or with an unusable one: our protocols are not for them.
#[must_use]
pub fn node_id(peer: &PeerId) -> Option<NodeId> {
    let hash = peer.as_ref();
    let key = hash.digest().strip_prefix(&ED25519)?;
    (hash.code() == IDENTITY).then_some(())?;
    NodeId::from_bytes(key).ok()
}

#[cfg(test)]
mod tests {
    use libp2p::identity;
    use proptest::prelude::*;
    use protocol::ids::NodeId;

    use super::*;

    proptest! {
        #[test]
        fn there_and_back(seed: [u8; 32]) {
            let key = identity::Keypair::ed25519_from_bytes(seed).unwrap();
            let peer = key.public().to_peer_id();
            let node = node_id(&peer).unwrap();
            prop_assert_eq!(peer_id(&node), peer);
            let hashed = libp2p::kad::KBucketKey::from(peer);
            prop_assert_eq!(&protocol::record_key::node_key(&node)[..], hashed.hashed_bytes());
            prop_assert_eq!(node.as_bytes(), &key.public().try_into_ed25519().unwrap().to_bytes());
        }

        #[test]
        fn other_peers_are_nobody(bytes: [u8; 32]) {
            let hashed = libp2p::multihash::Multihash::<64>::wrap(0x12, &bytes).unwrap();
            prop_assert_eq!(node_id(&PeerId::from_multihash(hashed).unwrap()), None);
        }
    }

    #[test]
    fn small_order_keys_are_nobody() {
        let mut protobuf = vec![8, 1, 18, 32];
        protobuf.extend([0u8; 32]);
        let identity = libp2p::multihash::Multihash::<64>::wrap(0, &protobuf).unwrap();
        let node: Option<NodeId> = node_id(&PeerId::from_multihash(identity).unwrap());
        assert_eq!(node, None);
    }
}
