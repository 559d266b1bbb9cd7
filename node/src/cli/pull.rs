//! `shoal pull`: the node fetches, this shows how far it is.

use std::path::Path;

use web::manage::{PullEvent, StoredModel};

use super::args::PullArgs;
use super::connect::{client, wait};
use super::{CliError, Exit, Terminal, text};
use crate::api_client::Client;
use crate::models::progress::PullBar;

/// Fetches a model and prints its name.
pub(super) fn run(args: &PullArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let client = client(&args.client)?;
    let name = absolute(&args.name);
    let model = wait(async {
        tokio::select! {
            biased;
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.map_err(CliError::Runtime)?;
                Ok(None)
            }
            model = fetch(&client, &name) => model.map(Some),
        }
    })?;
    let Some(model) = model else {
        return Ok(Exit::Interrupted);
    };
    let size = text::bytes(model.size_bytes);
    terminal.line(format_args!("{} {size}", text::printable(&model.name)))?;
    Ok(Exit::Done)
}

/// The node may run in another folder: a file that is here goes by its whole path.
fn absolute(name: &str) -> String {
    let path = Path::new(name);
    let here = path.is_file().then(|| path.canonicalize().ok()).flatten();
    here.and_then(|path| path.into_os_string().into_string().ok())
        .unwrap_or_else(|| name.to_owned())
}

async fn fetch(client: &Client, name: &str) -> Result<StoredModel, CliError> {
    let mut events = client.pull(name).await?;
    let mut bar = PullBar::new(&text::printable(name));
    while let Some(event) = events.next().await? {
        bar.show(&event);
        match event {
            PullEvent::Done { model } => return Ok(model),
            PullEvent::Failed { message } => {
                return Err(CliError::Pull(text::printable(&message)));
            }
            _ => {}
        }
    }
    Err(CliError::Pull(
        "the node stopped in the middle; pull again to go on".into(),
    ))
}
