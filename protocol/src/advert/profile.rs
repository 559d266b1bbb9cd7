//! An advert whose every field was checked.
//!
//! Made by `TryFrom<&Advert>` from what a peer said, or by hand from what this node is. What a
//! peer says may still be a lie: only its form is sure.

use std::{fmt, time::Duration};

use super::wire::{DeviceKind, Nat};
use crate::{
    ids::{ModelName, NodeId},
    names::SwarmName,
};

/// What a peer says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The swarm that it speaks to.
    pub swarm: SwarmName,
    /// Its software's version: printable ASCII.
    pub version: String,
    /// What it does in the swarm.
    pub role: NodeRole,
    /// What it computes on.
    pub devices: Vec<NodeDevice>,
    /// What its owner allows.
    pub limits: Limits,
    /// What it could load at once.
    pub slices: Vec<HeldSlice>,
    /// What it heads; no model twice.
    pub deployments: Vec<Deployed>,
    /// Who is near it, by its own probes; nobody twice.
    pub neighbours: Vec<Neighbour>,
    /// Where it is in the network; `None`: it does not know yet.
    pub place: Option<Place>,
    /// What is between it and the Internet.
    pub nat: Nat,
    /// Where it listens; for the swarm's transport only.
    pub addresses: Vec<AddressText>,
    /// How many peers it thinks the swarm has; `None`: it has no idea.
    pub swarm_size: Option<u32>,
    /// Models that it is about to serve: it fetches or loads them. None twice.
    pub coming: Vec<ModelName>,
}

/// What a peer does in the swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeRole {
    /// Serves models or parts of them.
    Server,
    /// Asks, and serves nobody; also every role that this version does not know.
    ApiClient,
    /// A bootstrap and relay server without an engine.
    Bootstrap,
}

/// What a peer computes on.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeDevice {
    /// The backend; unspecified: one that this version does not know.
    pub kind: DeviceKind,
    /// For people: printable ASCII.
    pub name: String,
    /// All of its memory, bytes.
    pub memory_total_bytes: u64,
    /// What is free of it, bytes; never more than all.
    pub memory_free_bytes: u64,
    /// Measured; `None`: not yet.
    pub prefill_tokens_per_second: Option<f32>,
    /// Measured effective memory bandwidth; `None`: not yet.
    pub bandwidth_bytes_per_second: Option<f32>,
}

/// What a machine's owner allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Memory for the swarm, bytes; `None`: no limit but the machine's.
    pub memory_bytes: Option<u64>,
    /// Upload, bytes a second; `None`: no limit but the line's.
    pub upload_bytes_per_second: Option<u64>,
    /// Whether peers that the owner does not know are served.
    pub serves_strangers: bool,
}

/// Layers of a model on a peer's disk, ready to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldSlice {
    /// The model.
    pub model: ModelName,
    /// How its weights are quantized: ASCII letters, digits, `_`, `-` and `.`.
    pub quantization: String,
    /// The first layer.
    pub first_layer: u32,
    /// The layer behind the last; greater than the first.
    pub last_layer: u32,
    /// Layers of the whole model; not less than the last.
    pub model_layers: u32,
    /// What the slice is, whatever it is called.
    pub content: ContentHash,
}

impl HeldSlice {
    /// Whether it is all of the model.
    pub fn is_whole(&self) -> bool {
        self.first_layer == 0 && self.last_layer == self.model_layers
    }
}

/// A chain that a peer heads.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployed {
    /// The model as it is served.
    pub model: ModelName,
    /// Tokens that one session can hold; more than none.
    pub context_tokens: u32,
    /// Sessions at a time; more than none.
    pub parallel: u32,
    /// Sessions that run; never more than `parallel`.
    pub running: u32,
    /// Requests that wait.
    pub queued: u32,
    /// Measured of one session; `None`: not yet.
    pub prefill_tokens_per_second: Option<f32>,
    /// Measured of one session; `None`: not yet.
    pub decode_tokens_per_second: Option<f32>,
    /// What it can do.
    pub abilities: Abilities,
}

/// What a deployed model can do, beyond what any does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abilities {
    /// It embeds text and writes none.
    pub embeds: bool,
    /// Its template shows the tools that a request brings.
    pub tools: bool,
}

/// A peer's round-trip time to another, by its own probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// The other.
    pub node: NodeId,
    /// The time, whole microseconds on the wire.
    pub rtt: Duration,
}

/// A place among the network's coordinates; finite and bounded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// First axis, milliseconds.
    pub x_ms: f32,
    /// Second axis, milliseconds.
    pub y_ms: f32,
    /// Height, milliseconds; not negative.
    pub height_ms: f32,
    /// Relative error, 0..=1.
    pub error: f32,
}

/// What a slice's content hashes to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContentHash(pub [u8; 32]);

impl fmt::Debug for ContentHash {
    /// The beginning tells slices apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "ContentHash({a:02x}{b:02x}{c:02x}{d:02x})")
    }
}

/// A multiaddress as text, of bounded length and printable ASCII. It is parsed and dialled by the
/// swarm's transport; nothing else may open it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressText(pub(super) String);

impl AddressText {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Profile {
    /// A peer of which nothing else is known.
    pub fn new(swarm: SwarmName, role: NodeRole) -> Self {
        Self {
            swarm,
            version: String::new(),
            role,
            devices: Vec::new(),
            limits: Limits::default(),
            slices: Vec::new(),
            deployments: Vec::new(),
            neighbours: Vec::new(),
            place: None,
            nat: Nat::Unspecified,
            addresses: Vec::new(),
            swarm_size: None,
            coming: Vec::new(),
        }
    }

    /// The deployment of a model.
    pub fn deployment(&self, model: &ModelName) -> Option<&Deployed> {
        self.deployments.iter().find(|d| &d.model == model)
    }
}
