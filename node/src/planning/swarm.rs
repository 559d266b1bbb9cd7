//! The swarm as the planner sees it: peers' adverts and this node's own measurements become
//! [`Peer`]s and [`Distances`]. What peers say of themselves is bounded, and no more than that: a
//! peer that claims too much is asked, and refuses or is slow.

use std::collections::BTreeMap;
use std::ops::Range;

use dht::view;
use protocol::advert::{DeviceKind, NodeDevice, NodeRole, Profile};
use protocol::membership::Role;
use protocol::{ModelName, NodeId};

use crate::core::planner::{Distances, Peer};
use crate::core::ranking::Level;
use crate::core::sizing::default_budget;
use crate::devices::REFERENCE_PARAMETERS;
use crate::router::PrivacyPolicy;

/// Operations for each parameter and token of the benchmark's figure.
const OPERATIONS: f64 = 2.0 * REFERENCE_PARAMETERS;

/// Which model, and who asks.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    /// The model.
    pub(super) model: &'a ModelName,
    /// Its layers.
    pub(super) layers: u32,
    /// This node.
    pub(super) node: NodeId,
    /// The swarm is private: members serve and trust one another.
    pub(super) is_member: bool,
    /// Who may see requests that say nothing of it: hidden states tell the text.
    pub(super) privacy: &'a PrivacyPolicy,
}

impl Asking<'_> {
    fn may_see(&self, node: NodeId) -> bool {
        match self.privacy.default {
            Level::Swarm => true,
            Level::Trusted => self.is_member || self.privacy.trusted.contains(&node),
            Level::Local => false,
        }
    }
}

/// The peers of one question.
pub(super) struct Surroundings {
    pub(super) peers: Vec<Peer>,
    pub(super) distances: Distances,
}

impl Surroundings {
    /// The same, with what was not measured reckoned by way of a peer.
    pub(super) fn bridged(self, over: NodeId) -> Self {
        Self {
            distances: self.distances.bridged(over),
            ..self
        }
    }
}

/// Everybody else of whom something is known, but for bootstrap nodes.
pub(super) fn others(asking: Asking<'_>, peers: &BTreeMap<NodeId, view::Peer>) -> Vec<Peer> {
    let others = peers.iter().filter(|(node, _)| **node != asking.node);
    let may_work = |peer: &view::Peer| {
        let role = peer.said.as_ref().map(|said| said.role);
        role != Some(NodeRole::Bootstrap)
    };
    others
        .filter(|(_, peer)| may_work(peer))
        .map(|(node, peer)| other(asking, *node, peer))
        .collect()
}

/// Round trips: this node's own to each peer, and those between peers by what either says. A
/// peer's word on this node does not count: what was not measured here is not known here.
pub(super) fn distances(node: NodeId, peers: &BTreeMap<NodeId, view::Peer>) -> Distances {
    let mut distances = Distances::default();
    for (other, peer) in peers {
        if let Some(rtt) = peer.round_trip() {
            distances.note(node, *other, rtt);
        }
        let said = peer.said.iter().flat_map(|said| &said.neighbours);
        for neighbour in said.filter(|neighbour| neighbour.node != node) {
            distances.note(*other, neighbour.node, neighbour.rtt);
        }
    }
    distances
}

fn other(asking: Asking<'_>, node: NodeId, peer: &view::Peer) -> Peer {
    let Some(said) = &peer.said else {
        return silent(node);
    };
    let serves_us = said.limits.serves_strangers || asking.is_member;
    let works = said.role == NodeRole::Server && peer.membership != Some(Role::Client);
    let power = Power::of(&said.devices);
    let limit = said.limits.memory_bytes;
    Peer {
        node,
        is_allowed: works && serves_us && asking.may_see(node),
        free_bytes: power.allowed(limit),
        bandwidth: power.bandwidth,
        flops: power.prefill.map(|figure| figure * OPERATIONS),
        uplink: said.limits.upload_bytes_per_second,
        held: held(asking, said),
        slowdown: 1.0,
    }
}

/// Nothing is known of it but that it is there.
fn silent(node: NodeId) -> Peer {
    Peer {
        node,
        is_allowed: false,
        free_bytes: 0,
        bandwidth: None,
        flops: None,
        uplink: None,
        held: Vec::new(),
        slowdown: 1.0,
    }
}

/// Layers of the model that a peer says to have.
fn held(asking: Asking<'_>, said: &Profile) -> Vec<Range<u32>> {
    let slices = said
        .slices
        .iter()
        .filter(|slice| slice.model == *asking.model && slice.model_layers == asking.layers);
    let mut held: Vec<_> = slices
        .map(|slice| slice.first_layer..slice.last_layer)
        .collect();
    if said.deployment(asking.model).is_some() && said.slices.is_empty() {
        held.push(0..asking.layers);
    }
    held
}

/// What a machine computes with: its accelerators together, else its processor. A model is
/// loaded into one kind of memory, and accelerators take turns, so the slowest counts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Power {
    /// Free memory, bytes.
    pub(super) free_bytes: u64,
    /// All memory, bytes.
    pub(super) total_bytes: u64,
    /// Bytes a second; `None`: not measured.
    pub(super) bandwidth: Option<f64>,
    /// Tokens of a prompt a second for a billion parameters; `None`: not measured.
    pub(super) prefill: Option<f64>,
    /// The memory is the machine's, which its system needs a part of.
    pub(super) is_processor: bool,
}

impl Power {
    /// Of these devices.
    pub(super) fn of(devices: &[NodeDevice]) -> Self {
        let is_accelerator = |device: &&NodeDevice| device.kind != DeviceKind::Cpu;
        let accelerators: Vec<_> = devices.iter().filter(is_accelerator).collect();
        let is_processor = accelerators.is_empty();
        let used = match is_processor {
            true => devices.iter().take(1).collect(),
            false => accelerators,
        };
        let least = |figure: fn(&NodeDevice) -> Option<f32>| {
            let figures: Option<Vec<f32>> = used.iter().map(|device| figure(device)).collect();
            figures?.into_iter().reduce(f32::min).map(f64::from)
        };
        let sum = |bytes: fn(&NodeDevice) -> u64| {
            let all = used.iter().map(|device| bytes(device));
            all.fold(0, u64::saturating_add)
        };
        Self {
            free_bytes: sum(|device| device.memory_free_bytes),
            total_bytes: sum(|device| device.memory_total_bytes),
            bandwidth: least(|device| device.bandwidth_bytes_per_second),
            prefill: least(|device| device.prefill_tokens_per_second),
            is_processor,
        }
    }

    /// What a model may take, by the owner's limit or, without one, by what nodes keep to.
    fn allowed(&self, limit: Option<u64>) -> u64 {
        self.free_bytes.min(self.budget(limit))
    }

    /// What all models together may take.
    pub(super) fn budget(&self, limit: Option<u64>) -> u64 {
        let own = match self.is_processor {
            true => default_budget(self.total_bytes),
            false => self.total_bytes,
        };
        limit.unwrap_or(own)
    }
}

/// This node's own memory for a model: what its idle models take can be had again.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taken {
    /// By models that answer now.
    pub(super) busy_bytes: u64,
    /// By models that only stay loaded.
    pub(super) idle_bytes: u64,
}

/// This node's part.
pub(super) struct Own<'a> {
    /// Whether it loads models at all.
    pub(super) loads: bool,
    /// What its models take.
    pub(super) taken: Taken,
    /// Memory for all models.
    pub(super) limit: Option<u64>,
    /// Upload to peers, bytes a second.
    pub(super) uplink: Option<u64>,
    /// Its devices.
    pub(super) devices: &'a [NodeDevice],
}

impl Own<'_> {
    /// As the planner sees it. It has the whole model on its disk.
    pub(super) fn peer(&self, asking: Asking<'_>) -> Peer {
        let power = Power::of(self.devices);
        let idle = match power.is_processor {
            true => self.taken.idle_bytes,
            false => 0,
        };
        let free = power.free_bytes.saturating_add(idle);
        let budget = power.budget(self.limit);
        Peer {
            node: asking.node,
            is_allowed: self.loads,
            free_bytes: free.min(budget.saturating_sub(self.taken.busy_bytes)),
            bandwidth: power.bandwidth,
            flops: power.prefill.map(|figure| figure * OPERATIONS),
            uplink: self.uplink,
            held: std::iter::once(0..asking.layers).collect(),
            slowdown: 1.0,
        }
    }
}

#[cfg(test)]
mod tests;
