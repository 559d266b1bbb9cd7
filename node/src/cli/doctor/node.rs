//! Checks of the running node, of the port and the state where none runs, and of the worker.

use std::net::TcpListener;

use llama_sys::devices;
use llama_sys::supervisor::WORKER_COMMAND;

use super::{Finding, swarm, text};
use crate::api_client::{Client, ClientError};
use crate::config::{Config, Effective};
use crate::data_dir::{DataDir, DataDirError};
use crate::shelf;
use crate::store::Store;

/// The running node's health; without one, whether one could start.
pub(super) async fn check(api: Option<&str>, effective: &Effective) -> Vec<Finding> {
    let client = match Client::find(api, effective) {
        Ok(client) => client,
        Err(_) => return stopped(&effective.config),
    };
    let mut findings = match client.status().await {
        Ok(status) => vec![
            Finding::ok(format!(
                "node: running at {}, version {}",
                client.base(),
                status.version
            )),
            Finding::ok(format!(
                "models: {} on disk ({}), {} loaded",
                status.stored,
                text::bytes(status.store_bytes),
                status.loaded.len()
            )),
        ],
        Err(error) if error.is_no_node() && api.is_none() => return stopped(&effective.config),
        Err(error) => return vec![unhealthy(&error)],
    };
    match client.peers().await {
        Ok(status) => findings.extend(swarm::findings(&status)),
        Err(error) => findings.push(unhealthy(&error)),
    }
    findings
}

fn unhealthy(error: &ClientError) -> Finding {
    let advice = match error {
        ClientError::Refused { status: 401, .. } => {
            "it wants another key: give --api-key KEY, or set api_key".to_owned()
        }
        error => error.to_string(),
    };
    Finding::fail("node: does not answer", advice)
}

fn stopped(config: &Config) -> Vec<Finding> {
    let running = Finding::ok("node: none is running; `shoal up` starts one");
    vec![running, port(config), state(config)]
}

fn port(config: &Config) -> Finding {
    let addr = config.api.addr;
    match TcpListener::bind(addr) {
        Ok(_) => Finding::ok(format!("port: {addr} is free")),
        Err(error) => Finding::fail(
            format!("port: {addr} cannot be used ({error})"),
            "end what uses it, or take another with --api ADDR:PORT",
        ),
    }
}

/// Whether the state opens. Nothing is made for the asking.
fn state(config: &Config) -> Finding {
    if !config.data_dir.join("state").is_dir() {
        return Finding::ok("state: none yet (made at the first start)");
    }
    let dir = match DataDir::claim(&config.data_dir) {
        Ok(dir) => dir,
        Err(error @ DataDirError::InUse { .. }) => {
            let advice = format!("{error}; it does not answer, so end that process");
            return Finding::fail("state: in use", advice);
        }
        Err(error) => return Finding::fail("state", error.to_string()),
    };
    let models = Store::open(&dir.layout().state())
        .map_err(Into::into)
        .and_then(|store| shelf::open(config, &store));
    match models {
        Ok(models) => Finding::ok(format!(
            "state: opens, {} models on disk",
            models.list().len()
        )),
        Err(error) => Finding::fail("state", error.to_string()),
    }
}

/// Whether a worker starts, and the devices that it sees.
pub(super) async fn worker() -> Finding {
    if !cfg!(feature = "llama") {
        return Finding::warn(
            "worker: this build has no engine",
            "build with default features to run models here",
        );
    }
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return Finding::fail("worker", format!("the program is not found: {error}")),
    };
    match devices::detect(&program, &[WORKER_COMMAND.into()]).await {
        Ok(devices) if devices.is_empty() => Finding::fail(
            "worker: starts and sees no device",
            "build shoal anew on this machine",
        ),
        Ok(devices) => {
            let seen = devices.iter().map(|device| {
                let memory = text::bytes(device.memory_total_bytes);
                format!("{} ({}, {memory})", device.name, device.description)
            });
            Finding::ok(format!(
                "worker: starts; devices: {}",
                seen.collect::<Vec<_>>().join(", ")
            ))
        }
        Err(error) => Finding::fail(
            "worker: does not start",
            format!("{error}; RUST_LOG=debug shoal doctor tells more"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_port_in_use_is_a_failure() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = Config::with_data_dir("/x".into());
        config.api.addr = taken.local_addr().unwrap();
        assert_eq!(port(&config).level, Level::Fail);
        drop(taken);
        config.api.addr.set_port(0);
        assert_eq!(port(&config).level, Level::Ok);
    }

    #[test]
    fn a_broken_state_is_a_failure_that_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::with_data_dir(dir.path().to_path_buf());
        assert_eq!(state(&config).level, Level::Ok);
        drop(Store::open(&dir.path().join("state")).unwrap());
        assert_eq!(state(&config).level, Level::Ok);
        std::fs::write(dir.path().join("state/conf"), [0xff; 64]).unwrap();
        let found = state(&config);
        assert_eq!(found.level, Level::Fail);
        assert!(found.line().contains("begin anew"), "{}", found.line());
    }
}
