//! From a request or a reply to its bytes. What is cut to its limit here is what local errors say;
//! other values are the maker's to keep within theirs.

use std::time::Duration;

use prost::Message;

use super::{
    lease::{
        Granted, LeaseReply, LeaseRequest, Link, Phase, Precision, Refusal, Refused, Reserve,
        StageState,
    },
    wire::{self, lease_reply::Reply, lease_request::Request},
};
use crate::limits::MAX_LEASE_CAUSE_BYTES;

impl LeaseRequest {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let request = match self {
            Self::Reserve(reserve) => Request::Reserve(write_reserve(reserve)),
            Self::Link(link) => Request::Link(write_link(link)),
            Self::Renew(lease) => Request::Renew(wire::Renew { lease: lease.0 }),
            Self::Release(lease) => Request::Release(wire::Release { lease: lease.0 }),
        };
        let request = Some(request);
        wire::LeaseRequest { request }.encode_to_vec()
    }
}

impl LeaseReply {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let reply = match self {
            Self::Granted(granted) => Reply::Granted(write_granted(granted)),
            Self::State(state) => Reply::State(write_state(state)),
            Self::Released => Reply::Released(wire::Released {}),
            Self::Refused(refused) => Reply::Refused(write_refused(refused)),
        };
        let reply = Some(reply);
        wire::LeaseReply { reply }.encode_to_vec()
    }
}

fn write_reserve(reserve: &Reserve) -> wire::Reserve {
    let model = wire::ModelRef {
        name: reserve.model.name.to_string(),
        manifest: reserve.model.manifest.as_bytes().to_vec(),
        layers: reserve.model.layers,
    };
    wire::Reserve {
        deployment: reserve.deployment.0.to_vec(),
        model: Some(model),
        first_layer: reserve.first_layer,
        last_layer: reserve.last_layer,
        cells: reserve.cells,
        sequences: reserve.sequences,
        batch_tokens: reserve.batch_tokens,
        precision: write_precision(reserve.precision).into(),
        spare: reserve.is_spare,
    }
}

fn write_precision(precision: Precision) -> wire::Precision {
    match precision {
        Precision::F32 => wire::Precision::F32,
        Precision::Bf16 => wire::Precision::Bf16,
        Precision::Q8 => wire::Precision::Q8,
    }
}

fn write_link(link: &Link) -> wire::Link {
    wire::Link {
        lease: link.lease.0,
        previous: link.previous.as_bytes().to_vec(),
        next: link.next.as_bytes().to_vec(),
        next_channel: link.next_channel.0,
        generation: link.generation,
    }
}

fn write_granted(granted: &Granted) -> wire::Granted {
    wire::Granted {
        lease: granted.lease.0,
        channel: granted.channel.0,
        lapses_in_ms: write_millis(granted.lapses_in),
        memory_bytes: granted.memory_bytes,
    }
}

fn write_state(state: &StageState) -> wire::State {
    wire::State {
        phase: write_phase(state.phase).into(),
        progress: state.progress,
        lapses_in_ms: write_millis(state.lapses_in),
        cause: one_line(&state.cause),
        decode_seconds: state.decode_seconds.unwrap_or_default(),
        slowness: state.slowness.unwrap_or_default(),
    }
}

fn write_phase(phase: Phase) -> wire::Phase {
    match phase {
        Phase::Reserved => wire::Phase::Reserved,
        Phase::Fetching => wire::Phase::Fetching,
        Phase::Loading => wire::Phase::Loading,
        Phase::Ready => wire::Phase::Ready,
        Phase::Linked => wire::Phase::Linked,
        Phase::Failed => wire::Phase::Failed,
        Phase::Draining => wire::Phase::Draining,
    }
}

fn write_refused(refused: &Refused) -> wire::Refused {
    wire::Refused {
        code: write_code(refused.code).into(),
        retry_after_ms: refused.retry_after.map_or(0, write_millis),
        needed_bytes: refused.needed_bytes,
        free_bytes: refused.free_bytes,
    }
}

fn write_code(code: Refusal) -> wire::RefusalCode {
    match code {
        Refusal::NoRoom => wire::RefusalCode::NoRoom,
        Refusal::NotAllowed => wire::RefusalCode::NotAllowed,
        Refusal::UnknownModel => wire::RefusalCode::UnknownModel,
        Refusal::UnknownLease => wire::RefusalCode::UnknownLease,
        Refusal::TooMany => wire::RefusalCode::TooMany,
        Refusal::Unsupported => wire::RefusalCode::Unsupported,
        Refusal::Draining => wire::RefusalCode::Draining,
        Refusal::Invalid => wire::RefusalCode::Invalid,
        Refusal::Other => wire::RefusalCode::Unspecified,
    }
}

fn write_millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// What a local error says, as one line that is not too long.
fn one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let fitting = text.floor_char_boundary(MAX_LEASE_CAUSE_BYTES);
    text[..fitting].chars().map(plain).collect()
}
