//! Real processes on an internet of this machine: hosts in network namespaces, NATs, delays,
//! black holes. Passed over with a message where that cannot be had (it needs root).

#![cfg(target_os = "linux")]

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::Value;
use tests::{
    internet::{Change, Kind, Link},
    joining::cold_join,
    punching::{Outcome, Pair},
    scene::{PORT, Scene},
    swarm::PATIENCE,
};

/// Tries of each pair of homes; `bench nat` makes ten.
const TRIES: usize = 1;

/// The bound on a cold join.
const COLD_JOIN: Duration = Duration::from_secs(15);

/// The bound on the way over a relay, where no hole can be punched.
const FALLBACK: Duration = Duration::from_secs(10);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// An internet, or word of why there is none.
#[expect(clippy::print_stdout, reason = "who passes a test over says so")]
fn scene() -> Option<Scene> {
    match Scene::start() {
        Ok(scene) => Some(scene),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

#[test]
fn round_trips_are_shown_as_they_are() -> Result<()> {
    let Some(mut scene) = scene() else {
        return Ok(());
    };
    let host = scene.public()?;
    let mut servers = Vec::new();
    for rtt in [20, 79, 81, 150] {
        let there = scene.public()?;
        let link = Link::of_rtt(ms(rtt));
        scene.internet.change(Change::Link(host.id, there.id, link));
        servers.push((rtt, scene.server(&there, &format!("server-{rtt}"))?));
    }
    let all: Vec<_> = servers.iter().map(|(_, server)| server).collect();
    let node = scene.node(&host, "node", &all, &["--client"])?;
    let rtts = |status: &Value| {
        let peers = status["peers"].as_array().into_iter().flatten();
        let mut rtts: Vec<f64> = peers.filter_map(|peer| peer["rtt_ms"].as_f64()).collect();
        rtts.sort_by(f64::total_cmp);
        rtts
    };
    // A loaded machine adds to them, never takes away; an idle one adds half a millisecond.
    let status = node.until("all round trips", PATIENCE, |status| {
        let expected = [20.0, 79.0, 81.0, 150.0];
        let rtts = rtts(status);
        let pairs = rtts.iter().zip(expected);
        rtts.len() == expected.len()
            && pairs
                .into_iter()
                .all(|(rtt, e)| (e..e + 50.0).contains(rtt))
    })?;
    println!("round trips in ms: {:?}", rtts(&status));
    Ok(())
}

#[test]
fn a_cold_join_finds_the_one_server_that_is_alive() -> Result<()> {
    let Some(scene) = scene() else {
        return Ok(());
    };
    let took = cold_join(scene, COLD_JOIN)?;
    println!("joined after {:.1} s", took.as_secs_f64());
    Ok(())
}

/// The pairs of the line, all at once: each is an internet of its own, and most of the
/// time is spent waiting.
#[test]
fn homes_reach_each_other_through_their_nats() -> Result<()> {
    if scene().is_none() {
        return Ok(());
    }
    let pairs = [
        (Kind::Cone, Kind::Cone),
        (Kind::ChangedPort, Kind::ChangedPort),
        (Kind::Symmetric, Kind::Symmetric),
        (Kind::Symmetric, Kind::Forwarded(PORT)),
    ];
    let tries = pairs.map(|(asker, server)| Pair {
        asker,
        server,
        rtt: ms(40),
    });
    let tries = tries.map(|pair| (pair, thread::spawn(move || attempts(&pair))));
    for (pair, outcomes) in tries {
        let outcomes = outcomes.join().expect("a try does not panic");
        for outcome in outcomes.with_context(|| format!("{pair:?}"))? {
            println!("{pair:?}: {outcome:?}");
            assert!(outcome.connected.is_some(), "{pair:?}: {outcome:?}");
            assert_eq!(outcome.direct.is_some(), pair.can_be_direct(), "{pair:?}");
            assert!(outcome.answered.is_some(), "{pair:?}: {outcome:?}");
        }
    }
    Ok(())
}

fn attempts(pair: &Pair) -> Result<Vec<Outcome>> {
    let limit = if pair.can_be_direct() {
        PATIENCE
    } else {
        FALLBACK
    };
    (0..TRIES).map(|_| pair.attempt(limit)).collect()
}

#[test]
fn a_server_that_is_replaced_is_found_by_those_who_had_the_old_one() -> Result<()> {
    let Some(mut scene) = scene() else {
        return Ok(());
    };
    let link = Link::of_rtt(ms(20));
    scene.internet.change(Change::DefaultLink(link));
    let hosts = [scene.public()?, scene.public()?];
    let homes = [scene.home(Kind::Symmetric)?, scene.home(Kind::Symmetric)?];
    let mut second = scene.server(&hosts[1], "second")?;
    second.kill()?;
    let first = scene.server(&hosts[0], "first")?;
    let known = [&first, &second];
    let server = scene.serving(&homes[0], "server", &known)?;
    let asker = scene.node(&homes[1], "asker", &known, &["--client"])?;
    server.until_reachable()?;
    asker.until_it_knows(&server)?;
    let (gone, replacement) = (first.peer().to_owned(), second.peer().to_owned());
    drop(first);
    let _second = scene.server(&hosts[1], "second")?;
    let names = |status: &Value, peer: &str| status["listening"].to_string().contains(peer);
    let is_moved = |status: &Value| {
        let circuits = names(status, &format!("{replacement}/p2p-circuit"));
        circuits && !names(status, &format!("{gone}/p2p-circuit"))
    };
    server.until("the other relay", PATIENCE, is_moved)?;
    asker.until_joined(PATIENCE)?;
    until_answered(&asker)
}

/// The news of where a peer is now takes its time: a question before that is refused.
fn until_answered(asker: &tests::scene::Peer) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let answered = asker.ask()?.until_answered(PATIENCE);
        if answered.is_ok() || Instant::now() > end {
            return answered.with_context(|| asker.node.log_tail());
        }
    }
}

#[test]
fn remembered_peers_suffice_when_all_servers_are_gone() -> Result<()> {
    let Some(mut scene) = scene() else {
        return Ok(());
    };
    let link = Link::of_rtt(ms(20));
    scene.internet.change(Change::DefaultLink(link));
    let hosts = [scene.public()?, scene.public()?, scene.public()?];
    let bootstrap = scene.server(&hosts[0], "bootstrap")?;
    let server = scene.serving(&hosts[1], "server", &[&bootstrap])?;
    let asker = scene.node(&hosts[2], "asker", &[&bootstrap], &["--client"])?;
    asker.until_it_knows(&server)?;
    until_answered(&asker)?;
    asker.node.terminate(PATIENCE)?;
    let mut bootstrap = bootstrap;
    bootstrap.kill()?;
    let asker = scene.node(&hosts[2], "asker", &[&bootstrap], &["--client"])?;
    asker.until_joined(PATIENCE)?;
    let status = asker.until("the way", PATIENCE, |status| {
        let ways = status["ways"].as_array().into_iter().flatten();
        let mut remembered = ways.filter(|way| way["way"] == "remembered");
        remembered.any(|way| way["worked"] == true)
    })?;
    asker.until_it_knows(&server)?;
    until_answered(&asker).with_context(|| format!("{status:#}"))
}
