//! How busy a worker is: its own last word, what the supervisor knows better, and the system's.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::Load;

/// The figures of one engine over all its workers.
#[derive(Debug)]
pub(super) struct Tally {
    parallel: u32,
    /// 0: there is no worker.
    pid: AtomicU32,
    figures: Mutex<Figures>,
}

#[derive(Debug, Default)]
struct Figures {
    /// The worker's last word.
    last: Load,
    /// Counters of the workers before it.
    before: Load,
    /// Requests that the supervisor has.
    requests: u32,
    restarts: u32,
    /// The worker has loaded its model.
    serves: bool,
}

impl Tally {
    pub(super) fn new(parallel: u32) -> Self {
        Self {
            parallel,
            pid: AtomicU32::new(0),
            figures: Mutex::default(),
        }
    }

    pub(super) fn on_worker(&self, pid: u32, restarts: u32) {
        self.pid.store(pid, Ordering::Relaxed);
        self.figures().restarts = restarts;
    }

    pub(super) fn on_ready(&self) {
        self.figures().serves = true;
    }

    pub(super) fn on_stats(&self, load: Load) {
        self.figures().last = load;
    }

    pub(super) fn on_requests(&self, requests: usize) {
        self.figures().requests = u32::try_from(requests).unwrap_or(u32::MAX);
    }

    pub(super) fn on_death(&self) {
        self.pid.store(0, Ordering::Relaxed);
        let figures = &mut *self.figures();
        figures.before.prefill_tokens += figures.last.prefill_tokens;
        figures.before.cached_tokens += figures.last.cached_tokens;
        figures.before.decode_tokens += figures.last.decode_tokens;
        figures.before.drafted_tokens += figures.last.drafted_tokens;
        figures.before.accepted_tokens += figures.last.accepted_tokens;
        figures.last = Load::default();
        figures.serves = false;
    }

    pub(super) fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    /// The number of requests is exact; how they divide is the worker's last word, some tenths
    /// of a second old.
    pub(super) fn load(&self) -> Load {
        let memory_bytes = self.pid().and_then(resident_bytes).unwrap_or(0);
        let figures = self.figures();
        let Figures { last, before, .. } = &*figures;
        let beyond_slots = figures.requests.saturating_sub(self.parallel);
        let waiting = if figures.serves {
            last.waiting.min(figures.requests).max(beyond_slots)
        } else {
            figures.requests
        };
        Load {
            running: figures.requests - waiting,
            waiting,
            memory_bytes,
            prefill_tokens: before.prefill_tokens + last.prefill_tokens,
            cached_tokens: before.cached_tokens + last.cached_tokens,
            decode_tokens: before.decode_tokens + last.decode_tokens,
            drafted_tokens: before.drafted_tokens + last.drafted_tokens,
            accepted_tokens: before.accepted_tokens + last.accepted_tokens,
            restarts: figures.restarts,
            ..*last
        }
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resident memory of a process, mapped files included.
#[cfg(target_os = "linux")]
fn resident_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Resident memory of a process, mapped files included.
#[cfg(not(target_os = "linux"))]
fn resident_bytes(pid: u32) -> Option<u64> {
    use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
    let pid = Pid::from_u32(pid);
    let mut system = System::new();
    let wanted = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, wanted);
    system.process(pid).map(sysinfo::Process::memory)
}
