//! Between what heads and slices of chains say and its wire form.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::wire::{self, Port, Ported};
use super::super::{IpcError, Message};
use crate::engine::Speculate;
use crate::stage::{FromHead, FromStage, HeadConfig, Precision, SliceConfig, SliceInfo, ToHead};

pub(super) fn head_to_wire(config: &HeadConfig) -> wire::HeadConfig {
    wire::HeadConfig {
        file: config.file.as_os_str().as_bytes().to_vec(),
        context_length: config.context_length,
        parallel: config.parallel,
        cells: config.cells,
        sequences: config.sequences,
        batch_tokens: config.batch_tokens,
        queue_limit: config.queue_limit,
        precision: config.precision.id(),
        embedding_scale: config.embedding_scale,
        memory_limit_bytes: config.memory_limit_bytes,
        speculate: config.speculate.as_str().to_owned(),
        draft: config.draft.as_deref().map(path_to_wire),
    }
}

pub(super) fn head_from_wire(config: wire::HeadConfig) -> Result<HeadConfig, IpcError> {
    if config.parallel == 0 {
        return Err(IpcError::Bad("parallel"));
    }
    Ok(HeadConfig {
        file: path(config.file),
        context_length: config.context_length,
        parallel: config.parallel,
        cells: config.cells,
        sequences: config.sequences,
        batch_tokens: config.batch_tokens,
        queue_limit: config.queue_limit,
        precision: precision(config.precision)?,
        embedding_scale: config.embedding_scale,
        memory_limit_bytes: config.memory_limit_bytes,
        speculate: speculate(&config.speculate)?,
        draft: config.draft.map(path),
    })
}

pub(super) fn slice_to_wire(config: &SliceConfig) -> wire::SliceConfig {
    wire::SliceConfig {
        file: config.file.as_os_str().as_bytes().to_vec(),
        cells: config.cells,
        sequences: config.sequences,
        batch_tokens: config.batch_tokens,
        threads: config.threads,
        gpu_layers: config.gpu_layers,
        is_last: config.is_last,
        input_scale: config.input_scale,
        precision: config.precision.id(),
        memory_limit_bytes: config.memory_limit_bytes,
    }
}

pub(super) fn slice_from_wire(config: wire::SliceConfig) -> Result<SliceConfig, IpcError> {
    Ok(SliceConfig {
        file: path(config.file),
        cells: config.cells,
        sequences: config.sequences,
        batch_tokens: config.batch_tokens,
        threads: config.threads,
        gpu_layers: config.gpu_layers,
        is_last: config.is_last,
        input_scale: config.input_scale,
        precision: precision(config.precision)?,
        memory_limit_bytes: config.memory_limit_bytes,
    })
}

pub(super) fn info_to_wire(info: SliceInfo) -> wire::SliceInfo {
    wire::SliceInfo {
        width: info.width,
        layers: info.layers,
        model_bytes: info.model_bytes,
        token_nanos: u64::try_from(info.token_time.as_nanos()).unwrap_or(u64::MAX),
    }
}

pub(super) fn info_from_wire(info: &wire::SliceInfo) -> SliceInfo {
    SliceInfo {
        width: info.width,
        layers: info.layers,
        model_bytes: info.model_bytes,
        token_time: Duration::from_nanos(info.token_nanos),
    }
}

pub(super) fn to_head_to_wire(event: ToHead) -> Ported {
    ported(match event {
        ToHead::Up(ring) => Port::Up(ring),
        ToHead::Down => Port::Down(()),
        ToHead::Back(payload) => Port::Back(payload),
    })
}

pub(super) fn to_head_from_wire(ported: Ported) -> Result<Message, IpcError> {
    Ok(Message::ToHead(match ported.port {
        Some(Port::Up(ring)) => ToHead::Up(ring),
        Some(Port::Down(())) => ToHead::Down,
        Some(Port::Back(payload)) => ToHead::Back(payload),
        _ => return Err(IpcError::Bad("word for a head")),
    }))
}

pub(super) fn from_head_to_wire(said: FromHead) -> Ported {
    ported(match said {
        FromHead::Forward(payload) => Port::Forward(payload),
        FromHead::Broken(cause) => Port::Broken(cause),
    })
}

pub(super) fn from_head_from_wire(ported: Ported) -> Result<Message, IpcError> {
    Ok(Message::FromHead(match ported.port {
        Some(Port::Forward(payload)) => FromHead::Forward(payload),
        Some(Port::Broken(cause)) => FromHead::Broken(cause),
        _ => return Err(IpcError::Bad("word of a head")),
    }))
}

pub(super) fn from_stage_to_wire(said: FromStage) -> Ported {
    ported(match said {
        FromStage::Next(payload) => Port::Forward(payload),
        FromStage::Back(payload) => Port::Back(payload),
        FromStage::Nothing => Port::Down(()),
        FromStage::Broken(cause) => Port::Broken(cause),
    })
}

pub(super) fn from_stage_from_wire(ported: Ported) -> Result<Message, IpcError> {
    Ok(Message::FromStage(match ported.port {
        Some(Port::Forward(payload)) => FromStage::Next(payload),
        Some(Port::Back(payload)) => FromStage::Back(payload),
        Some(Port::Down(())) => FromStage::Nothing,
        Some(Port::Broken(cause)) => FromStage::Broken(cause),
        _ => return Err(IpcError::Bad("word of a stage")),
    }))
}

fn ported(port: Port) -> Ported {
    Ported { port: Some(port) }
}

/// A path's bytes.
pub(super) fn path_to_wire(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

pub(super) fn speculate(name: &str) -> Result<Speculate, IpcError> {
    Speculate::named(name).ok_or(IpcError::Bad("speculate"))
}

pub(super) fn path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

fn precision(id: u32) -> Result<Precision, IpcError> {
    Precision::from_id(id).ok_or(IpcError::Bad("precision"))
}
