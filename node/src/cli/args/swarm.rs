//! The grammar of `shoal swarm …` and `shoal join`, and the flags of `up` about the swarm.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use protocol::NodeId;
use protocol::limits::MAX_INVITE_USES;
use protocol::names::SwarmName;
use toml::Value;

use super::{ClientArgs, Flags};

/// Which swarm a node joins, and how.
#[derive(Debug, Default, Clone, Args)]
pub struct NetworkArgs {
    /// The swarm to join [default: the only private one that this node knows, else `public`].
    #[arg(long, value_name = "NAME")]
    pub swarm: Option<String>,
    /// A token or pass to join a private swarm with (SHOAL_JOIN keeps it off the process list).
    #[arg(long, value_name = "TOKEN")]
    pub join: Option<String>,
    /// A file that holds the token or pass.
    #[arg(long, value_name = "FILE")]
    pub join_file: Option<String>,
    /// A node to begin at, /ip4/…/udp/…/quic-v1/p2p/… (repeatable; replaces every other list).
    #[arg(long, value_name = "ADDR")]
    pub bootstrap: Vec<String>,
    /// Port of the swarm, or addresses to listen at (repeatable) [default: 9338].
    #[arg(long, value_name = "PORT|ADDR")]
    pub listen: Vec<String>,
    /// Look for peers on the local network [default: true].
    #[arg(long, value_name = "true|false")]
    pub mdns: Option<String>,
    /// Ask the router for a port, by UPnP [default: true].
    #[arg(long, value_name = "true|false")]
    pub upnp: Option<String>,
    /// Take on models that the swarm lacks, within your limits [default: yes].
    #[arg(long, value_name = "yes|no", value_parser = ["yes", "no"])]
    pub placement: Option<String>,
    /// Find the public mesh through the public DHT [default: true].
    #[arg(long, value_name = "true|false")]
    pub rendezvous: Option<String>,
    /// A server of a closed network's own DHT of that kind, /ip4/…/tcp/…/p2p/… (repeatable)
    /// [default: the public one's].
    #[arg(long, value_name = "ADDR")]
    pub rendezvous_servers: Vec<String>,
}

impl NetworkArgs {
    /// The settings that these flags set.
    pub fn flags(&self) -> Flags {
        let texts = [
            ("swarm", &self.swarm),
            ("join", &self.join),
            ("join_file", &self.join_file),
            ("mdns", &self.mdns),
            ("upnp", &self.upnp),
            ("placement", &self.placement),
            ("rendezvous", &self.rendezvous),
        ];
        let texts = texts
            .into_iter()
            .filter_map(|(key, text)| Some((key, Value::String(text.clone()?))));
        let lists = [
            ("bootstrap", &self.bootstrap),
            ("listen", &self.listen),
            ("rendezvous_servers", &self.rendezvous_servers),
        ];
        let lists = lists
            .into_iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(key, values)| {
                let values = values.iter().cloned().map(Value::String);
                (key, Value::Array(values.collect()))
            });
        texts.chain(lists).collect()
    }
}

/// `shoal swarm`.
#[derive(Debug, Args)]
pub struct SwarmArgs {
    /// What about it.
    #[command(subcommand)]
    pub command: SwarmCommand,
}

/// What to do with a private swarm.
#[derive(Debug, Subcommand)]
pub enum SwarmCommand {
    /// Make a private swarm: its root key, and this node as its first member.
    Create(CreateArgs),
    /// Print a token that lets other machines join.
    Invite(InviteArgs),
    /// List who was admitted, as this node knows it, and who was put out.
    Members(MembersArgs),
    /// Put a peer out of the swarm.
    Revoke(PeerArgs),
    /// Print a pass: a new certificate for a peer, made by hand (also for one put out before).
    Renew(RenewArgs),
    /// Print a pass that lets a peer (a bootstrap server) admit others without the root key.
    Delegate(DelegateArgs),
    /// Show what this node is in the swarm, and check it.
    Status(ChosenArgs),
    /// Forget the swarm.
    Leave(LeaveArgs),
}

/// Which swarm, and where its files are.
#[derive(Debug, Args)]
pub struct ChosenArgs {
    /// The swarm [default: the only one that this node knows].
    #[arg(long, value_name = "NAME")]
    pub swarm: Option<String>,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `shoal swarm create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The swarm's name: lower-case letters, digits, inner hyphens.
    pub name: SwarmName,
    /// Bring a swarm back from the copy of its root key.
    #[arg(long, value_name = "FILE")]
    pub root_key: Option<PathBuf>,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `shoal swarm invite`.
#[derive(Debug, Args)]
pub struct InviteArgs {
    /// Machines that it admits.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_INVITE_USES)))]
    pub uses: u32,
    /// How long it can be redeemed: 30m, 12h, 7d, up to 365d.
    #[arg(long, value_name = "T", default_value = "7d")]
    pub expires: String,
    /// What its holder becomes.
    #[arg(long, value_enum, value_name = "ROLE", default_value_t = RoleArg::Member)]
    pub role: RoleArg,
    /// Where it is redeemed, /ip4/…/udp/…/quic-v1/p2p/… (repeatable) [default: this node's own
    /// bootstrap addresses].
    #[arg(long, value_name = "ADDR")]
    pub bootstrap: Vec<String>,
    /// The swarm.
    #[command(flatten)]
    pub chosen: ChosenArgs,
}

/// What a peer is in a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// Takes part in everything.
    Member,
    /// Asks and is answered; hosts nothing for others.
    Client,
}

/// `shoal swarm members`.
#[derive(Debug, Args)]
pub struct MembersArgs {
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// The swarm.
    #[command(flatten)]
    pub chosen: ChosenArgs,
}

/// A command about one peer.
#[derive(Debug, Args)]
pub struct PeerArgs {
    /// The peer's id, as its `shoal swarm status` prints it.
    #[arg(value_parser = peer)]
    pub peer: NodeId,
    /// The swarm.
    #[command(flatten)]
    pub chosen: ChosenArgs,
}

/// `shoal swarm renew`.
#[derive(Debug, Args)]
pub struct RenewArgs {
    /// What the peer becomes.
    #[arg(long, value_enum, value_name = "ROLE", default_value_t = RoleArg::Member)]
    pub role: RoleArg,
    /// The peer.
    #[command(flatten)]
    pub peer: PeerArgs,
}

/// `shoal swarm delegate`.
#[derive(Debug, Args)]
pub struct DelegateArgs {
    /// What the peer may do.
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',', default_values_t = [MayArg::Members, MayArg::Clients])]
    pub may: Vec<MayArg>,
    /// The peer.
    #[command(flatten)]
    pub peer: PeerArgs,
}

/// What a delegate may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MayArg {
    /// Invite and admit members.
    Members,
    /// Invite and admit clients.
    Clients,
    /// Put peers out.
    Revoke,
}

/// `shoal swarm leave`.
#[derive(Debug, Args)]
pub struct LeaveArgs {
    /// Delete the root key with the rest: without a copy nobody can be admitted any more.
    #[arg(long)]
    pub forget_root_key: bool,
    /// The swarm.
    #[command(flatten)]
    pub chosen: ChosenArgs,
}

/// `shoal join`.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// The token or pass; else --token-file, SHOAL_JOIN, or `join` of the configuration; `-` reads
    /// it from stdin.
    pub token: Option<String>,
    /// A file that holds it.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// A node's id, as we print it or as libp2p does.
fn peer(text: &str) -> Result<NodeId, String> {
    let own = text.parse::<NodeId>();
    let theirs = text.parse::<bootstrap::list::PeerId>();
    let peer = own.ok().or_else(|| Some(theirs.ok()?.node()));
    peer.ok_or_else(|| {
        "no peer's id: `shoal swarm status` on that machine prints it as `node`".into()
    })
}
