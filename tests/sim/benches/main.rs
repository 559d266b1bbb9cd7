//! `make swarms`: what simulated swarms of 100 to 10,000 peers do, as rows of the tables in
//! `tests/benches/RESULTS.md`. It asserts nothing: figures are for people.
//!
//! `swarms [WHAT [SIZE[,SIZE…] [SEED[,SEED…]]]]`, where WHAT is traffic, churn, partition, sybils,
//! silent (Sybils that pass on nothing), cheats, demand or placement; without arguments each of them. Four
//! times as many Sybils come on top of the size.

#![expect(clippy::print_stdout, reason = "a report talks to the terminal")]

use std::time::Duration;

use sim::{
    Kind, Purpose, Swarm,
    demand::{Config, DemandSwarm},
    placement::{self, PlacementSwarm},
    scenario,
};

/// Of how many peers and from which seeds a run is reported unless told otherwise.
const USUAL: [(&str, &[usize], &[u64]); 8] = [
    ("traffic", &[100, 1_000, 10_000], &[1, 2, 3]),
    ("churn", &[1_000, 10_000], &[1, 2, 3]),
    ("partition", &[1_000, 10_000], &[1, 2, 3]),
    ("sybils", &[200, 2_000], &[1, 2, 3]),
    ("silent", &[200, 2_000], &[1, 2, 3]),
    ("cheats", &[1_000, 10_000], &[1, 2, 3]),
    ("demand", &[100, 1_000, 10_000], &[1, 2, 3]),
    ("placement", &[100, 1_000], &[1, 2, 3]),
];

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    for (what, sizes, seeds) in USUAL {
        if given.first().is_some_and(|given| given != what) {
            continue;
        }
        let sizes = given.get(1).map_or(sizes.to_vec(), |text| numbers(text));
        let seeds = given.get(2).map_or(seeds.to_vec(), |text| numbers(text));
        println!("{}", heading(what));
        for size in sizes {
            for seed in &seeds {
                println!("| {size} | {seed} {}", row(what, size, *seed));
            }
        }
    }
}

fn numbers<N: std::str::FromStr>(text: &str) -> Vec<N> {
    text.split(',').filter_map(|n| n.parse().ok()).collect()
}

fn heading(what: &str) -> String {
    let columns = match what {
        "traffic" => {
            let purposes = Purpose::ALL.map(|purpose| format!("{purpose:?}"));
            format!(
                "messages/s | bytes/s | p95 | {} | shard | knows",
                purposes.join(" | ")
            )
        }
        "demand" => DEMAND.into(),
        "placement" => PLACEMENT.into(),
        "partition" => "knows before | in it | after | oldest 5 % | wrong | evicted early".into(),
        "sybils" | "silent" => format!("{ALWAYS} | links | to Sybils"),
        "cheats" => format!(
            "{ALWAYS} | wrong clocks believed | equivocators believed | caught | cut off | flood | \
             looked at by one"
        ),
        _ => ALWAYS.into(),
    };
    format!("\n{what}\n| peers | seed | {columns} |")
}

/// The columns of [`always`].
const ALWAYS: &str = "knows | least | oldest 5 % | in a group | size 5/50/95 % | joins | slowest | \
                      wrong | evicted early | honest offences";

fn row(what: &str, size: usize, seed: u64) -> String {
    match what {
        "traffic" => traffic(size, seed),
        "demand" => demand(size, seed),
        "placement" => placement(size, seed),
        "partition" => partition(size, seed),
        "sybils" => sybils(size, 0.5, seed),
        "silent" => sybils(size, 0.0, seed),
        "cheats" => {
            let swarm = scenario::cheats(size, seed);
            let log = swarm.log();
            format!(
                "{} {:.3} | {:.3} | {} | {} | {} | {} |",
                always(&swarm),
                swarm.believed(Kind::WrongClock),
                swarm.believed(Kind::Equivocator),
                log.equivocations,
                log.cut_off,
                log.flood,
                log.flooded.values().max().copied().unwrap_or_default()
            )
        }
        _ => always(&scenario::churn(size, seed)),
    }
}

fn traffic(size: usize, seed: u64) -> String {
    let (swarm, traffic) = scenario::quiet(size, seed);
    let purposes = traffic.by_purpose.map(|bytes| format!("{bytes:.0}"));
    let coverage = swarm.coverage();
    format!(
        "| {:.2} | {:.0} | {:.0} | {} | {:.0} | {:.4} | {:?}",
        traffic.messages,
        traffic.bytes,
        traffic.bytes_p95,
        purposes.join(" | "),
        coverage.shard,
        coverage.share,
        swarm.shard_bits()
    )
}

/// The columns of [`demand`].
const DEMAND: &str = "arrivals: error | stated | bias | unmet: error | stated | bias | messages/s | \
                      bytes/s | need known | burst/s | forged/s | bound | with forgers: bias";

/// Half of the peers ask, a tenth of those in vain; then one peer has a need of its own, then all are
/// missed; and another swarm has a fifth of forgers.
fn demand(peers: usize, seed: u64) -> String {
    let config = Config {
        seed,
        peers,
        ..Config::default()
    };
    let settle = Duration::from_secs(400);
    let run = |config| {
        let mut swarm = DemandSwarm::new(config);
        swarm.run(settle);
        swarm.report();
        swarm.run(settle);
        let report = swarm.report();
        (swarm, report)
    };
    let (mut swarm, found) = run(config);
    let known = swarm.need(Duration::from_secs(60));
    swarm.report();
    swarm.lose();
    swarm.run(Duration::from_secs(20));
    let burst = swarm.report().burst();
    let forgers = peers / 4;
    let (_, forged) = run(Config { forgers, ..config });
    let accuracy = |of: sim::demand::Accuracy| {
        let (error, stated) = (of.error * 100.0, of.stated * 100.0);
        format!("{error:.1} % | {stated:.1} % | {:+.1} %", of.bias * 100.0)
    };
    format!(
        "| {} | {} | {:.2} | {:.0} | {} | {burst:.0} | {:.2} | {:.2} | {:+.1} % |",
        accuracy(found.arrivals),
        accuracy(found.unmet),
        found.messages(),
        found.bytes(),
        known.map_or("-".into(), |known| format!("{:.1} s", known.as_secs_f64())),
        forged.forged,
        forgers as f64 * forged.cap,
        forged.arrivals.bias * 100.0
    )
}

/// The columns of [`placement()`].
const PLACEMENT: &str = "needs | promotions each | fetched | drops | taken on after: median | latest | \
                         served after: median | unmet | servers for each needed | swings";

/// A third of the peers go for a while in ten minutes. Five models are asked for all the time; another one
/// appears, doubles and is forgotten.
fn placement(peers: usize, seed: u64) -> String {
    let mut swarm = PlacementSwarm::new(placement::Config {
        seed,
        peers,
        churn: 0.3,
        rates: vec![0.05, 0.1, 0.3, 0.6, 1.5, 0.0],
        forged: Vec::new(),
    });
    for rate in [0.0, 1.0, 2.0, 0.0] {
        swarm.ask(5, rate);
        swarm.run(Duration::from_secs(600));
    }
    let log = swarm.log();
    let mut taken = log.taken_after.clone();
    let mut served = log.served_after.clone();
    taken.sort();
    served.sort();
    let middle = |times: &[Duration]| {
        times
            .get(times.len() / 2)
            .map_or(0.0, Duration::as_secs_f64)
    };
    let latest = taken.last().map_or(0.0, Duration::as_secs_f64);
    format!(
        "| {} | {:.2} | {} | {} | {:.1} s | {latest:.1} s | {:.1} s | {:.1} % | {:.2} | {} |",
        log.needs,
        log.promotions_per_need(),
        log.fetched,
        log.drops,
        middle(&taken),
        middle(&served),
        log.unmet / log.requests * 100.0,
        log.server_seconds / log.needed_seconds,
        log.swings.len()
    )
}

fn sybils(honest: usize, relayed: f64, seed: u64) -> String {
    let swarm = scenario::sybils(honest, relayed, seed);
    let (links, share) = swarm.links_to(Kind::Sybil);
    format!("{} {links:.1} | {share:.3} |", always(&swarm))
}

fn partition(size: usize, seed: u64) -> String {
    let parted = scenario::partition(size, seed);
    let [before, during, after] = parted.coverage;
    let log = parted.swarm.log();
    format!(
        "| {:.4} | {:.4} | {:.4} | {:.0} s | {} | {} |",
        before.share,
        during.share,
        after.share,
        after.age_p95.as_secs_f64(),
        log.violations.len(),
        log.early_evictions
    )
}

fn always(swarm: &Swarm) -> String {
    let (found, log) = (swarm.coverage(), swarm.log());
    let [low, median, high] = swarm.size_ratios();
    let slowest = log.joins.iter().max().copied().unwrap_or_default();
    format!(
        "| {:.4} | {:.3} | {:.0} s | {:.3} | {low:.2}/{median:.2}/{high:.2} | {} | {:.1} s | {} | \
         {} | {} |",
        found.share,
        found.worst,
        found.age_p95.as_secs_f64(),
        swarm.grouped(),
        log.joins.len(),
        slowest.as_secs_f64(),
        log.violations.len(),
        log.early_evictions,
        log.honest_offences
    )
}
