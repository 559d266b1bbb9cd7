//! Which experts of a mixture each peer of a group holds, where none holds them all: from what the
//! experts weigh, how the router uses them and what each peer has room for to a [`Plan`]; how good a
//! shard is ([`score`]), and which one answers ([`route`]). Pure; it knows no network, no file and no engine.
//!
//! **What a shard is.** The whole trunk and, of each layer, as many experts; the file format knows one
//! number for all layers, not which they are. It answers by itself, so nothing travels between peers
//! while it does.
//!
//! **Rules.**
//! 1. Each shard is as large as its peer's room lets it be. A peer that has room for fewer than
//!    [`LEAST_PER_USED`] times the experts that a token uses is left out: such shards answer garbage.
//! 2. The most used experts are the *core*, which every shard has, as large as half of the smallest
//!    shard where the group can hold the rest.
//! 3. Each other expert is on one shard at least. So a question that no single shard answers well finds
//!    one that has what it needs.
//! 4. Shards differ by *themes*: texts that use the same experts. What is free in a shard after the
//!    core goes to its theme's experts. A prompt is then answered well by the shard of its theme.
//! 5. Peers that come and go move few bytes. What somebody has already counts for rule 3 before what
//!    nobody has (as a maximum matching, so that as little as possible is fetched), and fills shards
//!    before what the theme would like. While the core stays, which it does until it could grow by a
//!    quarter, only experts that were lost are fetched, by one peer each, and a newcomer's.
//!
//! The same input gives the same plan.

pub mod reference;
pub mod route;
pub mod score;
mod spread;
mod themes;

use std::collections::BTreeMap;

use llama_sys::gguf::slice::Mixture;
use llama_sys::gguf::{ExpertSets, Usage};
use protocol::NodeId;

use self::spread::Place;

/// A shard has this many times the experts that a token uses, or all. Measured by others: 64 of 128
/// experts with 8 used answer coherently, 32 of 128 do not.
pub const LEAST_PER_USED: u32 = 4;

/// The core takes this part of the smallest shard at most: more would leave shards with nothing that
/// only they have, less would make each of them worse for all other questions.
const CORE_PART: u32 = 2;

/// A core that could grow by less than this part of itself stays as it is.
const CORE_GROWTH_PART: u32 = 4;

/// Peers of a group: more than 32 shards of one model are several groups.
pub const MAX_MEMBERS: usize = 32;

/// Texts that a usage is measured on.
pub const MAX_TEXTS: usize = 64;

/// A peer that could hold a shard.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Who.
    pub node: NodeId,
    /// Memory for a shard's tensors, bytes: what is allowed without caches and buffers.
    pub room_bytes: u64,
    /// What it holds now.
    pub held: Option<ExpertSets>,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What the experts weigh.
    pub mixture: &'a Mixture,
    /// How the router chose on different texts, each of which counts as much.
    pub usage: &'a [Usage],
    /// Everybody who may be considered; of one that is named twice the last counts.
    pub members: &'a [Member],
    /// The core of the shards that are there now.
    pub core: Option<u32>,
}

/// Who holds what.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Experts of each layer that every shard has.
    pub core: u32,
    /// The shards, by node.
    pub shards: Vec<Shard>,
    /// Who has room for none.
    pub out: Vec<NodeId>,
}

/// One peer's.
#[derive(Debug, Clone, PartialEq)]
pub struct Shard {
    /// Who.
    pub node: NodeId,
    /// Its experts.
    pub kept: ExpertSets,
    /// Bytes of its tensors.
    pub bytes: u64,
    /// Of those, what its peer does not have yet.
    pub fetch_bytes: u64,
    /// The share of the routed mass that its experts have, over all texts.
    pub retained: f64,
}

/// Why there is no plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// No usage, more than [`MAX_TEXTS`], or another model's.
    #[error("it is not known how the model uses its experts")]
    Usage,
    /// More than [`MAX_MEMBERS`].
    #[error("{0} peers are more than one group of shards has")]
    TooMany(usize),
    /// All together have no room for all experts.
    #[error("there is no room for {missing} of {of} experts of each layer")]
    NoRoom {
        /// Experts of each layer for which there is no room.
        missing: u32,
        /// Experts of a layer.
        of: u32,
    },
}

/// A peer with a shard.
#[derive(Debug, Clone, Copy)]
struct Seat<'a> {
    node: NodeId,
    /// Experts of each layer.
    kept: u32,
    held: Option<&'a ExpertSets>,
}

/// Decides who holds what.
///
/// # Errors
/// [`ShardError`] if the group cannot hold the model.
pub fn plan(question: &Question<'_>) -> Result<Plan, ShardError> {
    let overall = overall(question)?;
    if question.members.len() > MAX_MEMBERS {
        return Err(ShardError::TooMany(question.members.len()));
    }
    let (seats, out) = seats(question);
    let core = core(question, &seats)?;
    let held: Vec<Option<&ExpertSets>> = seats.iter().map(|seat| seat.held).collect();
    let themes = themes::of(question.usage, &held);
    let mut sets: Vec<Vec<Vec<u32>>> = vec![Vec::new(); seats.len()];
    for (layer, ranking) in overall.ranking().iter().enumerate() {
        let places = seats.iter().zip(&themes).map(|(seat, theme)| Place {
            room: seat.kept as usize,
            held: seat
                .held
                .map_or(&[][..], |held| held.layers()[layer].as_slice()),
            liking: &theme.layers()[layer],
        });
        let places: Vec<Place<'_>> = places.collect();
        let spread = spread::spread(ranking, core as usize, &places);
        for (of_seat, kept) in sets.iter_mut().zip(spread) {
            of_seat.push(kept);
        }
    }
    let shards = seats.iter().zip(sets).filter_map(|(seat, layers)| {
        // Made of a ranking, which has each expert once.
        let kept = ExpertSets::new(question.mixture.experts, layers).ok()?;
        Some(shard(question.mixture, seat, kept, &overall))
    });
    Ok(Plan {
        core,
        shards: shards.collect(),
        out,
    })
}

/// The usage over all texts, if it is of this model.
fn overall(question: &Question<'_>) -> Result<Usage, ShardError> {
    let mixture = question.mixture;
    let fits = |usage: &Usage| {
        usage.experts() == mixture.experts && usage.layers().len() == mixture.expert_bytes.len()
    };
    let known = question.usage.len() <= MAX_TEXTS && question.usage.iter().all(fits);
    let overall = Usage::mean(question.usage).filter(|_| known);
    overall.ok_or(ShardError::Usage)
}

/// Who has room for a shard, and who has not.
fn seats<'a>(question: &Question<'a>) -> (Vec<Seat<'a>>, Vec<NodeId>) {
    let mixture = question.mixture;
    let least = mixture.used.saturating_mul(LEAST_PER_USED);
    let least = least.min(mixture.experts).max(1);
    let layers = mixture.expert_bytes.len();
    let of_model =
        |held: &&ExpertSets| held.experts() == mixture.experts && held.layers().len() == layers;
    let members = question.members.iter().map(|member| (member.node, member));
    let members: BTreeMap<NodeId, &Member> = members.collect();
    let (mut seats, mut out) = (Vec::new(), Vec::new());
    for (node, member) in members {
        let kept = mixture.most_within(member.room_bytes);
        if kept < least || mixture.shard_bytes(kept) > member.room_bytes {
            out.push(node);
            continue;
        }
        seats.push(Seat {
            node,
            kept,
            held: member.held.as_ref().filter(of_model),
        });
    }
    (seats, out)
}

/// How many experts every shard has.
fn core(question: &Question<'_>, seats: &[Seat<'_>]) -> Result<u32, ShardError> {
    let of = question.mixture.experts;
    let all: u32 = seats.iter().map(|seat| seat.kept).sum();
    if all < of {
        let missing = of - all;
        return Err(ShardError::NoRoom { missing, of });
    }
    let smallest = seats.iter().map(|seat| seat.kept).min().unwrap_or(0);
    let others = u32::try_from(seats.len().saturating_sub(1)).unwrap_or(u32::MAX);
    // Beside the cores there must be room for the rest: Σ (kept − core) ≥ of − core.
    let most = match others {
        0 => smallest,
        others => ((all - of) / others).min(smallest / CORE_PART),
    };
    let stays = |core: &u32| {
        let growth = (*core / CORE_GROWTH_PART).max(1);
        *core <= most && most <= core.saturating_add(growth)
    };
    Ok(question.core.filter(stays).unwrap_or(most))
}

fn shard(mixture: &Mixture, seat: &Seat<'_>, kept: ExpertSets, overall: &Usage) -> Shard {
    let new_in = |(layer, experts): (usize, &Vec<u32>)| {
        let is_new = |expert: &&u32| !seat.held.is_some_and(|held| held.has(layer, **expert));
        let count = experts.iter().filter(is_new).count() as u64;
        count.saturating_mul(mixture.expert_bytes[layer])
    };
    let trunk = seat.held.map_or(mixture.trunk_bytes, |_| 0);
    let fetches = kept.layers().iter().enumerate().map(new_in);
    Shard {
        node: seat.node,
        bytes: mixture.shard_bytes(kept.kept()),
        fetch_bytes: fetches.fold(trunk, u64::saturating_add),
        retained: overall.retained(&kept),
        kept,
    }
}

#[cfg(test)]
mod tests;
