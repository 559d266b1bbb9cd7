//! `shoal bench`: measures the devices, by the running node or, without one, here.

use web::manage::DeviceStatus;

use super::args::ClientArgs;
use super::connect::{configuration, wait};
use super::status::devices_table;
use super::{CliError, Exit, Terminal};
use crate::api_client::Client;
use crate::config::{Config, Effective};
use crate::data_dir::DataDir;
use crate::devices::Devices;
use crate::store::Store;

/// Measures and prints the figures, which the node keeps.
pub(super) fn run(args: &ClientArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let effective = configuration(args)?;
    let measured = match ask(args, &effective) {
        // With an address of its own, the question is for that node only.
        Err(CliError::Client(error)) if error.is_no_node() && args.api.is_none() => {
            measure(&effective.config)?
        }
        answered => answered?,
    };
    terminal.text(&devices_table(&measured))?;
    Ok(Exit::Done)
}

fn ask(args: &ClientArgs, effective: &Effective) -> Result<Vec<DeviceStatus>, CliError> {
    let client = Client::find(args.api.as_deref(), effective)?;
    wait(async { Ok(client.bench().await?) })
}

fn measure(config: &Config) -> Result<Vec<DeviceStatus>, CliError> {
    let dir = DataDir::claim(&config.data_dir)?;
    let store = Store::open(&dir.layout().state())?;
    let program = std::env::current_exe().map_err(CliError::Runtime)?;
    let devices = Devices::new(&store, program, config.engine.threads)?;
    wait(async { devices.measure().await.map_err(CliError::Bench) })
}
