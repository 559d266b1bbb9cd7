//! A node's identity: its Ed25519 public key, base58 as text.
//!
//! It does not know libp2p's `PeerId`, which is derived from the same key.

use std::{fmt, str::FromStr};

use ed25519_dalek::{SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

/// Base58 digits of 32 bytes, at most.
const MAX_TEXT_BYTES: usize = 44;

/// A node's public key. Only keys that a signature can be checked against are values of this
/// type: on the curve, in their one encoding, and of no small order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId([u8; 32]);

/// Why bytes or text are no node's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeIdError {
    /// Not 32 bytes.
    #[error("a node's id has 32 bytes, not {0}")]
    Length(usize),
    /// Not base58, or longer than 32 bytes can be.
    #[error("a node's id is base58 text of up to {MAX_TEXT_BYTES} characters")]
    Text,
    /// No point of the curve, not its canonical encoding, or of small order.
    #[error("no usable Ed25519 public key")]
    Key,
}

impl NodeId {
    /// Checks the 32 bytes of a public key.
    ///
    /// # Errors
    /// [`NodeIdError::Length`] and [`NodeIdError::Key`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NodeIdError> {
        let bytes: [u8; 32] = bytes
            .try_into()
            .map_err(|_| NodeIdError::Length(bytes.len()))?;
        if !is_reduced(bytes) {
            return Err(NodeIdError::Key);
        }
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| NodeIdError::Key)?;
        if key.is_weak() {
            return Err(NodeIdError::Key);
        }
        Ok(Self(bytes))
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key that signatures of this node are checked against.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey::from_bytes(&self.0).expect("checked when the id was made")
    }
}

/// Whether y, without the sign of x, is below the field's prime: RFC 8032 section 5.1.3 asks for
/// that, the curve library does not. The other encoding that is not canonical, a sign of x = 0,
/// stands for points of small order only. Compressing the point again would tell both, but costs
/// as much as all other checks together.
fn is_reduced(mut y: [u8; 32]) -> bool {
    /// 2^255 − 19.
    const PRIME: [u8; 32] = {
        let mut bytes = [0xff; 32];
        bytes[0] = 0xed;
        bytes[31] = 0x7f;
        bytes
    };
    y[31] &= 0x7f;
    y.iter().rev().lt(PRIME.iter().rev())
}

impl From<&SigningKey> for NodeId {
    /// The id of the node that holds this key. A secret's public key is always usable.
    fn from(key: &SigningKey) -> Self {
        Self(key.verifying_key().to_bytes())
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(NodeIdError::Text);
        }
        let mut bytes = [0; MAX_TEXT_BYTES];
        let length = bs58::decode(text)
            .onto(bytes.as_mut_slice())
            .map_err(|_| NodeIdError::Text)?;
        Self::from_bytes(&bytes[..length])
    }
}

impl TryFrom<String> for NodeId {
    type Error = NodeIdError;

    fn try_from(text: String) -> Result<Self, NodeIdError> {
        text.parse()
    }
}

impl From<NodeId> for String {
    fn from(id: NodeId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.0).into_string())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(secret: [u8; 32]) -> NodeId {
        NodeId::from(&SigningKey::from_bytes(&secret))
    }

    #[test]
    fn text_is_golden() {
        // RFC 8032 section 7.1, test 1.
        let secret =
            hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
                .unwrap();
        let id = id(secret.try_into().unwrap());
        assert_eq!(
            hex::encode(id.as_bytes()),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        assert_eq!(
            id.to_string(),
            "FVen3X669xLzsi6N2V91DoiyzHzg1uAgqiT8jZ9nS96Z"
        );
    }

    #[test]
    fn unusable_keys_are_refused() {
        // The neutral element, a point of small order, and one in a second encoding (y = p + 1).
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert_eq!(NodeId::from_bytes(&neutral), Err(NodeIdError::Key));
        assert_eq!(NodeId::from_bytes(&[0; 32]), Err(NodeIdError::Key));
        let mut second = [0xff; 32];
        second[0] = 0xee;
        second[31] = 0x7f;
        assert_eq!(NodeId::from_bytes(&second), Err(NodeIdError::Key));
        assert_eq!(NodeId::from_bytes(&[7; 31]), Err(NodeIdError::Length(31)));
    }

    /// What compressing the point again would say.
    fn agrees_with_compression(bytes: [u8; 32]) -> bool {
        let key = VerifyingKey::from_bytes(&bytes);
        let usable =
            key.is_ok_and(|key| !key.is_weak() && key.to_edwards().compress().to_bytes() == bytes);
        NodeId::from_bytes(&bytes).is_ok() == usable
    }

    #[test]
    fn second_encodings_are_refused() {
        // Every y from p - 19 to 2^255 - 1, with both signs of x.
        for low in 0xda..=0xff {
            for high in [0x7f, 0xff] {
                let mut bytes = [0xff; 32];
                (bytes[0], bytes[31]) = (low, high);
                assert!(agrees_with_compression(bytes), "{bytes:?}");
            }
        }
        // y = 1, 0 and their like, where x may be 0.
        for low in 0..=0xff {
            for high in [0, 0x80] {
                let mut bytes = [0; 32];
                (bytes[0], bytes[31]) = (low, high);
                assert!(agrees_with_compression(bytes), "{bytes:?}");
            }
        }
    }

    #[test]
    fn bad_text_is_refused() {
        let long = "1".repeat(45);
        for text in ["", "0", "abc", "l", "ü", long.as_str()] {
            assert!(text.parse::<NodeId>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn text_and_serde_round_trip(secret: [u8; 32]) {
            let id = id(secret);
            prop_assert_eq!(id.to_string().parse::<NodeId>(), Ok(id));
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<NodeId>(&json).unwrap(), id);
        }

        #[test]
        fn any_bytes_are_checked_as_by_compression(bytes: [u8; 32]) {
            prop_assert!(agrees_with_compression(bytes));
        }

        #[test]
        fn garbage_never_panics(text: String, bytes: Vec<u8>) {
            let _ = text.parse::<NodeId>();
            let _ = NodeId::from_bytes(&bytes).map(|id| id.verifying_key());
        }
    }
}
