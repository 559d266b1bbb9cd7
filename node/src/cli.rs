//! The command line: parse, dispatch, leave with an exit code. It knows no command's work.

pub mod args;
mod bench;
mod board;
mod chat;
mod completions;
mod config_show;
mod connect;
mod demand;
mod doctor;
mod exit;
#[cfg(feature = "llama")]
mod experts;
mod join;
mod mcp;
mod models;
mod peers;
mod placement;
mod plan;
mod pull;
mod status;
mod swarm;
mod terminal;
mod text;
mod trust;
mod up;

use std::process::ExitCode;

use clap::Parser;

use self::args::{Cli, Command, ConfigCommand};
pub use self::exit::{CliError, Exit};
use self::terminal::Terminal;

/// Runs the process's command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let command = cli.command.unwrap_or(Command::Up(Box::new(cli.up)));
    if matches!(command, Command::Worker) {
        return worker();
    }
    match dispatch(command, &mut Terminal::process()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            Terminal::complain(&error);
            error.exit().into()
        }
    }
}

fn dispatch(command: Command, terminal: &mut Terminal) -> Result<Exit, CliError> {
    match command {
        Command::Up(args) => up::run(&args, terminal),
        Command::Run(args) => chat::run(&args, terminal),
        Command::Pull(args) => pull::run(&args, terminal),
        Command::Models(args) => models::run(&args, terminal),
        Command::Doctor(args) => doctor::run(&args, terminal),
        Command::Rm(args) => status::rm(&args, terminal),
        Command::Ps(args) => status::ps(&args, terminal),
        Command::Status(args) => status::status(&args, terminal),
        Command::Peers(args) => peers::run(&args, terminal),
        Command::Demand(args) => demand::run(&args, terminal),
        Command::Plan(args) => plan::run(&args, terminal),
        Command::Bench(args) => bench::run(&args, terminal),
        #[cfg(feature = "llama")]
        Command::Experts(args) => experts::run(&args.command, terminal),
        #[cfg(not(feature = "llama"))]
        Command::Experts(_) => Err(CliError::NotBuilt),
        Command::Swarm(args) => swarm::run(args.command, terminal),
        Command::Join(args) => join::run(&args, terminal),
        Command::Board(args) => board::run(&args.command, terminal),
        Command::Trust(args) => trust::run(&args.command, terminal),
        Command::Mcp(args) => mcp::run(&args, terminal),
        Command::Config(args) => {
            let ConfigCommand::Show(args) = args.command;
            config_show::run(&args, terminal)
        }
        Command::Completions(args) => completions::run(&args, terminal),
        Command::Worker => Err(CliError::NotBuilt),
    }
}

/// One model's process. Nothing else of the node is set up in it.
#[cfg(feature = "llama")]
fn worker() -> ExitCode {
    llama_sys::worker::run()
}

/// A build without an engine has no workers.
#[cfg(not(feature = "llama"))]
fn worker() -> ExitCode {
    Terminal::complain(&CliError::NotBuilt);
    Exit::Failed.into()
}
