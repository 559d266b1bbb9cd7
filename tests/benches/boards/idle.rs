//! What a board costs on which nobody writes: two swarms of one age side by side, one without boards
//! and one whose nodes all follow some. Each is a process in a network namespace of its own, so that
//! the bytes of its loopback interface are its own.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use protocol::board::BoardName;

use super::{swarm, tell};

/// What a child is told behind `bench boards`, before its number of boards.
const WORD: &str = "idle";

/// Nodes of each swarm: a node speaks to some five of them of a board, however many there are.
const NODES: usize = 30;

/// Boards that are counted together: one is lost in what nodes say otherwise.
const BOARDS: usize = 20;

/// A young swarm looks for itself for some minutes.
const SETTLE: Duration = Duration::from_secs(240);

/// Who follows a board says so in the DHT every ten minutes, and reconciles more often.
const COUNTED: Duration = Duration::from_secs(660);

/// The row of the results.
pub(super) fn measure() -> Result<String> {
    tell("counting what idle boards cost, for a quarter of an hour");
    let [without, with] = [0, BOARDS].map(begin);
    let (without, with) = (end(without?)?, end(with?)?);
    Ok(format!(
        "| an idle board, of {NODES} peers that follow it, each | {:.1} B/s (a node sends {with:.0} B/s with {BOARDS} \
         of them, {without:.0} in a swarm of the same age without) |\n",
        (with - without) / BOARDS as f64
    ))
}

/// The number of boards with which this process is to count; `None`: it is no child.
pub(super) fn asked() -> Option<usize> {
    let mut arguments = std::env::args().skip(1);
    let is_child = arguments.next()? == "boards" && arguments.next()? == WORD;
    is_child.then(|| arguments.next()?.parse().ok())?
}

/// Prints the bytes a second that a node sends where everybody follows so many boards.
pub(super) async fn count(boards: usize) -> Result<()> {
    let nodes = swarm(NODES).await?;
    for node in &nodes {
        for number in 0..boards {
            let board: BoardName = format!("idle-{number}").parse()?;
            node.network.follow(board).await?;
        }
    }
    tokio::time::sleep(SETTLE).await;
    let (before, began) = (loopback_bytes()?, Instant::now());
    tokio::time::sleep(COUNTED).await;
    let bytes = loopback_bytes()?.saturating_sub(before);
    println!(
        "{}",
        bytes as f64 / began.elapsed().as_secs_f64() / NODES as f64
    );
    Ok(())
}

fn begin(boards: usize) -> Result<Child> {
    let own = std::env::current_exe()?;
    let child = Command::new("unshare")
        .args(["-rn", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(own)
        .args(["boards", WORD, &boards.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(child)
}

fn end(child: Child) -> Result<f64> {
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "a swarm that was counted ended");
    let said = String::from_utf8(output.stdout)?;
    said.trim().parse().with_context(|| said.clone())
}

fn loopback_bytes() -> Result<u64> {
    let devices = std::fs::read_to_string("/proc/self/net/dev")?;
    let mut lines = devices.lines();
    let lo = lines.find_map(|line| line.trim().strip_prefix("lo:"));
    let bytes = lo.and_then(|line| line.split_whitespace().next());
    Ok(bytes.context("no loopback interface")?.parse()?)
}
