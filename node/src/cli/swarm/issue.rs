//! `shoal swarm invite`, `renew`, `delegate`, `revoke`: what the swarm's owner signs. What is to
//! be copied is alone on stdout; everything else goes to stderr.

use std::collections::BTreeSet;
use std::time::Duration;

use bootstrap::list::{Address, Host};
use bootstrap::memberships::{
    CERTIFICATE_LIFETIME, DELEGATION_LIFETIME, InviteWish, May, unix_now,
};
use protocol::limits::MAX_INVITE_ADDRESSES;
use protocol::membership::{InWords, Role};
use web::manage::SwarmStatus;

use super::super::args::{DelegateArgs, InviteArgs, MayArg, PeerArgs, RenewArgs, RoleArg};
use super::super::connect::wait;
use super::super::{CliError, Terminal};
use super::Chosen;
use crate::api_client::Client;
use crate::config::parse_duration;

/// An invite expires after a minute at least: it is carried by hand.
const MIN_INVITE_LIFETIME: Duration = Duration::from_secs(60);

/// A day below the protocol's limit: clocks differ.
const MAX_INVITE_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Member => Self::Member,
            RoleArg::Client => Self::Client,
        }
    }
}

/// `shoal swarm invite`.
pub(super) fn invite(args: &InviteArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let lifetime = lifetime(&args.expires)?;
    let chosen = Chosen::of(&args.chosen)?;
    let bootstrap = addresses(args, &chosen)?;
    if bootstrap.is_empty() {
        Terminal::remark(
            "no bootstrap address is in this token: it can only be redeemed on the local network; \
             give --bootstrap ADDR",
        );
    }
    let wish = InviteWish {
        role: args.role.into(),
        uses: args.uses,
        lifetime,
        bootstrap,
    };
    let token = chosen
        .memberships
        .invite(&chosen.files, &chosen.identity, &wish, unix_now())?;
    terminal.line(token)
}

fn lifetime(text: &str) -> Result<Duration, CliError> {
    let wrong = |reason: String| CliError::Argument(format!("--expires {text}: {reason}"));
    let lifetime = parse_duration(text).map_err(wrong)?;
    let range = MIN_INVITE_LIFETIME..=MAX_INVITE_LIFETIME;
    match range.contains(&lifetime) {
        true => Ok(lifetime),
        false => Err(wrong("must be from 1m to 365d".into())),
    }
}

/// Those of the command, else those of the configuration, else those that this node joined by,
/// else its own, if it runs and redeems invites itself.
fn addresses(args: &InviteArgs, chosen: &Chosen) -> Result<Vec<Address>, CliError> {
    let given = args.bootstrap.iter().map(|text| {
        let address = text.parse::<Address>();
        address.map_err(|error| CliError::Argument(format!("--bootstrap {text}: {error}")))
    });
    let given = given.collect::<Result<Vec<_>, _>>()?;
    if given.len() > MAX_INVITE_ADDRESSES {
        let text = format!("--bootstrap: a token has {MAX_INVITE_ADDRESSES} addresses at most");
        return Err(CliError::Argument(text));
    }
    let configured = chosen.effective.config.swarm.bootstrap.clone();
    let mut addresses = match (given.is_empty(), configured) {
        (false, _) => given,
        (true, Some(configured)) => configured,
        (true, None) => match chosen.files.bootstrap()? {
            kept if kept.is_empty() => own_addresses(args, chosen),
            kept => kept,
        },
    };
    addresses.truncate(MAX_INVITE_ADDRESSES);
    Ok(addresses)
}

/// Where the running node of this swarm listens, the farthest-reaching first.
fn own_addresses(args: &InviteArgs, chosen: &Chosen) -> Vec<Address> {
    let api = args.chosen.client.api.as_deref();
    let status = Client::find(api, &chosen.effective)
        .map_err(CliError::from)
        .and_then(|client| wait(async { Ok(client.peers().await?) }));
    let Ok(status) = status else {
        return Vec::new();
    };
    let name = chosen.files.swarm().name.to_string();
    if status.swarm.as_ref() != Some(&name) {
        return Vec::new();
    }
    reachable(&status)
}

/// The addresses at which others can reach a node: as they were seen from outside, and those of
/// its networks; this machine's own if there is nothing else.
fn reachable(status: &SwarmStatus) -> Vec<Address> {
    let parsed = |text: &String| text.parse::<Address>().ok();
    let listening: Vec<Address> = status.listening.iter().filter_map(parsed).collect();
    let Some(peer) = listening.first().map(|address| address.peer.to_string()) else {
        return Vec::new();
    };
    let outside = status.external.iter();
    let outside = outside.filter_map(|text| format!("{text}/p2p/{peer}").parse().ok());
    let mut all: Vec<Address> = outside.chain(listening).collect();
    if !all.iter().all(is_loopback) {
        all.retain(|address| !is_loopback(address));
    }
    let mut seen = BTreeSet::new();
    all.retain(|address| seen.insert(address.clone()));
    all
}

fn is_loopback(address: &Address) -> bool {
    match &address.host {
        Host::Ip4(ip) => ip.is_loopback(),
        Host::Ip6(ip) => ip.is_loopback(),
        _ => false,
    }
}

/// `shoal swarm renew`.
pub(super) fn renew(args: &RenewArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let chosen = Chosen::of(&args.peer.chosen)?;
    let peer = args.peer.peer;
    let to = (peer, args.role.into());
    let pass = chosen
        .memberships
        .certify(&chosen.files, &chosen.identity, to, unix_now())?;
    Terminal::remark(&match peer == chosen.identity.id() {
        true => format!(
            "this node's certificate holds for {}",
            InWords(CERTIFICATE_LIFETIME)
        ),
        false => format!(
            "a pass for {peer}, for {}; there: shoal join PASS",
            InWords(CERTIFICATE_LIFETIME)
        ),
    });
    terminal.line(pass)
}

/// `shoal swarm delegate`.
pub(super) fn delegate(args: &DelegateArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let chosen = Chosen::of(&args.peer.chosen)?;
    let may = May {
        admit_members: args.may.contains(&MayArg::Members),
        admit_clients: args.may.contains(&MayArg::Clients),
        revoke: args.may.contains(&MayArg::Revoke),
    };
    let peer = args.peer.peer;
    let pass =
        chosen
            .memberships
            .delegate(&chosen.files, &chosen.identity, (peer, may), unix_now())?;
    Terminal::remark(&format!(
        "a pass for {peer} with its rights, for {}; there: shoal join PASS, or the bootstrap \
         server's pass file",
        InWords(DELEGATION_LIFETIME)
    ));
    terminal.line(pass)
}

/// `shoal swarm revoke`.
pub(super) fn revoke(args: &PeerArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let chosen = Chosen::of(&args.chosen)?;
    let name = &chosen.files.swarm().name;
    let revoked =
        chosen
            .memberships
            .revoke(&chosen.files, &chosen.identity, args.peer, unix_now())?;
    terminal.line(format_args!(
        "{} is put out of `{name}` ({} on the list)",
        args.peer, revoked.peers
    ))?;
    let api = args.chosen.client.api.as_deref();
    let told = Client::find(api, &chosen.effective)
        .map_err(CliError::from)
        .and_then(|client| wait(async { Ok(client.reload_swarm().await?) }));
    terminal.line(match told {
        Ok(()) => "the running node spreads the list now".to_owned(),
        Err(CliError::Client(error)) if error.is_no_node() => {
            "no node runs here: the list is spread when it starts (shoal up)".to_owned()
        }
        Err(error) => format!("the list is spread when the node is restarted ({error})"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_own_addresses_are_those_that_others_can_use() {
        let peer = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
        let at = |host: &str| format!("/ip4/{host}/udp/9338/quic-v1/p2p/{peer}");
        let mut status = SwarmStatus {
            listening: vec![at("127.0.0.1")],
            ..SwarmStatus::default()
        };
        let texts = |status: &SwarmStatus| -> Vec<String> {
            reachable(status).iter().map(Address::to_string).collect()
        };
        assert_eq!(texts(&status), [at("127.0.0.1")]);
        status.listening.push(at("192.168.1.7"));
        status.external = vec![
            "/ip4/203.0.113.7/udp/9338/quic-v1".into(),
            format!("{}/p2p-circuit", at("203.0.113.8")),
        ];
        assert_eq!(texts(&status), [at("203.0.113.7"), at("192.168.1.7")]);
        assert!(reachable(&SwarmStatus::default()).is_empty());
    }
}
