//! What heads and slices of chains are told and say.

#[derive(Clone, PartialEq, prost::Message)]
pub(in super::super) struct HeadConfig {
    #[prost(bytes = "vec", tag = "1")]
    pub(in super::super) file: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub(in super::super) context_length: u32,
    #[prost(uint32, tag = "3")]
    pub(in super::super) parallel: u32,
    #[prost(uint32, tag = "4")]
    pub(in super::super) cells: u32,
    #[prost(uint32, tag = "5")]
    pub(in super::super) sequences: u32,
    #[prost(uint32, tag = "6")]
    pub(in super::super) batch_tokens: u32,
    #[prost(uint32, tag = "7")]
    pub(in super::super) queue_limit: u32,
    #[prost(uint32, tag = "8")]
    pub(in super::super) precision: u32,
    #[prost(float, tag = "9")]
    pub(in super::super) embedding_scale: f32,
    #[prost(uint64, optional, tag = "10")]
    pub(in super::super) memory_limit_bytes: Option<u64>,
    #[prost(string, tag = "11")]
    pub(in super::super) speculate: String,
    #[prost(bytes = "vec", optional, tag = "12")]
    pub(in super::super) draft: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in super::super) struct SliceConfig {
    #[prost(bytes = "vec", tag = "1")]
    pub(in super::super) file: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub(in super::super) cells: u32,
    #[prost(uint32, tag = "3")]
    pub(in super::super) sequences: u32,
    #[prost(uint32, tag = "4")]
    pub(in super::super) batch_tokens: u32,
    #[prost(uint32, optional, tag = "5")]
    pub(in super::super) threads: Option<u32>,
    #[prost(uint32, optional, tag = "6")]
    pub(in super::super) gpu_layers: Option<u32>,
    #[prost(bool, tag = "7")]
    pub(in super::super) is_last: bool,
    #[prost(float, tag = "8")]
    pub(in super::super) input_scale: f32,
    #[prost(uint32, tag = "9")]
    pub(in super::super) precision: u32,
    #[prost(uint64, optional, tag = "10")]
    pub(in super::super) memory_limit_bytes: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in super::super) struct SliceInfo {
    #[prost(uint32, tag = "1")]
    pub(in super::super) width: u32,
    #[prost(uint32, tag = "2")]
    pub(in super::super) layers: u32,
    #[prost(uint64, tag = "3")]
    pub(in super::super) model_bytes: u64,
    #[prost(uint64, tag = "4")]
    pub(in super::super) token_nanos: u64,
}

/// What goes to or comes from a head or a stage; which of them are allowed depends on the
/// direction.
#[derive(Clone, PartialEq, prost::Message)]
pub(in super::super) struct Ported {
    #[prost(oneof = "Port", tags = "1, 2, 3, 4, 5")]
    pub(in super::super) port: Option<Port>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(in super::super) enum Port {
    #[prost(uint64, tag = "1")]
    Up(u64),
    /// Of a stage: nothing came of a payload.
    #[prost(message, tag = "2")]
    Down(()),
    #[prost(bytes = "bytes", tag = "3")]
    Forward(bytes::Bytes),
    #[prost(bytes = "bytes", tag = "4")]
    Back(bytes::Bytes),
    #[prost(string, tag = "5")]
    Broken(String),
}
