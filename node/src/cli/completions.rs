//! `shoal completions`. Works without a node.

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::args::{Cli, CompletionsArgs};
use super::{CliError, Exit, Terminal};

/// Prints the script that completes `shoal` in the shell.
pub(super) fn run(args: &CompletionsArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(
        Shell::from(args.shell),
        &mut visible(),
        "shoal",
        &mut script,
    );
    terminal.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// The command line without what is hidden from people; clap would complete that too.
fn visible() -> Command {
    let all = Cli::command();
    let shown = all
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    Command::new("shoal")
        .args(all.get_arguments().cloned())
        .subcommands(shown.cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_commands_stay_hidden() {
        let names: Vec<_> = visible()
            .get_subcommands()
            .map(|c| c.get_name().to_owned())
            .collect();
        assert!(names.contains(&"up".into()) && !names.contains(&"worker".into()));
        visible().debug_assert();
    }
}
