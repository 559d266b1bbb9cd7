//! `shoal peers`: the swarm as the running node sees it.

use web::manage::{PeerStatus, SwarmStatus};

use super::args::StatusArgs;
use super::connect::{client, wait};
use super::{CliError, Exit, Terminal, text};

/// `shoal peers`.
pub(super) fn run(args: &StatusArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let client = client(&args.client)?;
    let status = wait(async { Ok(client.peers().await?) })?;
    match args.json {
        true => terminal.json(&status)?,
        false => terminal.text(&describe(&status))?,
    }
    Ok(Exit::Done)
}

fn describe(status: &SwarmStatus) -> String {
    let Some(swarm) = &status.swarm else {
        return "This node is in no swarm: it was started with --offline, or was not taken \
                (`shoal swarm status`).\n"
            .into();
    };
    let mut lines = vec![
        format!("swarm    {} ({})", text::printable(swarm), status.state),
        format!("nat      {}", status.nat),
        format!("group    {}", group(status)),
    ];
    for address in &status.listening {
        lines.push(format!("address  {address}"));
    }
    if let Some(off) = status.clock_off_seconds {
        let side = if off > 0 { "ahead of" } else { "behind" };
        let by = off.unsigned_abs();
        lines.push(format!(
            "clock    {by} s {side} the swarm's: set this machine's time"
        ));
    }
    if status.ipv6_black_holed {
        lines.push("ipv6     leads nowhere on this network: IPv4 is used".into());
    }
    for way in status.ways.iter().filter(|way| way.state != "off") {
        let fared = match (&way.cause, way.worked) {
            (None, true) => "led to the swarm".into(),
            (None, false) => "trying".into(),
            (Some(cause), _) => text::printable(cause),
        };
        lines.push(format!("{:<12} {fared}", way.way));
    }
    format!("{}\n\n{}", lines.join("\n"), table(&status.peers))
}

/// What this node is by its distances.
fn group(status: &SwarmStatus) -> String {
    match status.standing.as_str() {
        "member" => {
            let members = status.peers.iter().filter(|peer| peer.in_group);
            format!("{} peers within 80 ms", members.count())
        }
        "api-client" => {
            "none within 80 ms: this node is an API client, and serves whole models at most".into()
        }
        _ => "not measured yet".into(),
    }
}

fn table(peers: &[PeerStatus]) -> String {
    let rows: Vec<_> = peers.iter().map(row).collect();
    text::table(
        [
            "PEER", "PATH", "RTT", "NEAR", "ROLE", "NAT", "VERSION", "MODELS",
        ],
        &rows,
    )
}

/// What a peer says may hold anything: only what can be printed is.
fn row(peer: &PeerStatus) -> [String; 8] {
    let said = |text: &Option<String>| text::printable(text.as_deref().unwrap_or("-"));
    [
        peer.id.clone(),
        said(&peer.path),
        peer.rtt_ms.map_or("-".into(), |ms| format!("{ms:.1} ms")),
        if peer.near { "yes" } else { "no" }.into(),
        said(&peer.role),
        said(&peer.nat),
        said(&peer.version),
        text::printable(&peer.models.join(" ")),
    ]
}

#[cfg(test)]
mod tests {
    use web::manage::WayStatus;

    use super::*;

    #[test]
    fn a_node_without_a_swarm_says_why() {
        assert!(describe(&SwarmStatus::default()).contains("--offline"));
    }

    #[test]
    fn ways_and_peers_are_shown_and_nothing_escapes() {
        let status = SwarmStatus {
            swarm: Some("public".into()),
            state: "alone".into(),
            nat: "unknown".into(),
            ways: vec![WayStatus {
                way: "bootstrap".into(),
                state: "resting".into(),
                worked: false,
                cause: Some("nothing listens at that address".into()),
            }],
            peers: vec![PeerStatus {
                id: "abc".into(),
                path: Some("direct".into()),
                rtt_ms: Some(12.34),
                near: true,
                in_group: true,
                membership: None,
                role: None,
                nat: None,
                version: Some("\x1b[31m".into()),
                models: vec!["org/model".into()],
            }],
            ..SwarmStatus::default()
        };
        let shown = describe(&status);
        assert!(shown.contains("nothing listens"), "{shown}");
        assert!(shown.contains("12.3 ms") && shown.contains("org/model"));
        assert!(!shown.contains('\x1b'));
    }
}
