//! What the node speaks: inside of the gate everything that is for members, outside of it only
//! what tells nobody anything. Put together here; driven elsewhere.

use std::{num::NonZeroUsize, time::Duration};

use libp2p::{
    PeerId, StreamProtocol, Swarm, SwarmBuilder, autonat,
    core::upgrade::Version,
    dcutr, identify, identity, kad, noise, relay,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, upnp, yamux,
};
use protocol::{NodeId, names::Protocol};

use super::{
    StartError,
    admitting::Private,
    ask::{Asking, asking},
    config::Config,
    gossip::{Gossip, gossip},
    opening,
};
use crate::{
    admission::{self, Admissions, system_clock},
    candidates::Candidates,
    eager::Eager,
    gate::Gated,
    lan::Lan,
    probe::Probes,
    providers::ProviderStore,
    pulse::Pulses,
    revocations::Revocations,
    streams::Streams,
    turnstile::Turnstile,
};

/// A connection that carries nothing goes after this; what carries gossip goes by
/// [`crate::core::connections`].
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Sent over connections that say nothing: two may be lost within [`SILENCE`], and a NAT that
/// forgets after 30 s is reminded in time. A node with a hundred idle connections spends most of
/// what it spends on these.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// A QUIC connection over which nothing comes is gone. An answer does not wait so long for a peer
/// that was killed: see [`protocol::limits::MAX_REPLY_SILENCE`]. (Over TCP the system says so at
/// once.)
const SILENCE: Duration = Duration::from_secs(15);

/// How long a provider record holds, and how often one's own is told again.
pub(super) const PROVIDER_TTL: Duration = Duration::from_secs(30 * 60);
const PROVIDER_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// How often the whole routing table is looked through for its holes (Maymounkov and Mazières, 2002,
/// section 2.3): that asks, and so dials, some two dozen peers for each of its buckets. In between
/// the lookups for the swarm's size fill it, and newcomers, who ask their neighbours.
const ROUTING_REFRESH: Duration = Duration::from_secs(60 * 60);

/// Peers that each of a lookup's disjoint paths (three, by default) ends at: 24 together, somewhat more
/// than Kademlia's k of 20. The default is 20 for each path, so 60 dials for a lookup.
const CLOSEST_OF_A_PATH: NonZeroUsize = NonZeroUsize::new(8).expect("eight are not none");

/// A lookup's end: a few hops of a few seconds each.
const QUERY_TIMEOUT: Duration = Duration::from_secs(20);

/// A circuit carries control and a whole model's text, but no hidden states and no weights.
const CIRCUIT_BYTES: u64 = 1 << 20;
const CIRCUIT_TIME: Duration = Duration::from_secs(10 * 60);

/// Circuits of a relay at a time, and reservations: 128 nodes behind NATs at 150 KB each.
const MAX_CIRCUITS: usize = 64;
const MAX_RESERVATIONS: usize = 128;

/// Everything.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    /// First, so that whom it turns away costs nothing more.
    pub(super) turnstile: Turnstile,
    pub(super) lan: Toggle<Lan>,
    pub(super) upnp: Toggle<upnp::tokio::Behaviour>,
    pub(super) candidates: Candidates,
    pub(super) admission: Toggle<Admissions>,
    pub(super) inside: Gated<Inside>,
}

/// What is behind the gate.
#[derive(NetworkBehaviour)]
pub(super) struct Inside {
    pub(super) identify: Eager<identify::Behaviour>,
    pub(super) kad: Eager<kad::Behaviour<ProviderStore>>,
    pub(super) revocations: Toggle<Revocations>,
    pub(super) gossip: Gossip,
    pub(super) pulses: Pulses,
    pub(super) asking: Asking,
    pub(super) probes: Probes,
    pub(super) streams: Streams,
    pub(super) relay_client: relay::client::Behaviour,
    pub(super) relay_server: relay::Behaviour,
    pub(super) dcutr: Toggle<dcutr::Behaviour>,
    pub(super) autonat_client: Toggle<autonat::v2::client::Behaviour>,
    pub(super) autonat_server: autonat::v2::server::Behaviour,
}

/// The swarm with all of it; it listens nowhere yet.
pub(super) fn swarm(
    config: &Config,
    private: Option<Private>,
) -> Result<Swarm<Behaviour>, StartError> {
    let key = identity::Keypair::ed25519_from_bytes(config.key.to_bytes())
        .map_err(|error| StartError::Setup(error.to_string()))?;
    let setup = |error: &dyn std::fmt::Display| StartError::Setup(error.to_string());
    let tcp = tcp::Config::default().nodelay(true);
    let builder = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(tcp, noise::Config::new, yamux::Config::default)
        .map_err(|error| setup(&error))?
        .with_quic_config(|mut quic| {
            quic.keep_alive_interval = KEEP_ALIVE;
            quic.max_idle_timeout = u32::try_from(SILENCE.as_millis()).unwrap_or(u32::MAX);
            quic
        })
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .map_err(|error| setup(&error))?;
    let swarm = builder
        .with_behaviour(|key, relay| behaviour(config, private, key, relay))
        .map_err(|error| setup(&error))?
        .with_swarm_config(|swarm| {
            swarm
                .with_idle_connection_timeout(IDLE_TIMEOUT)
                .with_substream_upgrade_protocol_override(Version::V1Lazy)
        })
        .build();
    Ok(swarm)
}

type SetupError = Box<dyn std::error::Error + Send + Sync>;

fn behaviour(
    config: &Config,
    private: Option<Private>,
    key: &identity::Keypair,
    relay: relay::client::Behaviour,
) -> Result<Behaviour, SetupError> {
    let own = key.public().to_peer_id();
    // Without multicast (a container, a locked-down system) the other ways remain.
    let lan = config.mdns.then(|| Lan::new(own));
    let inside = inside(config, private.as_ref(), key, relay)?;
    let inside = match private {
        Some(_) => Gated::shut(inside),
        None => Gated::open(inside),
    };
    let local = NodeId::from(&config.key);
    let admission = private.map(|private| admissions(local, private));
    Ok(Behaviour {
        turnstile: Turnstile::default(),
        lan: lan.and_then(Result::ok).into(),
        upnp: config.upnp.then(upnp::tokio::Behaviour::default).into(),
        candidates: Candidates::default(),
        admission: admission.into(),
        inside,
    })
}

fn admissions(local: NodeId, private: Private) -> Admissions {
    Admissions::new(admission::Config {
        local,
        roster: private.roster,
        credential: private.credential,
        redeemer: private.redeemer,
        clock: system_clock(),
    })
}

fn inside(
    config: &Config,
    private: Option<&Private>,
    key: &identity::Keypair,
    relay_client: relay::client::Behaviour,
) -> Result<Inside, SetupError> {
    let own = key.public().to_peer_id();
    let revocations = private.map(|private| {
        let mut revocations = Revocations::new(&config.swarm);
        revocations.update(&private.roster);
        revocations
    });
    Ok(Inside {
        identify: Eager::new(identify::Behaviour::new(identify_config(config, key))),
        kad: Eager::new(kademlia(config, own)?),
        revocations: revocations.into(),
        gossip: gossip(&config.swarm)?,
        pulses: Pulses::default(),
        asking: asking(&config.swarm),
        probes: Probes::new(stream_protocol(config, Protocol::Probe)?),
        streams: Streams::new(opening::protocols(config).into_values().collect()),
        relay_client,
        relay_server: relay::Behaviour::new(own, relay_config()),
        dcutr: (!config.is_server)
            .then(|| dcutr::Behaviour::new(own))
            .into(),
        autonat_client: (!config.is_server)
            .then(autonat::v2::client::Behaviour::default)
            .into(),
        autonat_server: autonat::v2::server::Behaviour::default(),
    })
}

fn identify_config(config: &Config, key: &identity::Keypair) -> identify::Config {
    let version = format!("/shoal/{}/1", config.swarm);
    identify::Config::new(version, key.public())
        .with_agent_version(format!("shoal/{}", env!("CARGO_PKG_VERSION")))
        .with_push_listen_addr_updates(true)
}

fn kademlia(config: &Config, own: PeerId) -> Result<kad::Behaviour<ProviderStore>, SetupError> {
    let mut kad = kad::Config::new(stream_protocol(config, Protocol::Kademlia)?);
    kad.set_provider_record_ttl(Some(PROVIDER_TTL))
        .set_provider_publication_interval(Some(PROVIDER_INTERVAL))
        .set_periodic_bootstrap_interval(Some(ROUTING_REFRESH))
        .set_query_timeout(QUERY_TIMEOUT)
        // Value records are not stored, so none are told again.
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_record_ttl(None)
        .set_replication_factor(CLOSEST_OF_A_PATH)
        .disjoint_query_paths(true);
    let mut kad = kad::Behaviour::with_config(own, ProviderStore::new(own), kad);
    // Its own guess is wrong once a relay is reserved; see `listening`.
    kad.set_mode(Some(if config.is_server {
        kad::Mode::Server
    } else {
        kad::Mode::Client
    }));
    Ok(kad)
}

fn relay_config() -> relay::Config {
    relay::Config {
        max_reservations: MAX_RESERVATIONS,
        max_circuits: MAX_CIRCUITS,
        max_circuit_bytes: CIRCUIT_BYTES,
        max_circuit_duration: CIRCUIT_TIME,
        ..relay::Config::default()
    }
}

fn stream_protocol(config: &Config, protocol: Protocol) -> Result<StreamProtocol, SetupError> {
    Ok(StreamProtocol::try_from_owned(protocol.of(&config.swarm))?)
}
