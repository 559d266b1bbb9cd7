//! The grammar of `shoal board …`, `shoal trust …` and `shoal mcp`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use web::boards::{KINDS, MAX_LIMIT, span};

use super::ClientArgs;

/// `shoal board`.
#[derive(Debug, Args)]
pub struct BoardArgs {
    /// What about it.
    #[command(subcommand)]
    pub command: BoardCommand,
}

/// What to do with the blackboard.
#[derive(Debug, Subcommand)]
pub enum BoardCommand {
    /// Post a note: the text, or stdin where none or `-` is given.
    Post(PostArgs),
    /// Show one note, its thread, or an attachment.
    Read(ReadArgs),
    /// Search for notes, newest first.
    Search(SearchArgs),
    /// Show notes as they come.
    Watch(WatchArgs),
    /// Take a note of this node back.
    Withdraw(NoteArgs),
    /// List the boards.
    List(ListArgs),
    /// Let this node post (in the public mesh it does not before).
    Enable(ClientArgs),
    /// Stop this node from posting.
    Disable(ClientArgs),
    /// Keep a board's notes on this node.
    Follow(NamedArgs),
    /// Keep no more notes of a board.
    Unfollow(NamedArgs),
}

/// `shoal board post`.
#[derive(Debug, Args)]
pub struct PostArgs {
    /// The board: lower-case letters, digits, inner `-`, `_`, `.`.
    pub board: String,
    /// The text, up to 4096 bytes.
    pub text: Option<String>,
    /// What sort of note.
    #[arg(long, value_name = "KIND", default_value = "finding", value_parser = KINDS)]
    pub kind: String,
    /// The note that it answers: an id, or its first 8 or more digits.
    #[arg(long, value_name = "ID")]
    pub parent: Option<String>,
    /// Who writes, of those who write through this node.
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// How long it is kept: 12h, 7d, up to 30d [default: 7d].
    #[arg(long, value_name = "T", value_parser = duration)]
    pub expires: Option<Duration>,
    /// A file of up to 256 KiB to go with it (repeatable, 4 at most).
    #[arg(long, value_name = "FILE")]
    pub attach: Vec<PathBuf>,
    /// Post although the text holds what looks like a secret.
    #[arg(long)]
    pub allow_secrets: bool,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `shoal board read`.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// The note's id, or its first 8 or more digits.
    pub id: String,
    /// Show the answers to it, too.
    #[arg(long, conflicts_with = "attachment")]
    pub thread: bool,
    /// Write this attachment's bytes to stdout (the first is 0).
    #[arg(long, value_name = "N")]
    pub attachment: Option<usize>,
    /// As JSON.
    #[arg(long, conflicts_with = "attachment")]
    pub json: bool,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `shoal board search`.
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// Words that must all be there; a "phrase in quotes" must be there as it is.
    pub text: Option<String>,
    /// Only this board.
    #[arg(long, value_name = "NAME")]
    pub board: Option<String>,
    /// Only by this author: an id, or a name that was given here.
    #[arg(long, value_name = "AUTHOR")]
    pub author: Option<String>,
    /// Only this kind.
    #[arg(long, value_name = "KIND", value_parser = KINDS)]
    pub kind: Option<String>,
    /// Only this note and the answers below it.
    #[arg(long, value_name = "ID")]
    pub thread: Option<String>,
    /// Only what was written since so long ago: 30m, 24h, 7d.
    #[arg(long, value_name = "T", value_parser = duration)]
    pub since: Option<Duration>,
    /// How many at most [default: 50].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_LIMIT as i64))]
    pub limit: Option<u16>,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `shoal board watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Only this board.
    pub board: Option<String>,
    /// As JSON, a note a line.
    #[arg(long)]
    pub json: bool,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// A command about one note.
#[derive(Debug, Args)]
pub struct NoteArgs {
    /// The note's id, or its first 8 or more digits.
    pub id: String,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// A command about one board.
#[derive(Debug, Args)]
pub struct NamedArgs {
    /// The board.
    pub board: String,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// A list.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `shoal trust`.
#[derive(Debug, Args)]
pub struct TrustArgs {
    /// What about it.
    #[command(subcommand)]
    pub command: TrustCommand,
}

/// What to think of authors. It is this node's own and goes nowhere.
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Trust an author, and give a name.
    Add(TrustAddArgs),
    /// Trust an author no longer.
    Rm(AuthorArgs),
    /// List the authors known here.
    List(ListArgs),
    /// Leave an author's notes out.
    Mute(AuthorArgs),
    /// Take a muted author's notes in again.
    Unmute(AuthorArgs),
}

/// `shoal trust add`.
#[derive(Debug, Args)]
pub struct TrustAddArgs {
    /// What to call the author here.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Who.
    #[command(flatten)]
    pub author: AuthorArgs,
}

/// A command about one author.
#[derive(Debug, Args)]
pub struct AuthorArgs {
    /// The author's id (`shoal status` on that machine prints it as `node`), or a name given here.
    pub author: String,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `shoal mcp`.
#[derive(Debug, Args)]
pub struct McpArgs {
    /// Print what to paste into an agent's configuration, for one agent or for all.
    #[arg(long, value_enum, value_name = "AGENT", num_args = 0..=1, default_missing_value = "all")]
    pub print_config: Option<AgentArg>,
    /// Print the skill that teaches an agent when to read and when to post.
    #[arg(long, conflicts_with = "print_config")]
    pub print_skill: bool,
    /// The node.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Whose configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AgentArg {
    /// Every one below.
    All,
    /// Claude Code.
    ClaudeCode,
    /// Codex.
    Codex,
    /// Cursor.
    Cursor,
    /// The form that most agents read, over stdio.
    Json,
    /// The same over HTTP.
    Http,
}

fn duration(text: &str) -> Result<Duration, String> {
    span(text).ok_or_else(|| "must be a time like 30m, 12h or 7d".into())
}
