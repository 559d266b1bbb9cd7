//! The wire form of an answer's events.

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::worker::ipc) struct Event {
    #[prost(oneof = "EventKind", tags = "1, 2, 3, 4, 5")]
    pub(in crate::worker::ipc) kind: Option<EventKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(in crate::worker::ipc) enum EventKind {
    #[prost(uint32, tag = "1")]
    Queued(u32),
    #[prost(message, tag = "2")]
    Started(Started),
    #[prost(message, tag = "3")]
    Delta(Delta),
    #[prost(message, tag = "4")]
    Finished(Finished),
    #[prost(message, tag = "5")]
    Failed(JobError),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::worker::ipc) struct Started {
    #[prost(uint32, tag = "1")]
    pub(in crate::worker::ipc) prompt_tokens: u32,
    #[prost(uint32, tag = "2")]
    pub(in crate::worker::ipc) cached_tokens: u32,
    #[prost(message, repeated, tag = "3")]
    pub(in crate::worker::ipc) prompt: Vec<Scored>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::worker::ipc) struct Delta {
    #[prost(string, tag = "1")]
    pub(in crate::worker::ipc) text: String,
    #[prost(uint32, repeated, tag = "2")]
    pub(in crate::worker::ipc) tokens: Vec<u32>,
    #[prost(message, repeated, tag = "3")]
    pub(in crate::worker::ipc) logprobs: Vec<Scored>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::worker::ipc) struct Scored {
    #[prost(message, optional, tag = "1")]
    pub(in crate::worker::ipc) token: Option<Candidate>,
    #[prost(message, repeated, tag = "2")]
    pub(in crate::worker::ipc) top: Vec<Candidate>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::worker::ipc) struct Candidate {
    #[prost(uint32, tag = "1")]
    pub(in crate::worker::ipc) token: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub(in crate::worker::ipc) bytes: Vec<u8>,
    #[prost(float, optional, tag = "3")]
    pub(in crate::worker::ipc) logprob: Option<f32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::worker::ipc) struct Finished {
    /// The token limit or the context's end was reached.
    #[prost(bool, tag = "1")]
    pub(in crate::worker::ipc) length: bool,
    #[prost(string, optional, tag = "2")]
    pub(in crate::worker::ipc) stop: Option<String>,
    #[prost(uint32, tag = "3")]
    pub(in crate::worker::ipc) completion_tokens: u32,
    #[prost(uint64, tag = "4")]
    pub(in crate::worker::ipc) queued_micros: u64,
    #[prost(uint64, tag = "5")]
    pub(in crate::worker::ipc) prefill_micros: u64,
    #[prost(uint64, tag = "6")]
    pub(in crate::worker::ipc) decode_micros: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::worker::ipc) struct JobError {
    #[prost(enumeration = "JobErrorKind", tag = "1")]
    pub(in crate::worker::ipc) kind: i32,
    #[prost(string, tag = "2")]
    pub(in crate::worker::ipc) text: String,
    /// `prompt_tokens`, or `waiting`.
    #[prost(uint32, tag = "3")]
    pub(in crate::worker::ipc) first: u32,
    /// `context_length`.
    #[prost(uint32, tag = "4")]
    pub(in crate::worker::ipc) second: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(in crate::worker::ipc) enum JobErrorKind {
    /// Anything the other end does not know.
    Unknown = 0,
    ContextLengthExceeded = 1,
    Overloaded = 2,
    Grammar = 3,
    Invalid = 4,
    Unsupported = 5,
    WorkerLost = 6,
    LoadFailed = 7,
    Stopping = 8,
    Inference = 9,
}
