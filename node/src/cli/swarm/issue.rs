//! `shoal swarm invite`, `renew`, `delegate`, `revoke`: what the swarm's owner signs. What is to
//! be copied is alone on stdout; everything else goes to stderr.

use std::time::Duration;

use bootstrap::list::Address;
use protocol::limits::MAX_INVITE_ADDRESSES;
use protocol::membership::{InWords, Role};

use super::super::args::{DelegateArgs, InviteArgs, MayArg, PeerArgs, RenewArgs, RoleArg};
use super::super::connect::wait;
use super::super::{CliError, Terminal};
use super::Chosen;
use crate::api_client::Client;
use crate::config::parse_duration;
use crate::memberships::{CERTIFICATE_LIFETIME, DELEGATION_LIFETIME, InviteWish, May, unix_now};

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

/// Those of the command, else those of the configuration, else those that this node joined by.
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
        (true, None) => chosen.files.bootstrap()?,
    };
    addresses.truncate(MAX_INVITE_ADDRESSES);
    Ok(addresses)
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
