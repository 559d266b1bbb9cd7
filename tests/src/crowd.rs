//! A crowd of the swarm's own nodes in this process, over real loopback connections: as many as no
//! machine could run as processes.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use dht::{
    core::connections,
    network::{Config, Inbound, Network, both_transports},
    view::View,
};
use ed25519_dalek::SigningKey;
use protocol::{
    ModelName,
    advert::{Abilities, Deployed, NodeRole, Profile},
    names::SwarmName,
};
use rand::RngExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// One node. Dropping it ends it at once, as a crash would.
pub struct Member {
    /// Its part in the swarm.
    pub network: Network,
    _inbound: mpsc::Receiver<Inbound>,
    stop: CancellationToken,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Servers that everybody begins at, and those who came.
pub struct Crowd {
    /// Known to all.
    pub servers: Vec<Member>,
    /// The servers' addresses.
    pub bootstrap: Vec<String>,
    /// Everybody else.
    pub members: Vec<Member>,
}

/// Room for everybody: a server of the public mesh has as much.
const SERVER_CONNECTIONS: usize = 1024;

/// Room of all others, who share one process's open files: both ends of a connection are here, so
/// with what a node has by itself two hundred of them come to twenty thousand files.
const MEMBER_CONNECTIONS: connections::Config = connections::Config {
    high: 40,
    low: 24,
    ceiling: 56,
    grace: Duration::from_secs(10),
    inbound_per_prefix: 8,
    exempt: Vec::new(),
};

fn start(bootstrap: &[String], is_server: bool, served: &[ModelName]) -> Result<Member> {
    let key = SigningKey::from_bytes(&rand::rng().random());
    let role = if is_server {
        NodeRole::Bootstrap
    } else {
        NodeRole::Server
    };
    let mut profile = Profile::new(SwarmName::public(), role);
    profile.limits.serves_strangers = true;
    profile.deployments = served.iter().map(deployed).collect();
    let mut config = Config {
        listen: both_transports(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).into(),
        bootstrap: bootstrap.to_vec(),
        profile,
        mdns: false,
        upnp: false,
        is_server,
        connections: MEMBER_CONNECTIONS,
        ..Config::new(key, SwarmName::public())
    };
    if is_server {
        config.connections = connections::Config {
            high: SERVER_CONNECTIONS,
            low: SERVER_CONNECTIONS,
            ceiling: SERVER_CONNECTIONS,
            ..connections::Config::default()
        };
    }
    let stop = CancellationToken::new();
    let (network, inbound, _) = Network::start(config, stop.clone())?;
    Ok(Member {
        network,
        _inbound: inbound,
        stop,
    })
}

fn deployed(model: &ModelName) -> Deployed {
    Deployed {
        model: model.clone(),
        context_tokens: 4096,
        parallel: 4,
        running: 0,
        queued: 0,
        prefill_tokens_per_second: None,
        decode_tokens_per_second: Some(50.0),
        abilities: Abilities::default(),
    }
}

impl Crowd {
    /// Starts the servers, each knowing those before it.
    ///
    /// # Errors
    /// When one does not listen in time.
    pub async fn start(servers: usize, patience: Duration) -> Result<Self> {
        let mut crowd = Self {
            servers: Vec::new(),
            bootstrap: Vec::new(),
            members: Vec::new(),
        };
        for _ in 0..servers {
            let server = start(&crowd.bootstrap, true, &[])?;
            let view = until(&server, patience, |view| view.listening.len() == 2).await?;
            crowd.bootstrap.extend(view.listening.clone());
            crowd.servers.push(server);
        }
        Ok(crowd)
    }

    /// Lets somebody join who serves these models.
    ///
    /// # Errors
    /// When the system gives no socket.
    pub fn join(&mut self, served: &[ModelName]) -> Result<()> {
        self.members.push(start(&self.bootstrap, false, served)?);
        Ok(())
    }

    /// Waits until each member is connected to somebody; the times that it took, sorted.
    ///
    /// # Errors
    /// When one is not, in time.
    pub async fn until_joined(&self, began: Instant, patience: Duration) -> Result<Vec<Duration>> {
        let joined = self.members.iter().map(async |member| {
            until(member, patience, |view| view.connected() > 0).await?;
            anyhow::Ok(began.elapsed())
        });
        let mut times = futures::future::try_join_all(joined).await?;
        times.sort_unstable();
        Ok(times)
    }

    /// Makes sure that every member's task still runs.
    ///
    /// # Errors
    /// When one has ended.
    pub async fn is_whole(&self, model: &ModelName) -> Result<()> {
        let members = self.servers.iter().chain(&self.members);
        let asked = members.map(|member| member.network.find(model));
        futures::future::try_join_all(asked).await?;
        Ok(())
    }

    /// Whether a member finds somebody who serves the model: in its view, else by looking it up.
    ///
    /// # Errors
    /// When the member has ended.
    pub async fn finds(&self, member: usize, model: &ModelName) -> Result<bool> {
        let network = &self.members.get(member).context("a member")?.network;
        if network.view().heads(model).next().is_some() {
            return Ok(true);
        }
        network.find(model).await?;
        Ok(network.view().heads(model).next().is_some())
    }
}

/// Waits for a view that shows what is wanted.
///
/// # Errors
/// When there is none in time.
pub async fn until(
    member: &Member,
    patience: Duration,
    mut shows: impl FnMut(&View) -> bool,
) -> Result<Arc<View>> {
    let mut views = member.network.watch();
    let shown = tokio::time::timeout(patience, views.wait_for(|view| shows(view))).await;
    ensure!(
        shown.is_ok(),
        "not so in time: {:#?}",
        member.network.view()
    );
    Ok(Arc::clone(&*shown??))
}
