//! The running node's part in its swarm, for a person whose join fails: what was tried, what lies
//! between the node and the Internet, and what to do. It only reads what the node shows.

use web::manage::{SwarmStatus, WayStatus};

use super::{Finding, text};

/// One finding for each thing that decides whether peers find one another.
pub(super) fn findings(status: &SwarmStatus) -> Vec<Finding> {
    let Some(name) = &status.swarm else {
        return vec![Finding::warn(
            "swarm: this node is in none",
            "it was started with --offline, or was not taken: `shoal swarm status` says why",
        )];
    };
    let mut findings = vec![joined(name, status)];
    findings.extend(status.ways.iter().filter(|w| w.state != "off").map(way));
    findings.extend(clock(status));
    findings.push(reachable(status));
    if status.ipv6_black_holed {
        findings.push(Finding::warn(
            "ipv6: packets vanish on this network",
            "nothing: IPv4 is used; turn IPv6 off here if other programs are slow",
        ));
    }
    findings
}

fn joined(name: &str, status: &SwarmStatus) -> Finding {
    let name = text::printable(name);
    let peers = status.peers.iter();
    let connected = peers.filter(|peer| peer.path.is_some()).count();
    let known = status.peers.len();
    match status.state.as_str() {
        "joined" => Finding::ok(format!(
            "swarm: joined `{name}`, {connected} peers connected, {known} known"
        )),
        "joining" => Finding::warn(
            format!("swarm: joining `{name}`"),
            "wait a few seconds and ask again",
        ),
        _ => Finding::warn(
            format!(
                "swarm: nobody of `{name}` is reached; the node answers alone and goes on trying"
            ),
            alone(&status.ways),
        ),
    }
}

/// What is wrong with every way at once, or that each says it for itself.
fn alone(ways: &[WayStatus]) -> String {
    let used: Vec<_> = ways.iter().filter(|way| way.state != "off").collect();
    let causes: Vec<_> = used.iter().filter_map(|way| way.cause.as_deref()).collect();
    let all = |says: &str| !causes.is_empty() && causes.iter().all(|cause| cause.contains(says));
    if used.is_empty() {
        "no way into it is on: give --bootstrap ADDR, or leave --mdns and --rendezvous on".into()
    } else if all("no answer in time") {
        "a firewall may drop what this machine sends: allow outgoing UDP and TCP, at least to \
         port 9338"
            .into()
    } else if all("unreachable") {
        "this machine seems to be offline".into()
    } else if causes.iter().any(|cause| cause.contains("not a member")) {
        "`shoal swarm status` says what this node is there".into()
    } else {
        "each way below says what it met".into()
    }
}

fn way(way: &WayStatus) -> Finding {
    let name = match way.way.as_str() {
        "remembered" => "peers of last time",
        "bootstrap" => "bootstrap nodes",
        "mdns" => "the local network (mDNS)",
        "rendezvous" => "the public DHT",
        other => other,
    };
    let name = text::printable(name);
    match (&way.cause, way.worked) {
        (_, true) => Finding::ok(format!("way: {name} led to the swarm")),
        (None, false) => Finding::ok(format!("way: {name} is being tried")),
        (Some(cause), false) => {
            Finding::warn(format!("way: {name} led nowhere"), text::printable(cause))
        }
    }
}

fn clock(status: &SwarmStatus) -> Option<Finding> {
    let off = status.clock_off_seconds?;
    let side = if off > 0 { "ahead of" } else { "behind" };
    let minutes = off.unsigned_abs().div_ceil(60);
    Some(Finding::fail(
        format!("clock: this machine's is {minutes} minutes {side} the swarm's"),
        "set it (`timedatectl set-ntp true`): what peers sign is refused by its time",
    ))
}

fn reachable(status: &SwarmStatus) -> Finding {
    let is_relayed = |address: &&String| address.contains("/p2p-circuit");
    let relays = status.listening.iter().filter(is_relayed).count();
    let nat = text::printable(&status.nat);
    let what = match (status.external.is_empty(), relays) {
        (false, _) if status.nat == "public" => {
            return Finding::ok("reachable: from the Internet");
        }
        (false, _) => return Finding::ok("reachable: at an address that a peer confirmed"),
        (true, 0) => "reachable: not from outside, as far as is known".to_owned(),
        (true, relays) => format!("reachable: through {relays} relayed addresses ({nat} NAT)"),
    };
    match status.nat.as_str() {
        "endpoint-independent" => Finding::ok(what),
        "symmetric" => Finding::warn(
            what,
            "this router gives each peer another port, so no hole can be punched: forward the \
             port of --listen over UDP and TCP, or turn UPnP on in the router",
        ),
        _ if status.peers.is_empty() => Finding::ok(what),
        _ => Finding::warn(
            what,
            "peers that are behind NATs too may not reach this node: allow the port of --listen \
             over UDP and TCP in the firewall, or forward it in the router",
        ),
    }
}

#[cfg(test)]
mod tests {
    use web::manage::PeerStatus;

    use super::super::Level;
    use super::*;

    fn way_that(cause: Option<&str>, worked: bool) -> WayStatus {
        WayStatus {
            way: "bootstrap".into(),
            state: "resting".into(),
            worked,
            cause: cause.map(str::to_owned),
        }
    }

    fn status(state: &str, ways: Vec<WayStatus>) -> SwarmStatus {
        SwarmStatus {
            swarm: Some("public".into()),
            state: state.into(),
            nat: "unknown".into(),
            ways,
            ..SwarmStatus::default()
        }
    }

    fn lines(status: &SwarmStatus) -> Vec<String> {
        findings(status).iter().map(Finding::line).collect()
    }

    #[test]
    fn a_join_that_fails_is_named_with_what_to_do() {
        let silent = "no answer in time: a firewall may drop packets, or the node is gone";
        let lines_of = |cause| lines(&status("alone", vec![way_that(Some(cause), false)]));
        let told = lines_of(silent);
        assert!(
            told[0].starts_with("warn") && told[0].contains("outgoing UDP"),
            "{told:?}"
        );
        assert!(told[1].contains("bootstrap nodes led nowhere"), "{told:?}");
        assert!(lines_of("the network is unreachable")[0].contains("offline"));
        assert!(lines_of("not a member of this swarm")[0].contains("shoal swarm status"));
        assert!(lines(&status("alone", Vec::new()))[0].contains("--bootstrap"));
        assert!(lines(&SwarmStatus::default())[0].contains("--offline"));
    }

    #[test]
    fn a_clock_that_is_off_is_a_failure() {
        let mut off = status("joined", vec![way_that(None, true)]);
        off.clock_off_seconds = Some(-86_400);
        let found = findings(&off);
        let clock = found
            .iter()
            .find(|finding| finding.what.starts_with("clock"));
        let clock = clock.unwrap();
        assert_eq!(clock.level, Level::Fail);
        assert!(clock.what.contains("1440 minutes behind"), "{}", clock.what);
    }

    #[test]
    fn what_lies_between_is_said() {
        let mut known = status("joined", vec![way_that(None, true)]);
        known.peers = vec![PeerStatus {
            id: "abc".into(),
            path: Some("direct".into()),
            rtt_ms: None,
            near: false,
            in_group: false,
            membership: None,
            role: None,
            nat: None,
            version: None,
            models: Vec::new(),
        }];
        assert!(lines(&known)[0].contains("1 peers connected"));
        assert!(lines(&known).iter().any(|line| line.contains("firewall")));
        known.nat = "symmetric".into();
        known.listening = vec!["/ip4/203.0.113.1/udp/1/quic-v1/p2p/X/p2p-circuit".into()];
        assert!(
            lines(&known)
                .iter()
                .any(|line| line.contains("no hole can be punched"))
        );
        known.external = vec!["/ip4/203.0.113.1/udp/1/quic-v1".into()];
        assert!(lines(&known).iter().any(|line| line.contains("confirmed")));
        known.nat = "public".into();
        assert!(
            lines(&known)
                .iter()
                .any(|line| line.contains("from the Internet"))
        );
        known.ipv6_black_holed = true;
        assert!(
            lines(&known)
                .iter()
                .any(|line| line.contains("IPv4 is used"))
        );
    }
}
