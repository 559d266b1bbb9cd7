//! `shoal mcp`: the blackboard for agents on stdio, what to paste into their configuration, and
//! the skill that teaches them. The running node does the work.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use serde_json::{Value, json};
use web::mcp;

use super::args::{AgentArg, ClientArgs, McpArgs};
use super::connect::{configuration, wait};
use super::{CliError, Exit, Terminal};
use crate::api_client::{Client, RemoteBoards};
use crate::config::Effective;

/// Serves an agent, or prints what was asked for.
pub(super) fn run(args: &McpArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    if args.print_skill {
        terminal.text(mcp::SKILL)?;
        return Ok(Exit::Done);
    }
    let effective = configuration(&args.client)?;
    match args.print_config {
        Some(agent) => terminal.text(&Pasted::of(&args.client, &effective)?.text(agent))?,
        None => serve(args, effective)?,
    }
    Ok(Exit::Done)
}

fn serve(args: &McpArgs, effective: Effective) -> Result<(), CliError> {
    let boards = Arc::new(RemoteBoards::new(args.client.api.clone(), effective));
    wait(async {
        let input = stream(io::stdin().as_fd())?;
        let output = stream(io::stdout().as_fd())?;
        mcp::serve(boards, input, output)
            .await
            .map_err(|error| CliError::Mcp(error.to_string()))
    })
}

/// A standard stream, read and written on a thread for what blocks. The descriptor is a copy:
/// nothing of the standard library's buffers is in between.
fn stream(descriptor: BorrowedFd<'_>) -> Result<tokio::fs::File, CliError> {
    let copy = descriptor.try_clone_to_owned();
    let copy = copy.map_err(CliError::Runtime)?;
    Ok(tokio::fs::File::from_std(File::from(copy)))
}

/// What goes into a configuration.
struct Pasted {
    command: String,
    arguments: Vec<String>,
    url: String,
    has_key: bool,
}

impl Pasted {
    fn of(args: &ClientArgs, effective: &Effective) -> Result<Self, CliError> {
        let program = std::env::current_exe().map_err(CliError::Runtime)?;
        let running = Client::find(args.api.as_deref(), effective);
        let configured = || base(effective.config.api.addr);
        let url = running.map_or_else(|_| configured(), |client| client.base().to_owned());
        Ok(Self {
            command: program.display().to_string(),
            arguments: arguments(args),
            url: format!("{url}/mcp"),
            has_key: effective.config.api.key.is_some(),
        })
    }

    fn text(&self, agent: AgentArg) -> String {
        match agent {
            AgentArg::All => self.all(),
            AgentArg::ClaudeCode => self.claude_code(),
            AgentArg::Codex => self.codex(),
            AgentArg::Cursor | AgentArg::Json => pretty(&self.stdio()),
            AgentArg::Http => pretty(&self.http()),
        }
    }

    fn all(&self) -> String {
        let parts = [
            ("Claude Code: run this once", AgentArg::ClaudeCode),
            ("Codex: add this to ~/.codex/config.toml", AgentArg::Codex),
            ("Cursor: put this into ~/.cursor/mcp.json", AgentArg::Cursor),
            ("Others, over stdio", AgentArg::Json),
            ("Others, over HTTP", AgentArg::Http),
        ];
        let parts = parts.map(|(title, agent)| format!("# {title}\n{}", self.text(agent)));
        let skill = "# The skill that goes with it, for Claude Code\n\
                     mkdir -p ~/.claude/skills/shoal-blackboard\n\
                     shoal mcp --print-skill > ~/.claude/skills/shoal-blackboard/SKILL.md\n";
        format!("{}\n{skill}", parts.join("\n"))
    }

    fn claude_code(&self) -> String {
        let arguments = self.arguments.iter().map(|argument| quoted(argument));
        let arguments = arguments.collect::<Vec<_>>().join(" ");
        let command = quoted(&self.command);
        format!("claude mcp add --scope user shoal -- {command} {arguments}\n")
    }

    fn codex(&self) -> String {
        // Strings and arrays of strings are written alike in TOML and JSON.
        let (command, arguments) = (json!(self.command), json!(self.arguments));
        format!("[mcp_servers.shoal]\ncommand = {command}\nargs = {arguments}\n")
    }

    fn stdio(&self) -> Value {
        json!({ "mcpServers": { "shoal": { "command": self.command, "args": self.arguments } } })
    }

    fn http(&self) -> Value {
        let mut server = json!({ "type": "http", "url": self.url });
        if self.has_key {
            // The key itself stays out of what is pasted and shown around.
            server["headers"] = json!({ "Authorization": "Bearer ${SHOAL_API_KEY}" });
        }
        json!({ "mcpServers": { "shoal": server } })
    }
}

/// What names the same node again.
fn arguments(args: &ClientArgs) -> Vec<String> {
    let place = &args.place;
    let config = place.config.as_ref().map(|path| path.display().to_string());
    let flags = [
        ("--api", args.api.clone()),
        ("--data-dir", place.data_dir.as_deref().map(absolute)),
        ("--config", config.as_deref().map(absolute)),
    ];
    let flags = flags
        .into_iter()
        .filter_map(|(flag, value)| Some([flag.to_owned(), value?]));
    std::iter::once("mcp".to_owned())
        .chain(flags.flatten())
        .collect()
}

/// Agents start their servers in folders of their own.
fn absolute(path: &str) -> String {
    let whole = std::path::absolute(path);
    whole.map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}

fn base(addr: SocketAddr) -> String {
    format!("http://{addr}")
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/:=+@".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pasted() -> Pasted {
        Pasted {
            command: "/opt/my tools/shoal".into(),
            arguments: vec!["mcp".into(), "--data-dir".into(), "/a \"b\"".into()],
            url: "http://127.0.0.1:9337/mcp".into(),
            has_key: true,
        }
    }

    #[test]
    fn every_agent_can_read_its_configuration() {
        let pasted = pasted();
        let json: Value = serde_json::from_str(&pasted.text(AgentArg::Cursor)).unwrap();
        let server = &json["mcpServers"]["shoal"];
        assert_eq!(server["command"], "/opt/my tools/shoal");
        assert_eq!(server["args"][2], "/a \"b\"");
        let codex: toml::Table = pasted.text(AgentArg::Codex).parse().unwrap();
        let codex = &codex["mcp_servers"]["shoal"];
        assert_eq!(codex["args"][2].as_str(), Some("/a \"b\""));
        let shell = pasted.text(AgentArg::ClaudeCode);
        assert!(shell.ends_with("-- '/opt/my tools/shoal' mcp --data-dir '/a \"b\"'\n"));
        let all = pasted.text(AgentArg::All);
        assert!(all.contains("Codex") && all.contains("SKILL.md"));
    }

    #[test]
    fn a_key_is_not_printed() {
        let http = pasted().text(AgentArg::Http);
        assert!(http.contains("Bearer ${SHOAL_API_KEY}"), "{http}");
        let open = Pasted {
            has_key: false,
            ..pasted()
        };
        assert!(!open.text(AgentArg::Http).contains("headers"));
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("/usr/bin/shoal"), "/usr/bin/shoal");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
