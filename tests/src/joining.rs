//! One cold join on a bad day: of three bootstrap servers one is alive, one is gone and one
//! answers nothing, and IPv6 leads nowhere.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    internet::{Change, Link},
    scene::Scene,
};

/// The round trip to the servers.
const RTT: Duration = Duration::from_millis(40);

/// How long a node without memory takes from its process's start until it has a peer.
///
/// # Errors
/// It has none within `limit`, or a process failed.
pub fn cold_join(mut scene: Scene, limit: Duration) -> Result<Duration> {
    scene
        .internet
        .change(Change::DefaultLink(Link::of_rtt(RTT)));
    let hosts = [scene.public()?, scene.public()?, scene.public()?];
    let mut servers = Vec::new();
    for (number, host) in hosts.iter().enumerate() {
        servers.push(scene.server(host, &format!("server-{number}"))?);
    }
    let newcomer = scene.public()?;
    scene.internet.change(Change::Cut(hosts[0].id, true));
    scene.internet.change(Change::Ipv6BlackHoled(true));
    servers[1].kill()?;
    let all: Vec<_> = servers.iter().collect();
    let begin = Instant::now();
    let node = scene.node(&newcomer, "node", &all, &["--client"])?;
    node.until_joined(limit.saturating_sub(begin.elapsed()))?;
    Ok(begin.elapsed())
}
