//! Which changes of what this node is are worth an advert before the next heartbeat.
//!
//! Whatever changes whether, or how soon, a request finds its model, or a chain its machines. What
//! only drifts (free memory, coordinates, neighbours' times) waits for the heartbeat.

use protocol::NodeId;
use protocol::advert::{Deployed, NodeDevice, Profile};
use protocol::limits::MAX_NEIGHBOURS;

/// The factor by which a measured speed must change: measurements vary by a tenth.
const SPEED_FACTOR: f32 = 1.25;

/// Neighbours of which each is told as soon as it is measured. A chain of three needs to know how far
/// two of its machines are from one another, which only they can say; where there are many neighbours,
/// those who came first are enough: as many as a group dials for
/// ([`ENOUGH_MEMBERS`](crate::core::groups::ENOUGH_MEMBERS)).
const FIRST_NEIGHBOURS: usize = 12;

/// Whether others should know of a change at once.
pub fn is_material(old: &Profile, new: &Profile) -> bool {
    old.role != new.role
        || old.version != new.version
        || old.limits != new.limits
        || old.nat != new.nat
        || old.addresses != new.addresses
        || old.slices != new.slices
        || old.coming != new.coming
        || old.devices.len() != new.devices.len()
        || (old.devices.iter().zip(&new.devices)).any(|(old, new)| is_other_device(old, new))
        || lacks_neighbours(old, new)
        || old.place.is_some() != new.place.is_some()
        || old.deployments.len() != new.deployments.len()
        || (new.deployments.iter()).any(|deployment| {
            (old.deployment(&deployment.model)).is_none_or(|old| is_other(old, deployment))
        })
}

/// Whether some of the first neighbours were not told. Where a list names all that there are, one that
/// came counts though another went meanwhile: of those two nobody else can say how far they are from
/// this node. In a swarm of more, lists name the nearest, who change places all the time.
fn lacks_neighbours(old: &Profile, new: &Profile) -> bool {
    let names_all = new
        .swarm_size
        .is_none_or(|size| size as usize <= MAX_NEIGHBOURS);
    let is_told = |node: NodeId| old.neighbours.iter().any(|known| known.node == node);
    let told = match names_all {
        true => new.neighbours.iter().filter(|n| is_told(n.node)).count(),
        false => old.neighbours.len(),
    };
    told < new.neighbours.len().min(FIRST_NEIGHBOURS)
}

fn is_other(old: &Deployed, new: &Deployed) -> bool {
    old.context_tokens != new.context_tokens
        || old.abilities != new.abilities
        || old.parallel != new.parallel
        || load_step(old) != load_step(new)
        || is_faster_or_slower(old.prefill_tokens_per_second, new.prefill_tokens_per_second)
        || is_faster_or_slower(old.decode_tokens_per_second, new.decode_tokens_per_second)
}

/// It was measured for the first time, or anew.
fn is_other_device(old: &NodeDevice, new: &NodeDevice) -> bool {
    is_faster_or_slower(old.prefill_tokens_per_second, new.prefill_tokens_per_second)
        || is_faster_or_slower(
            old.bandwidth_bytes_per_second,
            new.bandwidth_bytes_per_second,
        )
}

/// Idle, has room, full, or so many waiting that a wait is a multiple of the work: 0, 1, 2, and
/// from 3 on the power of two of the queue's length in units of `parallel`.
fn load_step(deployment: &Deployed) -> u32 {
    let parallel = deployment.parallel.max(1);
    match (deployment.running, deployment.queued) {
        (0, 0) => 0,
        (running, 0) if running < parallel => 1,
        (_, 0) => 2,
        (_, queued) => 3 + (queued / parallel).checked_ilog2().map_or(0, |log| log + 1),
    }
}

fn is_faster_or_slower(old: Option<f32>, new: Option<f32>) -> bool {
    match (old, new) {
        (None, None) => false,
        (Some(old), Some(new)) => new > old * SPEED_FACTOR || old > new * SPEED_FACTOR,
        _ => true,
    }
}
