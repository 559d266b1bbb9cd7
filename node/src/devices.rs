//! The machine's devices as the node shows them: asked for once, on the first question, and
//! measured when the owner wants; figures are kept for the same build. Drivers are woken in a
//! worker, never here.

use std::ffi::OsString;
use std::path::PathBuf;

use llama_sys::devices::{self, Device, DeviceKind, Measurement};
use llama_sys::hardware::{Hardware, Memory};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OnceCell};
use tracing::warn;
use web::manage::DeviceStatus;

use crate::core::profile::Figures;
use crate::store::{Record, Store, StoreError, Table};

/// Parameters of the model that prefill figures are given for: a billion, two operations each
/// a token.
pub(crate) const REFERENCE_PARAMETERS: f64 = 1e9;

/// The one record of the table.
const KEY: &str = "all";

/// What was measured, and by which build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Measured {
    build: String,
    devices: Vec<Measurement>,
}

impl Record for Measured {
    const TABLE: &'static str = "devices";
}

/// The devices of this machine.
pub struct Devices {
    table: Table<Measured>,
    /// The program whose hidden command is the worker.
    program: PathBuf,
    /// What models are computed with; `None`: the cores.
    threads: Option<u32>,
    found: OnceCell<Vec<Device>>,
    /// One measurement at a time: two would measure one another.
    measuring: Mutex<()>,
}

impl Devices {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn new(store: &Store, program: PathBuf, threads: Option<u32>) -> Result<Self, StoreError> {
        Ok(Self {
            table: store.table()?,
            program,
            threads,
            found: OnceCell::new(),
            measuring: Mutex::new(()),
        })
    }

    /// The devices with the figures that are known.
    pub async fn known(&self) -> Vec<DeviceStatus> {
        let found = self.found.get_or_init(|| self.find()).await;
        let measured = self.recall();
        let figures = |device: &Device| {
            let mut measured = measured.iter();
            measured.find(|measured| measured.device.name == device.name)
        };
        found
            .iter()
            .map(|device| describe(device, figures(device)))
            .collect()
    }

    /// The same for the node's profile.
    pub async fn figures(&self) -> Vec<Figures> {
        let known = self.known().await;
        let found = self.found.get().map(Vec::as_slice).unwrap_or_default();
        let pairs = known.into_iter().zip(found);
        pairs
            .map(|(status, device)| Figures {
                backend: device.backend.clone(),
                name: status.description,
                memory_total_bytes: status.memory_total_bytes,
                memory_free_bytes: status.memory_free_bytes,
                prefill_tokens_per_second: status.prefill_tokens_per_second,
                bandwidth_bytes_per_second: status.bandwidth_bytes_per_second,
            })
            .collect()
    }

    /// Measures the devices now and keeps the figures.
    ///
    /// # Errors
    /// In one line, why there are none.
    pub async fn measure(&self) -> Result<Vec<DeviceStatus>, String> {
        let _alone = self.measuring.lock().await;
        let devices = devices::bench(&self.program, &worker(), self.threads).await;
        let devices = devices.map_err(|error| error.to_string())?;
        if devices.is_empty() {
            return Err("this build has no engine that could be measured".into());
        }
        let shown = devices
            .iter()
            .map(|measured| describe(&measured.device, Some(measured)));
        let shown = shown.collect();
        let (table, build) = (self.table.clone(), build(self.threads));
        let kept =
            tokio::task::spawn_blocking(move || table.put(KEY, &Measured { build, devices }));
        match kept.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the figures are not kept"),
            Err(error) => warn!(%error, "the figures are not kept"),
        }
        Ok(shown)
    }

    async fn find(&self) -> Vec<Device> {
        match devices::detect(&self.program, &worker()).await {
            Ok(devices) if !devices.is_empty() => devices,
            Ok(_) => vec![processor().await],
            Err(error) => {
                warn!(%error, "only the processor is known");
                vec![processor().await]
            }
        }
    }

    fn recall(&self) -> Vec<Measurement> {
        match self.table.read(KEY) {
            Ok(Some(measured)) if measured.build == build(self.threads) => measured.devices,
            Ok(_) => Vec::new(),
            Err(error) => {
                warn!(%error, "no figures of devices");
                Vec::new()
            }
        }
    }
}

/// Figures of another version, with other drivers or with other threads are not ours.
fn build(threads: Option<u32>) -> String {
    let features = [
        ("llama", cfg!(feature = "llama")),
        ("cuda", cfg!(feature = "cuda")),
        ("rocm", cfg!(feature = "rocm")),
        ("metal", cfg!(feature = "metal")),
        ("vulkan", cfg!(feature = "vulkan")),
    ];
    let on = features.into_iter().filter(|(_, on)| *on);
    let build = on.fold(env!("CARGO_PKG_VERSION").to_owned(), |text, (name, _)| {
        format!("{text}+{name}")
    });
    match threads {
        Some(threads) => format!("{build}, {threads} threads"),
        None => build,
    }
}

fn worker() -> Vec<OsString> {
    vec![llama_sys::supervisor::WORKER_COMMAND.into()]
}

/// What the operating system tells, where llama.cpp cannot be asked.
async fn processor() -> Device {
    let asked = tokio::task::spawn_blocking(Hardware::detect).await;
    let hardware = asked.unwrap_or_else(|_| Hardware::detect());
    Device {
        name: "CPU".into(),
        description: hardware.cpu.name.clone(),
        backend: "CPU".into(),
        kind: DeviceKind::Cpu,
        memory_free_bytes: hardware.memory.available_bytes,
        memory_total_bytes: hardware.memory.total_bytes,
    }
}

fn describe(device: &Device, measured: Option<&Measurement>) -> DeviceStatus {
    let measured = measured.filter(|measured| measured.failure.is_none());
    let (free, total) = match device.kind {
        // The machine's memory changes, and a control group may allow less of it.
        DeviceKind::Cpu => {
            let memory = Memory::detect();
            (memory.available_bytes, memory.total_bytes)
        }
        _ => (device.memory_free_bytes, device.memory_total_bytes),
    };
    DeviceStatus {
        name: device.name.clone(),
        description: device.description.clone(),
        memory_total_bytes: total,
        memory_free_bytes: free,
        prefill_tokens_per_second: measured.map(|m| m.flops / (2.0 * REFERENCE_PARAMETERS)),
        bandwidth_bytes_per_second: measured.map(|m| m.bytes_per_second),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement() -> Measurement {
        Measurement {
            device: Device {
                name: "GPU0".into(),
                description: "a card".into(),
                backend: "CUDA".into(),
                kind: DeviceKind::Gpu,
                memory_free_bytes: 1,
                memory_total_bytes: 2,
            },
            bytes_per_second: 1e12,
            flops: 2e13,
            failure: None,
        }
    }

    #[test]
    fn figures_are_kept_for_the_same_build_and_threads_only() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let devices = Devices::new(&store, "/nowhere".into(), None).unwrap();
        let keep = |build: String| {
            let devices = vec![measurement()];
            store
                .table::<Measured>()
                .unwrap()
                .put(KEY, &Measured { build, devices })
                .unwrap();
        };
        keep("another".into());
        assert_eq!(devices.recall(), []);
        keep(build(Some(1)));
        assert_eq!(devices.recall(), []);
        keep(build(None));
        assert_eq!(devices.recall(), [measurement()]);
    }

    #[test]
    fn a_failed_measurement_gives_no_figures() {
        let good = measurement();
        let shown = describe(&good.device, Some(&good));
        assert_eq!(shown.prefill_tokens_per_second, Some(1e4));
        let failed = Measurement {
            failure: Some("no memory".into()),
            ..good
        };
        let shown = describe(&failed.device, Some(&failed));
        assert_eq!(shown.bandwidth_bytes_per_second, None);
        assert_eq!(shown.memory_free_bytes, 1);
    }

    #[tokio::test]
    async fn without_a_worker_the_processor_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let devices = Devices::new(&store, "/nowhere".into(), None).unwrap();
        let known = devices.known().await;
        assert_eq!(known.len(), 1);
        assert!(known[0].memory_total_bytes > 0);
        assert!(devices.measure().await.is_err());
    }
}
