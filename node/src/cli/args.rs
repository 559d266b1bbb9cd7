//! The command line's grammar, and which settings its flags set. It knows no command's work.

mod board;
mod experts;
mod swarm;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use toml::Value;

pub use self::board::{
    AgentArg, AuthorArgs, BoardArgs, BoardCommand, ListArgs, McpArgs, NamedArgs, NoteArgs,
    PostArgs, ReadArgs, SearchArgs, TrustAddArgs, TrustArgs, TrustCommand, WatchArgs,
};
pub use self::experts::{CutArgs, ExpertsArgs, ExpertsCommand, RankArgs, ScoreArgs};
pub use self::swarm::{
    ChosenArgs, CreateArgs, DelegateArgs, InviteArgs, JoinArgs, LeaveArgs, MayArg, MembersArgs,
    NetworkArgs, PeerArgs, RenewArgs, RoleArg, SwarmArgs, SwarmCommand,
};
use crate::config::LogFormat;

/// What `--help` says after the options: the contract for scripts.
const EXIT_CODES: &str = "\
Exit codes:
  0    done (a node: stopped on request, every running answer finished)
  1    failed; the reason is on stderr in one line
  2    the command line or the configuration is wrong
  3    no node answers there
  4    no such model, or no such note
  5    another node uses this data directory
  6    stopped before every running answer was finished
  130  interrupted

Every setting: flag --ctx-size = environment SHOAL_CTX_SIZE = line `ctx_size = …` of the
configuration file. Flags win over the environment, that over the file.";

/// `shoal`: runs large language models and answers the OpenAI API.
#[derive(Debug, Parser)]
#[command(name = "shoal", version, about, after_help = EXIT_CODES, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// The command; none is `up`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of `up` when no command is given.
    #[command(flatten)]
    pub up: UpArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the node: serve the OpenAI API until stopped (the default command).
    Up(Box<UpArgs>),
    /// Chat with a model in the terminal, or answer one prompt.
    Run(RunArgs),
    /// Fetch a model: org/repo[:file-or-quant], a catalog name, a URL or a local file.
    Pull(PullArgs),
    /// List the models on disk.
    Models(ModelsArgs),
    /// Remove a model from the store.
    Rm(RmArgs),
    /// List the loaded models.
    Ps(ClientArgs),
    /// Show the node in one view.
    Status(StatusArgs),
    /// Show the swarm: how it was joined, who is there, how far away.
    Peers(StatusArgs),
    /// Show what the swarm asks for, and what nobody answers.
    Demand(StatusArgs),
    /// Show how a model would be spread over peers, and how fast it would be.
    Plan(PlanArgs),
    /// Check this machine, its configuration and its node; say what to do.
    Doctor(ClientArgs),
    /// Measure the devices.
    Bench(ClientArgs),
    /// Which experts of a mixture are used, and how good it is with some of them.
    Experts(ExpertsArgs),
    /// Private swarms: make one, invite, put out.
    Swarm(SwarmArgs),
    /// Join a private swarm with a token or a pass.
    Join(JoinArgs),
    /// The blackboard: post, read, search and watch notes.
    Board(BoardArgs),
    /// Trust the authors of notes, or mute them.
    Trust(TrustArgs),
    /// Serve the blackboard to an agent on stdio (Model Context Protocol).
    Mcp(McpArgs),
    /// The configuration.
    Config(ConfigArgs),
    /// Print completions for a shell.
    Completions(CompletionsArgs),
    /// One model's process, started by the node only.
    #[command(hide = true)]
    Worker,
}

/// Flags of `up`.
#[derive(Debug, Default, Clone, Args)]
pub struct UpArgs {
    /// A model to load at the start and keep: a name or the path of a GGUF file (repeatable).
    #[arg(long = "model", value_name = "NAME|PATH")]
    pub models: Vec<String>,
    /// Address of the API; port 0 picks a free one [default: 127.0.0.1:9337].
    #[arg(long, value_name = "ADDR:PORT")]
    pub api: Option<String>,
    /// Only be an API client: load no model here.
    #[arg(long)]
    pub client: bool,
    /// Keep off every network: no downloads, no peers.
    #[arg(long)]
    pub offline: bool,
    /// Context of each sequence, tokens [default: 8192 or the model's, as far as memory allows].
    #[arg(long, value_name = "N")]
    pub ctx_size: Option<String>,
    /// Sequences that a model runs at once [default: 16].
    #[arg(long, value_name = "N")]
    pub parallel: Option<String>,
    /// Threads of a model's process [default: the physical cores].
    #[arg(long, value_name = "N")]
    pub threads: Option<String>,
    /// Draft tokens that the model verifies several of at once: never, looked up in the answer's
    /// own text, by the draft model, or both [default: auto, where it pays].
    #[arg(long, value_name = "off|ngram|draft|auto", value_parser = ["off", "ngram", "draft", "auto"])]
    pub speculate: Option<String>,
    /// A small model of the same family that drafts: a name or the path of a GGUF file.
    #[arg(long, value_name = "NAME|PATH")]
    pub draft: Option<String>,
    /// Memory of all loaded models together [default: a share of the machine's].
    #[arg(long, value_name = "SIZE")]
    pub max_memory: Option<String>,
    /// Answer peers that you do not know [default: yes; your own requests go first].
    #[arg(long, value_name = "yes|no", value_parser = ["yes", "no"])]
    pub serve_public: Option<String>,
    /// Models that peers may use and have loaded [default: those that are loaded here anyway].
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub serve_models: Vec<String>,
    /// Upload to peers, such as 2MB/s or 20Mbit/s [default: as fast as the line].
    #[arg(long, value_name = "RATE")]
    pub max_upload: Option<String>,
    /// Key that API requests must carry.
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,
    /// Serve addresses other than loopback without a key.
    #[arg(long)]
    pub no_api_key: bool,
    /// How logs are written [default: human on a terminal, else json].
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// The swarm.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// Where this node keeps its state and where its configuration is read.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Which data directory and configuration file.
#[derive(Debug, Default, Clone, Args)]
pub struct PlaceArgs {
    /// Folder of the node's state [default: shoal in the user's data folder].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Configuration file [default: shoal/config.toml in the user's configuration folder].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// How a command finds the running node.
#[derive(Debug, Default, Clone, Args)]
pub struct ClientArgs {
    /// Address of the node's API [default: the node of the data directory].
    #[arg(long, value_name = "ADDR:PORT")]
    pub api: Option<String>,
    /// Key of the node's API.
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,
    /// Where the node keeps its state.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `shoal run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The model's name.
    pub model: String,
    /// Answer this one prompt and end; `-` or a pipe reads it from stdin.
    pub prompt: Option<String>,
    /// Text that comes before the conversation.
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Tokens of an answer at most.
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u32>,
    /// 0 takes the likeliest token always, up to 2.
    #[arg(long, value_name = "T")]
    pub temperature: Option<f32>,
    /// The same seed gives the same answer.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `shoal pull`.
#[derive(Debug, Args)]
pub struct PullArgs {
    /// What to fetch.
    #[arg(value_name = "NAME|URL|FILE")]
    pub name: String,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `shoal models`.
#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// List the catalog: what could be pulled, and what fits this machine.
    #[arg(long)]
    pub catalog: bool,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `shoal plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The model's name.
    pub model: String,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `shoal rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// The model's name.
    pub model: String,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `shoal status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `shoal config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What about it.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the effective configuration as TOML, secrets hidden, and where each line came from.
    Show(Box<UpArgs>),
}

/// `shoal completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: CompletionShell,
}

/// Shells with completions.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum CompletionShell {
    /// GNU bash.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
}

impl From<CompletionShell> for Shell {
    fn from(shell: CompletionShell) -> Self {
        match shell {
            CompletionShell::Bash => Self::Bash,
            CompletionShell::Zsh => Self::Zsh,
            CompletionShell::Fish => Self::Fish,
        }
    }
}

/// Settings given as flags: the key of the configuration and its value.
pub type Flags = Vec<(&'static str, Value)>;

impl UpArgs {
    /// The settings that these flags set.
    pub fn flags(&self) -> Flags {
        let mut flags = self.place.flags();
        flags.extend(self.network.flags());
        let texts = [
            ("api", &self.api),
            ("ctx_size", &self.ctx_size),
            ("parallel", &self.parallel),
            ("threads", &self.threads),
            ("speculate", &self.speculate),
            ("draft", &self.draft),
            ("max_memory", &self.max_memory),
            ("serve_public", &self.serve_public),
            ("max_upload", &self.max_upload),
            ("api_key", &self.api_key),
        ];
        flags.extend(
            texts
                .into_iter()
                .filter_map(|(key, text)| Some((key, Value::String(text.clone()?)))),
        );
        let switches = [
            ("client", self.client),
            ("offline", self.offline),
            ("no_api_key", self.no_api_key),
        ];
        flags.extend(
            switches
                .into_iter()
                .filter(|(_, on)| *on)
                .map(|(key, on)| (key, Value::Boolean(on))),
        );
        if let Some(format) = self.log_format {
            flags.push(("log_format", Value::String(format.as_str().into())));
        }
        let lists = [
            ("model", &self.models),
            ("serve_models", &self.serve_models),
        ];
        for (key, names) in lists.into_iter().filter(|(_, names)| !names.is_empty()) {
            let names = names.iter().cloned().map(Value::String).collect();
            flags.push((key, Value::Array(names)));
        }
        flags
    }
}

impl PlaceArgs {
    /// The settings that these flags set. `--config` is no setting: it says where they are read.
    pub fn flags(&self) -> Flags {
        let dir = self.data_dir.iter().cloned();
        dir.map(|dir| ("data_dir", Value::String(dir))).collect()
    }
}

impl ClientArgs {
    /// The settings that these flags set.
    pub fn flags(&self) -> Flags {
        let mut flags = self.place.flags();
        if let Some(key) = &self.api_key {
            flags.push(("api_key", Value::String(key.clone())));
        }
        flags
    }
}
