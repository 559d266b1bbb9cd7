//! What the system tests and the benchmarks share: real `shoal` processes and a plain client.
//! It knows the product from outside only: its command line, its files, its HTTP; but for the
//! crowd, which is the swarm's nodes in one process, and for the record that nodes meet by.

pub mod api;
pub mod chain;
pub mod crowd;
pub mod hindrance;
pub mod hub;
#[cfg(target_os = "linux")]
pub mod internet;
#[cfg(target_os = "linux")]
pub mod joining;
pub mod meeting_place;
pub mod process;
#[cfg(target_os = "linux")]
pub mod punching;
#[cfg(target_os = "linux")]
pub mod scene;
pub mod swarm;

/// The seed of a randomised test: `SEED=n` replays one, else it is drawn; printed either way.
#[expect(clippy::print_stdout, reason = "a failed run is replayed from it")]
pub fn seed() -> u64 {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(rand::random);
    println!("SEED={seed}");
    seed
}
