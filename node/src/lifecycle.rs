//! The end of a node: a first signal lets running answers finish, a second one does not wait.
//! It knows nothing of what runs.

use std::future::Future;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every running answer was finished.
    Drained,
    /// Some were cut: at the deadline, or by the second signal.
    CutShort,
}

/// What tells the process to end: SIGTERM, SIGINT (Ctrl-C), SIGHUP (its terminal is gone).
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Listens from now on; the signals' default, to end at once, is off.
    ///
    /// # Errors
    /// The system refuses.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal, by name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}

/// Runs `serving` until it ends by itself or a signal comes. A signal cancels `shutdown`, upon
/// which `serving` is to drain and end; a second one leaves it.
pub async fn run_until_told(
    serving: impl Future<Output = Ending>,
    signals: &mut Signals,
    shutdown: &CancellationToken,
) -> Ending {
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        biased;
        name = signals.next() => {
            info!(signal = name, "stopping; once more to stop at once");
            shutdown.cancel();
        }
        ending = &mut serving => return ending,
    }
    tokio::select! {
        biased;
        ending = &mut serving => ending,
        name = signals.next() => {
            warn!(signal = name, "stopped at once");
            Ending::CutShort
        }
    }
}
