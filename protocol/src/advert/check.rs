//! From what a peer said to a [`Profile`]: each field against its limit.
//!
//! A number of an enum that this version does not know means what 0 means: an honest peer of a
//! later version is not refused for it.

use std::{collections::BTreeSet, str::FromStr, time::Duration};

use super::{
    error::AdvertError,
    profile::{
        Abilities, AddressText, ContentHash, Deployed, HeldSlice, Limits, Neighbour, NodeDevice,
        NodeRole, Place, Profile,
    },
    wire,
};
use crate::{
    ids::{ModelName, NodeId},
    limits::{
        MAX_ADDRESS_BYTES, MAX_ADDRESSES, MAX_ADVERT_COMING, MAX_ADVERT_DEPLOYMENTS,
        MAX_ADVERT_SLICES, MAX_COORDINATE_MS, MAX_DEPLOYMENT_SESSIONS, MAX_DEVICE_NAME_BYTES,
        MAX_DEVICES, MAX_MEMORY_BYTES, MAX_MODEL_LAYERS, MAX_NEIGHBOUR_RTT, MAX_NEIGHBOURS,
        MAX_QUANTIZATION_BYTES, MAX_RATE_PER_SECOND, MAX_SWARM_SIZE, MAX_TOKENS, MAX_VERSION_BYTES,
    },
    names::SwarmName,
};

impl TryFrom<&wire::Advert> for Profile {
    type Error = AdvertError;

    fn try_from(advert: &wire::Advert) -> Result<Self, AdvertError> {
        check_counts(advert)?;
        let deployments = check_all(&advert.deployments, check_deployment)?;
        check_distinct("deployments", deployments.iter().map(|d| d.model.as_str()))?;
        let neighbours = check_all(&advert.neighbours, check_neighbour)?;
        check_distinct("neighbours", neighbours.iter().map(|n| n.node))?;
        let coming: Vec<ModelName> = check_all(&advert.coming, |name| Ok(name.parse()?))?;
        check_distinct("coming", coming.iter().map(ModelName::as_str))?;
        let size = check_number("swarm_size", advert.swarm_size, 0, MAX_SWARM_SIZE)?;
        Ok(Self {
            swarm: SwarmName::from_str(&advert.swarm)?,
            version: check_text("version", &advert.version, MAX_VERSION_BYTES)?,
            role: check_role(advert.role()),
            devices: check_all(&advert.devices, check_device)?,
            limits: check_limits(advert.limits.as_ref())?,
            slices: check_all(&advert.slices, check_slice)?,
            deployments,
            neighbours,
            place: advert.coordinate.as_ref().map(check_place).transpose()?,
            nat: advert.nat(),
            addresses: check_all(&advert.addresses, |text| text.parse())?,
            swarm_size: (size > 0).then_some(size),
            coming,
        })
    }
}

impl wire::Advert {
    /// Checks every field against the limits of [`crate::limits`].
    ///
    /// # Errors
    /// The first field at fault, as an [`AdvertError`].
    pub fn validate(&self) -> Result<(), AdvertError> {
        Profile::try_from(self).map(|_| ())
    }
}

impl FromStr for AddressText {
    type Err = AdvertError;

    /// Its form only: printable ASCII that begins with a slash.
    fn from_str(text: &str) -> Result<Self, AdvertError> {
        let text = check_text("addresses", text, MAX_ADDRESS_BYTES)?;
        if !text.starts_with('/') || text.contains(' ') {
            return Err(malformed("addresses", "a multiaddress"));
        }
        Ok(Self(text))
    }
}

/// Before anything is copied.
fn check_counts(advert: &wire::Advert) -> Result<(), AdvertError> {
    let counts = [
        ("devices", advert.devices.len(), MAX_DEVICES),
        ("slices", advert.slices.len(), MAX_ADVERT_SLICES),
        (
            "deployments",
            advert.deployments.len(),
            MAX_ADVERT_DEPLOYMENTS,
        ),
        ("neighbours", advert.neighbours.len(), MAX_NEIGHBOURS),
        ("coming", advert.coming.len(), MAX_ADVERT_COMING),
        ("addresses", advert.addresses.len(), MAX_ADDRESSES),
    ];
    match counts.into_iter().find(|(_, count, limit)| count > limit) {
        None => Ok(()),
        Some((field, count, limit)) => Err(AdvertError::TooMany {
            field,
            count,
            limit,
        }),
    }
}

fn check_role(role: wire::Role) -> NodeRole {
    match role {
        wire::Role::Server => NodeRole::Server,
        wire::Role::Bootstrap => NodeRole::Bootstrap,
        wire::Role::ApiClient | wire::Role::Unspecified => NodeRole::ApiClient,
    }
}

fn check_device(device: &wire::Device) -> Result<NodeDevice, AdvertError> {
    let total = check_memory("memory_total_bytes", device.memory_total_bytes)?;
    if device.memory_free_bytes > total {
        return Err(malformed("memory_free_bytes", "a part of the whole memory"));
    }
    Ok(NodeDevice {
        kind: device.kind(),
        name: check_text("name", &device.name, MAX_DEVICE_NAME_BYTES)?,
        memory_total_bytes: total,
        memory_free_bytes: device.memory_free_bytes,
        prefill_tokens_per_second: check_rate(
            "prefill_tokens_per_second",
            device.prefill_tokens_per_second,
        )?,
        bandwidth_bytes_per_second: check_rate(
            "bandwidth_bytes_per_second",
            device.bandwidth_bytes_per_second,
        )?,
    })
}

/// An advert without limits names none, and serves no strangers.
fn check_limits(limits: Option<&wire::OwnerLimits>) -> Result<Limits, AdvertError> {
    let Some(limits) = limits else {
        return Ok(Limits::default());
    };
    let memory = |bytes| check_memory("memory_bytes", bytes);
    let upload = |bytes| check_memory("upload_bytes_per_second", bytes);
    Ok(Limits {
        memory_bytes: limits.memory_bytes.map(memory).transpose()?,
        upload_bytes_per_second: limits.upload_bytes_per_second.map(upload).transpose()?,
        serves_strangers: limits.serves_strangers,
    })
}

fn check_slice(slice: &wire::Slice) -> Result<HeldSlice, AdvertError> {
    let model_layers = check_number("model_layers", slice.model_layers, 1, MAX_MODEL_LAYERS)?;
    if slice.first_layer >= slice.last_layer || slice.last_layer > model_layers {
        return Err(malformed(
            "last_layer",
            "behind the first, within the model",
        ));
    }
    let quantization = check_text("quantization", &slice.quantization, MAX_QUANTIZATION_BYTES)?;
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.');
    if !quantization.bytes().all(plain) {
        return Err(malformed("quantization", "letters, digits and _ - ."));
    }
    let content: [u8; 32] = (slice.content_hash.as_slice())
        .try_into()
        .map_err(|_| malformed("content_hash", "32 bytes"))?;
    Ok(HeldSlice {
        model: slice.model.parse()?,
        quantization,
        first_layer: slice.first_layer,
        last_layer: slice.last_layer,
        model_layers,
        content: ContentHash(content),
    })
}

fn check_deployment(deployment: &wire::Deployment) -> Result<Deployed, AdvertError> {
    let longest = u32::try_from(MAX_TOKENS).unwrap_or(u32::MAX);
    let sessions = MAX_DEPLOYMENT_SESSIONS;
    let parallel = check_number("parallel", deployment.parallel, 1, sessions)?;
    Ok(Deployed {
        model: ModelName::from_str(&deployment.model)?,
        context_tokens: check_number("context_tokens", deployment.context_tokens, 1, longest)?,
        parallel,
        running: check_number("running", deployment.running, 0, parallel)?,
        queued: check_number("queued", deployment.queued, 0, sessions)?,
        prefill_tokens_per_second: check_rate(
            "prefill_tokens_per_second",
            deployment.prefill_tokens_per_second,
        )?,
        decode_tokens_per_second: check_rate(
            "decode_tokens_per_second",
            deployment.decode_tokens_per_second,
        )?,
        abilities: Abilities {
            embeds: deployment.embeds,
            tools: deployment.tools,
        },
    })
}

fn check_neighbour(neighbour: &wire::Neighbour) -> Result<Neighbour, AdvertError> {
    let longest = u32::try_from(MAX_NEIGHBOUR_RTT.as_micros()).unwrap_or(u32::MAX);
    let micros = check_number("rtt_micros", neighbour.rtt_micros, 0, longest)?;
    Ok(Neighbour {
        node: NodeId::from_bytes(&neighbour.node_id)?,
        rtt: Duration::from_micros(micros.into()),
    })
}

fn check_place(place: &wire::Coordinate) -> Result<Place, AdvertError> {
    let within = |field, value: f32, least: f32, most: f32, range| {
        let inside = (least..=most).contains(&value);
        inside
            .then_some(value)
            .ok_or_else(|| out_of_range(field, value.into(), range))
    };
    let far = MAX_COORDINATE_MS;
    Ok(Place {
        x_ms: within("x_ms", place.x_ms, -far, far, "-2000..=2000")?,
        y_ms: within("y_ms", place.y_ms, -far, far, "-2000..=2000")?,
        height_ms: within("height_ms", place.height_ms, 0.0, far, "0..=2000")?,
        error: within("error", place.error, 0.0, 1.0, "0..=1")?,
    })
}

fn check_all<T, U>(
    entries: &[T],
    check: impl Fn(&T) -> Result<U, AdvertError>,
) -> Result<Vec<U>, AdvertError> {
    entries.iter().map(check).collect()
}

fn check_distinct<K: Ord>(
    field: &'static str,
    keys: impl Iterator<Item = K>,
) -> Result<(), AdvertError> {
    let mut seen = BTreeSet::new();
    let distinct = keys.into_iter().all(|key| seen.insert(key));
    distinct.then_some(()).ok_or(AdvertError::Duplicate(field))
}

/// Printable ASCII: it ends up on people's screens.
fn check_text(field: &'static str, text: &str, limit: usize) -> Result<String, AdvertError> {
    if text.len() > limit {
        let bytes = text.len();
        return Err(AdvertError::TooLong {
            field,
            bytes,
            limit,
        });
    }
    if !text.bytes().all(|c| c == b' ' || c.is_ascii_graphic()) {
        return Err(malformed(field, "printable ASCII"));
    }
    Ok(text.to_owned())
}

fn check_memory(field: &'static str, bytes: u64) -> Result<u64, AdvertError> {
    if bytes > MAX_MEMORY_BYTES {
        return Err(malformed(field, "at most 1 PiB"));
    }
    Ok(bytes)
}

fn check_number(
    field: &'static str,
    value: u32,
    least: u32,
    most: u32,
) -> Result<u32, AdvertError> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(out_of_range(field, value.into(), "the protocol's limits"))
}

/// 0 on the wire is what was not measured; NaN lies in no range.
fn check_rate(field: &'static str, rate: f32) -> Result<Option<f32>, AdvertError> {
    if !(0.0..=MAX_RATE_PER_SECOND).contains(&rate) {
        return Err(out_of_range(field, rate.into(), "0..=1e15"));
    }
    Ok((rate > 0.0).then_some(rate))
}

fn out_of_range(field: &'static str, value: f64, range: &'static str) -> AdvertError {
    AdvertError::OutOfRange {
        field,
        value,
        range,
    }
}

fn malformed(field: &'static str, expected: &'static str) -> AdvertError {
    AdvertError::Malformed { field, expected }
}
