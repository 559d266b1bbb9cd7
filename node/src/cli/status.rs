//! `shoal status`, `shoal ps`, `shoal rm`: views of the running node.

use web::manage::{DeviceStatus, LoadedModel, NodeStatus};

use super::args::{ClientArgs, RmArgs, StatusArgs};
use super::connect::{client, wait};
use super::{CliError, Exit, Terminal, placement, text};

/// `shoal status`.
pub(super) fn status(args: &StatusArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let client = client(&args.client)?;
    let (status, placement) =
        wait(async { Ok((client.status().await?, client.placement().await?)) })?;
    match args.json {
        true => terminal.json(&status)?,
        false => {
            terminal.text(&describe(&status))?;
            terminal.text(&placement::describe(&placement))?;
        }
    }
    Ok(Exit::Done)
}

/// `shoal ps`.
pub(super) fn ps(args: &ClientArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let client = client(args)?;
    let loaded = wait(async { Ok(client.loaded().await?) })?;
    terminal.text(&loaded_table(&loaded))?;
    Ok(Exit::Done)
}

/// `shoal rm`.
pub(super) fn rm(args: &RmArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let client = client(&args.client)?;
    let freed = wait(async { Ok(client.remove(&args.model).await?) })?;
    terminal.line(format_args!(
        "{} removed, {} freed",
        args.model,
        text::bytes(freed)
    ))?;
    Ok(Exit::Done)
}

fn describe(status: &NodeStatus) -> String {
    let budget = match status.store_budget_bytes {
        Some(bytes) => format!(" of {}", text::bytes(bytes)),
        None => String::new(),
    };
    format!(
        "node     {}\nversion  {}\napi      http://{}\nmode     {}\nup       {}\n\
         models   {} on disk, {}{budget}\n\n{}\n{}",
        status.node_id,
        status.version,
        status.api,
        status.mode,
        text::seconds(status.uptime_seconds),
        status.stored,
        text::bytes(status.store_bytes),
        devices_table(&status.devices),
        loaded_table(&status.loaded),
    )
}

pub(super) fn devices_table(devices: &[DeviceStatus]) -> String {
    let rows: Vec<_> = devices.iter().map(device_row).collect();
    text::table(
        [
            "DEVICE",
            "WHAT",
            "MEMORY FREE",
            "OF",
            "PREFILL",
            "BANDWIDTH",
        ],
        &rows,
    )
}

fn device_row(device: &DeviceStatus) -> [String; 6] {
    let prefill = device.prefill_tokens_per_second;
    let bandwidth = device.bandwidth_bytes_per_second;
    [
        text::printable(&device.name),
        text::printable(&device.description),
        text::bytes(device.memory_free_bytes),
        text::bytes(device.memory_total_bytes),
        prefill.map_or("-".into(), |tokens| format!("{tokens:.0} tokens/s")),
        bandwidth.map_or("-".into(), |bytes| format!("{:.1} GB/s", bytes / 1e9)),
    ]
}

fn loaded_table(loaded: &[LoadedModel]) -> String {
    let rows: Vec<_> = loaded.iter().map(loaded_row).collect();
    text::table(
        [
            "MODEL", "STATE", "MEMORY", "CONTEXT", "RUNNING", "WAITING", "UNTIL", "DETAIL",
        ],
        &rows,
    )
}

fn loaded_row(model: &LoadedModel) -> [String; 8] {
    let until = model.unload_in_seconds;
    [
        text::printable(&model.name),
        model.state.clone(),
        text::bytes(model.memory_bytes),
        model.context_length.to_string(),
        model.running.to_string(),
        model.waiting.to_string(),
        until.map_or("-".into(), text::seconds),
        text::printable(model.detail.as_deref().unwrap_or("")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_views_fit_a_terminal() {
        let status = NodeStatus {
            version: "0.1.0".into(),
            node_id: "id".into(),
            api: "127.0.0.1:9337".into(),
            uptime_seconds: 61,
            mode: "offline".into(),
            devices: vec![DeviceStatus {
                name: "CPU".into(),
                description: "a processor".into(),
                memory_total_bytes: 2 << 30,
                memory_free_bytes: 1 << 30,
                prefill_tokens_per_second: None,
                bandwidth_bytes_per_second: Some(2.5e10),
            }],
            loaded: vec![LoadedModel {
                name: "m\x1b".into(),
                state: "ready".into(),
                detail: None,
                memory_bytes: 1 << 20,
                context_length: 8192,
                running: 1,
                waiting: 0,
                unload_in_seconds: Some(299),
                restarts: 0,
            }],
            stored: 1,
            store_bytes: 98 << 20,
            store_budget_bytes: None,
        };
        let shown = describe(&status);
        assert!(shown.contains("up       1m 1s\n"), "{shown}");
        assert!(shown.contains("25.0 GB/s"), "{shown}");
        assert!(shown.contains("m      ready  1.0 MiB  8192"), "{shown}");
        assert!(!shown.contains('\x1b'));
    }
}
