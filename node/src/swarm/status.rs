//! The view of the swarm, in the words of the management API. It only translates.

use dht::core::adverts::Closeness;
use dht::core::groups::Role;
use dht::core::join::{State, Way, WayReport, WayState};
use dht::core::membership::ClockGap;
use dht::demand::Demand;
use dht::network::Network;
use dht::view::{Path, Peer, View};
use protocol::NodeId;
use protocol::advert::{Nat, NodeRole};
use web::manage::{LoadedModel, ModelDemand, PeerStatus, SwarmStatus, WayStatus};

/// What a person or a page is shown of a swarm.
pub fn status(swarm: &str, view: &View) -> SwarmStatus {
    let state = match view.join.state {
        State::Joining => "joining",
        State::Joined(_) => "joined",
        State::Alone => "alone",
    };
    let standing = match view.standing {
        Role::Undecided => "undecided",
        Role::Member => "member",
        Role::ApiClient => "api-client",
    };
    SwarmStatus {
        swarm: Some(swarm.to_owned()),
        state: state.into(),
        standing: standing.into(),
        size: view.size,
        nat: nat(view.nat).into(),
        ipv6_black_holed: view.join.ipv6_black_holed,
        clock_off_seconds: view.clock.map(seconds),
        listening: view.listening.clone(),
        external: view.external.clone(),
        ways: view.join.ways.iter().map(way).collect(),
        peers: view.peers.iter().map(|(node, p)| peer(node, p)).collect(),
    }
}

/// What a person or a page is shown of what the swarm asks for.
pub fn demand(network: &Network, loaded: &[LoadedModel]) -> Vec<ModelDemand> {
    let view = network.view();
    let shown = |demand: &Demand| {
        let here = (loaded.iter()).filter(|model| model.name == demand.model.as_str());
        ModelDemand {
            model: demand.model.to_string(),
            arrivals_per_second: demand.arrivals.per_second,
            arrivals_error: demand.arrivals.error,
            unmet_per_second: demand.unmet.per_second,
            unmet_error: demand.unmet.error,
            waiting_ms: demand.waiting.as_secs_f64() * 1e3,
            authors: demand.authors,
            heads: view.heads(&demand.model).count() + here.count(),
        }
    };
    network.demand().iter().map(shown).collect()
}

fn seconds(gap: ClockGap) -> i64 {
    let by = i64::try_from(gap.by.as_secs()).unwrap_or(i64::MAX);
    if gap.is_ahead { by } else { -by }
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
        in_group: peer.closeness == Closeness::Group,
        membership: peer.membership.map(|role| role.to_string()),
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
