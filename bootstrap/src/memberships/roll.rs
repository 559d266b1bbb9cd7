//! Who was admitted, as far as this node knows: by invites that were redeemed here, by hand here,
//! and who was put out. Other redeemers know of others. It changes nothing.

use std::collections::BTreeMap;

use dht::core::membership::{Grant, Roster};
use protocol::membership::{InviteId, Role};
use protocol::{NodeId, UnixMillis};

use super::membership::known_roster;
use super::{SwarmError, SwarmFiles};

/// How a peer was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// It redeemed this invite here.
    Invite(InviteId),
    /// Its certificate was made by hand here.
    ByHand,
    /// Elsewhere; only its revocation is known here.
    Elsewhere,
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollEntry {
    /// Who.
    pub peer: NodeId,
    /// How it came.
    pub admitted: Admitted,
    /// What its newest certificate that was made here says; none where none was.
    pub grant: Option<(Role, UnixMillis, UnixMillis)>,
    /// Since when it is revoked, if its newest certificate is.
    pub revoked: Option<UnixMillis>,
}

/// Everybody that this node knows of, by their ids.
///
/// # Errors
/// A file is damaged or cannot be read.
pub fn roll(files: &SwarmFiles, now: UnixMillis) -> Result<Vec<RollEntry>, SwarmError> {
    let roster = known_roster(files, now)?;
    let mut entries: BTreeMap<NodeId, RollEntry> = BTreeMap::new();
    let mut add = |grant: Grant, admitted| {
        let entry = RollEntry {
            peer: grant.peer,
            admitted,
            grant: Some((grant.role(), grant.not_before, grant.expires)),
            revoked: None,
        };
        let known = entries.entry(grant.peer).or_insert_with(|| entry.clone());
        if begins(known) < grant.not_before {
            *known = entry;
        }
    };
    for entry in files.ledger()?.entries() {
        let id = InviteId(entry.invite);
        for grant in entry.grants {
            add(grant, Admitted::Invite(id));
        }
    }
    for grant in files.issued()? {
        add(grant, Admitted::ByHand);
    }
    for (peer, revoked) in revocations(&roster, now) {
        let entry = entries.entry(peer).or_insert(RollEntry {
            peer,
            admitted: Admitted::Elsewhere,
            grant: None,
            revoked: None,
        });
        if begins(entry) <= revoked {
            entry.revoked = Some(revoked);
        }
    }
    Ok(entries.into_values().collect())
}

fn begins(entry: &RollEntry) -> UnixMillis {
    entry.grant.map_or(UnixMillis(0), |(_, begins, _)| begins)
}

/// Each revoked peer with the latest time that any list has for it.
fn revocations(roster: &Roster, now: UnixMillis) -> BTreeMap<NodeId, UnixMillis> {
    let mut revoked = BTreeMap::new();
    for (_, _, list) in roster.lists() {
        let Ok(list) = list.verify(roster.swarm(), now) else {
            continue;
        };
        for (peer, at) in list.content.revoked {
            let latest = revoked.entry(peer).or_insert(at);
            *latest = (*latest).max(at);
        }
    }
    revoked
}
