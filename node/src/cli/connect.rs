//! How commands reach the node: the configuration says where, a small runtime does the waiting.

use std::future::Future;

use tokio::runtime::Builder;

use super::CliError;
use super::args::ClientArgs;
use crate::api_client::Client;
use crate::config::{Effective, System};

/// The configuration as a client sees it.
pub(super) fn configuration(args: &ClientArgs) -> Result<Effective, CliError> {
    let file = args.place.config.as_deref();
    Ok(Effective::read(&System, file, &args.flags())?)
}

/// The node that the flags, the environment or the data directory name.
pub(super) fn client(args: &ClientArgs) -> Result<Client, CliError> {
    let effective = configuration(args)?;
    Ok(Client::find(args.api.as_deref(), &effective)?)
}

/// Waits for a client's work on this thread.
pub(super) fn wait<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(CliError::Runtime)?.block_on(work)
}
