//! The devices that a model can run on, and how fast they are. Drivers are asked in a worker
//! process, never in the node: a driver costs memory for good, and can crash.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::supervisor::{Launch, Life, LifeEvent};
use crate::worker::ipc::{Message, Task, VERSION};

/// Drivers of several graphics cards take seconds to wake; longer means that one hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// A device as llama.cpp sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// llama.cpp's name: `CPU`, `CUDA0`, `Vulkan1`, …
    pub name: String,
    /// The maker's name.
    pub description: String,
    /// The backend that drives it: `CPU`, `CUDA`, `ROCm`, `Metal`, `Vulkan`.
    pub backend: String,
    /// What it is.
    pub kind: DeviceKind,
    /// Free memory, bytes.
    pub memory_free_bytes: u64,
    /// Memory in all, bytes.
    pub memory_total_bytes: u64,
}

/// What a device is (`enum ggml_backend_dev_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// The processor with the machine's memory.
    Cpu = 0,
    /// A graphics card with its own memory.
    Gpu = 1,
    /// A graphics unit that shares the machine's memory.
    IntegratedGpu = 2,
    /// A helper of the processor (BLAS, AMX).
    Accelerator = 3,
}

impl TryFrom<u32> for DeviceKind {
    type Error = ();

    fn try_from(kind: u32) -> Result<Self, ()> {
        let kinds = [Self::Cpu, Self::Gpu, Self::IntegratedGpu, Self::Accelerator];
        kinds.into_iter().find(|k| *k as u32 == kind).ok_or(())
    }
}

/// How fast a device is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// The device.
    pub device: Device,
    /// Bytes of weights read a second in a matrix-vector product: what decoding is bound by.
    pub bytes_per_second: f64,
    /// Floating-point operations a second in a product with quantized weights: what prefill is
    /// bound by.
    pub flops: f64,
    /// Why there are no figures, where there are none.
    pub failure: Option<String>,
}

/// Why the devices are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevicesError {
    /// The worker could not be started.
    #[error("the worker could not be started")]
    Start(#[source] std::io::Error),
    /// The worker died over it, as of a driver.
    #[error("the worker that asks the drivers died: {0}")]
    Died(String),
    /// No answer came in time.
    #[error("the drivers did not answer within {} s", DEADLINE.as_secs())]
    TimedOut,
}

/// Asks llama.cpp in a worker of this program for the devices. Takes from milliseconds to some
/// seconds, as the drivers like.
///
/// # Errors
/// Any [`DevicesError`].
pub async fn detect(program: &Path, args: &[OsString]) -> Result<Vec<Device>, DevicesError> {
    let wanted = |message| match message {
        Message::Devices(devices) => Some(devices),
        _ => None,
    };
    ask(program, args, Task::Devices, wanted).await
}

/// Measures the devices in a worker of this program: about a second each. What it finds stays
/// true for the same device and build; keep it. Wants a machine that is idle otherwise. The
/// processor computes with so many threads as models will; `None`: as many as it has cores.
///
/// # Errors
/// Any [`DevicesError`]. What fails on one device only is told in its measurement.
pub async fn bench(
    program: &Path,
    args: &[OsString],
    threads: Option<u32>,
) -> Result<Vec<Measurement>, DevicesError> {
    let wanted = |message| match message {
        Message::Measured(measured) => Some(measured),
        _ => None,
    };
    ask(program, args, Task::Measure(threads), wanted).await
}

async fn ask<T>(
    program: &Path,
    args: &[OsString],
    task: Task,
    wanted: impl Fn(Message) -> Option<T>,
) -> Result<T, DevicesError> {
    let launch = Launch {
        program: program.to_owned(),
        args: args.to_vec(),
        name: "devices".into(),
    };
    let mut life = Life::start(&launch).await.map_err(DevicesError::Start)?;
    let hello = Message::Hello {
        version: VERSION,
        task,
    };
    life.say(hello).expect("a hello fits into a frame");
    let answer = async {
        loop {
            match life.next().await {
                LifeEvent::Message(Message::LoadRefused(cause)) | LifeEvent::Ended(cause) => {
                    return Err(DevicesError::Died(cause));
                }
                LifeEvent::Message(message) => {
                    if let Some(answer) = wanted(message) {
                        return Ok(answer);
                    }
                }
            }
        }
    };
    let answer = tokio::time::timeout(DEADLINE, answer).await;
    answer.map_err(|_| DevicesError::TimedOut)?
}

/// The devices of this machine. Starts their drivers in this process: for workers.
#[cfg(feature = "llama")]
pub(crate) use crate::ffi::device::{list as list_here, measure as measure_here};

/// Without llama.cpp there is nothing to run a model on.
#[cfg(not(feature = "llama"))]
pub(crate) fn list_here() -> Vec<Device> {
    Vec::new()
}

/// Without llama.cpp there is nothing to measure.
#[cfg(not(feature = "llama"))]
pub(crate) fn measure_here(_: Option<u32>) -> Vec<Measurement> {
    Vec::new()
}
