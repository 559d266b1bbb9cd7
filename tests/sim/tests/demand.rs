//! The demand of whole swarms under simulation: what must hold, with thresholds. `SEED=n` replays a
//! run.
#![expect(
    clippy::print_stdout,
    reason = "what a run found is read beside its verdict"
)]

use std::time::Duration;

use sim::demand::{Config, DemandSwarm, Report};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// After counts have settled, what is found in the time behind.
fn settled(config: Config) -> (DemandSwarm, Report) {
    let mut swarm = DemandSwarm::new(config);
    swarm.run(seconds(400));
    swarm.report();
    swarm.run(seconds(300));
    let report = swarm.report();
    println!(
        "{config:?}\n{:?}\n{:?}\n{:.2} messages/s, {:.0} bytes/s, burst {:.0}",
        report.arrivals,
        report.unmet,
        report.messages(),
        report.bytes(),
        report.burst()
    );
    (swarm, report)
}

fn config(default: u64) -> Config {
    Config {
        seed: sim::seed(default),
        ..Config::default()
    }
}

#[test]
fn a_seed_replays_a_run() {
    let run = || {
        let config = Config {
            peers: 60,
            forgers: 15,
            ..config(1)
        };
        let (_, report) = settled(config);
        (report.arrivals.error, report.forged, report.messages())
    };
    assert_eq!(run(), run());
}

#[test]
fn a_thousand_peers_are_estimated_within_the_stated_error() {
    let (mut swarm, report) = settled(config(1));
    for found in [report.arrivals, report.unmet] {
        assert!(found.count > 500.0);
        assert!(found.bias.abs() < 0.08, "{found:?}");
        assert!(found.error < 0.25, "{found:?}");
    }
    assert!(report.messages() < 3.5);
    // Where half a thousand tell what is served, one need is known in seconds.
    let known = swarm.need(seconds(10));
    println!("a need is known after {known:?}");
    assert!(known.is_some());
}

#[test]
fn the_cost_stays_flat_as_the_swarm_grows() {
    let of = |peers| {
        let missing = 0.5;
        let config = Config {
            peers,
            missing,
            ..config(2)
        };
        settled(config).1
    };
    // Both classes have more authors than their samples.
    let (thousand, more) = (of(1000), of(4000));
    assert!(more.bytes() < 1.2 * thousand.bytes(), "{}", more.bytes());
    assert!(more.arrivals.error < 0.3 && more.unmet.error < 0.3);
}

#[test]
fn a_fifth_of_the_identities_adds_no_more_than_its_cap() {
    let honest = settled(config(3)).1;
    let forgers = 250;
    let (_, report) = settled(Config {
        forgers,
        ..config(3)
    });
    let bound = forgers as f64 * report.cap;
    println!(
        "forged {:.2} a second, at most {bound:.2} (cap {:.3}); forgers' records {:?}",
        report.forged, report.cap, report.forgers
    );
    // The estimate of their number has its error.
    assert!(report.forged <= 1.3 * bound);
    assert!(report.arrivals.bias.abs() < 0.1, "{:?}", report.arrivals);
    assert!(report.unmet.bias.abs() < 0.15, "{:?}", report.unmet);
    assert!(report.forgers[2] > 0, "tricks are refused");
    assert!(report.messages() < 2.0 * honest.messages().max(4.0));
}

#[test]
fn where_all_begin_at_once_the_burst_is_bounded_and_the_need_is_known() {
    let mut swarm = DemandSwarm::new(Config {
        peers: 4000,
        asking: 1.0,
        ..config(4)
    });
    swarm.run(seconds(300));
    swarm.report();
    swarm.lose();
    swarm.run(seconds(10));
    let report = swarm.report();
    println!(
        "{:?}, burst {:.0} a second",
        report.arrivals,
        report.burst()
    );
    assert!(report.burst() < 800.0);
}

#[test]
fn lost_records_cost_accuracy_and_nothing_else() {
    let (_, report) = settled(Config {
        loss: 0.05,
        ..config(5)
    });
    assert!(report.arrivals.bias.abs() < 0.12, "{:?}", report.arrivals);
}
