//! The processor: name, cores, and the instructions that matter to inference.

use std::num::NonZeroU32;

use serde::Serialize;
use sysinfo::{CpuRefreshKind, RefreshKind, System};

/// Up to so many cores all are used: a small virtual machine does not tell which of its cores
/// share one, and a chip with so few has no other work for them.
const ALWAYS_USED_CORES: u32 = 4;

/// Instructions that llama.cpp is compiled for on x86-64 unless a build says otherwise
/// (`GGML_AVX2` and its company); a processor without them ends the process (SIGILL).
const X86_REQUIRED: [&str; 4] = ["avx2", "bmi2", "f16c", "fma"];

/// A processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// Its maker's name for it; may be empty.
    pub name: String,
    /// `x86_64`, `aarch64`, ….
    pub architecture: String,
    /// Instructions that matter to inference, by the names that Rust gives them.
    pub features: Vec<String>,
    /// Cores that the operating system shows.
    pub logical_cores: u32,
    /// Cores that compute side by side, without those that share one.
    pub physical_cores: u32,
    /// Cores that this process may use (affinity and the control group's quota counted).
    pub usable_cores: u32,
}

impl Cpu {
    /// Asks the processor and the operating system.
    #[must_use]
    pub fn detect() -> Self {
        let wanted = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
        let system = System::new_with_specifics(wanted).ok();
        let cores = system.as_ref().map_or(&[][..], System::cpus);
        let count = |cores: usize| u32::try_from(cores).unwrap_or(u32::MAX);
        let usable = std::thread::available_parallelism().map_or(1, |cores| count(cores.get()));
        let logical = count(cores.len()).max(usable);
        let physical = System::physical_core_count().map_or(logical, count);
        Self {
            name: cores
                .first()
                .map(|core| core.brand().trim().to_owned())
                .unwrap_or_default(),
            architecture: std::env::consts::ARCH.to_owned(),
            features: features().into_iter().map(str::to_owned).collect(),
            logical_cores: logical,
            physical_cores: physical.clamp(1, logical),
            usable_cores: usable,
        }
    }

    /// Threads for inference where nobody asked for a number: as many as physical cores, since
    /// two threads on one core wait for the same memory; never more than are usable.
    #[must_use]
    pub fn default_threads(&self) -> NonZeroU32 {
        let wanted = self
            .physical_cores
            .max(ALWAYS_USED_CORES)
            .min(self.usable_cores);
        NonZeroU32::new(wanted).unwrap_or(NonZeroU32::MIN)
    }

    /// Instructions that llama.cpp needs and this processor lacks; empty where it can run.
    #[must_use]
    pub fn missing_features(&self) -> Vec<&'static str> {
        if self.architecture != "x86_64" {
            return Vec::new();
        }
        let has = |name: &&str| self.features.iter().any(|feature| feature == name);
        X86_REQUIRED.into_iter().filter(|name| !has(name)).collect()
    }
}

/// Names of those features that the processor has.
macro_rules! detected {
    ($detect:ident: $($name:tt)+) => {
        [$(($name, std::arch::$detect!($name))),+]
            .into_iter()
            .filter_map(|(name, there)| there.then_some(name))
            .collect()
    };
}

#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
fn features() -> Vec<&'static str> {
    detected!(is_x86_feature_detected:
        "sse3" "ssse3" "sse4.2" "avx" "f16c" "fma" "bmi2" "avx2" "avxvnni"
        "avx512f" "avx512bw" "avx512vl" "avx512vbmi" "avx512vnni" "avx512bf16" "avx512fp16")
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<&'static str> {
    detected!(is_aarch64_feature_detected: "neon" "fp16" "dotprod" "i8mm" "bf16" "sve" "sve2")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(physical: u32, logical: u32, usable: u32) -> Cpu {
        Cpu {
            name: String::new(),
            architecture: "x86_64".to_owned(),
            features: Vec::new(),
            logical_cores: logical,
            physical_cores: physical,
            usable_cores: usable,
        }
    }

    #[test]
    fn threads_by_cores() {
        let threads =
            |physical, logical, usable| cores(physical, logical, usable).default_threads().get();
        assert_eq!(threads(8, 16, 16), 8);
        assert_eq!(threads(8, 16, 3), 3, "a quota");
        assert_eq!(threads(1, 2, 2), 2, "a small virtual machine");
        assert_eq!(threads(2, 8, 8), 4);
        assert_eq!(threads(1, 1, 1), 1);
        assert_eq!(threads(1, 1, 0), 1);
    }

    #[test]
    fn an_old_processor_is_told_what_it_lacks() {
        let mut cpu = cores(4, 4, 4);
        cpu.features = ["avx", "f16c", "fma"].map(str::to_owned).to_vec();
        assert_eq!(cpu.missing_features(), ["avx2", "bmi2"]);
        cpu.architecture = "aarch64".to_owned();
        assert_eq!(cpu.missing_features(), [""; 0]);
    }
}
