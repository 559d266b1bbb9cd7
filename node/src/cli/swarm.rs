//! `shoal swarm …`: private swarms. Every command works on the files of the data directory,
//! whether a node runs over it or not; what a running node must know, it is told.

mod issue;
mod views;

use bootstrap::memberships::{Memberships, SwarmFiles, unix_now};
use protocol::names::SwarmName;

use super::args::{ChosenArgs, ClientArgs, CreateArgs, LeaveArgs, SwarmCommand};
use super::connect::{configuration, wait};
use super::{CliError, Exit, Terminal};
use crate::api_client::Client;
use crate::config::Effective;
use crate::data_dir::{DataDir, Layout};
use crate::identity::Identity;

/// Does one of them.
pub(super) fn run(command: SwarmCommand, terminal: &mut Terminal) -> Result<Exit, CliError> {
    match command {
        SwarmCommand::Create(args) => create(&args, terminal)?,
        SwarmCommand::Invite(args) => issue::invite(&args, terminal)?,
        SwarmCommand::Members(args) => views::members(&args, terminal)?,
        SwarmCommand::Revoke(args) => issue::revoke(&args, terminal)?,
        SwarmCommand::Renew(args) => issue::renew(&args, terminal)?,
        SwarmCommand::Delegate(args) => issue::delegate(&args, terminal)?,
        SwarmCommand::Status(args) => return views::status(&args, terminal),
        SwarmCommand::Leave(args) => leave(&args, terminal)?,
    }
    Ok(Exit::Done)
}

/// One swarm, and all that a command needs beside it.
struct Chosen {
    effective: Effective,
    memberships: Memberships,
    files: SwarmFiles,
    identity: Identity,
}

impl Chosen {
    fn of(args: &ChosenArgs) -> Result<Self, CliError> {
        let effective = configuration(&args.client)?;
        let layout = Layout::new(&effective.config.data_dir);
        let memberships = Memberships::new(layout.swarms());
        let files = memberships.find(wanted(args, &effective)?.as_ref())?;
        Ok(Self {
            identity: own_identity(&layout)?,
            effective,
            memberships,
            files,
        })
    }
}

/// The swarm that the flag or the configuration names.
fn wanted(args: &ChosenArgs, effective: &Effective) -> Result<Option<SwarmName>, CliError> {
    let Some(text) = &args.swarm else {
        return Ok(effective.config.swarm.name.clone());
    };
    let name = text.parse::<SwarmName>();
    name.map(Some)
        .map_err(|error| CliError::Argument(format!("--swarm {text}: {error}")))
}

/// The node's key; it is made where there is none, unless a node is just doing that.
pub(super) fn own_identity(layout: &Layout) -> Result<Identity, CliError> {
    if let Some(identity) = Identity::load(&layout.identity())? {
        return Ok(identity);
    }
    let dir = DataDir::claim(layout.root())?;
    Ok(Identity::load_or_create(&dir.layout().identity())?)
}

/// Whether a node answers over this data directory.
pub(super) fn is_running(args: &ClientArgs, effective: &Effective) -> bool {
    let Ok(client) = Client::find(args.api.as_deref(), effective) else {
        return false;
    };
    wait(async { Ok(client.status().await?) }).is_ok()
}

fn create(args: &CreateArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let effective = configuration(&args.client)?;
    let layout = Layout::new(&effective.config.data_dir);
    let identity = own_identity(&layout)?;
    let memberships = Memberships::new(layout.swarms());
    let root_key = args.root_key.as_deref();
    let created = memberships.create(&args.name, identity.id(), root_key, unix_now())?;
    let files = &created.files;
    let name = &args.name;
    let made = match created.restored {
        true => "is back",
        false => "was made",
    };
    terminal.text(&format!(
        "swarm `{name}` {made}; this node is a member of it\n\
         root      {}\n\
         root key  {}\n          \
         Copy it to a safe place. Whoever has it owns the swarm; lost for good, nobody new can be\n          \
         admitted once the delegates' rights have ended.\n\n\
         next:\n  \
         shoal up                     this node joins `{name}` when it starts\n  \
         shoal swarm invite           prints a token; on the other machine: shoal join TOKEN\n  \
         shoal swarm delegate PEER    lets a bootstrap server admit others without the root key\n",
        files.swarm().root,
        files.root_key_path().display(),
    ))?;
    if memberships.names()?.len() > 1 {
        terminal.line(format_args!(
            "This node knows several swarms: say which one it joins with `swarm = \"{name}\"`."
        ))?;
    }
    Ok(())
}

fn leave(args: &LeaveArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let chosen = Chosen::of(&args.chosen)?;
    chosen
        .memberships
        .leave(&chosen.files, args.forget_root_key)?;
    let name = &chosen.files.swarm().name;
    terminal.line(format_args!("this node has left `{name}`"))?;
    if is_running(&args.chosen.client, &chosen.effective) {
        terminal.line("restart the running node: until then it stays connected")?;
    }
    Ok(())
}
