//! The protobuf messages of payload heads, derived by hand: head and stages run one version of
//! this crate's protocol, and nobody else reads them. Meaning and checks are in [`super::codec`].

pub(super) use crate::wire::{Grammar, Sampling};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Forward {
    #[prost(uint64, tag = "1")]
    pub(super) batch: u64,
    #[prost(message, repeated, tag = "2")]
    pub(super) ops: Vec<Op>,
    #[prost(message, repeated, tag = "3")]
    pub(super) parts: Vec<Part>,
    #[prost(message, repeated, tag = "4")]
    pub(super) open: Vec<Opening>,
    #[prost(uint64, repeated, tag = "5")]
    pub(super) close: Vec<u64>,
    #[prost(message, repeated, tag = "6")]
    pub(super) failures: Vec<Failure>,
    #[prost(uint32, tag = "7")]
    pub(super) precision: u32,
    #[prost(uint32, tag = "8")]
    pub(super) width: u32,
    #[prost(uint64, tag = "9")]
    pub(super) ring: u64,
    #[prost(uint64, tag = "10")]
    pub(super) spent_micros: u64,
    #[prost(uint64, tag = "11")]
    pub(super) slowest_micros: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Op {
    #[prost(oneof = "OpKind", tags = "1, 2, 3, 4, 5")]
    pub(super) kind: Option<OpKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum OpKind {
    #[prost(message, tag = "1")]
    Cut(Cut),
    #[prost(message, tag = "2")]
    Share(Share),
    #[prost(message, tag = "3")]
    Park(Parked),
    #[prost(message, tag = "4")]
    Unpark(Parked),
    #[prost(uint64, tag = "5")]
    Discard(u64),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Cut {
    #[prost(uint32, tag = "1")]
    pub(super) slot: u32,
    #[prost(uint32, tag = "2")]
    pub(super) keep: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Share {
    #[prost(uint32, tag = "1")]
    pub(super) from: u32,
    #[prost(uint32, tag = "2")]
    pub(super) to: u32,
    #[prost(uint32, tag = "3")]
    pub(super) len: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Parked {
    #[prost(uint32, tag = "1")]
    pub(super) slot: u32,
    #[prost(uint64, tag = "2")]
    pub(super) id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Part {
    #[prost(uint64, tag = "1")]
    pub(super) job: u64,
    #[prost(uint32, tag = "2")]
    pub(super) slot: u32,
    #[prost(uint32, tag = "3")]
    pub(super) keep_n: u32,
    #[prost(uint32, tag = "4")]
    pub(super) n: u32,
    /// Absent: no token is wanted.
    #[prost(uint64, optional, tag = "5")]
    pub(super) position: Option<u64>,
    #[prost(uint32, repeated, tag = "6")]
    pub(super) next: Vec<u32>,
    #[prost(uint32, repeated, tag = "7")]
    pub(super) drafts: Vec<u32>,
    /// Log-probabilities of `next` are wanted.
    #[prost(bool, tag = "8")]
    pub(super) is_prompt: bool,
    /// Of a window that begins with a draft: which.
    #[prost(uint32, optional, tag = "9")]
    pub(super) assumed: Option<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Opening {
    #[prost(uint64, tag = "1")]
    pub(super) job: u64,
    #[prost(message, optional, tag = "2")]
    pub(super) sampling: Option<Sampling>,
    #[prost(uint64, tag = "3")]
    pub(super) seed: u64,
    #[prost(oneof = "Grammar", tags = "11, 12, 13")]
    pub(super) grammar: Option<Grammar>,
    #[prost(uint32, optional, tag = "7")]
    pub(super) logprobs: Option<u32>,
    #[prost(uint32, repeated, tag = "8")]
    pub(super) recent: Vec<u32>,
    #[prost(uint32, repeated, tag = "9")]
    pub(super) answer: Vec<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Failure {
    #[prost(oneof = "FailureKind", tags = "1, 2, 3")]
    pub(super) kind: Option<FailureKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum FailureKind {
    #[prost(message, tag = "1")]
    Part(FailedPart),
    #[prost(uint32, tag = "2")]
    Slot(u32),
    #[prost(uint64, tag = "3")]
    Park(u64),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct FailedPart {
    #[prost(uint64, tag = "1")]
    pub(super) job: u64,
    #[prost(uint32, tag = "2")]
    pub(super) slot: u32,
    /// Absent: the stage lacks what it builds on.
    #[prost(string, optional, tag = "3")]
    pub(super) refused: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Back {
    #[prost(uint64, tag = "1")]
    pub(super) batch: u64,
    #[prost(message, repeated, tag = "2")]
    pub(super) given: Vec<Given>,
    #[prost(message, repeated, tag = "3")]
    pub(super) failures: Vec<Failure>,
    #[prost(uint64, tag = "4")]
    pub(super) ring: u64,
    #[prost(uint64, tag = "5")]
    pub(super) spent_micros: u64,
    #[prost(uint64, tag = "6")]
    pub(super) slowest_micros: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Given {
    #[prost(uint64, tag = "1")]
    pub(super) job: u64,
    /// Absent: nothing can follow.
    #[prost(uint32, optional, tag = "2")]
    pub(super) token: Option<u32>,
    /// Of a token of the prompt: its place.
    #[prost(uint32, optional, tag = "3")]
    pub(super) at: Option<u32>,
    #[prost(float, optional, tag = "4")]
    pub(super) logprob: Option<f32>,
    #[prost(uint32, repeated, tag = "5")]
    pub(super) top_tokens: Vec<u32>,
    #[prost(float, repeated, tag = "6")]
    pub(super) top_logprobs: Vec<f32>,
}
