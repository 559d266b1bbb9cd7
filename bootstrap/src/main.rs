//! The binary `shoal-bootstrap`: reads the command line, runs the server until it is told to
//! stop. Everything else is in the library.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use bootstrap::args::{Args, LogFormat};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let args = Args::parse();
    log(args.log_format);
    let done = match args.print_id {
        true => print_id(&args),
        false => run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print_id(args: &Args) -> anyhow::Result<()> {
    let id = bootstrap::server::id(args)?;
    Ok(writeln!(io::stdout(), "{id}")?)
}

#[tokio::main]
async fn run(args: Args) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (changed, reload) = watch::channel(());
    tokio::spawn(async move {
        // As `systemctl reload` does.
        while hangup.recv().await.is_some() && changed.send(()).is_ok() {}
    });
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
    Ok(bootstrap::server::run(args, stop, reload, announce).await?)
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
