//! `shoal trust …`: what this node thinks of the authors of notes. It is kept on this machine only.

use web::boards::{AuthorView, Standing};

use super::args::{AuthorArgs, ListArgs, TrustCommand};
use super::connect::{client, wait};
use super::{CliError, Exit, Terminal, text};

/// Does one of them.
pub(super) fn run(command: &TrustCommand, terminal: &mut Terminal) -> Result<Exit, CliError> {
    match command {
        TrustCommand::Add(args) => {
            let name = args.name.clone();
            set(
                &args.author,
                Standing::Trusted { name },
                "is trusted here",
                terminal,
            )?;
        }
        TrustCommand::Rm(args) => {
            set(args, Standing::Unknown, "is not trusted any more", terminal)?;
        }
        TrustCommand::Mute(args) => {
            set(
                args,
                Standing::Muted,
                "is muted: its notes are left out",
                terminal,
            )?;
        }
        TrustCommand::Unmute(args) => {
            set(args, Standing::Unknown, "is not muted any more", terminal)?;
        }
        TrustCommand::List(args) => list(args, terminal)?,
    }
    Ok(Exit::Done)
}

fn set(
    args: &AuthorArgs,
    standing: Standing,
    done: &str,
    terminal: &mut Terminal,
) -> Result<(), CliError> {
    let client = client(&args.client)?;
    wait(async { Ok(client.set_author(&args.author, standing).await?) })?;
    terminal.line(format_args!("{} {done}", text::printable(&args.author)))
}

fn list(args: &ListArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let client = client(&args.client)?;
    let authors = wait(async { Ok(client.authors().await?) })?;
    match args.json {
        true => terminal.json(&authors),
        false if authors.is_empty() => terminal.line("nobody has written anything yet"),
        false => {
            let rows: Vec<_> = authors.iter().map(row).collect();
            terminal.text(&text::table(["AUTHOR", "NAME", "STANDING", "NOTES"], &rows))
        }
    }
}

fn row(author: &AuthorView) -> [String; 4] {
    [
        text::printable(&author.author),
        text::printable(author.name.as_deref().unwrap_or("-")),
        author.standing.to_string(),
        author.notes.to_string(),
    ]
}
