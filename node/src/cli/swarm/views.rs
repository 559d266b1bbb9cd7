//! `shoal swarm status` and `members`: what is in the files, for people and as JSON.

use bootstrap::memberships::{Admitted, Membership, RollEntry, roll, unix_now};
use protocol::UnixMillis;
use protocol::membership::{Delegation, InWords};
use serde_json::{Value, json};

use super::super::args::{ChosenArgs, MembersArgs};
use super::super::{CliError, Exit, Terminal, text};
use super::Chosen;

/// `shoal swarm status`.
pub(super) fn status(args: &ChosenArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let chosen = Chosen::of(args)?;
    let now = unix_now();
    let swarm = chosen.files.swarm();
    let root_key = match chosen.files.root_key_path().exists() {
        true => "here",
        false => "not here",
    };
    terminal.text(&format!(
        "swarm        {}\nroot         {}\nroot key     {root_key}\nnode         {}\n",
        swarm.name,
        swarm.root,
        chosen.identity.id()
    ))?;
    match Membership::load(chosen.files, &chosen.identity, now) {
        Ok(membership) => {
            terminal.text(&describe(&membership, now))?;
            Ok(Exit::Done)
        }
        Err(error) => Err(error.into()),
    }
}

fn describe(membership: &Membership, now: UnixMillis) -> String {
    let certificate = match &membership.certificate {
        None => "none yet; the invite is redeemed when the node runs".to_owned(),
        Some(own) => {
            let left = InWords(own.member.expires.saturating_since(now));
            let soon = match membership.ends_soon(now) {
                true => ": ends soon, ask the owner for a token (`shoal join TOKEN`)",
                false => "",
            };
            format!("{} for {left}{soon}", own.member.role)
        }
    };
    let invite = match &membership.invite {
        None => "none",
        Some(_) => "to be redeemed when the node runs",
    };
    let may = match &membership.redeemer {
        None => "nothing".to_owned(),
        Some(redeemer) => rights(redeemer.issuer.delegation()),
    };
    let addresses = membership
        .bootstrap
        .iter()
        .map(|at| format!("\nbootstrap    {at}"));
    format!(
        "certificate  {certificate}\ninvite       {invite}\nmay sign     {may}\n\
         revocations  {} lists{}\n",
        membership.roster.lists().count(),
        addresses.collect::<String>()
    )
}

fn rights(delegation: Option<&Delegation>) -> String {
    let Some(delegation) = delegation else {
        return "everything (the root key is here)".into();
    };
    let rights = [
        (delegation.may_admit_members, "members"),
        (delegation.may_admit_clients, "clients"),
        (delegation.may_revoke, "revocations"),
    ];
    let rights = rights.into_iter().filter(|(may, _)| *may);
    let rights: Vec<_> = rights.map(|(_, what)| what).collect();
    format!("{} (as a delegate)", rights.join(", "))
}

/// `shoal swarm members`.
pub(super) fn members(args: &MembersArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let chosen = Chosen::of(&args.chosen)?;
    let now = unix_now();
    let entries = roll(&chosen.files, now)?;
    if args.json {
        let entries: Vec<_> = entries.iter().map(as_json).collect();
        return terminal.json(&entries);
    }
    let rows: Vec<_> = entries.iter().map(|entry| row(entry, now)).collect();
    terminal.text(&text::table(
        ["PEER", "ROLE", "ADMITTED", "BY", "STATE"],
        &rows,
    ))?;
    Terminal::remark("as this node knows; each node that redeems invites knows of its own");
    Ok(())
}

fn row(entry: &RollEntry, now: UnixMillis) -> [String; 5] {
    let ago = |at: UnixMillis| format!("{} ago", InWords(now.saturating_since(at)));
    let state = match (entry.revoked, entry.grant) {
        (Some(at), _) => format!("revoked {}", ago(at)),
        (None, Some((_, _, expires))) if expires <= now => format!("expired {}", ago(expires)),
        (None, Some((_, _, expires))) => {
            format!("holds for {}", InWords(expires.saturating_since(now)))
        }
        (None, None) => "taken back in".into(),
    };
    [
        entry.peer.to_string(),
        entry
            .grant
            .map_or("-".into(), |(role, _, _)| role.to_string()),
        entry.grant.map_or("-".into(), |(_, since, _)| ago(since)),
        by(entry.admitted),
        state,
    ]
}

fn by(admitted: Admitted) -> String {
    match admitted {
        Admitted::Invite(id) => format!("invite {}", &id.to_string()[..8]),
        Admitted::ByHand => "hand".into(),
        Admitted::Elsewhere => "another node".into(),
    }
}

fn as_json(entry: &RollEntry) -> Value {
    let invite = match entry.admitted {
        Admitted::Invite(id) => Some(id.to_string()),
        _ => None,
    };
    json!({
        "peer": entry.peer,
        "role": entry.grant.map(|(role, _, _)| role.to_string()),
        "since_unix_millis": entry.grant.map(|(_, since, _)| since.0),
        "expires_unix_millis": entry.grant.map(|(_, _, expires)| expires.0),
        "invite": invite,
        "revoked_unix_millis": entry.revoked.map(|at| at.0),
    })
}
