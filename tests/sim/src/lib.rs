//! A seeded discrete-event simulator of whole swarms.
//!
//! Each simulated peer is the cores of `dht` (join, adverts, groups, shards, size, connections,
//! scores, rates) and real signed messages; only what is between peers is a model:
//! - the network: places in a plane with an access link each, jitter, loss, a partition;
//! - gossip: a mesh of bounded degree for each topic, each hop with delay and loss, and at each hop
//!   the checks that the real shell makes. Gossipsub's announcements beside the mesh are counted
//!   and bring nothing, so a lost message is replaced by the mesh's redundancy only; nor is a new
//!   neighbour asked for what it knows;
//! - lookups in the table: the closest peers that there are, at a cost that grows with the
//!   logarithm of the swarm;
//! - signatures: an honest advert is verified once and not at each of its thousand receivers; what
//!   adversaries send is verified each time.
//!
//! All randomness is one generator and all time is simulated: a seed replays a run. Tests assert
//! thresholds on small swarms (`tests/swarm.rs`), `make swarms` prints the figures of large ones.

mod agenda;
pub mod boards;
pub mod demand;
mod mesh;
mod peer;
pub mod placement;
mod ring;
pub mod scenario;
mod schedule;
mod swarm;
mod terrain;
mod traffic;

pub use peer::Kind;
pub use swarm::{Config, Coverage, Log, Swarm};
pub use traffic::{Purpose, Tally, Traffic};

/// The seed of a run: `SEED=n` replays one, else it is `default`; printed either way.
#[expect(clippy::print_stdout, reason = "a failed run is replayed from it")]
pub fn seed(default: u64) -> u64 {
    let given = std::env::var("SEED").ok();
    let seed = given.and_then(|text| text.parse().ok()).unwrap_or(default);
    println!("SEED={seed}");
    seed
}
