//! The devices that a model can run on, and how fast they are. Drivers are asked in a worker
//! process, never in the node: a driver costs memory for good, and can crash.

use serde::{Deserialize, Serialize};

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

/// The devices of this machine. Starts their drivers in this process: for workers.
pub(crate) fn list_here() -> Vec<Device> {
    Vec::new()
}

/// Measures the devices of this machine. For workers.
pub(crate) fn measure_here() -> Vec<Measurement> {
    Vec::new()
}
