//! Between our ids and libp2p's: both stand for one Ed25519 key. It knows no peer in particular.

use libp2p::{PeerId, identity};
use protocol::NodeId;

/// libp2p's name of a node: the identity multihash of its public key (libp2p specification,
/// "Peer Ids").
///
/// # Panics
/// Never: a [`NodeId`] is a usable key.
#[must_use]
pub fn peer_id(node: &NodeId) -> PeerId {
    let key = identity::ed25519::PublicKey::try_from_bytes(node.as_bytes())
        .expect("a node's id is a point of the curve");
    identity::PublicKey::from(key).to_peer_id()
}

/// The node that a peer is. `None` for a peer with a key of another kind, whose id does not hold
/// the key itself, or with an unusable one: our protocols are not for them.
#[must_use]
pub fn node_id(peer: &PeerId) -> Option<NodeId> {
    let key = identity::PublicKey::try_decode_protobuf(peer.as_ref().digest()).ok()?;
    let key = key.try_into_ed25519().ok()?;
    NodeId::from_bytes(&key.to_bytes()).ok()
}

#[cfg(test)]
mod tests {
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
