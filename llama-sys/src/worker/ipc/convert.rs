//! Between the typed messages and their wire form. Everything optional on the wire that a
//! message cannot do without is checked here.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use super::{Ask, IpcError, Message, Reply, RequestId, Task, wire};
use crate::engine::{Load, ModelInfo};
use crate::worker::LoadOptions;

mod chain;
mod device;
mod event;
mod job;

use wire::Body;

pub(super) fn to_wire(message: Message) -> wire::Frame {
    let (id, body) = match message {
        Message::Ask(id, ask) => (id, ask_to_wire(ask)),
        Message::Cancel(id) => (id, Body::Cancel(())),
        Message::Credit(id, events) => (id, Body::Credit(events)),
        Message::Reply(id, reply) => (id, reply_to_wire(reply)),
        other => (RequestId(0), unrequested_to_wire(other)),
    };
    wire::Frame {
        id: id.0,
        body: Some(body),
    }
}

fn unrequested_to_wire(message: Message) -> Body {
    match message {
        Message::Hello { version, task } => Body::Hello(wire::Hello {
            version,
            task: Some(task_to_wire(task)),
        }),
        Message::Loading(progress) => Body::Loading(progress),
        Message::Ready(info) => Body::Ready(info_to_wire(&info)),
        Message::LoadRefused(cause) => Body::LoadRefused(cause),
        Message::Stats(load) => Body::Stats(load_to_wire(&load)),
        Message::Devices(devices) => Body::Devices(wire::Devices {
            devices: devices.into_iter().map(device::device_to_wire).collect(),
        }),
        Message::Measured(measured) => Body::Measured(wire::Measurements {
            measurements: measured
                .into_iter()
                .map(device::measurement_to_wire)
                .collect(),
        }),
        Message::ToHead(event) => Body::ToHead(chain::to_head_to_wire(event)),
        Message::FromHead(said) => Body::FromHead(chain::from_head_to_wire(said)),
        Message::SliceReady(info) => Body::SliceReady(chain::info_to_wire(info)),
        Message::Payload(payload) => Body::Payload(payload),
        Message::FromStage(said) => Body::FromStage(chain::from_stage_to_wire(said)),
        Message::Ping => Body::Ping(()),
        Message::Pong => Body::Pong(()),
        Message::Ask(..) | Message::Cancel(_) | Message::Credit(..) | Message::Reply(..) => {
            unreachable!("messages of a request have their own branch")
        }
    }
}

pub(super) fn from_wire(frame: wire::Frame) -> Result<Message, IpcError> {
    let id = RequestId(frame.id);
    Ok(match frame.body.ok_or(IpcError::Missing("body"))? {
        Body::Hello(hello) => Message::Hello {
            version: hello.version,
            task: task_from_wire(hello.task.ok_or(IpcError::Missing("task"))?)?,
        },
        Body::Submit(job) => Message::Ask(id, Ask::Generate(Box::new(job::job_from_wire(job)?))),
        Body::Cancel(()) => Message::Cancel(id),
        Body::Credit(events) => Message::Credit(id, events),
        Body::Embed(inputs) => {
            let inputs = inputs.inputs.into_iter().map(job::prompt_from_wire);
            Message::Ask(id, Ask::Embed(inputs.collect::<Result<_, _>>()?))
        }
        Body::Tokenize(wire::Text {
            text,
            parse_special,
        }) => Message::Ask(
            id,
            Ask::Tokenize {
                text,
                parse_special,
            },
        ),
        Body::Detokenize(tokens) => Message::Ask(id, Ask::Detokenize(tokens.tokens)),
        Body::Loading(progress) => Message::Loading(progress.clamp(0.0, 1.0)),
        Body::Ready(info) => Message::Ready(info_from_wire(&info)),
        Body::LoadRefused(cause) => Message::LoadRefused(cause),
        Body::Stats(load) => Message::Stats(load_from_wire(&load)),
        Body::Devices(list) => {
            let devices = list.devices.into_iter().map(device::device_from_wire);
            Message::Devices(devices.collect::<Result<_, _>>()?)
        }
        Body::Measured(list) => {
            let measured = list
                .measurements
                .into_iter()
                .map(device::measurement_from_wire);
            Message::Measured(measured.collect::<Result<_, _>>()?)
        }
        Body::ToHead(ported) => chain::to_head_from_wire(ported)?,
        Body::FromHead(ported) => chain::from_head_from_wire(ported)?,
        Body::SliceReady(info) => Message::SliceReady(chain::info_from_wire(&info)),
        Body::Payload(payload) => Message::Payload(payload),
        Body::FromStage(ported) => chain::from_stage_from_wire(ported)?,
        Body::Ping(()) => Message::Ping,
        Body::Pong(()) => Message::Pong,
        reply => Message::Reply(id, reply_from_wire(reply)?),
    })
}

fn ask_to_wire(ask: Ask) -> Body {
    match ask {
        Ask::Generate(job) => Body::Submit(job::job_to_wire(*job)),
        Ask::Embed(inputs) => Body::Embed(wire::Inputs {
            inputs: inputs.into_iter().map(job::prompt_to_wire).collect(),
        }),
        Ask::Tokenize {
            text,
            parse_special,
        } => Body::Tokenize(wire::Text {
            text,
            parse_special,
        }),
        Ask::Detokenize(tokens) => Body::Detokenize(wire::Tokens { tokens }),
    }
}

fn reply_to_wire(reply: Reply) -> Body {
    match reply {
        Reply::Accepted => Body::Accepted(()),
        Reply::Refused(error) => Body::Refused(event::error_to_wire(error)),
        Reply::Event(event) => Body::Event(event::to_wire(event)),
        Reply::Embedded(vectors, tokens) => Body::Embedded(wire::Embedded {
            vectors: vectors
                .into_iter()
                .map(|values| wire::Vector { values })
                .collect(),
            tokens,
        }),
        Reply::Tokenized(tokens) => Body::Tokenized(wire::Tokens { tokens }),
        Reply::Detokenized(text) => Body::Detokenized(text),
    }
}

fn reply_from_wire(body: Body) -> Result<Reply, IpcError> {
    Ok(match body {
        Body::Accepted(()) => Reply::Accepted,
        Body::Refused(error) => Reply::Refused(event::error_from_wire(error)),
        Body::Event(event) => Reply::Event(event::from_wire(event)?),
        Body::Embedded(wire::Embedded { vectors, tokens }) => {
            let vectors = vectors.into_iter().map(|vector| vector.values);
            Reply::Embedded(vectors.collect(), tokens)
        }
        Body::Tokenized(tokens) => Reply::Tokenized(tokens.tokens),
        Body::Detokenized(text) => Reply::Detokenized(text),
        _ => return Err(IpcError::Bad("body")),
    })
}

fn task_to_wire(task: Task) -> wire::Task {
    match task {
        Task::Load(options) => wire::Task::Load(wire::LoadOptions {
            model: options.model.as_os_str().as_bytes().to_vec(),
            context_length: options.context_length,
            parallel: options.parallel,
            cells: options.cells,
            threads: options.threads,
            gpu_layers: options.gpu_layers,
            memory_limit_bytes: options.memory_limit_bytes,
            queue_limit: options.queue_limit,
            speculate: options.speculate.as_str().to_owned(),
            draft: options.draft.as_deref().map(chain::path_to_wire),
        }),
        Task::Head(config) => wire::Task::Head(chain::head_to_wire(&config)),
        Task::Slice(config) => wire::Task::Slice(chain::slice_to_wire(&config)),
        Task::Devices => wire::Task::Devices(()),
        Task::Measure(threads) => wire::Task::Measure(wire::Measuring { threads }),
    }
}

fn task_from_wire(task: wire::Task) -> Result<Task, IpcError> {
    Ok(match task {
        wire::Task::Load(options) if options.parallel == 0 => {
            return Err(IpcError::Bad("parallel"));
        }
        wire::Task::Load(options) => Task::Load(LoadOptions {
            model: PathBuf::from(OsString::from_vec(options.model)),
            context_length: options.context_length,
            parallel: options.parallel,
            cells: options.cells,
            threads: options.threads,
            gpu_layers: options.gpu_layers,
            memory_limit_bytes: options.memory_limit_bytes,
            queue_limit: options.queue_limit,
            speculate: chain::speculate(&options.speculate)?,
            draft: options.draft.map(chain::path),
        }),
        wire::Task::Head(config) => Task::Head(chain::head_from_wire(config)?),
        wire::Task::Slice(config) => Task::Slice(chain::slice_from_wire(config)?),
        wire::Task::Devices(()) => Task::Devices,
        wire::Task::Measure(measuring) => Task::Measure(measuring.threads),
    })
}

fn info_to_wire(info: &ModelInfo) -> wire::ModelInfo {
    wire::ModelInfo {
        vocab_size: info.vocab_size,
        embedding_length: info.embedding_length,
        context_length: info.context_length,
        parallel: info.parallel,
        model_bytes: info.model_bytes,
        infill: info.infill,
        embeddings: info.embeddings,
    }
}

fn info_from_wire(info: &wire::ModelInfo) -> ModelInfo {
    ModelInfo {
        vocab_size: info.vocab_size,
        embedding_length: info.embedding_length,
        context_length: info.context_length,
        parallel: info.parallel,
        model_bytes: info.model_bytes,
        infill: info.infill,
        embeddings: info.embeddings,
    }
}

fn load_to_wire(load: &Load) -> wire::Load {
    wire::Load {
        running: load.running,
        waiting: load.waiting,
        kv_used: load.kv_used,
        kv_total: load.kv_total,
        memory_bytes: load.memory_bytes,
        prefill_tokens: load.prefill_tokens,
        cached_tokens: load.cached_tokens,
        decode_tokens: load.decode_tokens,
        drafted_tokens: load.drafted_tokens,
        accepted_tokens: load.accepted_tokens,
        restarts: load.restarts,
    }
}

fn load_from_wire(load: &wire::Load) -> Load {
    Load {
        running: load.running,
        waiting: load.waiting,
        kv_used: load.kv_used,
        kv_total: load.kv_total,
        memory_bytes: load.memory_bytes,
        prefill_tokens: load.prefill_tokens,
        cached_tokens: load.cached_tokens,
        decode_tokens: load.decode_tokens,
        drafted_tokens: load.drafted_tokens,
        accepted_tokens: load.accepted_tokens,
        restarts: load.restarts,
    }
}
