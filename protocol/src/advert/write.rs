//! From a [`Profile`] to what is signed and sent, cut down to what fits a gossip frame.

use prost::Message;

use super::{
    profile::{Deployed, HeldSlice, NodeDevice, NodeRole, Profile},
    wire,
};
use crate::limits::{
    MAX_ADDRESSES, MAX_ADVERT_BYTES, MAX_ADVERT_COMING, MAX_ADVERT_DEPLOYMENTS, MAX_ADVERT_SLICES,
    MAX_DEVICES, MAX_NEIGHBOURS,
};

impl From<&Profile> for wire::Advert {
    fn from(profile: &Profile) -> Self {
        Self {
            swarm: profile.swarm.to_string(),
            version: profile.version.clone(),
            role: write_role(profile.role).into(),
            devices: profile.devices.iter().map(write_device).collect(),
            limits: Some(wire::OwnerLimits {
                memory_bytes: profile.limits.memory_bytes,
                upload_bytes_per_second: profile.limits.upload_bytes_per_second,
                serves_strangers: profile.limits.serves_strangers,
            }),
            slices: profile.slices.iter().map(write_slice).collect(),
            deployments: profile.deployments.iter().map(write_deployment).collect(),
            neighbours: (profile.neighbours.iter())
                .map(|neighbour| wire::Neighbour {
                    node_id: neighbour.node.as_bytes().to_vec(),
                    rtt_micros: u32::try_from(neighbour.rtt.as_micros()).unwrap_or(u32::MAX),
                })
                .collect(),
            coordinate: profile.place.map(|place| wire::Coordinate {
                x_ms: place.x_ms,
                y_ms: place.y_ms,
                height_ms: place.height_ms,
                error: place.error,
            }),
            nat: profile.nat.into(),
            addresses: (profile.addresses.iter())
                .map(|address| address.as_str().to_owned())
                .collect(),
            swarm_size: profile.swarm_size.unwrap_or_default(),
            coming: profile.coming.iter().map(ToString::to_string).collect(),
        }
    }
}

impl wire::Advert {
    /// What is said of a profile that may say more than fits: each list is cut to its limit, and
    /// then entries go from the ends, what others miss least first, until the whole fits a gossip
    /// frame. So a list's most important entry stands first.
    pub fn fitting(profile: &Profile) -> Self {
        let mut advert = Self::from(profile);
        advert.devices.truncate(MAX_DEVICES);
        advert.slices.truncate(MAX_ADVERT_SLICES);
        advert.deployments.truncate(MAX_ADVERT_DEPLOYMENTS);
        advert.neighbours.truncate(MAX_NEIGHBOURS);
        advert.coming.truncate(MAX_ADVERT_COMING);
        advert.addresses.truncate(MAX_ADDRESSES);
        while advert.encoded_len() > MAX_ADVERT_BYTES && advert.drop_least() {}
        advert
    }

    /// Slices are found by provider records too, and neighbours can be probed; a deployment that
    /// is not named is not used, and without an address nothing is.
    fn drop_least(&mut self) -> bool {
        self.slices.pop().is_some()
            || self.neighbours.pop().is_some()
            || (self.addresses.len() > 1 && self.addresses.pop().is_some())
            || self.coming.pop().is_some()
            || self.deployments.pop().is_some()
            || self.devices.pop().is_some()
    }
}

fn write_role(role: NodeRole) -> wire::Role {
    match role {
        NodeRole::Server => wire::Role::Server,
        NodeRole::ApiClient => wire::Role::ApiClient,
        NodeRole::Bootstrap => wire::Role::Bootstrap,
    }
}

fn write_device(device: &NodeDevice) -> wire::Device {
    wire::Device {
        kind: device.kind.into(),
        name: device.name.clone(),
        memory_total_bytes: device.memory_total_bytes,
        memory_free_bytes: device.memory_free_bytes,
        prefill_tokens_per_second: device.prefill_tokens_per_second.unwrap_or_default(),
        bandwidth_bytes_per_second: device.bandwidth_bytes_per_second.unwrap_or_default(),
    }
}

fn write_slice(slice: &HeldSlice) -> wire::Slice {
    wire::Slice {
        model: slice.model.to_string(),
        quantization: slice.quantization.clone(),
        first_layer: slice.first_layer,
        last_layer: slice.last_layer,
        model_layers: slice.model_layers,
        content_hash: slice.content.0.to_vec(),
    }
}

fn write_deployment(deployment: &Deployed) -> wire::Deployment {
    wire::Deployment {
        model: deployment.model.to_string(),
        context_tokens: deployment.context_tokens,
        parallel: deployment.parallel,
        running: deployment.running,
        queued: deployment.queued,
        prefill_tokens_per_second: deployment.prefill_tokens_per_second.unwrap_or_default(),
        decode_tokens_per_second: deployment.decode_tokens_per_second.unwrap_or_default(),
        embeds: deployment.abilities.embeds,
        tools: deployment.abilities.tools,
    }
}
