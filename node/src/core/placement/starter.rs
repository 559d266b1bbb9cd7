//! What a node takes on that was started without a model: what helps most. Pure; it fetches nothing.

use std::cmp::Reverse;

use protocol::ModelName;

use super::need;
use super::{Candidate, Policy, Scene};

/// Bytes that are fetched at most for a model that nobody asks for: twenty minutes of a line of
/// 40 Mbit/s. Its owner may pull what is larger.
pub const MOST_FETCHED: u64 = 6_000_000_000;

/// What is taken on, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    /// The model.
    pub model: ModelName,
    /// Why, for people.
    pub why: String,
}

/// What helps most of what fits: what lacks servers the most, what is asked for the most beside what
/// serves it, and where nobody asks for anything what this machine can run best: on the disk before
/// what is to be fetched, the more capable first. `None`: nothing fits.
pub fn first(scene: &Scene, policy: &Policy) -> Option<First> {
    let fits = |candidate: &Candidate| candidate.need_bytes <= scene.free_bytes;
    let fitting = scene.candidates.iter();
    let fitting: Vec<_> = fitting
        .filter(|(model, candidate)| fits(candidate) && !scene.held.contains_key(*model))
        .collect();
    let asked = fitting.iter().filter_map(|(model, _)| {
        let asked = scene.asked.get(*model)?;
        let served = scene.served.get(*model).cloned().unwrap_or_default();
        let rate = asked.arrivals.per_second / (1.0 + f64::from(served.sequences));
        let lacks = need::need(asked, &served, policy).map_or(0.0, |need| need.score);
        need::is_asked(asked, policy).then_some((*model, lacks, rate))
    });
    let best = asked.max_by(|(_, lacks, rate), (_, other_lacks, other_rate)| {
        let by_need = lacks.total_cmp(other_lacks);
        by_need.then(rate.total_cmp(other_rate))
    });
    if let Some((model, lacks, _)) = best {
        let why = match lacks > 0.0 {
            true => "the swarm asks for it and lacks servers",
            false => "the swarm asks for it",
        };
        return Some(of(model, why));
    }
    let able = fitting.iter().filter(|(_, candidate)| {
        // The owner's other work has the other half of the memory that models may take.
        let is_small = candidate.need_bytes <= scene.free_bytes / 2;
        let is_near = candidate.fetch_bytes <= MOST_FETCHED;
        candidate.writes && (candidate.fetch_bytes == 0 || (is_small && is_near))
    });
    let best = able.min_by_key(|(model, candidate)| {
        let is_fetched = candidate.fetch_bytes > 0;
        (is_fetched, Reverse(candidate.need_bytes), (*model).clone())
    });
    best.map(|(model, candidate)| match candidate.fetch_bytes {
        0 => of(
            model,
            "it is here, and the most capable that fits the memory",
        ),
        _ => of(
            model,
            "nobody asks for anything; it is the most capable of the catalog that fits",
        ),
    })
}

fn of(model: &ModelName, why: &str) -> First {
    First {
        model: model.clone(),
        why: why.to_owned(),
    }
}
