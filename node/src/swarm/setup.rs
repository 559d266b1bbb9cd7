//! What the network needs to know of the configuration and of the membership, in one piece. It
//! opens no socket.

use bootstrap::list::{self, Address};
use bootstrap::memberships::{Membership, Memberships, Proof, SwarmError, read_proof};
use dht::network::Meeting;
use protocol::UnixMillis;
use protocol::names::SwarmName;

use crate::config::{ListenConfig, SwarmConfig};
use crate::data_dir::Layout;
use crate::identity::Identity;

/// Which swarm the node joins, as what, and how it begins.
#[derive(Debug)]
pub struct SwarmSetup {
    /// The swarm's name: `public`, or the private one's.
    pub name: SwarmName,
    /// What the node is in it; `None`: the public mesh, which has no members.
    pub membership: Option<Membership>,
    /// Nodes to begin at; there may be none.
    pub bootstrap: Vec<Address>,
    /// Where to listen.
    pub listen: ListenConfig,
    /// Look for peers on the local network.
    pub mdns: bool,
    /// Ask the router for a port.
    pub upnp: bool,
    /// The rendezvous. None for a private swarm: that it is there is nobody's business.
    pub meeting: Meeting,
}

impl SwarmSetup {
    /// Reads what the node has and what is configured. A configured token or pass is joined by,
    /// unless the node is a member already.
    ///
    /// # Errors
    /// The swarm is not known, would not take the node ([`SwarmError::is_not_member`]), or a
    /// file is damaged.
    pub fn prepare(
        config: &SwarmConfig,
        layout: &Layout,
        identity: &Identity,
        now: UnixMillis,
    ) -> Result<Self, SwarmError> {
        let memberships = Memberships::new(layout.swarms());
        let joined = match configured_proof(config)? {
            Some((setting, proof)) => {
                let joined = memberships.join_once(&proof, identity, now);
                let cause = |cause| SwarmError::Configured {
                    setting,
                    cause: Box::new(cause),
                };
                Some(joined.map_err(cause)?)
            }
            None => None,
        };
        let wanted = config.name.clone().or(joined);
        let membership = match memberships.to_join(wanted.as_ref())? {
            Some(files) => Some(Membership::load(files, identity, now)?),
            None => None,
        };
        Ok(Self::of(config, membership))
    }

    fn of(config: &SwarmConfig, membership: Option<Membership>) -> Self {
        let own = || match &membership {
            Some(membership) => membership.bootstrap.clone(),
            None => list::compiled_in(),
        };
        Self {
            bootstrap: config.bootstrap.clone().unwrap_or_else(own),
            listen: config.listen.clone(),
            mdns: config.mdns,
            upnp: config.upnp,
            meeting: match &membership {
                Some(_) => Meeting::Nowhere,
                None => meeting(config),
            },
            name: match &membership {
                Some(membership) => membership.swarm.name.clone(),
                None => SwarmName::public(),
            },
            membership,
        }
    }
}

/// Where nodes of the public mesh meet.
fn meeting(config: &SwarmConfig) -> Meeting {
    match &config.rendezvous_servers {
        _ if !config.rendezvous => Meeting::Nowhere,
        None => Meeting::PublicDht,
        Some(servers) if servers.is_empty() => Meeting::Nowhere,
        Some(servers) => Meeting::At(servers.iter().map(ToString::to_string).collect()),
    }
}

/// The token or pass of the configuration, and which setting it is of.
pub(crate) fn configured_proof(
    config: &SwarmConfig,
) -> Result<Option<(&'static str, Proof)>, SwarmError> {
    let (setting, text) = match (&config.join, &config.join_file) {
        (Some(text), _) => ("`join`", Ok(text.reveal().to_owned())),
        (None, Some(path)) => ("`join_file`", read_proof(path)),
        (None, None) => return Ok(None),
    };
    let proof = text.and_then(|text| text.parse::<Proof>());
    let proof = proof.map_err(|cause| SwarmError::Configured {
        setting,
        cause: Box::new(cause),
    })?;
    Ok(Some((setting, proof)))
}
