//! What the worker arranges with the operating system: its socket, its limits, its death.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Resource, Rlimit, Signal, getpid, kill_process, setrlimit};

/// Standard input as the socket that it is.
pub(super) fn take_socket() -> io::Result<UnixStream> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let socket = UnixStream::from(input);
    // Fails if it is no Unix socket: somebody typed the hidden command.
    socket.peer_addr()?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// No core files (they would hold prompts), the first choice of the out-of-memory killer, and on
/// Linux the kernel's own promise to kill this process with the node. That promise is tied to the
/// *thread* that started the worker; the supervisor starts each worker on a thread that does
/// nothing else and outlives it.
pub(super) fn harden() {
    let no_core = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Each of these helps and none is needed, so a refusal by the system is no reason to stop.
    let _ = setrlimit(Resource::Core, no_core);
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    }
}

/// Limits what this process may allocate. `RLIMIT_DATA` counts private writable memory (heap,
/// KV cache, compute buffers, thread stacks) and not the mapped model file; `RLIMIT_AS` would
/// count that too, though its pages are the kernel's to drop. Not in builds with graphics cards:
/// their drivers reserve address space by the tens of gigabytes.
pub(super) fn limit_memory(bytes: u64) -> io::Result<()> {
    let has_drivers = cfg!(any(
        feature = "cuda",
        feature = "rocm",
        feature = "metal",
        feature = "vulkan"
    ));
    if has_drivers {
        return Ok(());
    }
    let limit = Rlimit {
        current: Some(bytes),
        maximum: Some(bytes),
    };
    setrlimit(Resource::Data, limit).map_err(io::Error::from)
}

/// Starts the thread that ends this process when the other end of the socket hangs up. It reads
/// nothing and waits for nothing else, so no state of the engine can hold it up.
pub(super) fn die_with(socket: &UnixStream) {
    let Ok(socket) = socket.try_clone() else {
        die();
    };
    let watch = move || {
        loop {
            // No events are asked for: a hang-up is always reported.
            let mut fds = [PollFd::new(&socket, PollFlags::empty())];
            match poll(&mut fds, None) {
                Ok(_) if fds[0].revents().is_empty() => {}
                Err(rustix::io::Errno::INTR) => {}
                _ => die(),
            }
        }
    };
    let thread = std::thread::Builder::new().name("node-watch".into());
    if thread.spawn(watch).is_err() {
        die();
    }
}

/// Ends this process at once. Not through `exit`: destructors of a driver that is at work on
/// another thread may wait for it.
pub(super) fn die() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}
