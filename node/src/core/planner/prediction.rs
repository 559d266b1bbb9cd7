//! How fast a ring will be. A token of one session is what the search minimises; what follows
//! from the finished ring is worked out here.

use std::time::Duration;

use super::ring::Ring;
use super::shape::Weights;
use super::{Peer, Question, Stage};

/// Operations for each parameter and token: one multiplication and one addition.
const OPERATIONS: f64 = 2.0;

/// How fast a plan will be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// A token of one session, all in all.
    pub token: Duration,
    /// Its part in the stages.
    pub compute: Duration,
    /// Its part on the way between peers.
    pub network: Duration,
    /// Tokens of a prompt a second, chunks following one another: what the slowest stage or uplink
    /// lets through. `None`: not all stages were measured.
    pub prefill: Option<f64>,
    /// Sessions that `together` is for.
    pub streams: u32,
    /// Tokens a second of all these sessions together.
    pub together: f64,
    /// The bandwidth of a stage was assumed, not measured.
    pub is_assumed: bool,
}

impl Prediction {
    /// Tokens a second of one session.
    pub fn tokens_per_second(&self) -> f64 {
        1.0 / self.token.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// The prediction for a ring.
pub(super) fn of(question: &Question<'_>, ring: &Ring) -> Prediction {
    let steps: Vec<Step<'_>> = steps(question, ring).collect();
    let streams = question.streams.max(1);
    Prediction {
        token: ring.token(),
        compute: ring.compute,
        network: ring.network,
        prefill: prefill(question, &steps),
        streams,
        together: together(&steps, ring.network, streams),
        is_assumed: steps.iter().any(|step| !step.peer.is_measured()),
    }
}

/// A stage with its peer and what takes part in a token's computation.
struct Step<'a> {
    stage: &'a Stage,
    peer: &'a Peer,
    operations: f64,
    /// It sends hidden states to another peer.
    sends: bool,
}

fn steps<'a>(question: &Question<'a>, ring: &'a Ring) -> impl Iterator<Item = Step<'a>> {
    let (shape, peers) = (question.shape, question.peers);
    let last = ring.stages.len().saturating_sub(1);
    ring.stages
        .iter()
        .enumerate()
        .filter_map(move |(at, stage)| {
            let layers = shape.slice(stage.layers.clone()).iter();
            let output = (at == last).then_some(shape.output);
            let weights = layers.map(|layer| layer.weights).chain(output);
            let parameters: u64 = weights.map(|weights: Weights| weights.parameters).sum();
            Some(Step {
                stage,
                peer: peers.iter().find(|peer| peer.node == stage.peer)?,
                operations: parameters as f64 * OPERATIONS,
                sends: at < last,
            })
        })
}

/// Chunks of a prompt follow one another through the stages, so the slowest of all sets the pace.
/// The output counts as if it were computed for each token, which it is not: the guess is low.
fn prefill(question: &Question<'_>, steps: &[Step<'_>]) -> Option<f64> {
    let bytes = question.shape.hidden_bytes as f64;
    let stages = steps.iter().map(|step| {
        let flops = step.peer.flops()?;
        Some(flops / step.operations.max(1.0))
    });
    let sending = steps.iter().filter(|step| step.sends);
    let mut uplinks: Vec<f64> = sending
        .filter_map(|step| step.peer.uplink)
        .map(|uplink| uplink as f64 / bytes.max(1.0))
        .collect();
    let first = steps.first().map(|step| step.stage.peer);
    if first != Some(question.head)
        && let Some(uplink) = question.head_peer().and_then(|head| head.uplink)
    {
        uplinks.push(uplink as f64 / bytes.max(1.0));
    }
    let rates: Option<Vec<f64>> = stages.collect();
    let all = rates?.into_iter().chain(uplinks);
    all.reduce(f64::min)
}

/// Sessions go around in batches, as many as there are stages at most. A batch reads the weights
/// once, whatever its size, until computing takes longer than reading. With `b` batches of `g`
/// sessions there are b·g tokens in the longer of one trip around the ring and `b` turns of the
/// slowest stage; the best `b` counts.
fn together(steps: &[Step<'_>], network: Duration, streams: u32) -> f64 {
    let most = u32::try_from(steps.len()).unwrap_or(1).clamp(1, streams);
    let rate = |batches: u32| {
        let size = f64::from(streams) / f64::from(batches);
        let times = steps.iter().map(|step| batch_seconds(step, size));
        let (sum, slowest) = times.fold((0.0, 0.0_f64), |(sum, slowest), time| {
            (sum + time, slowest.max(time))
        });
        let trip = sum + network.as_secs_f64();
        let cycle = trip.max(f64::from(batches) * slowest);
        f64::from(streams) / cycle.max(f64::MIN_POSITIVE)
    };
    (1..=most).map(rate).fold(0.0, f64::max)
}

fn batch_seconds(step: &Step<'_>, size: f64) -> f64 {
    let reading = step.stage.time.as_secs_f64();
    let computing = step
        .peer
        .flops()
        .map_or(0.0, |flops| size * step.operations / flops);
    reading.max(computing)
}
