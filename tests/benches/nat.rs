//! `bench nat`: homes behind NATs, tried often enough to count, and cold joins. It needs root.

use std::{fmt::Write as _, thread, time::Duration};

use anyhow::{Context, Result};
use tests::{
    internet::{Change, Kind, Link},
    joining::cold_join,
    punching::{Outcome, Pair},
    scene::{PORT, Scene},
    swarm::PATIENCE,
};

use crate::idle::median;

/// Tries of each pair, unless told otherwise.
pub(crate) const TRIES: usize = 10;

/// Tries that run side by side: each waits most of its time, and its processes share the machine.
const AT_A_TIME: usize = 3;

/// Whoever asks, whoever serves, the round trip between all in microseconds, and what is asked of
/// the pair.
const PAIRS: [(Kind, Kind, u64, &str); 9] = [
    (Kind::Cone, Kind::Cone, 40_000, "direct ≥ 95 %"),
    (Kind::Cone, Kind::Cone, 400, ""),
    (Kind::Cone, Kind::Cone, 150_000, ""),
    (
        Kind::ChangedPort,
        Kind::ChangedPort,
        40_000,
        "direct ≥ 90 %",
    ),
    (Kind::Cone, Kind::ChangedPort, 40_000, ""),
    (Kind::Symmetric, Kind::Symmetric, 40_000, "relayed ≤ 10 s"),
    (Kind::Symmetric, Kind::Cone, 40_000, "relayed ≤ 10 s"),
    (Kind::Cone, Kind::Symmetric, 40_000, "relayed ≤ 10 s"),
    (Kind::Symmetric, Kind::Forwarded(PORT), 40_000, ""),
];

/// The round trip to the peer whose first token is waited for.
const FAR: Duration = Duration::from_millis(40);

/// The section's text; `only` of the pair `ASKER-SERVER`, or of the peer that is `far`.
pub(crate) fn measure(tries: usize, only: Option<&str>) -> Result<String> {
    let mut text = String::from(
        "| who asks – who serves | round trip, ms | direct | connected, s | direct, s | answered, s | to reach |\n\
         |---|---:|---:|---:|---:|---:|---|\n",
    );
    for (asker, server, micros, target) in PAIRS {
        let rtt = Duration::from_micros(micros);
        let pair = Pair { asker, server, rtt };
        let name = format!("{}-{}", name(asker), name(server));
        if only.is_some_and(|only| only != name) {
            continue;
        }
        let outcomes = repeat(tries, move || pair.attempt(PATIENCE))?;
        let row = row(&pair, &outcomes);
        println!("{row}\n{outcomes:#?}");
        let _ = writeln!(text, "{row} {target} |");
    }
    if only.is_none() {
        text.push_str(&cold_joins(tries)?);
    }
    if only.is_none_or(|only| only == "far") {
        text.push_str(&far(tries)?);
    }
    Ok(text)
}

fn cold_joins(tries: usize) -> Result<String> {
    let joins = repeat(tries, || {
        let scene = Scene::start().context("no internet here")?;
        cold_join(scene, PATIENCE)
    })?;
    let joins: Vec<f64> = joins.iter().map(Duration::as_secs_f64).collect();
    println!("cold joins, s: {joins:?}");
    let longest = joins.iter().copied().fold(0.0, f64::max);
    Ok(format!(
        "\nCold join with one of three servers alive, one gone, one silent and IPv6 black-holed: \
         median {:.1} s, longest {longest:.1} s of {} (to reach: ≤ 15 s).\n",
        median(joins.clone()),
        joins.len()
    ))
}

/// An answer that a peer far away gives.
fn far(tries: usize) -> Result<String> {
    let later = later_through_a_peer(tries)?;
    Ok(format!(
        "\nAn answer of one token through a peer {} ms away comes {later:.1} ms later than the peer's own (to \
         reach: ≤ 1 round trip + 5 ms); median of {tries} pairs, on a connection that is there.\n",
        FAR.as_millis()
    ))
}

/// In milliseconds.
fn later_through_a_peer(pairs: usize) -> Result<f64> {
    let mut scene = Scene::start().context("no internet here")?;
    scene
        .internet
        .change(Change::DefaultLink(Link::of_rtt(FAR)));
    let hosts = [scene.public()?, scene.public()?, scene.public()?];
    let bootstrap = scene.server(&hosts[0], "bootstrap")?;
    let server = scene.serving(&hosts[1], "server", &[&bootstrap])?;
    server.until_reachable()?;
    let asker = scene.node(&hosts[2], "asker", &[&bootstrap], &["--client"])?;
    asker.until_it_knows(&server)?;
    // The first one dials, and loads the model.
    asker.ask()?.until_answered(PATIENCE)?;
    let mut later = Vec::new();
    for _ in 0..pairs {
        let (own, through) = (server.time_of_one_token()?, asker.time_of_one_token()?);
        later.push((through.as_secs_f64() - own.as_secs_f64()) * 1000.0);
    }
    Ok(median(later))
}

fn repeat<T: Send + 'static>(
    times: usize,
    one: impl Fn() -> Result<T> + Copy + Send + 'static,
) -> Result<Vec<T>> {
    let mut all = Vec::new();
    while all.len() < times {
        let some = AT_A_TIME.min(times - all.len());
        let threads: Vec<_> = (0..some).map(|_| thread::spawn(one)).collect();
        for thread in threads {
            all.push(thread.join().expect("a try does not panic")?);
        }
    }
    Ok(all)
}

fn row(pair: &Pair, outcomes: &[Outcome]) -> String {
    let seconds = |of: fn(&Outcome) -> Option<Duration>| {
        let some: Vec<f64> = outcomes
            .iter()
            .filter_map(of)
            .map(|d| d.as_secs_f64())
            .collect();
        match some.is_empty() {
            true => "–".into(),
            false => format!("{:.2}", median(some)),
        }
    };
    let direct = outcomes.iter().filter(|outcome| outcome.direct.is_some());
    format!(
        "| {} – {} | {} | {}/{} | {} | {} | {} |",
        name(pair.asker),
        name(pair.server),
        pair.rtt.as_secs_f64() * 1000.0,
        direct.count(),
        outcomes.len(),
        seconds(|outcome| outcome.connected),
        seconds(|outcome| outcome.direct),
        seconds(|outcome| outcome.answered),
    )
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Cone => "cone",
        Kind::ChangedPort => "changed port",
        Kind::Symmetric => "symmetric",
        Kind::Forwarded(_) => "forwarded",
    }
}
