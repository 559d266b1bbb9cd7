//! From a peer's bytes to a request or a reply: each field against its limit.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    error::{FieldFault, LeaseMessageError},
    lease::{
        Granted, LeaseReply, LeaseRequest, Link, ModelRef, Phase, Precision, Refusal, Refused,
        Reserve, StageState,
    },
    wire::{self, lease_reply::Reply, lease_request::Request},
};
use crate::{
    generate::Bounded,
    ids::{ChannelId, DeploymentId, LeaseId, ManifestId, ModelName, NodeId},
    limits::{
        LEASE_LIFETIME, MAX_DECODE_SECONDS, MAX_LEASE_BATCH_TOKENS, MAX_LEASE_BYTES,
        MAX_LEASE_CAUSE_BYTES, MAX_LEASE_CELLS, MAX_LEASE_RETRY, MAX_LEASE_SEQUENCES,
        MAX_MEMORY_BYTES, MAX_MODEL_LAYERS, MAX_SLOWNESS,
    },
};

type Checked<T> = Result<T, LeaseMessageError>;

impl Bounded for wire::LeaseRequest {
    const MAX_BYTES: usize = MAX_LEASE_BYTES;
}

impl Bounded for wire::LeaseReply {
    const MAX_BYTES: usize = MAX_LEASE_BYTES;
}

impl LeaseRequest {
    /// Reads a head's request.
    ///
    /// # Errors
    /// Every [`LeaseMessageError`].
    pub fn decode(bytes: &[u8]) -> Checked<Self> {
        let message = wire::LeaseRequest::decode_bounded(bytes)?;
        let request = message.request;
        Ok(
            match request.ok_or(LeaseMessageError::Unknown("request"))? {
                Request::Reserve(reserve) => Self::Reserve(check_reserve(&reserve)?),
                Request::Link(link) => Self::Link(check_link(&link)?),
                Request::Renew(renew) => Self::Renew(LeaseId(renew.lease)),
                Request::Release(release) => Self::Release(LeaseId(release.lease)),
            },
        )
    }
}

impl LeaseReply {
    /// Reads a peer's reply.
    ///
    /// # Errors
    /// Every [`LeaseMessageError`].
    pub fn decode(bytes: &[u8]) -> Checked<Self> {
        let message = wire::LeaseReply::decode_bounded(bytes)?;
        Ok(
            match message.reply.ok_or(LeaseMessageError::Unknown("reply"))? {
                Reply::Granted(granted) => Self::Granted(check_granted(&granted)?),
                Reply::State(state) => Self::State(check_state(&state)?),
                Reply::Released(wire::Released {}) => Self::Released,
                Reply::Refused(refused) => Self::Refused(check_refused(&refused)?),
            },
        )
    }
}

fn check_reserve(reserve: &wire::Reserve) -> Checked<Reserve> {
    let model = reserve.model.as_ref().ok_or(FieldFault::Missing);
    let model = model.map_err(|fault| LeaseMessageError::field("model", fault))?;
    let model = check_model(model)?;
    let first_layer = reserve.first_layer;
    let layers = first_layer.saturating_add(1)..=model.layers;
    Ok(Reserve {
        deployment: DeploymentId(check_bytes("deployment", &reserve.deployment)?),
        first_layer,
        last_layer: within("last_layer", reserve.last_layer, layers)?,
        cells: within("cells", reserve.cells, 1..=MAX_LEASE_CELLS)?,
        sequences: within("sequences", reserve.sequences, 1..=MAX_LEASE_SEQUENCES)?,
        batch_tokens: within(
            "batch_tokens",
            reserve.batch_tokens,
            1..=MAX_LEASE_BATCH_TOKENS,
        )?,
        precision: check_precision(reserve.precision())?,
        is_spare: reserve.spare,
        model,
    })
}

fn check_model(model: &wire::ModelRef) -> Checked<ModelRef> {
    let name = model.name.parse::<ModelName>();
    Ok(ModelRef {
        name: name.map_err(|error| LeaseMessageError::field("name", error))?,
        manifest: ManifestId::new(check_bytes("manifest", &model.manifest)?),
        layers: within("layers", model.layers, 1..=MAX_MODEL_LAYERS)?,
    })
}

/// One that is not known cannot be answered in, so it is not taken for another.
fn check_precision(precision: wire::Precision) -> Checked<Precision> {
    match precision {
        wire::Precision::F32 => Ok(Precision::F32),
        wire::Precision::Bf16 => Ok(Precision::Bf16),
        wire::Precision::Q8 => Ok(Precision::Q8),
        wire::Precision::Unspecified => Err(LeaseMessageError::Unknown("precision")),
    }
}

fn check_link(link: &wire::Link) -> Checked<Link> {
    Ok(Link {
        lease: LeaseId(link.lease),
        previous: check_node("previous", &link.previous)?,
        next: check_node("next", &link.next)?,
        next_channel: ChannelId(link.next_channel),
        generation: link.generation,
    })
}

fn check_granted(granted: &wire::Granted) -> Checked<Granted> {
    Ok(Granted {
        lease: LeaseId(granted.lease),
        channel: ChannelId(granted.channel),
        lapses_in: check_lapse(granted.lapses_in_ms)?,
        memory_bytes: check_memory("memory_bytes", granted.memory_bytes)?,
    })
}

fn check_state(state: &wire::State) -> Checked<StageState> {
    let seconds = within(
        "decode_seconds",
        state.decode_seconds,
        0.0..=MAX_DECODE_SECONDS,
    )?;
    let slowness = within("slowness", state.slowness, 0.0..=MAX_SLOWNESS)?;
    Ok(StageState {
        phase: check_phase(state.phase()),
        progress: within("progress", state.progress, 0.0..=1.0)?,
        lapses_in: check_lapse(state.lapses_in_ms)?,
        cause: check_cause(&state.cause)?,
        decode_seconds: (seconds > 0.0).then_some(seconds),
        slowness: (slowness > 0.0).then_some(slowness),
    })
}

fn check_phase(phase: wire::Phase) -> Phase {
    match phase {
        wire::Phase::Reserved => Phase::Reserved,
        wire::Phase::Fetching => Phase::Fetching,
        wire::Phase::Loading | wire::Phase::Unspecified => Phase::Loading,
        wire::Phase::Ready => Phase::Ready,
        wire::Phase::Linked => Phase::Linked,
        wire::Phase::Failed => Phase::Failed,
        wire::Phase::Draining => Phase::Draining,
    }
}

fn check_refused(refused: &wire::Refused) -> Checked<Refused> {
    let retry = check_millis("retry_after_ms", refused.retry_after_ms, MAX_LEASE_RETRY)?;
    Ok(Refused {
        code: check_code(refused.code()),
        retry_after: (!retry.is_zero()).then_some(retry),
        needed_bytes: check_memory("needed_bytes", refused.needed_bytes)?,
        free_bytes: check_memory("free_bytes", refused.free_bytes)?,
    })
}

fn check_code(code: wire::RefusalCode) -> Refusal {
    match code {
        wire::RefusalCode::NoRoom => Refusal::NoRoom,
        wire::RefusalCode::NotAllowed => Refusal::NotAllowed,
        wire::RefusalCode::UnknownModel => Refusal::UnknownModel,
        wire::RefusalCode::UnknownLease => Refusal::UnknownLease,
        wire::RefusalCode::TooMany => Refusal::TooMany,
        wire::RefusalCode::Unsupported => Refusal::Unsupported,
        wire::RefusalCode::Draining => Refusal::Draining,
        wire::RefusalCode::Invalid => Refusal::Invalid,
        wire::RefusalCode::Unspecified => Refusal::Other,
    }
}

/// It ends up on people's screens.
fn check_cause(text: &str) -> Checked<String> {
    if text.len() > MAX_LEASE_CAUSE_BYTES {
        let length = FieldFault::Length(text.len());
        return Err(LeaseMessageError::field("cause", length));
    }
    if text.chars().any(char::is_control) {
        return Err(LeaseMessageError::field("cause", FieldFault::Text));
    }
    Ok(text.to_owned())
}

fn check_lapse(millis: u32) -> Checked<Duration> {
    check_millis("lapses_in_ms", millis, LEASE_LIFETIME)
}

fn check_millis(field: &'static str, millis: u32, most: Duration) -> Checked<Duration> {
    let time = Duration::from_millis(millis.into());
    within(field, time, Duration::ZERO..=most)
}

fn check_memory(field: &'static str, bytes: u64) -> Checked<u64> {
    within(field, bytes, 0..=MAX_MEMORY_BYTES)
}

/// NaN lies in no range.
fn within<T: PartialOrd>(field: &'static str, value: T, range: RangeInclusive<T>) -> Checked<T> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(LeaseMessageError::field(field, FieldFault::Range))
}

fn check_node(field: &'static str, bytes: &[u8]) -> Checked<NodeId> {
    NodeId::from_bytes(bytes).map_err(|error| LeaseMessageError::field(field, error))
}

fn check_bytes<const N: usize>(field: &'static str, bytes: &[u8]) -> Checked<[u8; N]> {
    let length = FieldFault::Length(bytes.len());
    let bytes = bytes.try_into();
    bytes.map_err(|_| LeaseMessageError::field(field, length))
}
