//! `shoal join`: keeps a token or a pass in the data directory; the node joins with it when it
//! starts. Works without a node.

use std::io::Read;

use bootstrap::memberships::{Joined, Memberships, Proof, read_proof, unix_now};
use protocol::membership::InWords;

use super::args::JoinArgs;
use super::connect::configuration;
use super::swarm::{is_running, own_identity};
use super::{CliError, Exit, Terminal};
use crate::config::Effective;
use crate::data_dir::Layout;
use crate::swarm::configured_proof;

/// Bytes of standard input that are read: several times the longest token.
const MAX_STDIN_BYTES: u64 = 16 << 10;

/// Joins, as far as that goes without a connection.
pub(super) fn run(args: &JoinArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let effective = configuration(&args.client)?;
    let proof = proof(args, &effective)?;
    let layout = Layout::new(&effective.config.data_dir);
    let identity = own_identity(&layout)?;
    let now = unix_now();
    let joined = Memberships::new(layout.swarms()).join(&proof, identity.id(), now)?;
    let left = InWords(joined.expires.saturating_since(now));
    let name = &joined.files.swarm().name;
    terminal.line(match (&proof, joined.is_member) {
        (Proof::Pass(_), _) => format!("this node is a {} of `{name}` for {left}", joined.role),
        (Proof::Token(_), true) => {
            format!("this node is in `{name}` already; the token renews its certificate")
        }
        (Proof::Token(_), false) => {
            format!(
                "invited to `{name}` as a {}; to be redeemed within {left}",
                joined.role
            )
        }
    })?;
    terminal.line(next_step(
        &joined,
        is_running(&args.client, &effective),
        &effective,
    ))?;
    Ok(Exit::Done)
}

fn next_step(joined: &Joined, running: bool, effective: &Effective) -> String {
    let swarm = &effective.config.swarm;
    if joined.bootstrap.is_empty() && swarm.bootstrap.as_ref().is_none_or(Vec::is_empty) {
        return "no address of a bootstrap node is known: give one with --bootstrap ADDR, or let \
                the node find others on the local network; then: shoal up"
            .into();
    }
    match running {
        true => "next: restart the running node; it joins when it starts".into(),
        false => "next: shoal up".into(),
    }
}

/// What to join with: the argument, the file, standard input, or the configuration.
fn proof(args: &JoinArgs, effective: &Effective) -> Result<Proof, CliError> {
    if let Some(path) = &args.token_file {
        return Ok(read_proof(path)?.parse()?);
    }
    match args.token.as_deref() {
        Some("-") => Ok(stdin()?.parse()?),
        Some(text) => Ok(text.parse()?),
        None => configured_proof(&effective.config.swarm)?
            .map(|(_, proof)| proof)
            .ok_or_else(|| CliError::Argument(NO_TOKEN.into())),
    }
}

const NO_TOKEN: &str = "no token: give the line that `shoal swarm invite` printed, --token-file \
                        FILE, or SHOAL_JOIN";

fn stdin() -> Result<String, CliError> {
    let mut text = String::new();
    let read = std::io::stdin()
        .take(MAX_STDIN_BYTES)
        .read_to_string(&mut text);
    read.map_err(|error| CliError::Argument(format!("cannot read the token: {error}")))?;
    Ok(text)
}
