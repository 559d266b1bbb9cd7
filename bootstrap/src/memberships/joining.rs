//! How a swarm comes to be known here: made, joined by a token, joined by a pass; and left.

use std::fs;
use std::path::Path;

use crate::list::Address;
use dht::admission;
use dht::core::membership::Grant;
use ed25519_dalek::SigningKey;
use protocol::membership::{
    ChainDecodeError, Invite, Issued, Issuer, JoinToken, Pass, PassError, Role, Statement, Swarm,
};
use protocol::names::{PUBLIC_SWARM, SwarmName};
use protocol::{NodeId, UnixMillis};

use super::membership::{check_pass, known_roster};
use super::{CERTIFICATE_LIFETIME, Memberships, SwarmError, SwarmFiles, disk};
use dht::identity::{Identity, IdentityError};

/// Bytes of a file with a token or a pass: several times the longest.
const MAX_PROOF_FILE_BYTES: usize = 16 << 10;

/// What a swarm is joined with.
#[derive(Debug, Clone, PartialEq)]
pub enum Proof {
    /// An invite, still to be redeemed at a bootstrap node.
    Token(JoinToken),
    /// A certificate that the owner made by hand.
    Pass(Pass),
}

/// A swarm that was made.
#[derive(Debug, Clone)]
pub struct Created {
    /// Its files.
    pub files: SwarmFiles,
    /// Its root key was given, not made.
    pub restored: bool,
}

/// A swarm that was joined, as far as that is possible without a connection.
#[derive(Debug, Clone)]
pub struct Joined {
    /// Its files.
    pub files: SwarmFiles,
    /// As what.
    pub role: Role,
    /// When the invite or the certificate ends.
    pub expires: UnixMillis,
    /// The node has a certificate already: nothing is left to be redeemed.
    pub is_member: bool,
    /// Where the node will begin.
    pub bootstrap: Vec<Address>,
}

impl std::str::FromStr for Proof {
    type Err = SwarmError;

    fn from_str(text: &str) -> Result<Self, SwarmError> {
        let is_pass = text.trim_start().starts_with("shoalpass");
        Ok(match is_pass {
            true => Self::Pass(text.parse()?),
            false => Self::Token(text.parse()?),
        })
    }
}

impl Proof {
    /// The swarm that it claims to be of: to find what is known of it, never to rely on.
    pub fn claimed_swarm(&self) -> Option<Swarm> {
        match self {
            Self::Token(token) => {
                let claimed = token.0.statement.claimed_payload().ok()?;
                Some(claimed.check().ok()?.swarm)
            }
            Self::Pass(pass) => pass.claimed_swarm(),
        }
    }
}

impl Memberships {
    /// Makes a swarm: its root key, or the one in the given file, and a certificate for `own`.
    ///
    /// # Errors
    /// The name is taken, the given key cannot be used, or the disk.
    pub fn create(
        &self,
        name: &SwarmName,
        own: NodeId,
        root_key: Option<&Path>,
        now: UnixMillis,
    ) -> Result<Created, SwarmError> {
        if name.to_string() == PUBLIC_SWARM {
            return Err(SwarmError::PublicName);
        }
        let _lock = self.lock()?;
        if self.names()?.contains(name) {
            let root = self.open(name)?.swarm().root;
            let name = name.clone();
            return Err(SwarmError::Exists { name, root });
        }
        let place = self.folder.join(name.to_string());
        let begun = disk::unfinished(&place);
        disk::make_folder(&begun)?;
        let key = root_key_in(&begun, root_key)?;
        let swarm = Swarm {
            name: name.clone(),
            root: key.id(),
        };
        let files = SwarmFiles::new(begun, swarm.clone());
        files.save_root_id()?;
        issue_own(&files, key.signing_key().clone(), own, now)?;
        put(&files, &place)?;
        Ok(Created {
            files: SwarmFiles::new(place, swarm),
            restored: root_key.is_some(),
        })
    }

    /// Joins by a token or a pass: what it says is checked and kept, for the node to use.
    ///
    /// # Errors
    /// It does not hold for this node now, another swarm has its name, or the disk.
    pub fn join(&self, proof: &Proof, own: NodeId, now: UnixMillis) -> Result<Joined, SwarmError> {
        let _lock = self.lock()?;
        match proof {
            Proof::Token(token) => self.join_by_token(token, own, now),
            Proof::Pass(pass) => self.join_by_pass(pass, own, now),
        }
    }

    fn join_by_token(
        &self,
        token: &JoinToken,
        own: NodeId,
        now: UnixMillis,
    ) -> Result<Joined, SwarmError> {
        let invite: Issued<Invite> = token.verify(now)?;
        let bootstrap = usable(&invite.content.bootstrap)?;
        let files = self.files_of(&invite.content.swarm)?;
        let roster = known_roster(&files, now)?;
        let checked = roster.check_invite(&token.0, own, now);
        checked.map_err(|fault| SwarmError::NotInvited {
            swarm: files.swarm().name.clone(),
            fault,
        })?;
        let files = self.keep(&files, |files| {
            files.save_invite(token)?;
            match bootstrap.is_empty() {
                true => Ok(()),
                false => files.save_bootstrap(&bootstrap),
            }
        })?;
        let pass = files.pass()?;
        Ok(Joined {
            role: invite.content.role,
            expires: invite.expires,
            is_member: pass.is_some_and(|pass| check_pass(&pass, &roster, own, now).is_ok()),
            bootstrap: files.bootstrap()?,
            files,
        })
    }

    fn join_by_pass(
        &self,
        pass: &Pass,
        own: NodeId,
        now: UnixMillis,
    ) -> Result<Joined, SwarmError> {
        let unusable = || PassError::Contents(ChainDecodeError::Missing);
        let swarm = pass.claimed_swarm().ok_or_else(unusable)?;
        let files = self.files_of(&swarm)?;
        let roster = known_roster(&files, now)?;
        let member = check_pass(pass, &roster, own, now)?;
        let mut kept = pass.clone();
        if kept.delegation.is_none() {
            kept.delegation = files.pass()?.and_then(|pass| pass.delegation);
        }
        let files = self.keep(&files, |files| files.save_pass(&kept))?;
        files.remove_invite()?;
        Ok(Joined {
            role: member.role,
            expires: member.expires,
            is_member: true,
            bootstrap: files.bootstrap()?,
            files,
        })
    }

    /// Joins, unless that was done at an earlier start: a token that is used up or past its time
    /// keeps no member out. The swarm's name.
    ///
    /// # Errors
    /// See [`Memberships::join`].
    pub fn join_once(
        &self,
        proof: &Proof,
        identity: &Identity,
        now: UnixMillis,
    ) -> Result<SwarmName, SwarmError> {
        let own = identity.id();
        if let Some(swarm) = &proof.claimed_swarm()
            && self.names()?.contains(&swarm.name)
        {
            let files = self.find(Some(&swarm.name))?;
            if files.swarm() == swarm && is_member(&files, own, now)? {
                return Ok(swarm.name.clone());
            }
        }
        let joined = self.join(proof, own, now)?;
        Ok(joined.files.swarm().name.clone())
    }

    /// Forgets a swarm. Its root key goes only when that is said.
    ///
    /// # Errors
    /// The root key is here, or the disk.
    pub fn leave(&self, files: &SwarmFiles, forget_root_key: bool) -> Result<(), SwarmError> {
        let _lock = self.lock()?;
        let path = files.root_key_path();
        if path.exists() && !forget_root_key {
            let swarm = files.swarm().name.clone();
            return Err(SwarmError::RootKeyHere { swarm, path });
        }
        files.delete()
    }

    /// The files of a swarm that may be known already, under the same root.
    fn files_of(&self, swarm: &Swarm) -> Result<SwarmFiles, SwarmError> {
        if swarm.name.to_string() == PUBLIC_SWARM {
            return Err(SwarmError::PublicName);
        }
        let place = self.folder.join(swarm.name.to_string());
        if !self.names()?.contains(&swarm.name) {
            return Ok(SwarmFiles::new(place, swarm.clone()));
        }
        let files = self.open(&swarm.name)?;
        match files.swarm().root == swarm.root {
            true => Ok(files),
            false => Err(SwarmError::Exists {
                name: swarm.name.clone(),
                root: files.swarm().root,
            }),
        }
    }

    /// Writes into a swarm's folder; a new one appears whole.
    fn keep(
        &self,
        files: &SwarmFiles,
        write: impl Fn(&SwarmFiles) -> Result<(), SwarmError>,
    ) -> Result<SwarmFiles, SwarmError> {
        if files.folder().exists() {
            write(files)?;
            return Ok(files.clone());
        }
        let begun = disk::unfinished(files.folder());
        disk::make_folder(&begun)?;
        let new = SwarmFiles::new(begun, files.swarm().clone());
        new.save_root_id()?;
        write(&new)?;
        put(&new, files.folder())?;
        Ok(files.clone())
    }
}

/// A copy of the given key, or a new one, in this folder.
fn root_key_in(folder: &Path, given: Option<&Path>) -> Result<Identity, SwarmError> {
    let place = folder.join("root.key");
    if let Some(path) = given {
        let missing = || IdentityError::NoKey(path.to_path_buf());
        let key = Identity::load(path).map_err(SwarmError::Key)?;
        let key = key.ok_or_else(missing).map_err(SwarmError::Key)?;
        let text = format!("{}\n", hex::encode(key.signing_key().to_bytes()));
        disk::write(&place, text.as_bytes())?;
    }
    Identity::load_or_create(&place).map_err(SwarmError::Key)
}

/// The finished folder gets its name.
fn put(files: &SwarmFiles, place: &Path) -> Result<(), SwarmError> {
    let renamed = fs::rename(files.folder(), place);
    renamed
        .and_then(|()| disk::sync_folder_of(place))
        .map_err(disk::failed(place))
}

/// A new certificate for this node itself, by the root.
pub(super) fn issue_own(
    files: &SwarmFiles,
    root: SigningKey,
    own: NodeId,
    now: UnixMillis,
) -> Result<Pass, SwarmError> {
    let swarm = files.swarm();
    let grant = Grant {
        peer: own,
        is_member: true,
        not_before: now,
        expires: now.saturating_add(CERTIFICATE_LIFETIME),
    };
    let issuer = Issuer::root(swarm.clone(), root).ok_or_else(|| SwarmError::RootKey {
        path: files.root_key_path(),
        swarm: swarm.name.clone(),
    })?;
    let pass = Pass {
        certificate: admission::sign(&issuer, &grant)?,
        delegation: None,
    };
    files.save_issued(grant)?;
    files.save_pass(&pass)?;
    Ok(pass)
}

/// The addresses that mean something to this version. None at all is fine: members may be near.
fn usable(texts: &[String]) -> Result<Vec<Address>, SwarmError> {
    let addresses: Vec<Address> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    match addresses.is_empty() && !texts.is_empty() {
        true => Err(SwarmError::Addresses),
        false => Ok(addresses),
    }
}

/// The text of a file with a token or a pass.
///
/// # Errors
/// It is not there, is no text, or is longer than any of them.
pub fn read_proof(path: &Path) -> Result<String, SwarmError> {
    let missing = || disk::failed(path)(std::io::ErrorKind::NotFound.into());
    disk::read_text(path, MAX_PROOF_FILE_BYTES)?.ok_or_else(missing)
}

fn is_member(files: &SwarmFiles, own: NodeId, now: UnixMillis) -> Result<bool, SwarmError> {
    if files.root_key()?.is_some() {
        return Ok(true);
    }
    let Some(pass) = files.pass()? else {
        return Ok(false);
    };
    let roster = known_roster(files, now)?;
    Ok(check_pass(&pass, &roster, own, now).is_ok())
}
