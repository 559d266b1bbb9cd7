//! `bench boards`: how notes spread, over real connections of this machine between nodes of this
//! process: from posting to being readable on 200 peers, reconciling ten thousand notes that differ
//! by a hundred, and what a board on which nobody writes costs. Notes are kept in memory: what the
//! store adds is measured with the store.

mod counted;
mod idle;
mod shelf;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use dht::{
    board::{Clerk, Ledger, Reconciled, Served, reconcile, serve_boards},
    network::{Config, Network, both_transports},
};
use ed25519_dalek::SigningKey;
use protocol::{NodeId, board::Entry, names::SwarmName};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use self::{
    counted::Counted,
    shelf::{Shelf, board, note},
};
use crate::report;

/// Nodes of the swarm, and of them servers that all know.
const NODES: usize = 200;
const SERVERS: usize = 3;

/// How long the swarm settles before.
const SETTLE: Duration = Duration::from_secs(180);

/// Notes that are posted, and how far apart.
const POSTS: usize = 40;
const APART: Duration = Duration::from_millis(500);

/// Notes that are reconciled, and those of them that differ.
const KEPT: usize = 10_000;
const DIFFERENT: usize = 100;

/// Until everything has arrived; what takes longer is missing.
const PATIENCE: Duration = Duration::from_secs(60);

/// A child of `bench boards`, if this process is one: what it counts is all that it prints.
pub(crate) async fn count() -> Result<bool> {
    let Some(boards) = idle::asked() else {
        return Ok(false);
    };
    idle::count(boards).await?;
    Ok(true)
}

/// `bench boards`, if that is what is asked for.
pub(crate) async fn run() -> Result<Option<String>> {
    if std::env::args().nth(1).as_deref() != Some("boards") {
        return Ok(None);
    }
    let mut text = report::host("`make bench-boards`");
    text.push_str("\n| what | figure |\n|---|---|\n");
    compare(&mut text).await?;
    spread(&mut text).await?;
    text.push_str(&idle::measure()?);
    Ok(Some(text))
}

/// One side has all, the other all but a few; and one that has nothing.
async fn compare(text: &mut String) -> Result<()> {
    tell("reconciling");
    let key = SigningKey::from_bytes(&[7; 32]);
    let age = |n: usize| Duration::from_millis(100 * (KEPT - n) as u64);
    let all: Vec<Entry> = (0..KEPT)
        .map(|n| note(&key, &text_of(n), age(n)))
        .collect::<Result<_>>()?;
    let few = all.iter().enumerate();
    let few = few.filter(|(n, _)| n % (KEPT / DIFFERENT) != 3);
    let few: Vec<Entry> = few.map(|(_, entry)| entry.clone()).collect();
    for (what, ours) in [
        (
            format!("{KEPT} notes with a difference of {DIFFERENT}"),
            few,
        ),
        (
            format!("the same to one who has none: all {KEPT}"),
            Vec::new(),
        ),
    ] {
        let (bytes, took, times) = made_up(&ours, &all).await?;
        let _ = writeln!(
            text,
            "| reconciling {what} | {} KB both ways, {:.0} ms, {times} reconciliations |",
            bytes / 1000,
            took.as_secs_f64() * 1000.0
        );
    }
    Ok(())
}

/// A note's text, of the length of a tip.
fn text_of(number: usize) -> String {
    let tip = "cargo nextest run -E 'test(name)' runs one test of a workspace and builds the rest only once";
    format!("{number}: {tip}; {tip}; {tip}.")
}

/// Bytes both ways, the time, and how many reconciliations it took, over TCP of this machine.
async fn made_up(ours: &[Entry], theirs: &[Entry]) -> Result<(u64, Duration, usize)> {
    let (here, there) = (Shelf::with(ours), Shelf::with(theirs));
    let (asks, _) = Clerk::start(Arc::clone(&here) as Arc<dyn Ledger>);
    let (serves, _) = Clerk::start(Arc::clone(&there) as Arc<dyn Ledger>);
    let peer = NodeId::from(&SigningKey::from_bytes(&[8; 32]));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let bytes = Arc::new(AtomicU64::new(0));
    let (began, mut times) = (Instant::now(), 0);
    loop {
        times += 1;
        let serving = async {
            let (stream, _) = listener.accept().await?;
            let (mut came, followed) = (Served::default(), BTreeSet::from([board()]));
            let io = Counted::new(stream, &bytes)?;
            serve_boards(io, &serves, peer, &followed, &mut came).await?;
            anyhow::Ok(())
        };
        let asking = async {
            let io = Counted::new(TcpStream::connect(address).await?, &bytes)?;
            let mut came = Reconciled::default();
            reconcile(io, &asks, peer, board(), &mut came).await?;
            anyhow::Ok(came)
        };
        let (came, served) = tokio::join!(asking, serving);
        served?;
        if came?.is_whole {
            break;
        }
    }
    let took = began.elapsed();
    ensure!(here.len() == KEPT, "{} of {KEPT} came", here.len());
    Ok((bytes.load(Ordering::Relaxed), took, times))
}

/// A node of the swarm.
struct Node {
    network: Network,
    shelf: Arc<Shelf>,
    key: SigningKey,
    stop: CancellationToken,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn start(number: usize, list: &[String]) -> Result<Node> {
    let mut seed = [3; 32];
    seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
    let key = SigningKey::from_bytes(&seed);
    let (shelf, stop) = (Shelf::with(&[]), CancellationToken::new());
    let config = Config {
        listen: both_transports(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).into(),
        bootstrap: list.to_vec(),
        mdns: false,
        upnp: false,
        is_server: number < SERVERS,
        ledger: Some(Arc::clone(&shelf) as Arc<dyn Ledger>),
        ..Config::new(key.clone(), SwarmName::public())
    };
    let (network, mut inbound, _) = Network::start(config, stop.clone())?;
    tokio::spawn(async move { while inbound.recv().await.is_some() {} });
    Ok(Node {
        network,
        shelf,
        key,
        stop,
    })
}

async fn swarm(count: usize) -> Result<Vec<Node>> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut list = Vec::new();
    for number in 0..count {
        let node = start(number, &list)?;
        if number < SERVERS {
            let mut views = node.network.watch();
            let view = views.wait_for(|view| view.listening.len() == 2).await?;
            list.extend(view.listening.iter().cloned());
        }
        nodes.push(node);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(nodes)
}

/// How soon notes are everywhere.
async fn spread(text: &mut String) -> Result<()> {
    tell("starting nodes");
    let nodes = swarm(NODES).await?;
    for node in &nodes {
        node.network.follow(board()).await?;
    }
    tokio::time::sleep(SETTLE).await;
    let (mut times, missing) = posted(&nodes).await?;
    times.sort_unstable();
    let at = |share: usize| {
        let time = times.get(times.len() * share / 1000).copied();
        time.unwrap_or_default().as_secs_f64() * 1000.0
    };
    let _ = writeln!(
        text,
        "| post to readable, {POSTS} notes on {NODES} peers of this machine | p50 {:.0} ms, p99 \
         {:.0} ms, last {:.0} ms; {missing} of {} missing |",
        at(500),
        at(990),
        times.last().map_or(0.0, |t| t.as_secs_f64() * 1000.0),
        times.len() + missing
    );
    Ok(())
}

/// Times from each post to each peer's having it, and how many never came.
async fn posted(nodes: &[Node]) -> Result<(Vec<Duration>, usize)> {
    tell("posting");
    let mut posts = Vec::new();
    for number in 0..POSTS {
        let node = &nodes[number * 37 % NODES];
        let entry = note(&node.key, &text_of(number), Duration::ZERO)?;
        posts.push((entry.id, Instant::now()));
        node.shelf.put(entry.clone());
        node.network.publish(&entry).await?;
        tokio::time::sleep(APART).await;
    }
    let end = Instant::now() + PATIENCE;
    while nodes.iter().any(|node| node.shelf.len() < POSTS) && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let came = |(id, at): &(_, Instant)| -> Vec<Option<Duration>> {
        let came = nodes.iter().map(|node| node.shelf.came(id));
        came.map(|came| Some(came?.saturating_duration_since(*at)))
            .collect()
    };
    let all: Vec<Option<Duration>> = posts.iter().flat_map(came).collect();
    let times: Vec<Duration> = all.iter().flatten().copied().collect();
    let missing = all.len() - times.len();
    Ok((times, missing))
}

/// What is under way: a run takes a quarter of an hour.
fn tell(what: &str) {
    println!("boards: {what}");
}
