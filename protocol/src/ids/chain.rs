//! What a chain of stages is made of, by number: a deployment, a lease, a channel.
//!
//! All are random and mean something to those who chose them only. As text they are hexadecimal
//! of one length. Who may use one is not known here, and no id is a secret that lets anybody in.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a text is no id of a chain's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not {0} hexadecimal digits in lower case")]
pub struct ChainIdError(pub usize);

/// A chain that serves, or is to serve, a model: chosen by its head.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeploymentId(pub [u8; 16]);

/// A stage's promise to a head: chosen by the stage's peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LeaseId(pub u64);

/// One hop of one ring of a deployment: made of what whoever receives on it chose for its lease.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChannelId(pub u64);

/// Odd, so that no two rings' channels of one lease are the same: 2^64 by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl DeploymentId {
    fn to_number(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    fn from_number(number: u128) -> Self {
        Self(number.to_be_bytes())
    }
}

impl LeaseId {
    fn to_number(self) -> u64 {
        self.0
    }

    fn from_number(number: u64) -> Self {
        Self(number)
    }
}

impl ChannelId {
    /// The channel of a lease in the ring of this number: each ring has channels of its own, so
    /// that nothing of an older one is taken for the newest's. As hard to guess as the lease's.
    #[must_use]
    pub fn in_ring(self, generation: u64) -> Self {
        Self(self.0 ^ generation.wrapping_mul(SPREAD))
    }

    fn to_number(self) -> u64 {
        self.0
    }

    fn from_number(number: u64) -> Self {
        Self(number)
    }
}

macro_rules! hexadecimal {
    ($($name:ident: $number:ty, $digits:literal),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:01$x}", self.to_number(), $digits)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ChainIdError;

            fn from_str(text: &str) -> Result<Self, ChainIdError> {
                let is_digit = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
                // Without a sign or a prefix, which the number's own parser would take.
                let is_number = text.len() == $digits && text.bytes().all(is_digit);
                let number = is_number.then(|| <$number>::from_str_radix(text, 16).ok());
                number.flatten().map(Self::from_number).ok_or(ChainIdError($digits))
            }
        }

        impl TryFrom<String> for $name {
            type Error = ChainIdError;

            fn try_from(text: String) -> Result<Self, ChainIdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    )*};
}

hexadecimal!(DeploymentId: u128, 32, LeaseId: u64, 16, ChannelId: u64, 16);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_golden() {
        assert_eq!(LeaseId(0xab).to_string(), "00000000000000ab");
        assert_eq!(format!("{:?}", ChannelId(1)), "ChannelId(0000000000000001)");
        let mut bytes = [0; 16];
        bytes[0] = 0xf0;
        let text = "f0000000000000000000000000000000";
        assert_eq!(DeploymentId(bytes).to_string(), text);
    }

    #[test]
    fn each_ring_has_channels_of_its_own() {
        let channel = ChannelId(7);
        assert_eq!(channel.in_ring(0), channel);
        assert_eq!(channel.in_ring(1), ChannelId(0x9e37_79b9_7f4a_7c12));
        let all: std::collections::BTreeSet<_> = (0..1000).map(|n| channel.in_ring(n)).collect();
        assert_eq!(all.len(), 1000);
    }

    #[test]
    fn other_text_is_refused() {
        let long = "0".repeat(17);
        for text in ["", "1", "+00000000000000a", "00000000000000AB", &long] {
            assert_eq!(text.parse::<LeaseId>(), Err(ChainIdError(16)), "{text}");
        }
        assert!("00000000000000ab".parse::<DeploymentId>().is_err());
    }

    proptest! {
        #[test]
        fn text_and_serde_round_trip(number: u64, bytes: [u8; 16], text: String) {
            let (lease, deployment) = (LeaseId(number), DeploymentId(bytes));
            prop_assert_eq!(lease.to_string().parse(), Ok(lease));
            prop_assert_eq!(deployment.to_string().parse(), Ok(deployment));
            let json = serde_json::to_string(&ChannelId(number)).unwrap();
            prop_assert_eq!(serde_json::from_str::<ChannelId>(&json).unwrap().0, number);
            let _ = text.parse::<ChannelId>();
        }
    }
}
