//! `shoal config show`. Works without a node.

use super::args::UpArgs;
use super::{CliError, Exit, Terminal};
use crate::config::{Effective, System};

/// Prints the configuration that `shoal up` with the same flags would have.
pub(super) fn run(args: &UpArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let effective = Effective::read(&System, args.place.config.as_deref(), &args.flags())?;
    effective.config.check_exposure()?;
    match &effective.file {
        Some(path) => terminal.line(format_args!("# file: {}", path.display()))?,
        None => terminal.line("# file: none")?,
    }
    terminal.text(&effective.to_toml())?;
    Ok(Exit::Done)
}
