//! The view of the swarm, in the words of the management API. It only translates.

use dht::core::adverts::Closeness;
use dht::core::join::{State, Way, WayReport, WayState};
use dht::view::{Path, Peer, View};
use protocol::NodeId;
use protocol::advert::{Nat, NodeRole};
use web::manage::{PeerStatus, SwarmStatus, WayStatus};

/// What a person or a page is shown of a swarm.
pub fn status(swarm: &str, view: &View) -> SwarmStatus {
    let state = match view.join.state {
        State::Joining => "joining",
        State::Joined(_) => "joined",
        State::Alone => "alone",
    };
    SwarmStatus {
        swarm: Some(swarm.to_owned()),
        state: state.into(),
        nat: nat(view.nat).into(),
        ipv6_black_holed: view.join.ipv6_black_holed,
        listening: view.listening.clone(),
        external: view.external.clone(),
        ways: view.join.ways.iter().map(way).collect(),
        peers: view.peers.iter().map(|(node, p)| peer(node, p)).collect(),
    }
}

fn way(report: &WayReport) -> WayStatus {
    let way = match report.way {
        Way::Remembered => "remembered",
        Way::Bootstrap => "bootstrap",
        Way::Mdns => "mdns",
        Way::Rendezvous => "rendezvous",
    };
    let state = match report.state {
        WayState::Off => "off",
        WayState::Resting(_) => "resting",
        WayState::Trying { .. } => "trying",
    };
    WayStatus {
        way: way.into(),
        state: state.into(),
        worked: report.last_success.is_some(),
        cause: report.cause.map(|cause| cause.to_string()),
    }
}

fn peer(node: &NodeId, peer: &Peer) -> PeerStatus {
    let said = peer.said.as_ref();
    let path = peer.path.map(|path| match path {
        Path::Direct => "direct",
        Path::Relayed => "relayed",
    });
    let models = said.map(|said| said.deployments.iter());
    let models = models.into_iter().flatten();
    PeerStatus {
        id: node.to_string(),
        path: path.map(str::to_owned),
        rtt_ms: peer.round_trip().map(|rtt| rtt.as_secs_f64() * 1000.0),
        near: peer.closeness >= Closeness::Near,
        role: said.map(|said| role(said.role).to_owned()),
        nat: said.map(|said| nat(said.nat).to_owned()),
        version: said.map(|said| said.version.clone()),
        models: models.map(|served| served.model.to_string()).collect(),
    }
}

fn role(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Server => "server",
        NodeRole::ApiClient => "api-client",
        NodeRole::Bootstrap => "bootstrap",
    }
}

fn nat(nat: Nat) -> &'static str {
    match nat {
        Nat::Public => "public",
        Nat::EndpointIndependent => "endpoint-independent",
        Nat::Symmetric => "symmetric",
        Nat::Unspecified => "unknown",
    }
}
