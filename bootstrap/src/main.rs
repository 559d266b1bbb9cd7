//! The binary `shoal-bootstrap`: reads the command line, runs the server until it is told to
//! stop. Everything else is in the library.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use bootstrap::args::{Args, LogFormat};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let args = Args::parse();
    log(args.log_format);
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(args: Args) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    let announce = |addresses: &[String]| {
        for address in addresses {
            let _ = writeln!(io::stdout(), "{address}");
        }
    };
    Ok(bootstrap::server::run(args, stop, announce).await?)
}

/// For people on a terminal, else one JSON object a line, unless the format is given.
fn log(format: Option<LogFormat>) {
    let filter = EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("warn,bootstrap=info,dht=info"));
    let interactive = io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let is_json = format.map_or(!interactive, |format| format == LogFormat::Json);
    if is_json {
        builder.json().flatten_event(true).init();
    } else {
        builder.with_ansi(interactive).init();
    }
}
