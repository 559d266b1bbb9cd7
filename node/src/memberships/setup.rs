//! What the network needs to know of the configuration and of the membership, in one piece. It
//! opens no socket.

use std::path::Path;

use bootstrap::list::{self, Address};
use protocol::UnixMillis;
use protocol::names::SwarmName;

use super::membership::{check_pass, known_roster};
use super::{Membership, Memberships, Proof, SwarmError, SwarmFiles, disk};
use crate::config::{ListenConfig, SwarmConfig};
use crate::data_dir::Layout;
use crate::identity::Identity;

/// Bytes of the file of `join_file`.
const MAX_JOIN_FILE_BYTES: usize = 16 << 10;

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
    /// Use the public DHT as a rendezvous. Never for a private swarm: that it is there is
    /// nobody's business.
    pub rendezvous: bool,
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
        let memberships = Memberships::new(layout);
        let joined = match configured_proof(config)? {
            Some((setting, proof)) => {
                let joined = join_once(&memberships, &proof, identity, now);
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
            rendezvous: config.rendezvous && membership.is_none(),
            name: match &membership {
                Some(membership) => membership.swarm.name.clone(),
                None => SwarmName::public(),
            },
            membership,
        }
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

/// The text of a file with a token or a pass.
pub(crate) fn read_proof(path: &Path) -> Result<String, SwarmError> {
    let missing = || disk::failed(path)(std::io::ErrorKind::NotFound.into());
    disk::read_text(path, MAX_JOIN_FILE_BYTES)?.ok_or_else(missing)
}

/// Joins, unless that was done at an earlier start: a token that is used up or past its time
/// keeps no member out.
fn join_once(
    memberships: &Memberships,
    proof: &Proof,
    identity: &Identity,
    now: UnixMillis,
) -> Result<SwarmName, SwarmError> {
    let claimed = proof.claimed_swarm();
    if let Some(swarm) = &claimed
        && memberships.names()?.contains(&swarm.name)
    {
        let files = memberships.find(Some(&swarm.name))?;
        if files.swarm() == swarm && is_member(&files, identity, now)? {
            return Ok(swarm.name.clone());
        }
    }
    let joined = memberships.join(proof, identity.id(), now)?;
    Ok(joined.files.swarm().name.clone())
}

fn is_member(files: &SwarmFiles, identity: &Identity, now: UnixMillis) -> Result<bool, SwarmError> {
    if files.root_key()?.is_some() {
        return Ok(true);
    }
    let Some(pass) = files.pass()? else {
        return Ok(false);
    };
    let roster = known_roster(files, now)?;
    Ok(check_pass(&pass, &roster, identity.id(), now).is_ok())
}
