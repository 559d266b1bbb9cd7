//! What swarms are put through, at any size: tests assert on it, the report prints it.
//!
//! In each of them messages are lost, paths are busy at times, 15 % of the peers cannot be
//! dialled and clocks are up to 20 s off. Each begins with a swarm that is there already.

use std::time::Duration;

use dht::core::shards::OVERLAP;

use crate::{Config, Coverage, Kind, Swarm, Traffic};

/// A swarm that was parted and joined again.
pub struct Parted {
    /// As it is at the end.
    pub swarm: Swarm,
    /// What peers knew of one another before, at the end of the partition, and after it.
    pub coverage: [Coverage; 3],
}

/// So many minutes.
pub fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// Of so many peers 30 % go, and as many come, in ten minutes; 2 % of messages are lost.
pub fn churn(peers: usize, seed: u64) -> Swarm {
    let mut swarm = Swarm::new(Config {
        seed,
        peers,
        loss: 0.02,
        churn: 0.3,
        ..Config::default()
    });
    swarm.run(minutes(8));
    swarm
}

/// The network falls in two halves for longer than adverts hold, and is one again.
pub fn partition(peers: usize, seed: u64) -> Parted {
    let mut swarm = Swarm::new(Config {
        seed,
        peers,
        loss: 0.02,
        ..Config::default()
    });
    swarm.run(minutes(6));
    let before = swarm.coverage();
    swarm.part(true);
    swarm.run(minutes(8));
    let parted = swarm.coverage();
    swarm.part(false);
    swarm.run(minutes(6));
    let coverage = [before, parted, swarm.coverage()];
    Parted { swarm, coverage }
}

/// Four identities of one owner to each honest peer, under the same churn: they say that the swarm
/// is as large as can be and that they are near to everybody, and pass on this share of what they
/// hear.
pub fn sybils(honest: usize, relayed: f64, seed: u64) -> Swarm {
    let mut swarm = Swarm::new(Config {
        seed,
        peers: honest,
        hostile: vec![(Kind::Sybil, 4 * honest)],
        relayed,
        churn: 0.3,
        ..Config::default()
    });
    swarm.run(minutes(8));
    swarm
}

/// One peer in 50 floods, one replays, one says two things at once, and one has a wrong clock.
pub fn cheats(peers: usize, seed: u64) -> Swarm {
    let each = peers.div_ceil(50);
    let kinds = [
        Kind::Flooder,
        Kind::Replayer,
        Kind::Equivocator,
        Kind::WrongClock,
    ];
    let mut swarm = Swarm::new(Config {
        seed,
        peers,
        hostile: kinds.map(|kind| (kind, each)).to_vec(),
        ..Config::default()
    });
    swarm.run(minutes(8));
    swarm
}

/// A swarm in which nothing happens, until even those have left the earlier topic whose first
/// estimate was wrong (they move within five minutes, and keep it for
/// [`dht::core::shards::OVERLAP`]), and what its peers send in the three minutes after that.
pub fn quiet(peers: usize, seed: u64) -> (Swarm, Traffic) {
    let mut swarm = Swarm::new(Config {
        seed,
        peers,
        ramp: Duration::from_secs(30),
        ..Config::default()
    });
    swarm.run(minutes(5) + OVERLAP);
    swarm.reset_traffic();
    let over = minutes(3);
    swarm.run(over);
    let traffic = swarm.traffic(over);
    (swarm, traffic)
}
