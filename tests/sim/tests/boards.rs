//! A board of a thousand peers under simulation: what must hold. `SEED=n` replays a run.
#![expect(
    clippy::print_stdout,
    reason = "what a run found is read beside its verdict"
)]

use std::time::Duration;

use sim::boards::{BoardSwarm, Config, Delivery, Trick};

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn check_delivery(swarm: &BoardSwarm) -> Delivery {
    let delivery = swarm.delivery();
    println!("{delivery:?}\n{:?}", swarm.log());
    assert!(delivery.notes > 50 && delivery.expected > 10_000);
    assert!(delivery.soon >= 0.999, "{delivery:?}");
    assert_eq!(swarm.log().honest_offences, 0);
    assert_eq!(swarm.forged_kept(), 0);
    delivery
}

#[test]
fn notes_reach_a_thousand_that_come_and_go_and_are_parted() {
    let mut swarm = BoardSwarm::new(Config {
        seed: sim::seed(21),
        peers: 1000,
        hostile: 0,
        loss: 0.02,
        churn: 0.3,
        notes: 1.0,
    });
    swarm.run(seconds(60));
    swarm.part(true);
    swarm.run(seconds(60));
    let parted = swarm.delivery();
    assert!(parted.complete < 0.9, "the network was not parted");
    swarm.part(false);
    swarm.run(seconds(60));
    // Until the last of those who went is back, and each has reconciled with anybody.
    swarm.rest(seconds(240));
    let delivery = check_delivery(&swarm);
    assert!(delivery.complete >= 1.0, "{delivery:?}");
}

#[test]
fn a_heal_is_soon_complete() {
    let mut swarm = BoardSwarm::new(Config {
        seed: sim::seed(22),
        peers: 1000,
        hostile: 0,
        loss: 0.02,
        churn: 0.0,
        notes: 1.0,
    });
    swarm.run(seconds(10));
    swarm.part(true);
    swarm.run(seconds(60));
    let parted = swarm.delivery().complete;
    swarm.part(false);
    swarm.rest(seconds(30));
    let healed = swarm.delivery().complete;
    println!("{parted:.4} complete when parted, {healed:.6} half a minute later");
    assert!(parted < 0.7 && healed >= 0.9999);
    swarm.rest(seconds(60));
    assert!(swarm.delivery().complete >= 1.0);
}

#[test]
fn one_in_five_is_hostile() {
    let each = 200_usize.div_ceil(Trick::ALL.len());
    let mut swarm = BoardSwarm::new(Config {
        seed: sim::seed(23),
        peers: 800,
        hostile: each,
        loss: 0.02,
        churn: 0.1,
        notes: 1.0,
    });
    swarm.run(seconds(90));
    swarm.rest(seconds(240));
    let delivery = check_delivery(&swarm);
    assert!(delivery.complete >= 1.0, "{delivery:?}");
    let log = swarm.log();
    assert!(log.poisoned > 0 && log.cut_off > 0 && log.refused > 0);
}

#[test]
fn a_seed_replays_a_run() {
    let run = |seed| {
        let mut swarm = BoardSwarm::new(Config {
            seed,
            peers: 40,
            hostile: 2,
            loss: 0.02,
            churn: 0.3,
            notes: 1.0,
        });
        swarm.run(seconds(40));
        let log = swarm.log();
        (log.visits, log.visit_bytes, log.cut_off, log.looked_at)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
