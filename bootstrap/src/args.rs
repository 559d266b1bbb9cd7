//! The server's command line. It only describes; nothing is opened here.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, ValueEnum};
use protocol::names::SwarmName;

/// A bootstrap and relay server for a swarm of `shoal` nodes: it is dialed by nodes that know
/// nobody yet, answers for the swarm's directory, and relays for nodes that cannot be dialed. It
/// runs no models.
#[derive(Debug, Clone, Parser)]
#[command(name = "shoal-bootstrap", version)]
pub struct Args {
    /// The swarm it serves; a private one by the pass that its owner made (`shoal swarm delegate`)
    #[arg(
        long,
        value_name = "NAME",
        default_value = "public",
        env = "SHOAL_SWARM"
    )]
    pub swarm: SwarmName,
    /// The pass to a private swarm, or a token; kept after the first start
    #[arg(
        long,
        value_name = "PASS",
        env = "SHOAL_JOIN",
        hide_env_values = true,
        conflicts_with = "join_file"
    )]
    pub join: Option<String>,
    /// A file that holds it
    #[arg(long, value_name = "FILE", env = "SHOAL_JOIN_FILE")]
    pub join_file: Option<PathBuf>,
    /// Print this server's id, which a pass is made for, and end
    #[arg(long)]
    pub print_id: bool,
    /// Where to listen, over QUIC and TCP; may be given several times
    #[arg(
        long,
        value_name = "ADDR:PORT",
        default_values = ["0.0.0.0:9338", "[::]:9338"],
        env = "SHOAL_LISTEN",
        value_delimiter = ','
    )]
    pub listen: Vec<SocketAddr>,
    /// An address at which others reach it, as a multiaddr (`/ip4/203.0.113.9/udp/9338/quic-v1`);
    /// a relay needs one that is confirmed or named here
    #[arg(
        long,
        value_name = "MULTIADDR",
        env = "SHOAL_EXTERNAL",
        value_delimiter = ','
    )]
    pub external: Vec<String>,
    /// Other bootstrap nodes of the swarm, as multiaddrs with their peer
    #[arg(
        long,
        value_name = "MULTIADDR",
        env = "SHOAL_BOOTSTRAP",
        value_delimiter = ','
    )]
    pub bootstrap: Vec<String>,
    /// Where the key is kept
    #[arg(long, value_name = "DIR", env = "SHOAL_BOOTSTRAP_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where `/healthz` and `/metrics` are answered
    #[arg(
        long,
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:9339",
        env = "SHOAL_HEALTH"
    )]
    pub health: SocketAddr,
    /// How logs look; by default for people on a terminal, JSON elsewhere
    #[arg(long, value_name = "FORMAT", env = "SHOAL_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        let args = Args::parse_from(["shoal-bootstrap"]);
        assert_eq!(args.swarm, SwarmName::public());
        assert_eq!(args.listen.len(), 2);
    }

    #[test]
    fn a_bad_name_is_refused_with_what_a_name_is() {
        let error = Args::try_parse_from(["shoal-bootstrap", "--swarm", "My Lab"]).unwrap_err();
        assert!(error.to_string().contains("lower-case"), "{error}");
    }
}
