//! A plan for a model, as `GET /api/plan` shows it.

use serde::{Deserialize, Serialize};

/// Which peers would hold a model, how fast it would be, and why the others would not.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanReport {
    /// The model's full name.
    pub model: String,
    /// Layers that it has.
    pub layers: u32,
    /// Tokens of one sequence that the plan has room for.
    pub context_length: u32,
    /// Sequences at once.
    pub parallel: u32,
    /// `whole`: on one machine; `chain`: over several; `none`: there is no plan.
    pub kind: String,
    /// The node that would own the sessions.
    pub head: String,
    /// Who holds what, in the order of layers; empty without a plan.
    pub stages: Vec<PlannedStage>,
    /// How fast it would be; `None` without a plan.
    pub prediction: Option<PlanPrediction>,
    /// Bytes of memory that are missing for a plan; 0 where something else is, or nothing.
    pub missing_bytes: u64,
    /// Why there is no plan, in one line that says what to do.
    pub cause: Option<String>,
    /// Every peer that holds nothing, and why.
    pub out: Vec<LeftOut>,
}

/// Layers on a peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStage {
    /// The peer's public key, as text.
    pub peer: String,
    /// It is this node.
    pub is_here: bool,
    /// The first layer.
    pub first_layer: u32,
    /// The layer behind the last.
    pub last_layer: u32,
    /// Memory that the stage takes: weights, cache, buffers.
    pub memory_bytes: u64,
    /// Bytes of weights that the peer has yet to fetch.
    pub fetch_bytes: u64,
    /// What the stage adds to a token, milliseconds.
    pub token_ms: f64,
}

/// How fast a plan would be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PlanPrediction {
    /// Tokens a second of one session.
    pub tokens_per_second: f64,
    /// A token of one session, milliseconds.
    pub token_ms: f64,
    /// Its part in the stages.
    pub compute_ms: f64,
    /// Its part on the way between peers.
    pub network_ms: f64,
    /// Tokens of a prompt a second; `None`: a stage's machine was not measured.
    pub prefill_tokens_per_second: Option<f64>,
    /// Sessions that the next figure is for.
    pub streams: u32,
    /// Tokens a second of all these sessions together.
    pub streams_tokens_per_second: f64,
    /// A machine's speed was assumed, because nobody measured it.
    pub is_assumed: bool,
}

/// A peer that holds nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its public key, as text.
    pub peer: String,
    /// It is this node.
    pub is_here: bool,
    /// A stable word for the reason: `not_allowed`, `unmeasured`, `too_far`, `apart`,
    /// `no_memory`, `slows_down`, `not_needed`, `outranked` or `not_enough`.
    pub code: String,
    /// The reason in one line.
    pub reason: String,
}
