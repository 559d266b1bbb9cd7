//! Who is asked first: heads in the order of what is predicted of them.
//!
//! Left out are those that the request's privacy level forbids, and those that surely cannot
//! hold its context; those that perhaps cannot come last. The rest are ordered by the predicted
//! time of a whole answer: round trip, queue, prefill of the prompt, and tokens at the speed that
//! is left beside the sessions that run, plus a penalty for recent failures here.
//!
//! A model that this node has runs here unless it is clearly worse: its predicted time counts a
//! [`OWN_ADVANTAGE`]th. A node's own machine costs nobody else anything, shows the text to
//! nobody, and its figures are no stranger's claim.
//!
//! What heads say of themselves is bounded before it is used. It knows no peer, no transport and
//! no clock, and does not send.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use protocol::NodeId;

mod failures;
mod size;
#[cfg(test)]
mod tests;

pub use self::failures::{Failures, MAX_REMEMBERED};
pub use self::size::{EXPECTED_ANSWER, PromptSize};

/// The own head is left only when another is predicted to be this many times faster.
pub const OWN_ADVANTAGE: f64 = 3.0;

/// Candidates of one ranking: more are never tried for one answer.
pub const MAX_CHOICES: usize = 16;

/// What is assumed of a head that did not measure: a small model on a laptop's processor.
const ASSUMED_PREFILL: f64 = 200.0;
const ASSUMED_DECODE: f64 = 10.0;

/// The fastest that anybody is believed: beyond it a claim would only win the ranking.
const MOST_PREFILL: f64 = 100_000.0;
const MOST_DECODE: f64 = 1_000.0;

/// The slowest that is reckoned with, so that a prediction is finite.
const LEAST_RATE: f64 = 0.01;

/// Each session that runs beside an answer costs it this share of its time (continuous batching
/// shares the reading of the weights; the rest is paid by each).
const BATCH_COST: f64 = 0.25;

/// Round trip to a peer that was not probed: across a continent.
const ASSUMED_RTT: Duration = Duration::from_millis(150);

/// What a relay adds beyond what a probe of the direct path would show.
const RELAY_COST: Duration = Duration::from_millis(200);

/// The own model, stored but not loaded: some gigabytes from a disk take longer, but what is
/// loaded stays for the requests that follow.
const ASSUMED_LOAD: Duration = Duration::from_secs(3);

/// Heads that are alike are not asked in the same order by all the swarm: up to this share is
/// added to a prediction by lot.
const SPREAD: f64 = 0.1;

/// Nothing is predicted beyond it.
const LONGEST: Duration = Duration::from_secs(3600);

/// Who may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// This node's own head.
    Own,
    /// A head on another peer.
    Peer(NodeId),
}

/// Who may see a request's text; each level allows what the one before does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// This node only.
    Local,
    /// Peers that the owner trusts: members of the same private swarm, and those named in the
    /// configuration.
    Trusted,
    /// Every peer.
    #[default]
    Swarm,
}

/// What of a request decides who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// How long its prompt is.
    pub prompt: PromptSize,
    /// Tokens wanted at most.
    pub max_tokens: Option<u32>,
    /// Who may see it.
    pub level: Level,
    /// Draws the lots among heads that are alike.
    pub salt: u64,
}

/// A head that could answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Offer {
    /// Who.
    pub target: Target,
    /// Tokens that one session can hold; `None`: unknown.
    pub context_tokens: Option<u32>,
    /// Sessions at a time.
    pub parallel: u32,
    /// Sessions that run.
    pub running: u32,
    /// Requests that wait.
    pub queued: u32,
    /// Of one session; `None`: not measured.
    pub prefill_tokens_per_second: Option<f32>,
    /// Of one session; `None`: not measured.
    pub decode_tokens_per_second: Option<f32>,
    /// `None`: not measured. Not looked at for the own head.
    pub rtt: Option<Duration>,
    /// Reached over a relay.
    pub is_relayed: bool,
    /// The owner trusts it. Not looked at for the own head.
    pub is_trusted: bool,
    /// The model is loaded. Peers offer none that is not.
    pub is_loaded: bool,
}

/// A head to ask, and what is expected of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Who.
    pub target: Target,
    /// Predicted time to its first token.
    pub first_token: Duration,
    /// Tokens that one session can hold; `None`: unknown.
    pub context_tokens: Option<u32>,
}

/// Why nobody can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NobodyLeft {
    /// Nobody offers the model.
    #[error("nobody in reach serves it")]
    NoOffer,
    /// The privacy level forbids everybody who does.
    #[error("the privacy level forbids every peer that serves it")]
    Forbidden,
    /// The prompt fits in nobody's context; the largest one.
    #[error("the largest context in reach holds {0} tokens")]
    TooLong(u32),
}

/// Orders the heads, best first, at most [`MAX_CHOICES`].
///
/// # Errors
/// Why nobody is left.
pub fn rank(
    ask: &Ask,
    offers: &[Offer],
    failures: &Failures,
    now: Instant,
) -> Result<Vec<Choice>, NobodyLeft> {
    if offers.is_empty() {
        return Err(NobodyLeft::NoOffer);
    }
    let allowed: Vec<&Offer> = offers.iter().filter(|o| allows(ask.level, o)).collect();
    if allowed.is_empty() {
        return Err(NobodyLeft::Forbidden);
    }
    let usual = Usual::of(&allowed);
    let mut ranked: Vec<_> = allowed
        .iter()
        .filter(|offer| fit(ask, offer) != Fit::No)
        .map(|offer| {
            let predicted = predict(ask, offer, usual);
            let penalty = failures.penalty(&offer.target, now);
            let weighed = weigh(ask, offer, predicted.whole) + penalty;
            let key = (fit(ask, offer), weighed, offer.target);
            (key, choice(offer, predicted.first_token))
        })
        .collect();
    if ranked.is_empty() {
        let contexts = allowed.iter().filter_map(|offer| offer.context_tokens);
        return Err(NobodyLeft::TooLong(contexts.max().unwrap_or(0)));
    }
    ranked.sort_by_key(|(key, _)| *key);
    let mut seen = BTreeSet::new();
    ranked.retain(|(_, choice)| seen.insert(choice.target));
    ranked.truncate(MAX_CHOICES);
    Ok(ranked.into_iter().map(|(_, choice)| choice).collect())
}

fn choice(offer: &Offer, first_token: Duration) -> Choice {
    Choice {
        target: offer.target,
        first_token,
        context_tokens: offer.context_tokens,
    }
}

fn allows(level: Level, offer: &Offer) -> bool {
    match (offer.target, level) {
        (Target::Own, _) | (Target::Peer(_), Level::Swarm) => true,
        (Target::Peer(_), Level::Trusted) => offer.is_trusted,
        (Target::Peer(_), Level::Local) => false,
    }
}

/// Whether a head can hold the context, in the order in which heads are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Surely,
    Perhaps,
    No,
}

/// The prompt's length is an estimate unless it came as tokens: below its least count a head is
/// left out, up to its most (and a usual answer) it comes last.
fn fit(ask: &Ask, offer: &Offer) -> Fit {
    let Some(context) = offer.context_tokens else {
        return Fit::Surely;
    };
    let answer = ask.max_tokens.unwrap_or(u32::MAX).min(EXPECTED_ANSWER);
    // An answer of no token needs none beside the prompt.
    let least = ask.prompt.least.saturating_add(answer.min(1));
    let most = ask.prompt.most.saturating_add(answer);
    match context {
        context if context < least => Fit::No,
        context if context < most => Fit::Perhaps,
        _ => Fit::Surely,
    }
}

/// The speeds that a head is taken to have which says none: the best that others say for the
/// own one, so that it is not left for want of a measurement.
#[derive(Debug, Clone, Copy)]
struct Usual {
    own_prefill: f64,
    own_decode: f64,
}

impl Usual {
    fn of(offers: &[&Offer]) -> Self {
        let best = |rate: fn(&Offer) -> Option<f32>, most, least| {
            let rates = offers.iter().filter_map(|offer| rate(offer));
            rates
                .map(|r| bounded(r, most))
                .fold(least, |best: f64, r| best.max(r))
        };
        Self {
            own_prefill: best(
                |o| o.prefill_tokens_per_second,
                MOST_PREFILL,
                ASSUMED_PREFILL,
            ),
            own_decode: best(|o| o.decode_tokens_per_second, MOST_DECODE, ASSUMED_DECODE),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Predicted {
    first_token: Duration,
    whole: Duration,
}

fn predict(ask: &Ask, offer: &Offer, usual: Usual) -> Predicted {
    let is_own = offer.target == Target::Own;
    let assumed = |own, other| if is_own { own } else { other };
    let prefill = rate(offer.prefill_tokens_per_second, MOST_PREFILL)
        .unwrap_or_else(|| assumed(usual.own_prefill, ASSUMED_PREFILL));
    let decode = rate(offer.decode_tokens_per_second, MOST_DECODE)
        .unwrap_or_else(|| assumed(usual.own_decode, ASSUMED_DECODE));
    let parallel = offer.parallel.max(1);
    let beside = f64::from(offer.running.min(parallel - 1));
    let crowd = 1.0 + BATCH_COST * beside;
    let usual_answer = f64::from(EXPECTED_ANSWER) / decode * crowd;
    let queue = match offer.running < parallel && offer.queued == 0 {
        true => 0.0,
        false => usual_answer * (f64::from(offer.queued) + 1.0) / f64::from(parallel),
    };
    let prompt = f64::from(ask.prompt.likely()) / prefill * crowd;
    let wanted = f64::from(ask.max_tokens.unwrap_or(u32::MAX).min(EXPECTED_ANSWER));
    let first = seconds(queue + prompt + crowd / decode) + way(offer);
    Predicted {
        first_token: first.min(LONGEST),
        whole: (first + seconds(wanted / decode * crowd)).min(LONGEST),
    }
}

/// What lies between here and the head.
fn way(offer: &Offer) -> Duration {
    match offer.target {
        Target::Own if offer.is_loaded => Duration::ZERO,
        Target::Own => ASSUMED_LOAD,
        Target::Peer(_) => {
            let relay = if offer.is_relayed {
                RELAY_COST
            } else {
                Duration::ZERO
            };
            offer.rtt.unwrap_or(ASSUMED_RTT).min(LONGEST) + relay
        }
    }
}

/// A prediction as it is compared.
fn weigh(ask: &Ask, offer: &Offer, whole: Duration) -> Duration {
    match offer.target {
        Target::Own => whole.div_f64(OWN_ADVANTAGE),
        Target::Peer(node) => whole.mul_f64(1.0 + SPREAD * lot(ask.salt, &node)),
    }
}

/// A draw of a peer for a request, 0..1: the finaliser of SplitMix64 (Steele, Lea and Flood,
/// 2014) over the request's salt and the peer's id.
fn lot(salt: u64, node: &NodeId) -> f64 {
    let [a, b, c, d, e, f, g, h, ..] = *node.as_bytes();
    let mut x = salt ^ u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 31;
    let top = u32::try_from(x >> 32).unwrap_or(u32::MAX);
    f64::from(top) / (f64::from(u32::MAX) + 1.0)
}

fn rate(said: Option<f32>, most: f64) -> Option<f64> {
    said.filter(|rate| rate.is_finite() && *rate > 0.0)
        .map(|rate| bounded(rate, most))
}

fn bounded(rate: f32, most: f64) -> f64 {
    // A claim that is no number is as good as none.
    if rate.is_nan() {
        return LEAST_RATE;
    }
    f64::from(rate).clamp(LEAST_RATE, most)
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, LONGEST.as_secs_f64()))
}
