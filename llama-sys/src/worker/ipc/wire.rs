//! The protobuf messages between a node and its worker, as they lie on the socket. Derived by
//! hand: both ends are one binary, so nobody else needs a `.proto` of them. Meaning and checks
//! are in [`super::convert`].

mod chain;
mod event;
pub(super) use chain::*;
pub(super) use event::*;

pub(super) use crate::wire::{Grammar, Sampling};

/// One frame. `id`: the request it belongs to; 0 where it belongs to none.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Frame {
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    #[prost(
        oneof = "Body",
        tags = "2, 3, 4, 5, 6, 7, 8, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 40, 41, 42, 43, 44, 45, 46"
    )]
    pub(super) body: Option<Body>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Body {
    #[prost(message, tag = "2")]
    Hello(Hello),
    #[prost(message, tag = "3")]
    Submit(Job),
    #[prost(message, tag = "4")]
    Cancel(()),
    #[prost(uint32, tag = "5")]
    Credit(u32),
    #[prost(message, tag = "6")]
    Embed(Inputs),
    #[prost(message, tag = "7")]
    Tokenize(Text),
    #[prost(message, tag = "8")]
    Detokenize(Tokens),
    #[prost(float, tag = "20")]
    Loading(f32),
    #[prost(message, tag = "21")]
    Ready(ModelInfo),
    #[prost(string, tag = "22")]
    LoadRefused(String),
    #[prost(message, tag = "23")]
    Accepted(()),
    #[prost(message, tag = "24")]
    Refused(JobError),
    #[prost(message, tag = "25")]
    Event(Event),
    #[prost(message, tag = "26")]
    Embedded(Embedded),
    #[prost(message, tag = "27")]
    Tokenized(Tokens),
    #[prost(string, tag = "28")]
    Detokenized(String),
    #[prost(message, tag = "29")]
    Stats(Load),
    #[prost(message, tag = "30")]
    Devices(Devices),
    #[prost(message, tag = "31")]
    Measured(Measurements),
    #[prost(message, tag = "40")]
    ToHead(Ported),
    #[prost(message, tag = "41")]
    FromHead(Ported),
    #[prost(message, tag = "42")]
    SliceReady(SliceInfo),
    #[prost(bytes = "bytes", tag = "43")]
    Payload(bytes::Bytes),
    #[prost(message, tag = "44")]
    FromStage(Ported),
    #[prost(message, tag = "45")]
    Ping(()),
    #[prost(message, tag = "46")]
    Pong(()),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Hello {
    #[prost(uint32, tag = "1")]
    pub(super) version: u32,
    #[prost(oneof = "Task", tags = "2, 3, 4, 5, 6")]
    pub(super) task: Option<Task>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Task {
    #[prost(message, tag = "2")]
    Load(LoadOptions),
    #[prost(message, tag = "3")]
    Devices(()),
    #[prost(message, tag = "4")]
    Measure(Measuring),
    #[prost(message, tag = "5")]
    Head(HeadConfig),
    #[prost(message, tag = "6")]
    Slice(SliceConfig),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Measuring {
    #[prost(uint32, optional, tag = "1")]
    pub(super) threads: Option<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LoadOptions {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) model: Vec<u8>,
    #[prost(uint32, optional, tag = "2")]
    pub(super) context_length: Option<u32>,
    #[prost(uint32, tag = "3")]
    pub(super) parallel: u32,
    #[prost(uint32, optional, tag = "4")]
    pub(super) threads: Option<u32>,
    #[prost(uint32, optional, tag = "5")]
    pub(super) gpu_layers: Option<u32>,
    #[prost(uint64, optional, tag = "6")]
    pub(super) memory_limit_bytes: Option<u64>,
    #[prost(uint32, tag = "7")]
    pub(super) queue_limit: u32,
    #[prost(uint32, optional, tag = "8")]
    pub(super) cells: Option<u32>,
    #[prost(string, tag = "9")]
    pub(super) speculate: String,
    #[prost(bytes = "vec", optional, tag = "10")]
    pub(super) draft: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Job {
    #[prost(string, tag = "1")]
    pub(super) request_id: String,
    #[prost(message, optional, tag = "2")]
    pub(super) prompt: Option<Prompt>,
    #[prost(message, optional, tag = "3")]
    pub(super) sampling: Option<Sampling>,
    #[prost(uint64, tag = "4")]
    pub(super) seed: u64,
    #[prost(uint32, optional, tag = "5")]
    pub(super) max_tokens: Option<u32>,
    #[prost(string, repeated, tag = "6")]
    pub(super) stop: Vec<String>,
    #[prost(uint32, optional, tag = "7")]
    pub(super) logprobs: Option<u32>,
    #[prost(bool, tag = "8")]
    pub(super) prompt_logprobs: bool,
    #[prost(bool, tag = "9")]
    pub(super) show_special: bool,
    #[prost(message, optional, tag = "10")]
    pub(super) resume: Option<Resume>,
    #[prost(oneof = "Grammar", tags = "11, 12, 13")]
    pub(super) grammar: Option<Grammar>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Prompt {
    #[prost(oneof = "PromptKind", tags = "1, 2, 3")]
    pub(super) kind: Option<PromptKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum PromptKind {
    #[prost(message, tag = "1")]
    Text(Text),
    #[prost(message, tag = "2")]
    Tokens(Tokens),
    #[prost(message, tag = "3")]
    Infill(Infill),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Text {
    #[prost(string, tag = "1")]
    pub(super) text: String,
    #[prost(bool, tag = "2")]
    pub(super) parse_special: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Tokens {
    #[prost(uint32, repeated, tag = "1")]
    pub(super) tokens: Vec<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Infill {
    #[prost(string, tag = "1")]
    pub(super) prefix: String,
    #[prost(string, tag = "2")]
    pub(super) suffix: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Inputs {
    #[prost(message, repeated, tag = "1")]
    pub(super) inputs: Vec<Prompt>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Resume {
    #[prost(uint32, repeated, tag = "1")]
    pub(super) tokens: Vec<u32>,
    #[prost(uint64, tag = "2")]
    pub(super) sent_text_bytes: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ModelInfo {
    #[prost(uint32, tag = "1")]
    pub(super) vocab_size: u32,
    #[prost(uint32, tag = "2")]
    pub(super) embedding_length: u32,
    #[prost(uint32, tag = "3")]
    pub(super) context_length: u32,
    #[prost(uint32, tag = "4")]
    pub(super) parallel: u32,
    #[prost(uint64, tag = "5")]
    pub(super) model_bytes: u64,
    #[prost(bool, tag = "6")]
    pub(super) infill: bool,
    #[prost(bool, tag = "7")]
    pub(super) embeddings: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Embedded {
    #[prost(message, repeated, tag = "1")]
    pub(super) vectors: Vec<Vector>,
    #[prost(uint32, tag = "2")]
    pub(super) tokens: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Vector {
    #[prost(float, repeated, tag = "1")]
    pub(super) values: Vec<f32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Load {
    #[prost(uint32, tag = "1")]
    pub(super) running: u32,
    #[prost(uint32, tag = "2")]
    pub(super) waiting: u32,
    #[prost(uint32, tag = "3")]
    pub(super) kv_used: u32,
    #[prost(uint32, tag = "4")]
    pub(super) kv_total: u32,
    #[prost(uint64, tag = "5")]
    pub(super) memory_bytes: u64,
    #[prost(uint64, tag = "6")]
    pub(super) prefill_tokens: u64,
    #[prost(uint64, tag = "7")]
    pub(super) cached_tokens: u64,
    #[prost(uint64, tag = "8")]
    pub(super) decode_tokens: u64,
    #[prost(uint32, tag = "9")]
    pub(super) restarts: u32,
    #[prost(uint64, tag = "10")]
    pub(super) drafted_tokens: u64,
    #[prost(uint64, tag = "11")]
    pub(super) accepted_tokens: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Devices {
    #[prost(message, repeated, tag = "1")]
    pub(super) devices: Vec<Device>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Device {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) description: String,
    #[prost(string, tag = "3")]
    pub(super) backend: String,
    #[prost(uint32, tag = "4")]
    pub(super) kind: u32,
    #[prost(uint64, tag = "5")]
    pub(super) memory_free_bytes: u64,
    #[prost(uint64, tag = "6")]
    pub(super) memory_total_bytes: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Measurements {
    #[prost(message, repeated, tag = "1")]
    pub(super) measurements: Vec<Measurement>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Measurement {
    #[prost(message, optional, tag = "1")]
    pub(super) device: Option<Device>,
    #[prost(double, tag = "2")]
    pub(super) bytes_per_second: f64,
    #[prost(double, tag = "3")]
    pub(super) flops: f64,
    #[prost(string, tag = "4")]
    pub(super) failure: String,
}
