//! What the owner sets about serving other peers.

use protocol::ModelName;

use crate::core::fairness::Policy;
use crate::core::guests::{Offer, Rules};

/// How other peers are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServingConfig {
    /// Whether peers that the owner does not know are served. Default: yes; a node joins the mesh
    /// to be of use, and its owner's requests go first.
    pub public: bool,
    /// Models that peers may use and have loaded, by full name; `None`: those that are loaded or
    /// kept loaded, and peers cause no load.
    pub models: Option<Vec<ModelName>>,
    /// Bytes a second of answers sent to peers; `None`: no limit but the line's.
    pub upload_bytes_per_second: Option<u64>,
    /// Share of each model's sequences that is kept for the node's own user, percent. Default: 25.
    pub own_percent: u8,
}

impl Default for ServingConfig {
    fn default() -> Self {
        Self {
            public: true,
            models: None,
            upload_bytes_per_second: None,
            own_percent: 25,
        }
    }
}

impl ServingConfig {
    /// The owner's rules.
    pub fn rules(&self) -> Rules {
        let named = self.models.as_ref();
        let named = named.map(|models| Offer::Named(models.iter().cloned().collect()));
        Rules {
            serves_strangers: self.public,
            offer: named.unwrap_or_default(),
        }
    }

    /// How the node is shared out.
    pub fn policy(&self) -> Policy {
        Policy {
            own_percent: self.own_percent,
            ..Policy::default()
        }
    }
}
