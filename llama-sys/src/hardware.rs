//! What the machine has, as the operating system tells: processor, cores, memory, and the limits
//! of the control group that the process runs in. Graphics devices are llama.cpp's own list and
//! not known here; nothing is measured.

mod cgroup;
mod cpu;

use std::path::Path;

use serde::Serialize;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

pub use cpu::Cpu;

/// What the machine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hardware {
    /// The processor.
    pub cpu: Cpu,
    /// Main memory.
    pub memory: Memory,
}

/// Main memory as far as this process may use it; 0 where the operating system does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Of the machine, or of the control group where that is less.
    pub total_bytes: u64,
    /// Of that, what can be had without swapping.
    pub available_bytes: u64,
    /// The control group's limit, if it is below what the machine has.
    pub limit_bytes: Option<u64>,
}

impl Hardware {
    /// Asks the operating system. Takes some milliseconds; the processor does not change, memory
    /// does: see [`Memory::detect`].
    #[must_use]
    pub fn detect() -> Self {
        Self {
            cpu: Cpu::detect(),
            memory: Memory::detect(),
        }
    }
}

impl Memory {
    /// Asks the operating system.
    #[must_use]
    pub fn detect() -> Self {
        let wanted = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
        let machine = System::new_with_specifics(wanted).map_or((0, 0), |system| {
            (system.total_memory(), system.available_memory())
        });
        Self::within(machine, cgroup::read(Path::new("/")))
    }

    /// Total and available memory of the machine, cut to a control group's limits.
    fn within((total, available): (u64, u64), group: Option<cgroup::Limits>) -> Self {
        // A group without a limit claims more than any machine has.
        match group.filter(|group| group.limit_bytes < total) {
            Some(group) => Self {
                total_bytes: group.limit_bytes,
                available_bytes: available.min(group.available_bytes),
                limit_bytes: Some(group.limit_bytes),
            },
            None => Self {
                total_bytes: total,
                available_bytes: available,
                limit_bytes: None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something() {
        let hardware = Hardware::detect();
        assert!(hardware.memory.available_bytes > 0);
        assert!(hardware.memory.available_bytes <= hardware.memory.total_bytes);
        assert!(hardware.cpu.physical_cores >= 1);
        assert!(hardware.cpu.physical_cores <= hardware.cpu.logical_cores);
        assert!(hardware.cpu.usable_cores >= 1);
    }

    #[test]
    fn a_group_cuts_what_the_machine_has() {
        let group = |limit_bytes, available_bytes| {
            Some(cgroup::Limits {
                limit_bytes,
                available_bytes,
            })
        };
        let free = Memory {
            total_bytes: 100,
            available_bytes: 60,
            limit_bytes: None,
        };
        assert_eq!(Memory::within((100, 60), None), free);
        assert_eq!(Memory::within((100, 60), group(u64::MAX, u64::MAX)), free);
        assert_eq!(
            Memory::within((100, 60), group(100, 10)),
            free,
            "no tighter than the machine"
        );
        let cut = Memory {
            total_bytes: 50,
            available_bytes: 20,
            limit_bytes: Some(50),
        };
        assert_eq!(Memory::within((100, 60), group(50, 20)), cut);
        assert_eq!(
            Memory::within((100, 20), group(50, 40)),
            cut,
            "the machine itself is full"
        );
    }
}
