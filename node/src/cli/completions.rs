//! `shoal completions`. Works without a node.

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::{Cli, CompletionsArgs};
use super::{CliError, Exit, Terminal};

/// Prints the script that completes `shoal` in the shell.
pub(super) fn run(args: &CompletionsArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(
        Shell::from(args.shell),
        &mut Cli::command(),
        "shoal",
        &mut script,
    );
    terminal.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
