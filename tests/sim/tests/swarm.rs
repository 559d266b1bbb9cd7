//! Whole swarms under simulation: what must hold, with thresholds. `SEED=n` replays a run.
#![expect(
    clippy::print_stdout,
    reason = "what a run found is read beside its verdict"
)]

use std::time::Duration;

use sim::{
    Config, Coverage, Kind, Swarm,
    scenario::{self, minutes},
};

fn check_always(swarm: &Swarm) {
    let log = swarm.log();
    assert!(log.violations.is_empty(), "{:#?}", log.violations);
    assert_eq!(log.early_evictions, 0, "members left within the hysteresis");
    assert!(swarm.is_bounded());
}

fn check_coverage(found: Coverage, least: f64) {
    println!("{found:?}");
    assert!(found.share >= least, "{found:?}");
    assert!(found.age_p95 <= Duration::from_secs(180), "{found:?}");
}

/// A cold join takes as long as the design allows at most.
fn check_joins(swarm: &Swarm) {
    let mut joins = swarm.log().joins.clone();
    joins.sort_unstable();
    let (count, median) = (joins.len(), joins.get(joins.len() / 2));
    println!(
        "{count} joins, median {median:?}, slowest {:?}",
        joins.last()
    );
    assert!(!joins.is_empty());
    assert!(joins.iter().all(|took| *took <= Duration::from_secs(15)));
}

fn check_groups(swarm: &Swarm, least: f64) {
    let grouped = swarm.grouped();
    println!("{grouped:.3} in a group");
    assert!(grouped >= least);
}

#[test]
fn a_seed_replays_a_run() {
    let run = |seed| {
        let mut swarm = Swarm::new(Config {
            seed,
            peers: 40,
            churn: 0.3,
            hostile: vec![(Kind::Sybil, 10), (Kind::Replayer, 2)],
            ..Config::default()
        });
        swarm.run(minutes(4));
        let log = swarm.log();
        (log.believed, log.dials, log.joins.clone(), log.rejected)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn a_thousand_peers_that_come_and_go() {
    let swarm = scenario::churn(1000, sim::seed(11));
    println!("{:?}", swarm.shard_bits());
    check_always(&swarm);
    check_coverage(swarm.coverage(), 0.97);
    check_joins(&swarm);
    // Two in a hundred live far from everybody.
    check_groups(&swarm, 0.93);
    let [low, median, high] = swarm.size_ratios();
    println!("size {low:.2} {median:.2} {high:.2} of the truth");
    assert!(low > 0.75 && high < 1.35);
    assert_eq!(swarm.log().honest_offences, 0);
}

#[test]
fn a_partition_heals() {
    let parted = scenario::partition(300, sim::seed(12));
    println!("{:?}", parted.coverage);
    let [before, during, after] = parted.coverage;
    check_coverage(before, 0.97);
    assert!(during.share < 0.7, "the network was not parted");
    check_coverage(after, 0.97);
    check_always(&parted.swarm);
}

#[test]
fn a_swarm_that_grows_splits_and_loses_nobody() {
    let mut swarm = Swarm::new(Config {
        seed: sim::seed(13),
        peers: 60,
        ..Config::default()
    });
    swarm.run(minutes(6));
    swarm.grow(180, minutes(15));
    for _ in 0..5 {
        swarm.run(minutes(4));
        println!("{:?}", swarm.shard_bits());
        check_coverage(swarm.coverage(), 0.95);
    }
    check_joins(&swarm);
    assert!(swarm.log().moves > 0);
    check_always(&swarm);
}

#[test]
fn four_sybils_to_a_peer() {
    let swarm = scenario::sybils(100, 0.5, sim::seed(14));
    check_always(&swarm);
    check_coverage(swarm.coverage(), 0.95);
    check_joins(&swarm);
    // A shard has a dozen honest peers, and two of the seven towns are near to no other.
    check_groups(&swarm, 0.75);
    let [low, median, high] = swarm.size_ratios();
    println!("size {low:.2} {median:.2} {high:.2} of all identities");
    assert!(high <= 2.5, "claims push the size further than they may");
    let (links, to_sybils) = swarm.links_to(Kind::Sybil);
    println!("{links:.1} connections, {to_sybils:.2} of them to Sybils");
    assert!(to_sybils < 0.85, "more than their share of all identities");
}

#[test]
fn who_cheats_is_not_believed_and_is_cut_off() {
    let swarm = scenario::cheats(300, sim::seed(15));
    check_always(&swarm);
    check_coverage(swarm.coverage(), 0.97);
    let log = swarm.log();
    let looked_at = log.flooded.values().max().copied().unwrap_or_default();
    println!(
        "{} believed, {} rejected, {} over the rate, {} equivocations, {} cut off; of {} messages \
         of flooders one victim looked at {looked_at} of one at most",
        log.believed, log.rejected, log.over_rate, log.equivocations, log.cut_off, log.flood
    );
    assert!(log.rejected > 0 && log.cut_off > 0 && log.equivocations > 100);
    assert!(looked_at <= 100, "a flood is looked at");
    assert_eq!(log.honest_offences, 0, "honest peers paid for others");
    let [wrong, double] = [Kind::WrongClock, Kind::Equivocator].map(|kind| swarm.believed(kind));
    println!("believed: wrong clocks {wrong:.3}, equivocators {double:.3}");
    assert!(wrong < 1e-9);
    // A neighbour of the liar's who came late hears one of the two only.
    assert!(double < 0.1);
}

/// What a peer sends when nothing happens does not grow with the swarm. At 100 peers there is one
/// shard, at 400 there are four of as many; `make swarms` has larger ones.
#[test]
fn control_traffic_is_flat() {
    let seed = sim::seed(16);
    let [small, large] = [100, 400].map(|peers| {
        let (swarm, traffic) = scenario::quiet(peers, seed);
        check_always(&swarm);
        println!("{traffic:?} {:?}", swarm.shard_bits());
        traffic.bytes
    });
    assert!(large <= 1.2 * small, "{small} and {large} bytes a second");
}
