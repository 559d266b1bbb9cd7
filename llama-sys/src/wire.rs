//! The protobuf forms of how tokens are chosen, which the worker's socket and the payloads of
//! chains both carry, and their way to and from the engine's types.

use crate::engine;

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Grammar {
    #[prost(message, tag = "11")]
    JsonObject(()),
    #[prost(string, tag = "12")]
    JsonSchema(String),
    #[prost(string, tag = "13")]
    Gbnf(String),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Sampling {
    #[prost(float, tag = "1")]
    pub(crate) temperature: f32,
    #[prost(float, tag = "2")]
    pub(crate) top_p: f32,
    #[prost(uint32, tag = "3")]
    pub(crate) top_k: u32,
    #[prost(float, tag = "4")]
    pub(crate) min_p: f32,
    #[prost(float, tag = "5")]
    pub(crate) repeat_penalty: f32,
    #[prost(float, tag = "6")]
    pub(crate) presence_penalty: f32,
    #[prost(float, tag = "7")]
    pub(crate) frequency_penalty: f32,
    /// Of equal length: a token and its bias.
    #[prost(uint32, repeated, tag = "8")]
    pub(crate) bias_tokens: Vec<u32>,
    #[prost(float, repeated, tag = "9")]
    pub(crate) bias_values: Vec<f32>,
}

impl From<engine::Sampling> for Sampling {
    fn from(sampling: engine::Sampling) -> Self {
        let (bias_tokens, bias_values) = sampling.logit_bias.into_iter().unzip();
        Self {
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            top_k: sampling.top_k,
            min_p: sampling.min_p,
            repeat_penalty: sampling.repeat_penalty,
            presence_penalty: sampling.presence_penalty,
            frequency_penalty: sampling.frequency_penalty,
            bias_tokens,
            bias_values,
        }
    }
}

/// Biases without tokens, or the other way round.
#[derive(Debug)]
pub(crate) struct UnevenBias;

impl TryFrom<Sampling> for engine::Sampling {
    type Error = UnevenBias;

    fn try_from(sampling: Sampling) -> Result<Self, UnevenBias> {
        if sampling.bias_tokens.len() != sampling.bias_values.len() {
            return Err(UnevenBias);
        }
        let tokens = sampling.bias_tokens.into_iter();
        Ok(Self {
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            top_k: sampling.top_k,
            min_p: sampling.min_p,
            repeat_penalty: sampling.repeat_penalty,
            presence_penalty: sampling.presence_penalty,
            frequency_penalty: sampling.frequency_penalty,
            logit_bias: tokens.zip(sampling.bias_values).collect(),
        })
    }
}

/// `None` on the wire: anything goes.
pub(crate) fn grammar_to_wire(grammar: engine::Grammar) -> Option<Grammar> {
    match grammar {
        engine::Grammar::None => None,
        engine::Grammar::JsonObject => Some(Grammar::JsonObject(())),
        engine::Grammar::JsonSchema(schema) => Some(Grammar::JsonSchema(schema)),
        engine::Grammar::Gbnf(rules) => Some(Grammar::Gbnf(rules)),
    }
}

/// The other way.
pub(crate) fn grammar_from_wire(grammar: Option<Grammar>) -> engine::Grammar {
    match grammar {
        None => engine::Grammar::None,
        Some(Grammar::JsonObject(())) => engine::Grammar::JsonObject,
        Some(Grammar::JsonSchema(schema)) => engine::Grammar::JsonSchema(schema),
        Some(Grammar::Gbnf(rules)) => engine::Grammar::Gbnf(rules),
    }
}
